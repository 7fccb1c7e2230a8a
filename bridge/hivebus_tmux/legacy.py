"""The predecessor's way of typing into windows, kept as it was because it is what is being measured.

Its calls, its pauses and what it took for success are exactly those of the predecessor's script: one
shared buffer for all senders, an interrupt before the text, no look at the window, no lock. Messages
that overlap take each other's text. Do not improve it: `hivebus_tmux.safe` is the better way.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from hivebus_tmux.errors import PaneRefused, PaneUnknown, Reason
from hivebus_tmux.inventory import not_answered
from hivebus_tmux.place import Place
from hivebus_tmux.runner import Answer, Tmux

BEFORE_PASTE = 0.3
BEFORE_ENTER = 0.2
BUDGET = 2.8
"""Seconds; the script itself would wait for ever for a server that stands still."""


class LegacyDriver:
    """Delivers into the windows ``agent-<name>`` of one session, as the script did."""

    def __init__(self, tmux: Tmux, place: Place) -> None:
        self._tmux = tmux
        self._session = place.session

    async def deliver(self, text: str, *, to: str) -> None:
        """Return when the script would have said "delivered"; raises `PaneRefused` or `PaneUnknown`."""
        if "\0" in text:
            raise PaneRefused("a NUL cannot be part of a command line", reason="not_text", hint="use driver=safe")
        deadline = monotonic() + BUDGET
        target = f"{self._session}:agent-{to}"
        _check(await self._run("set-buffer", text, deadline=deadline))
        await self._run("send-keys", "-t", target, "C-c", deadline=deadline)
        await asyncio.sleep(BEFORE_PASTE)
        _check(await self._run("paste-buffer", "-t", target, deadline=deadline))
        await asyncio.sleep(BEFORE_ENTER)
        await self._run("send-keys", "-t", target, "Enter", deadline=deadline)

    async def _run(self, *words: str, deadline: float) -> Answer:
        return await self._tmux.run(*words, within=deadline - monotonic())


def _check(answer: Answer) -> None:
    """Raise unless the client ended with 0, which was all that the script asked."""
    if answer.code != 0:
        raise _error(answer)


def _error(answer: Answer) -> PaneRefused | PaneUnknown:
    if answer.timed_out or answer.never_reached:
        return not_answered(answer)
    reasons: dict[str, Reason] = {"too long": "too_large", "can't find": "no_window"}
    reason: Reason = next((reason for words, reason in reasons.items() if words in answer.err), "tmux_error")
    return PaneRefused("the legacy flow failed", reason=reason, cause=answer.why, hint="use driver=safe")
