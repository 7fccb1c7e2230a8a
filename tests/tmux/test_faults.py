"""Everything that can be wrong with a window or its server: said in one word, and nothing is harmed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebus.errors import HivebusError, NotFound, Refused, Unavailable, Unknown, Unsupported
from hivebus.transport import Published
from hivebus_tmux.errors import PaneRefused, PaneUnknown
from hivebus_tmux.inventory import Owner, Pane
from hivebus_tmux.runner import Tmux
from hivebus_tmux.safe import SafeDriver
from hivebus_tmux.turns import Turns

from .ground import Ground, Window, message, shows, until

AGENT = "frontend-agent"
Fault = Callable[[Ground, Window], object]


def nothing(ground: Ground, window: Window) -> None:
    pass


def dead_pane(ground: Ground, window: Window) -> None:
    ground.tmux("set-option", "-p", "-t", window.pane, "remain-on-exit", "on")
    ground.tmux("respawn-pane", "-k", "-t", window.pane, "exec true")
    while ground.tmux("display-message", "-p", "-t", window.pane, "#{pane_dead}") != "1":
        time.sleep(0.01)


def copy_mode(ground: Ground, window: Window) -> None:
    ground.tmux("copy-mode", "-t", window.pane)


def clock_mode(ground: Ground, window: Window) -> None:
    ground.tmux("clock-mode", "-t", window.pane)


def input_off(ground: Ground, window: Window) -> None:
    ground.tmux("select-pane", "-d", "-t", window.pane)


def synchronised(ground: Ground, window: Window) -> None:
    ground.tmux("set-option", "-w", "-t", window.pane, "synchronize-panes", "on")


def shell(ground: Ground, window: Window) -> None:
    ground.tmux("respawn-pane", "-k", "-t", window.pane, f"cd {ground.folder} && exec bash --norc")


def no_window(ground: Ground, window: Window) -> None:
    ground.tmux("kill-window", "-t", window.pane)


def two_windows(ground: Ground, window: Window) -> None:
    ground.unpin(window)
    ground.open_plain(f"agent-{AGENT}")


def killed_server(ground: Ground, window: Window) -> None:
    os.kill(ground.pid(), signal.SIGKILL)
    while ground.is_alive():
        time.sleep(0.01)


FAULTS: list[tuple[Fault, str]] = [
    (dead_pane, "pane_dead"),
    (copy_mode, "copy_mode"),
    (clock_mode, "copy_mode"),
    (input_off, "input_off"),
    (synchronised, "synchronised"),
    (shell, "shell_foreground"),
    (no_window, "no_window"),
    (two_windows, "ambiguous_window"),
    (killed_server, "no_server"),
]


@pytest.mark.parametrize("known", [False, True], ids=["first_message", "known_window"])
@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_a_fault_is_refused_with_its_reason(ground: Ground, fault: Fault, reason: str, known: bool) -> None:
    other = ground.open("other-agent")
    window = ground.open(AGENT)
    transport = ground.transport()
    if known:
        assert await transport.publish([message(AGENT, "before")]) == [Published("stored")]
        await shows(window, "before")
    fault(ground, window)
    before = window.bytes()
    (result,) = await transport.publish([message(AGENT, "touch pwned")])
    assert isinstance(result, Refused) and isinstance(result, PaneRefused)
    assert result.reason == reason
    assert result.hint
    assert window.bytes() == before
    assert not (ground.folder / "pwned").exists()
    if reason != "no_server":
        assert ground.buffers() == ""
        assert await transport.publish([message("other-agent", "unharmed")]) == [Published("stored")]
        await shows(other, "unharmed")


@pytest.mark.parametrize("known", [False, True], ids=["first_message", "known_window"])
async def test_a_server_that_stands_still_is_unknown_and_not_asked_again(ground: Ground, known: bool) -> None:
    window = ground.open(AGENT)
    transport = ground.transport()
    if known:
        await transport.publish([message(AGENT, "before")])
    items = [message(AGENT, "x" * 40_000) for _ in range(3)]
    with ground.stopped():
        first, second, third = await transport.publish(items)
    assert isinstance(first, PaneUnknown) and isinstance(first, Unknown)
    assert (first.reason, first.repeatable) == ("timeout", False)
    for later in (second, third):
        assert isinstance(later, PaneRefused) and later.reason == "timeout"
    assert await transport.publish([message(AGENT, "after")]) == [Published("stored")]
    await until(lambda: "after" in [read.text for read in window.messages()], "it goes on")
    assert ground.buffers() == ""


async def test_what_is_in_the_window_without_enter_is_unknown(ground: Ground) -> None:
    window = ground.open(AGENT)
    publishing = asyncio.create_task(ground.transport(settle="1s").publish([message(AGENT, "hello")]))
    await until(lambda: window.ids(), "it is pasted")
    ground.tmux("copy-mode", "-t", window.pane)
    (result,) = await publishing
    assert isinstance(result, PaneUnknown) and result.reason == "unsubmitted"
    assert "looked through by somebody" in str(result)
    assert not window.bytes().endswith(b"\r")


async def test_an_agent_without_a_window_is_not_found(ground: Ground) -> None:
    ground.open("other-agent")
    (result,) = await ground.transport().publish([message("nobody", "hello")])
    assert isinstance(result, NotFound)
    assert "open a window called agent-nobody" in str(result)


async def test_a_neighbour_in_the_batch_is_unharmed(ground: Ground) -> None:
    window = ground.open(AGENT)
    batch = [message("nobody", "lost"), message(AGENT, "kept"), message(AGENT, "later", delay=5)]
    lost, kept, later = await ground.transport().publish(batch)
    assert isinstance(lost, PaneRefused)
    assert kept == Published("stored")
    assert isinstance(later, Unsupported) and "delay" in str(later)
    await shows(window, "kept")


async def test_a_window_that_others_keep_is_busy(ground: Ground) -> None:
    window = ground.open(AGENT)
    pane = Pane(window.pane, "", ground.tmux("display-message", "-p", "#{socket_path}"), "", "", "", "", "")
    place = ground.place()
    driver = SafeDriver(Tmux(place.server), place, turns=Turns(patience=0.1))
    async with Turns().turn(pane):
        with pytest.raises(PaneRefused, match="others kept writing") as caught:
            await driver.deliver(b"hello", to=Owner(AGENT, mirror=False))
    assert caught.value.reason == "busy"
    assert window.bytes() == b""
    await driver.deliver(b"hello", to=Owner(AGENT, mirror=False))


async def test_a_folder_without_room_for_locks_is_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    window = ground.open(AGENT)
    (ground.folder / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(ground.folder / "file"))
    (result,) = await ground.transport().publish([message(AGENT, "hello")])
    assert isinstance(result, PaneRefused) and result.reason == "no_lock"
    assert window.bytes() == b""


async def test_a_sender_that_is_cancelled_leaves_the_window_to_others(ground: Ground) -> None:
    window = ground.open(AGENT)
    publishing = asyncio.create_task(ground.transport(settle="2s").publish([message(AGENT, "given up")]))
    await until(lambda: window.ids(), "it is pasted")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert await ground.transport().publish([message(AGENT, "next")]) == [Published("stored")]
    assert ground.buffers() == ""


# --- Connecting -------------------------------------------------------------------------------------


async def test_without_a_server_connecting_says_so(ground: Ground) -> None:
    with pytest.raises(Unavailable, match="no tmux server answers") as caught:
        await ground.transport().connect()
    assert ground.socket in str(caught.value)


async def test_without_the_session_connecting_names_those_that_are_there(ground: Ground) -> None:
    ground.open(AGENT)
    ground.tmux("rename-session", "-t", "agent-hive", "retired-agent-hive")
    with pytest.raises(Unavailable, match="no such session.*the server has retired-agent-hive"):
        await ground.transport().connect()


async def test_a_server_that_stands_still_is_unavailable(ground: Ground) -> None:
    ground.open(AGENT)
    with ground.stopped(), pytest.raises(Unavailable, match="did not answer in time"):
        await ground.transport().connect()


async def test_without_tmux_connecting_says_what_to_install(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        transport = ground.transport()
        with pytest.raises(Unavailable, match="tmux cannot be started.*apt-get install tmux"):
            await transport.connect()
        (result,) = await transport.publish([message(AGENT, "hello")])
    assert isinstance(result, HivebusError) and getattr(result, "reason", None) == "no_tmux"
