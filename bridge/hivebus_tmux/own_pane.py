"""What a program asks and says of the pane that it runs in; outside tmux, and where tmux does not answer, nothing."""

from __future__ import annotations

import os
import subprocess

from hivebus.settings import PANE_TIMEOUT
from hivebus_tmux.inventory import MIRROR_OPTION, TAKES_OPTION


def mirrored_agent() -> str | None:
    """Return the agent whose copies this pane shows, if it is such a pane."""
    return _of_this_pane("show-options", "-pqv", MIRROR_OPTION)


def take_pastes() -> None:
    """Say that this process takes a paste as it is, in brackets, so that nobody need press Enter behind it."""
    _of_this_pane("set-option", "-p", TAKES_OPTION, str(os.getpid()))


def _of_this_pane(command: str, flags: str, *words: str) -> str | None:
    if not os.environ.get("TMUX") or not (pane := os.environ.get("TMUX_PANE")):
        return None
    try:
        answer = subprocess.run(
            ["tmux", command, flags, "-t", pane, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PANE_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace").strip() or None
