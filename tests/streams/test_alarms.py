"""Nothing is healed in silence: what was lost, or was gone for a moment, is told to the logger ``hivebus.alarms``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import pytest

from hivebus_redis import continuity
from hivebus_redis.continuity import Continuity

from .own_server import OwnServer
from .room import PATIENCE, Room, asleep, ids, outgoing, publish, take, until

ALARMED_WITHIN = 2.0
"""Seconds after which a flush must be reported by who is busy: one for the next look, and room for a slow machine."""


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the documented logger was told."""
    return [record.getMessage() for record in caplog.records if record.name == "hivebus.alarms"]


FORGOTTEN = "the server has forgotten this bus: it was flushed, or replaced by another one"


async def flush_under_a_sender(room: Room, caplog: pytest.LogCaptureFixture) -> float:
    """Empty the server under a process that sends; return after how many seconds it raised the alarm."""
    async with room.bus("sender") as bus:
        for _ in range(3):
            await bus.send("pm", "lost")
        room.redis.flushall()
        began = monotonic()
        while not alarms(caplog) and monotonic() - began < 1.25 * ALARMED_WITHIN:
            await bus.send("pm", "after")
            await asyncio.sleep(0.02)
        took = monotonic() - began
        await bus.send("pm", "after")
        await asyncio.sleep(continuity.EVERY)
        await bus.send("pm", "after")
    return took if alarms(caplog) else float("inf")


async def test_a_flush_is_an_alarm_for_who_sends(own_room: Room, caplog: pytest.LogCaptureFixture) -> None:
    assert await flush_under_a_sender(own_room, caplog) <= ALARMED_WITHIN

    assert alarms(caplog) == [FORGOTTEN], "once"
    (record,) = [each for each in caplog.records if each.name == "hivebus.alarms"]
    assert record.levelno == logging.ERROR and record.sent_by_this_process >= 3
    assert (record.namespace, record.server) == (own_room.namespace, own_room.url)


async def test_saboteur_who_never_looks_at_the_birth_of_the_bus_hears_of_nothing(
    make_server: Callable[..., OwnServer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Continuity, "is_due", property(lambda self: self._born is None and self._due_at == 0))
    server = make_server()
    with server.client() as client:
        assert await flush_under_a_sender(Room(server.url, client), caplog) == float("inf")


async def test_a_flush_is_an_alarm_for_who_waits(own_room: Room, caplog: pytest.LogCaptureFixture) -> None:
    transport = await own_room.transport()
    reader = await own_room.reader(transport, lease=3.0)
    waiting = asyncio.create_task(reader.receive(limit=1, start=1, wait=PATIENCE))
    await asleep(own_room)
    own_room.redis.flushall()

    # A third of the lease is how long a reader sleeps at most.
    await until(lambda: alarms(caplog) == [FORGOTTEN], patience=1.0 + continuity.EVERY + 1.0)
    reader.wake()
    await waiting


async def test_an_empty_server_in_the_place_of_another_is_an_alarm(
    own_server: OwnServer, own_room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async with own_room.bus("sender") as bus:
        await bus.send("pm", "lost")
        own_server.kill()
        own_server.start()
        await bus.send("pm", "after")
        await asyncio.sleep(continuity.EVERY)
        await bus.send("pm", "after")
    assert FORGOTTEN in alarms(caplog)
    assert "the functions of the server were gone, and are loaded again" in alarms(caplog)


async def test_functions_that_are_flushed_are_reported_and_a_fresh_server_is_not(
    own_room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    transport = await own_room.transport()
    assert alarms(caplog) == []
    own_room.redis.function_flush()
    await publish(transport, outgoing())
    assert alarms(caplog) == ["the functions of the server were gone, and are loaded again"]


async def delete_a_stream(room: Room) -> float:
    """Delete a stream under its reader and send again; return how long it took until that was handed out."""
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("held"), outgoing("lost"))
    await take(reader)
    room.redis.delete(room.key("q:2"))
    await publish(transport, outgoing("after"))
    began = monotonic()
    assert ids(await take(reader)) == ["after"]
    return monotonic() - began


async def test_a_deleted_stream_is_reported_to_its_reader_and_healed_at_once(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    assert await delete_a_stream(room) < 1
    assert alarms(caplog) == ["a stream of an inbox was deleted, and is made again"]


async def test_saboteur_a_stream_that_is_made_again_in_silence_is_no_alarm(
    redis_room: Room, caplog: pytest.LogCaptureFixture, change_library: Callable[..., None]
) -> None:
    change_library(("    k.healed = true\n", ""))
    await delete_a_stream(redis_room)
    assert alarms(caplog) == []
