"""Opening windows for agents: named, pinned, and running what they were asked to run."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from libtmux import Server

from hivebus.errors import HivebusError, Unavailable
from hivebus.transport import Published
from hivebus_tmux import windows
from hivebus_tmux.errors import NoWindow
from hivebus_tmux.place import parse_place
from hivebus_tmux.windows import open_window, server_of

from .ground import Ground, Window, message, shows, until, wait_for

FACTS = "#{session_name} #{window_name} #{@hivebus_agent} #{@hivebus_mirror} #{==:#{@hivebus_pane_pid},#{pane_pid}}"
WAIT = "exec sleep 1000"
InOneGo = Callable[..., None]


def test_server_and_session_are_started_and_the_panes_are_pinned(ground: Ground) -> None:
    own, copies = ground.open("pm-agent"), ground.open("pm-agent", mirror=True)
    assert ground.tmux("list-panes", "-a", "-F", FACTS).splitlines() == [
        "agent-hive agent-pm-agent pm-agent  1",
        "agent-hive mirror-pm-agent  pm-agent 1",
    ]
    assert own.pane != copies.pane


def test_the_program_gets_its_arguments_and_its_environment_as_they_are(ground: Ground) -> None:
    out = ground.folder / "out"
    script = f'printf "%s|%s" "$1" "$GREETING" > {out}; {WAIT}'
    ground.open("first")
    open_window(
        ground.place(), "second", ["bash", "-c", script, "x", "a b; 'c' $(d)"], environment={"GREETING": "hello; $x;"}
    )
    wait_for(lambda: out.exists() and out.read_text(), "the program runs")
    assert out.read_text() == "a b; 'c' $(d)|hello; $x;"


@pytest.mark.parametrize("remain", ["on", "off"])
def test_every_program_runs_where_its_opener_does_and_with_its_own_variables_alone(ground: Ground, remain: str) -> None:
    config = ground.folder / "remain.conf"
    config.write_text(f"set -g remain-on-exit {remain}")
    script = f'printf "%s|%s" "$(pwd -P)" "$GREETING" > "$0.part"; mv "$0.part" "$0"; {WAIT}'
    outs = [ground.folder / "first", ground.folder / "second"]
    for out, environment in zip(outs, [{"GREETING": "hello"}, {}], strict=True):
        words = ["sh", "-c", script, str(out)]
        open_window(ground.place(), out.name, words, environment=environment, config=config)
        wait_for(out.exists, "the program runs")
    assert [out.read_text() for out in outs] == [f"{os.getcwd()}|hello", f"{os.getcwd()}|"]
    assert ground.tmux("list-panes", "-a", "-F", "#{pane_dead}").split() == ["0", "0"]


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


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_a_window_whose_program_cannot_be_started_is_not_left_behind(ground: Ground, size: int) -> None:
    ground.open("first")
    with pytest.raises(Unavailable, match="no window for second could be opened.*too long"):
        open_window(ground.place(), "second", ["sh", "-c", WAIT], environment={"LONG": "x" * size})
    assert ground.tmux("list-windows", "-a", "-F", "#{window_name}") == "agent-first"


def test_a_socket_may_be_a_name_or_a_path(ground: Ground) -> None:
    ground.open("pm-agent")
    path = ground.tmux("display-message", "-p", "#{socket_path}")
    by_path = parse_place(f"tmux://agent-hive?socket_path={path}")
    assert [window.window_name for window in server_of(by_path).windows] == ["agent-pm-agent"]


# --- The order of things -----------------------------------------------------------------------------------


def test_a_program_that_asks_at_once_whose_window_it_is_in_is_told(ground: Ground) -> None:
    for number in range(20):
        assert_told(ground, f"agent-{number}", mirror=number % 2 == 1)


def test_saboteur_a_window_that_is_pinned_afterwards_is_nobodys_when_its_program_asks(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_and_pin(server: Server, *commands: Sequence[str]) -> None:
        rename, pin, start, pin_process = commands
        in_one_go(server, start)
        wait_for((ground.folder / "pm-agent").exists, "the program asks")
        in_one_go(server, rename, pin, pin_process)

    in_one_go: InOneGo = windows._in_one_go
    monkeypatch.setattr(windows, "_in_one_go", start_and_pin)
    with pytest.raises(AssertionError, match=r"\(opening\)"):
        assert_told(ground, "pm-agent", mirror=False)


def assert_told(ground: Ground, agent: str, *, mirror: bool) -> None:
    """Open a window for a program that asks first thing, and check what it was told."""
    out = ground.folder / agent
    ask = f"tmux display-message -p -t \"$TMUX_PANE\" '#{{pane_id}} {FACTS}' > {out}.part; mv {out}.part {out}; {WAIT}"
    window = ground.open(agent, mirror=mirror, command=["sh", "-c", ask])
    wait_for(out.exists, "the program asks")
    facts = f"mirror-{agent}  {agent}" if mirror else f"agent-{agent} {agent} "
    assert out.read_text() == f"{window.pane} agent-hive {facts} 1\n"


async def test_nothing_is_written_into_a_window_whose_program_does_not_run_yet(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, window = await published_while_it_opens(ground, monkeypatch)
    assert isinstance(result, NoWindow)
    assert await ground.transport().publish([message("second", "later")]) == [Published("stored")]
    await shows(window, "later")


async def test_saboteur_with_its_name_from_the_start_a_window_swallows_what_comes_too_early(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "OPENING", "agent-second")
    result, window = await published_while_it_opens(ground, monkeypatch)
    assert result == Published("stored")
    assert await ground.transport().publish([message("second", "later")]) == [Published("stored")]
    await shows(window, "later")  # and not what was claimed before


async def published_while_it_opens(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> tuple[Published | HivebusError, Window]:
    """Write to an agent whose window is there, and whose program is not; return the result, and the window."""

    def wait_and_start(*words: Any) -> None:
        opened.set()
        assert may_start.wait(30)
        in_one_go(*words)

    opened, may_start = threading.Event(), threading.Event()
    in_one_go: InOneGo = windows._in_one_go
    ground.open("first")
    monkeypatch.setattr(windows, "_in_one_go", wait_and_start)
    opening = asyncio.create_task(asyncio.to_thread(ground.open, "second"))
    try:
        await until(opened.is_set, "the window is opened")
        (result,) = await ground.transport().publish([message("second", "too early")])
    finally:
        may_start.set()
        window = await opening
    return result, window
