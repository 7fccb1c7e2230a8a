"""Opens windows for agents, and for people who watch their messages."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from libtmux import Pane, Server, Session
from libtmux.exc import LibTmuxException

from hivebus.errors import Unavailable
from hivebus_tmux.inventory import PID_OPTION, Owner
from hivebus_tmux.place import Place

SIZE = (200, 50)
OPENING = "(opening)"
"""What a window is called until its program starts: no agent's name, so nobody writes to what waits in it."""
PLACEHOLDER = "exec sleep 60"
"""What waits in it; it ends by itself, should nobody come back to start the program."""


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

    Server and session are started when they are not there. The pane is pinned to the agent before the
    program starts, which may ask at once whose window it is in.
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
    try:
        pane = _open(server_of(place, config=config), place.session)
        _start(pane, owner, command, environment or {})
    except (LibTmuxException, OSError) as error:
        raise Unavailable(
            f"no window for {owner} could be opened in {place}", cause=str(error), hint="tmux list-windows -a"
        ) from None
    return str(pane.pane_id)


def _open(server: Server, session: str) -> Pane:
    """Return the pane of a new window that is nobody's yet."""
    known: Session | None = server.sessions.get(session_name=session, default=None) if server.is_alive() else None
    if known is None:
        width, height = SIZE
        made = server.new_session(
            session, window_name=OPENING, window_command=PLACEHOLDER, x=width, y=height, attach=False
        )
        opened = made.active_window.active_pane
    else:
        opened = known.new_window(OPENING, window_shell=PLACEHOLDER, attach=False).active_pane
    if opened is None:
        raise LibTmuxException("the window closed at once")
    return opened


def _start(pane: Pane, owner: Owner, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Make the window the owner's and start the program in it; a window in which that fails is closed."""
    here = ("-t", str(pane.pane_id))
    variables = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    # exec: otherwise a shell could be in the foreground, and nothing is typed into one.
    program = f"exec {shlex.join(command)}"
    try:
        _in_one_go(
            pane.server,
            ("rename-window", *here, owner.windows[0]),
            ("set-option", "-p", *here, owner.option, owner.agent),
            ("respawn-pane", "-k", *here, *variables, program),
            ("set-option", "-p", "-F", *here, PID_OPTION, "#{pane_pid}"),
        )
    except (LibTmuxException, OSError):
        pane.cmd("kill-pane")
        raise


def _in_one_go(server: Server, *commands: Sequence[str]) -> None:
    """Carry out all commands before tmux answers anybody else, up to one that fails."""
    complaints = server.cmd(*_joined(commands)).stderr
    if complaints:
        raise LibTmuxException(" ".join(complaints))


def _joined(commands: Sequence[Sequence[str]]) -> Iterator[str]:
    for command in commands:
        # tmux takes a semicolon at the end of a word for the end of the command.
        yield from (f"{word[:-1]}\\;" if word.endswith(";") else word for word in command)
        yield ";"
