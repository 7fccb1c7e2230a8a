"""A server that was flushed or killed under its clients: what can be there is there again, without anybody's help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hivebus.errors import HivebusError, Unsupported
from hivebus.transport import Ack, Retry
from hivebus_redis.connection import Server

from .own_server import DURABLE, OwnServer
from .room import PATIENCE, Room, ids, outgoing, publish, settle, take


async def send_to_a_sleeper(room: Room, disaster: Callable[[], object]) -> list[str]:
    """Put a reader to sleep, let something happen, send: return what the reader takes."""
    transport, other = await room.transport(), await room.transport()
    reader = await room.reader(transport)
    await publish(other, outgoing("before"))
    await settle(reader, Ack((await take(reader))[0].token))
    sleeping = asyncio.create_task(take(reader))
    await asleep(room)
    disaster()
    await publish(other, outgoing("after"))
    return ids(await sleeping)


async def asleep(room: Room) -> None:
    """Return when somebody sleeps in a blocking read."""
    async with asyncio.timeout(PATIENCE):
        while int(room.redis.info("clients")["blocked_clients"]) == 0:
            await asyncio.sleep(0.01)


# --- Functions are gone ---------------------------------------------------------------------------


async def test_functions_that_are_flushed_between_any_two_calls_come_back(own_room: Room) -> None:
    transport = await own_room.transport()
    flush = own_room.redis.function_flush
    flush()
    assert await publish(transport, outgoing("m-1")) == ["stored"]
    flush()
    reader = await own_room.reader(transport)
    flush()
    (delivery,) = await take(reader)
    flush()
    assert await settle(reader, Retry(delivery.token, 0)) == "done"
    flush()
    assert (await transport.counts(["pm"]))[0].waiting == 1
    (again,) = await take(reader)
    assert (again.attempt, again.failures) == (2, 1)
    flush()
    await transport.write("agents", "pm", {"host": "here"})
    assert await settle(reader, Ack(again.token)) == "done"


async def test_a_reader_that_sleeps_outlives_a_function_flush(own_room: Room) -> None:
    assert await send_to_a_sleeper(own_room, own_room.redis.function_flush) == ["after"]


async def test_saboteur_a_server_that_never_loads_again_stays_broken(
    own_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = await own_room.transport()

    async def never(self: Server, channel: object) -> None:
        """Leave the server as it is."""

    monkeypatch.setattr(Server, "_load", never)
    own_room.redis.function_flush()

    (result,) = await transport.publish([outgoing()])
    assert isinstance(result, Unsupported)


# --- Everything is gone ---------------------------------------------------------------------------


async def test_a_reader_that_sleeps_outlives_a_flush_of_everything(own_room: Room) -> None:
    assert await send_to_a_sleeper(own_room, own_room.redis.flushall) == ["after"]
    (main,) = own_room.redis.xinfo_groups(own_room.key("q:2"))
    assert (main["name"], main["entries-read"]) == ("main", 1)


async def test_after_a_flush_senders_and_readers_go_on(own_room: Room) -> None:
    transport = await own_room.transport()
    reader = await own_room.reader(transport)
    await publish(transport, outgoing("lost-1"), outgoing("lost-2"))
    held, _ = await take(reader, 2)
    own_room.redis.flushall()

    assert await publish(transport, *(outgoing(f"new-{n}", priority=n) for n in (1, 3, 5))) == ["stored"] * 3
    await settle(reader, Ack(held.token))
    assert ids(await take(reader, 3)) == ["new-5", "new-3", "new-1"]
    assert await transport.inboxes() == ["pm"]


async def test_saboteur_groups_that_start_at_the_end_skip_what_was_sent_before_them(
    own_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("k.group, '0', 'MKSTREAM'", "k.group, '$', 'MKSTREAM'"))
    transport = await own_room.transport()
    reader = await own_room.reader(transport)
    own_room.redis.flushall()
    await publish(transport, outgoing("new"))

    assert ids(await take(reader, wait=0)) == []


# --- The server dies --------------------------------------------------------------------------------


@pytest.fixture(params=["redis", "valkey"])
def durable_server(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> OwnServer:
    """A server that has every write on disk before it answers."""
    return make_server(*DURABLE, kind=request.param)


async def test_messages_marks_and_functions_survive_a_kill_of_the_server(durable_server: OwnServer) -> None:
    with durable_server.client() as client:
        room = Room(durable_server.url, client)
        transport = await room.transport()
        assert transport is not None and (await transport.connect()).durability.value == "fsync"
        await publish(transport, outgoing("m-1"), outgoing("m-2"), outgoing("later", delay=100))
        reader = await room.reader(transport)
        await settle(reader, Retry((await take(reader))[0].token, 0))

        durable_server.kill()
        durable_server.start()

        assert "hivebus_" in str(client.execute_command("FUNCTION", "LIST")), "nobody has connected since"
        await until_back(room)
        assert await publish(transport, outgoing("m-1")) == ["duplicate"]
        first, second = await take(reader, 2)
        assert [(each.attempt, each.failures) for each in (first, second)] == [(2, 1), (1, 0)]
        assert await settle(reader, Ack(first.token)) == "done"
        assert (await transport.counts(["pm"]))[0].scheduled == 1
        await room.close()


async def until_back(room: Room) -> None:
    """Return when every connection of the room has noticed, which takes a failed call each."""
    async with asyncio.timeout(PATIENCE):
        for transport in room._transports:
            while True:
                try:
                    await transport.inboxes()
                    break
                except HivebusError:
                    await asyncio.sleep(0.01)


# --- A stream is gone --------------------------------------------------------------------------------


async def test_a_stream_that_somebody_deletes_is_made_again(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("lost"))
    room.redis.delete(room.key("q:2"))
    assert list(await reader.receive(limit=1, start=1, wait=0)) == []

    await publish(transport, outgoing("after"))

    assert ids(await take(reader)) == ["after"]


async def test_a_sleeping_reader_survives_the_deletion_of_its_stream(room: Room) -> None:
    assert await send_to_a_sleeper(room, lambda: room.redis.delete(room.key("q:2"))) == ["after"]
