"""Opening windows for agents: named, pinned, and running what they were asked to run."""

from __future__ import annotations

import pytest

from hivebus.errors import Unavailable
from hivebus.transport import Published
from hivebus_tmux.place import parse_place
from hivebus_tmux.windows import open_window, server_of

from .ground import Ground, message, shows, wait_for

FACTS = "#{session_name} #{window_name} #{@hivebus_agent} #{@hivebus_mirror} #{==:#{@hivebus_pane_pid},#{pane_pid}}"


def test_server_and_session_are_started_and_the_panes_are_pinned(ground: Ground) -> None:
    own, copies = ground.open("pm-agent"), ground.open("pm-agent", mirror=True)
    assert ground.tmux("list-panes", "-a", "-F", FACTS).splitlines() == [
        "agent-hive agent-pm-agent pm-agent  1",
        "agent-hive mirror-pm-agent  pm-agent 1",
    ]
    assert own.pane != copies.pane


def test_the_program_gets_its_arguments_and_its_environment_as_they_are(ground: Ground) -> None:
    out = ground.folder / "out"
    script = f'printf "%s|%s" "$1" "$GREETING" > {out}; sleep 1000'
    ground.open("first")
    open_window(
        ground.place(), "second", ["bash", "-c", script, "x", "a b; 'c' $(d)"], environment={"GREETING": "hello; $x"}
    )
    wait_for(lambda: out.exists() and out.read_text(), "the program runs")
    assert out.read_text() == "a b; 'c' $(d)|hello; $x"


async def test_a_window_takes_messages_under_any_default_shell(ground: Ground) -> None:
    ground.open("first")
    ground.tmux("set-option", "-g", "default-shell", "/bin/sh")
    window = ground.open("second")
    assert await ground.transport().publish([message("second", "hello")]) == [Published("stored")]
    await shows(window, "hello")


def test_a_place_that_cannot_be_is_unavailable(ground: Ground) -> None:
    place = parse_place("tmux://agent-hive?socket_path=/nowhere/at/all")
    with pytest.raises(Unavailable, match="no window for pm-agent could be opened"):
        open_window(place, "pm-agent", ["sleep", "1000"])


def test_a_socket_may_be_a_name_or_a_path(ground: Ground) -> None:
    ground.open("pm-agent")
    path = ground.tmux("display-message", "-p", "#{socket_path}")
    by_path = parse_place(f"tmux://agent-hive?socket_path={path}")
    assert [window.window_name for window in server_of(by_path).windows] == ["agent-pm-agent"]
