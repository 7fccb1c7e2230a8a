"""Finds the pane that is an agent's: by what is pinned to it, or by the exact name of its window.

tmux itself takes a beginning of a name for the name, so it is never asked: all panes are listed, and
compared here. Once found, a pane is pinned: it keeps its agent when its window is renamed, and loses
it when another process lives in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hivebus import limits
from hivebus.errors import InvalidMessage
from hivebus.settings import PANE_OPTION
from hivebus_tmux.errors import NoWindow, PaneRefused, PaneUnknown
from hivebus_tmux.runner import Answer, Runner

MIRROR_OPTION = "@hivebus_mirror"
PID_OPTION = "@hivebus_pane_pid"
TAKES_OPTION = "@hivebus_takes_pastes"
"""The process that takes a paste as it is; one that is not the pane's own says nothing about who reads there now."""
SHOWN = 12
_SEPARATOR = "␞"
_FORMAT = _SEPARATOR.join(
    f"#{{{name}}}"
    for name in (
        *("pane_id", "pane_pid", "socket_path", PANE_OPTION, MIRROR_OPTION, PID_OPTION),
        *("session_name", "window_name"),
    )
)


class Pane(NamedTuple):
    """One pane as tmux lists it.

    Attributes:
        id: such as ``%7``; never given twice by one server.
        pid: the process that was started in it.
        socket: the server's.
        agent, mirror: whose it is, and whose copies it shows, as far as that is pinned.
        pinned_pid: the process for which that was said; empty when a person said it.
    """

    id: str
    pid: str
    socket: str
    agent: str
    mirror: str
    pinned_pid: str
    session: str
    window: str

    @property
    def owner(self) -> Owner | None:
        """Whose it is by its pin; None without one, or when another process lives in it now."""
        if self.pinned_pid not in ("", self.pid):
            return None
        if self.mirror:
            return Owner(self.mirror, mirror=True)
        return Owner(self.agent, mirror=False) if self.agent else None

    def __str__(self) -> str:
        return f"{self.window} ({self.id}, of {self.owner})" if self.owner else f"{self.window} ({self.id})"


class Owner(NamedTuple):
    """An agent, as whom something is typed into its window; or the *mirror* that shows copies for people."""

    agent: str
    mirror: bool

    @property
    def option(self) -> str:
        """The pane option that names it."""
        return MIRROR_OPTION if self.mirror else PANE_OPTION

    @property
    def windows(self) -> Sequence[str]:
        """What its window may be called, best first."""
        if self.mirror:
            return (f"mirror-{self.agent}",)
        # The predecessor's spawner left out the prefix, and its agents' names end in -agent already.
        short = self.agent.removesuffix("-agent")
        return tuple(dict.fromkeys((f"agent-{self.agent}", self.agent, f"agent-{short}")))

    def __str__(self) -> str:
        return f"the mirror of {self.agent}" if self.mirror else self.agent


async def look(tmux: Runner, *, within: float) -> list[Pane]:
    """Return all panes of the server; raises `PaneRefused` or `PaneUnknown`."""
    answer = await tmux.run("list-panes", "-a", "-F", _FORMAT, within=within)
    if answer.code != 0:
        raise not_answered(answer)
    rows = (line.split(_SEPARATOR) for line in answer.out.splitlines())
    # A name that holds the separator makes a row too long; such a pane cannot be told, so it is nobody's.
    return [Pane(*row) for row in rows if len(row) == len(Pane._fields)]


def find(panes: Sequence[Pane], owner: Owner, *, session: str) -> Pane:
    """Return the owner's pane; raises `NoWindow` unless there is exactly one."""
    here = [pane for pane in panes if pane.session == session]
    free = [pane for pane in here if pane.owner is None]
    hits = [pane for pane in here if pane.owner == owner]
    for name in owner.windows:
        hits = hits or [pane for pane in free if pane.window == name]
    if not _is_name(owner.agent):
        hits = []  # a pool, or the inbox that somebody waits at for one answer
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise NoWindow(
            f"{len(hits)} panes of session {session} could be {owner}",
            reason="ambiguous_window",
            cause=_listed(hits),
            hint=f"say which one: tmux set -p -t {hits[0].id} {owner.option} {owner.agent}",
        )
    raise NoWindow(
        f"session {session} has no window for {owner}",
        reason="no_window",
        cause=f"it has {_listed(here)}" if here else f"the server has {_listed_sessions(panes)}",
        hint=f"open a window called {owner.windows[0]}, or: tmux set -p -t PANE {owner.option} {owner.agent}",
    )


async def pin(tmux: Runner, pane: Pane, owner: Owner, *, within: float) -> None:
    """Write down whose pane it is, and for which process, unless that is written there already."""
    if pane.owner == owner and pane.pinned_pid == pane.pid:
        return
    option = ("set-option", "-p", "-t", pane.id)
    answer = await tmux.run(*option, owner.option, owner.agent, ";", *option, PID_OPTION, pane.pid, within=within)
    if answer.code != 0:
        raise not_answered(answer)


def not_answered(answer: Answer) -> PaneRefused | PaneUnknown:
    """Return the error for a command after which nothing is written in any window."""
    if answer.timed_out:
        # Nothing was written, but a server that stands still is one thing to people, wherever it was noticed.
        return timed_out()
    if answer.never_reached:
        return PaneRefused(
            "no tmux server answers",
            reason="no_server",
            cause=answer.why,
            hint="start it, or correct socket= in the URL",
        )
    return PaneRefused("tmux did not do it", reason="tmux_error", cause=answer.why, hint="tmux list-panes -a")


def timed_out() -> PaneUnknown:
    """Return the error for a server that did not answer in time."""
    return PaneUnknown(
        "tmux did not answer in time",
        reason="timeout",
        cause="its server is stopped or overloaded; what was asked may still happen",
        hint="look into the window before you send it again",
    )


def _is_name(agent: str) -> bool:
    try:
        limits.check_name(agent, field="to_agent")
    except InvalidMessage:
        return False
    return True


def _listed(panes: Sequence[Pane]) -> str:
    more = f" and {len(panes) - SHOWN} more" if len(panes) > SHOWN else ""
    return ", ".join(map(str, panes[:SHOWN])) + more


def _listed_sessions(panes: Sequence[Pane]) -> str:
    names = sorted({pane.session for pane in panes})
    return f"the sessions {', '.join(names[:SHOWN])}" if names else "no sessions"
