"""How a delivery into a window fails: each failure carries one word for the ledger."""

from __future__ import annotations

from typing import Literal

from hivebus.errors import InvalidMessage, NotFound, Refused, Unknown

Reason = Literal[
    "pane_dead",
    "copy_mode",
    "input_off",
    "synchronised",
    "shell_foreground",
    "no_window",
    "ambiguous_window",
    "no_server",
    "no_tmux",
    "no_lock",
    "busy",
    "not_text",
    "too_large",
    "tmux_error",
    "timeout",
    "unsubmitted",
]
"""Why a window did not take a message; the list is closed, so that reports can count by it."""


class PaneRefused(Refused):
    """Nothing was written into the window.

    Attributes:
        reason: why, in one word.
    """

    reason: Reason

    def __init__(self, what: str, *, reason: Reason, cause: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.reason = reason


class NoWindow(PaneRefused, NotFound):
    """No window is the agent's, or several could be."""


class PaneUnknown(Unknown):
    """It may be in the window or not; sending again could show it twice.

    Attributes:
        reason: why, in one word.
    """

    reason: Reason

    def __init__(self, what: str, *, reason: Reason, cause: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, cause=cause, hint=hint, repeatable=False)
        self.reason = reason


class TooLarge(InvalidMessage):
    """The text has more bytes than tmux carries in one piece; nothing was written."""

    reason: Reason = "too_large"
