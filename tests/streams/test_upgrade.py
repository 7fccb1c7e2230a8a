"""Two releases at once, as during an upgrade: each with functions of its own, on one inbox, undisturbed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hivebus.errors import Unavailable
from hivebus.message import Message
from hivebus_redis.connection import Server
from hivebus_redis.library import read_prefix, read_source

from .room import PATIENCE, Room, outgoing, publish

EACH = 40
OTHER_RELEASE = """
import asyncio, sys
from hivebus_redis import library
text = library._text() + "\\n-- another release"
library._text = lambda: text
from hivebus import Bus

async def main(url, namespace, count):
    async with Bus(url, agent="pm", namespace=namespace) as bus:
        @bus.on("event")
        async def handle(message):
            await asyncio.sleep(0.005)
            print(message.content, flush=True)
        for number in range(int(count)):
            await bus.send("pm", f"other-{number}", message_type="event")
        await bus.send("starter", "ready")
        await bus.run(concurrency=2)

asyncio.run(main(*sys.argv[1:]))
"""


async def share_an_inbox(room: Room, *, between: Callable[[], object] = lambda: None) -> tuple[list[str], list[str]]:
    """Let a process of another release and this one send to one inbox and handle it; return what each handled."""
    ours: list[str] = []
    words = [sys.executable, "-c", OTHER_RELEASE, room.url, room.namespace, str(EACH)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - it takes no time
        async with room.bus("starter") as starter, room.bus("pm") as bus:
            assert await starter.take(wait=PATIENCE) is not None
            between()

            @bus.on("event")
            async def handle(message: Message) -> None:
                await asyncio.sleep(0.005)
                ours.append(message.content)

            running = asyncio.create_task(bus.run(concurrency=2))
            await asyncio.gather(*(bus.send("pm", f"ours-{n}", message_type="event") for n in range(EACH)))
            async with asyncio.timeout(PATIENCE):
                while (counts := await starter.queue("pm")).waiting or counts.in_flight or counts.retrying:
                    await asyncio.sleep(0.02)
            bus.stop()
            await running
            assert counts.dead == 0
        process.terminate()
        theirs, _ = process.communicate(timeout=PATIENCE)
    return ours, theirs.split()


def libraries(room: Room) -> list[str]:
    rows: list[Any] = room.redis.execute_command("FUNCTION", "LIST", "LIBRARYNAME", "hivebus_*")
    return [row["library_name"] if isinstance(row, dict) else row[row.index("library_name") + 1] for row in rows]


async def test_two_releases_share_an_inbox_both_ways(own_room: Room) -> None:
    ours, theirs = await share_an_inbox(own_room)

    expected = {f"{who}-{number}" for who in ("ours", "other") for number in range(EACH)}
    assert sorted(ours + theirs) == sorted(expected), "each message once, whoever sent it and whoever handled it"
    assert {each[:4] for each in ours} == {"ours", "othe"} or {each[:4] for each in theirs} == {"ours", "othe"}
    assert len(libraries(own_room)) == 2, "and the old functions are there until somebody removes them"


async def test_both_come_back_after_a_flush_of_all_functions(own_room: Room) -> None:
    ours, theirs = await share_an_inbox(own_room, between=own_room.redis.function_flush)

    assert len(set(ours + theirs)) == len(ours + theirs) == 2 * EACH
    assert len(libraries(own_room)) == 2


async def upgrade_under_a_process(room: Room, change_library: Callable[..., None]) -> list[str]:
    """Put other files in the place of those that a process runs with, take its functions away, and send."""
    transport = await room.transport()
    change_library(("return 'pong'", "return 'pong '"))
    assert read_prefix() != transport._server._prefix
    room.redis.function_flush()
    return await publish(transport, outgoing())


async def test_a_process_whose_files_were_upgraded_goes_on_with_its_own_functions(
    own_room: Room, change_library: Callable[..., None]
) -> None:
    assert await upgrade_under_a_process(own_room, change_library) == ["stored"]


async def test_saboteur_a_process_that_loads_what_is_on_the_disk_now_is_lost(
    own_room: Room, change_library: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(self: Server, channel: Any) -> None:
        await channel.call("FUNCTION", "LOAD", read_source())

    monkeypatch.setattr(Server, "_load", load)
    assert await upgrade_under_a_process(own_room, change_library) == [Unavailable.__name__]
