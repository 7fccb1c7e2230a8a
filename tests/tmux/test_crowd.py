"""Many senders at once: the safe driver loses nothing, and the legacy driver is seen to."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from hivebus.transport import Published
from hivebus_tmux.stream import BEGIN, END

from .crowd import count, letters, open_windows, send_all
from .ground import Ground, message, until

SENDERS = 20


async def test_20_senders_to_6_windows_every_message_whole_once_and_in_its_window(ground: Ground) -> None:
    windows = open_windows(ground, 6)
    posts = letters(list(windows), senders=SENDERS, each=6)
    transports = [ground.transport(settle="10ms") for _ in posts]
    refused = await send_all(transports, posts)
    items = [item for post in posts for item in post]
    await until(lambda: sum(len(window.ids()) for window in windows.values()) >= len(items), "all arrive")
    await until(lambda: all(window.is_at_rest() for window in windows.values()), "all are submitted")
    counted = count(windows, items, transports[0], refused=refused)
    assert counted.right == len(items) and sum(counted) == len(items)
    for window in windows.values():
        assert re.fullmatch(_delivery(), window.bytes(), re.DOTALL), "an Enter belongs to each paste"


async def test_the_messages_of_one_sender_stay_in_order(ground: Ground) -> None:
    windows = open_windows(ground, 2)
    posts = letters(list(windows), senders=4, each=6)
    await send_all([ground.transport(settle="10ms") for _ in posts], posts)
    await until(lambda: sum(len(window.ids()) for window in windows.values()) == 24, "all arrive")
    for agent, window in windows.items():
        arrived = window.ids()
        for post in posts:
            own = [item.message_id for item in post if item.inbox == agent]
            assert [each for each in arrived if each in own] == own


async def test_the_same_crowd_with_the_legacy_driver_loses_messages_that_it_claims(ground: Ground) -> None:
    windows = open_windows(ground, 6)
    posts = letters(list(windows), senders=SENDERS, each=2)
    transport = ground.transport(driver="legacy")
    refused = await send_all([transport] * SENDERS, posts)
    items = [item for post in posts for item in post]
    counted = count(windows, items, transport, refused=refused)
    assert counted.refused == 0, "it claims that all were delivered"
    assert counted.lost > 0
    assert counted.foreign > 0
    assert counted.right + counted.lost + counted.twice + counted.damaged >= len(items)


async def test_one_sender_at_a_time_the_legacy_driver_delivers(ground: Ground) -> None:
    windows = open_windows(ground, 2)
    transport = ground.transport(driver="legacy")
    posts = letters(list(windows), senders=1, each=4)
    refused = await send_all([transport], posts)
    window = windows["agent-1"]
    await until(lambda: window.bytes().count(b"]\r") == 2, "the last Enter arrives")
    counted = count(windows, posts[0], transport, refused=refused)
    assert counted.right == 4 and sum(counted) == 4
    assert window.bytes().startswith("\x03🤖 MESSAGE FROM SENDER-0:\r\r0/1\rline two\r\rPlease respond".encode())


async def test_legacy_deliveries_run_at_once_and_do_not_queue_in_lanes(ground: Ground) -> None:
    transport = ground.transport(driver="legacy")
    items = [message("agent-1", f"{number}") for number in range(40)]
    assert len({transport.lane(item) for item in items}) > 20
    assert all(transport.lane(item) == transport.lane(item) for item in items)
    copies = [message("agent-1~shadow", "copy") for _ in range(5)]
    assert {transport.lane(copy) for copy in copies} == {"agent-1~shadow"}
    assert {ground.transport().lane(item) for item in items} == {"agent-1"}


async def test_several_processes_take_turns_at_one_window(ground: Ground) -> None:
    window = ground.open("frontend-agent")
    program = Path(__file__).with_name("sender.py")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(program), ground.url(), "frontend-agent", f"sender-{number}", "6"
        )
        for number in range(4)
    ]
    own = [message("frontend-agent", f"{number}", sender="me") for number in range(6)]
    transport = ground.transport()
    for item in own:
        assert await transport.publish([item]) == [Published("stored")]
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 0, 0, 0]
    await until(lambda: len(window.ids()) == 30 and window.is_at_rest(), "all arrive")
    assert re.fullmatch(_delivery(), window.bytes(), re.DOTALL), "an Enter belongs to each paste"
    assert [each for each in window.messages() if not each.whole] == []


async def test_a_process_that_is_killed_in_its_turn_leaves_the_window_to_others(ground: Ground) -> None:
    window = ground.open("frontend-agent")
    program = Path(__file__).with_name("sender.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), ground.url(settle="2s"), "frontend-agent", "victim", "1"
    )
    await until(lambda: window.ids(), "it has pasted, and waits")
    process.kill()
    await process.wait()
    assert await ground.transport().publish([message("frontend-agent", "next")]) == [Published("stored")]


def _delivery() -> bytes:
    """Return a pattern of deliveries that do not run into each other."""
    return rb"(?:%b[^\x1b]*%b\r)+" % (re.escape(BEGIN), re.escape(END))
