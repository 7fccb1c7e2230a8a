"""Opens windows for agents, and for people who watch their messages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from libtmux import Pane, Server, Session
from libtmux.exc import LibTmuxException

from hivebus.errors import Unavailable
from hivebus_tmux.inventory import PID_OPTION, Owner
from hivebus_tmux.place import Place

SIZE = (200, 50)


def server_of(place: Place, *, config: Path | None = None) -> Server:
    """Return the tmux server of *place*; *config* is what it reads if it is started by this."""
    words = dict(zip(place.server[::2], place.server[1::2], strict=True))
    return Server(socket_name=words.get("-L"), socket_path=words.get("-S"), config_file=str(config) if config else None)


def open_window(
    place: Place,
    agent: str,
    command: Sequence[str],
    *,
    mirror: bool = False,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> str:
    """Open the window ``agent-NAME`` or ``mirror-NAME``, run *command* in it, and return its pane's id.

    Server and session are started when they are not there. The pane is pinned to the agent at once.
    Blocks for some ten milliseconds; a running event loop should call it in a thread.

    Args:
        place: in which session.
        agent: whose window it is.
        command: a program and its arguments; when it ends, the window closes.
        mirror: whether it shows copies for people, instead of being the agent's own.
        environment: variables for the program, besides those of the session.
        config: the configuration of a server that is started by this; the user's by default.
    """
    owner = Owner(agent, mirror=mirror)
    # exec: otherwise a shell could be in the foreground, and nothing is typed into one.
    shell = f"exec {shlex.join(command)}"
    try:
        pane = _open(server_of(place, config=config), place.session, owner.windows[0], shell, dict(environment or {}))
        pane.cmd("set-option", "-p", owner.option, agent)
        pane.cmd("set-option", "-p", PID_OPTION, str(pane.pane_pid))
    except LibTmuxException as error:
        raise Unavailable(
            f"no window for {owner} could be opened in {place}", cause=str(error), hint="tmux list-windows -a"
        ) from None
    return str(pane.pane_id)


def _open(server: Server, session: str, window: str, shell: str, environment: dict[str, str]) -> Pane:
    known: Session | None = server.sessions.get(session_name=session, default=None) if server.is_alive() else None
    if known is None:
        width, height = SIZE
        made = server.new_session(
            session, window_name=window, window_command=shell, environment=environment, x=width, y=height, attach=False
        )
        opened = made.active_window.active_pane
    else:
        opened = known.new_window(window, window_shell=shell, environment=environment, attach=False).active_pane
    if opened is None:
        raise LibTmuxException("the window closed at once: its program ended")
    return opened
