"""A server that was flushed or killed under its clients: what can be there is there again, without anybody's help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, sleep

import pytest

from hivebus import outbox
from hivebus.errors import BrokerFull, HivebusError, Unavailable
from hivebus.message import Message
from hivebus.transport import Ack, Retry
from hivebus_redis import errors
from hivebus_redis.connection import Channel, Server

from .own_server import DURABLE, OwnServer
from .proxy import Proxy
from .replicas import make_pair
from .room import PATIENCE, Room, asleep, ids, outgoing, publish, settle, take, until


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
    assert isinstance(result, Unavailable) and "lost its functions" in str(result)


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


# --- A server that cannot answer yet -------------------------------------------------------------------


async def test_a_server_that_is_still_loading_is_waited_for(make_server: Callable[..., OwnServer]) -> None:
    assert (await send_to_a_loading_server(make_server())) == "stored"


async def send_to_a_loading_server(server: OwnServer) -> str:
    """Start a server that needs some time to load, and send to it meanwhile."""
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(3000):
            pipeline.set(f"filler-{number}", "x")
        pipeline.execute()
        client.save()
        server.kill()
        server.start(*SLOW_LOADING, patient=False)
        await until(server.is_loading)
        room = Room(server.url, client)
        async with room.bus("sender") as bus:
            return (await bus.send("pm", "after")).state


async def test_saboteur_who_does_not_wait_for_a_loading_server_is_turned_away(
    make_server: Callable[..., OwnServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors.while_starting, "__kwdefaults__", {"patience": 0.0})
    with pytest.raises(Unavailable, match="still loading"):
        await send_to_a_loading_server(make_server())


SLOW_LOADING = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")


# --- A server that takes no writes ---------------------------------------------------------------------


def break_the_disk(server: OwnServer, room: Room) -> Callable[[], None]:
    """Make the server refuse every write, as with a full disk; return what heals it."""
    in_the_way = server.folder / "dump.rdb"
    in_the_way.mkdir()
    room.redis.config_set("save", "3600 1")
    snapshot(room, "err")

    def heal() -> None:
        in_the_way.rmdir()
        snapshot(room, "ok")

    return heal


def snapshot(room: Room, status: str) -> None:
    """Let the server write its data once, with that result."""
    room.redis.bgsave()
    deadline = monotonic() + PATIENCE
    while room.redis.info("persistence")["rdb_last_bgsave_status"] != status:
        assert monotonic() < deadline
        sleep(0.01)


async def test_a_disk_that_was_full_for_a_moment_costs_nobody_a_message(own_server: OwnServer, own_room: Room) -> None:
    seen: list[str] = []
    async with own_room.bus("sender") as sender, own_room.bus("pm") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            seen.append(message.content)
            bus.stop()

        await sender.send("other", "hello")
        heal = break_the_disk(own_server, own_room)
        running = asyncio.create_task(bus.run())
        sending = asyncio.create_task(sender.send("pm", "through"))
        await asyncio.sleep(0.3)
        assert not sending.done()
        heal()
        async with asyncio.timeout(PATIENCE):
            assert (await sending).state == "stored"
            await running
    assert seen == ["through"]


async def test_saboteur_a_sender_that_takes_a_full_disk_for_the_last_word_gives_up(
    own_server: OwnServer, own_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "is_passing", lambda error: not isinstance(error, BrokerFull))
    async with own_room.bus("sender") as sender:
        heal = break_the_disk(own_server, own_room)
        sending = asyncio.create_task(sender.send("pm", "through"))
        await asyncio.wait([sending], timeout=0.3)
        heal()
        with pytest.raises(BrokerFull):
            await sending


async def test_a_disk_that_stays_full_is_told_in_time(
    own_server: OwnServer, own_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", 0.5)
    async with own_room.bus("sender") as sender:
        break_the_disk(own_server, own_room)
        began = monotonic()
        with pytest.raises(BrokerFull, match="cannot write to its disk"):
            await sender.send("pm", "hello")
        assert monotonic() - began < 1.5


async def fail_over(make_server: Callable[..., OwnServer], kind: str) -> str:
    """Let a name lead to another server while the old one still answers; return what becomes of a message."""
    pair = make_pair(make_server, kind=kind)
    line = Proxy(pair.primary.socket)
    with pair.primary.client() as old, pair.replica.client() as new:
        room = Room(line.url, new)
        async with room.bus("sender") as bus:
            await bus.send("pm", "before", message_id="before")
            pair.await_link()
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", 1)
            line.lead_to(pair.replica.socket)
            try:
                await bus.send("pm", "after", message_id="after")
            except Unavailable as error:
                return str(error)
            finally:
                line.close()
        return " ".join(room.entries())


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_demoted_primary_is_left_for_the_one_that_its_name_leads_to(
    make_server: Callable[..., OwnServer], kind: str
) -> None:
    assert await fail_over(make_server, kind) == "before after"


async def test_saboteur_who_keeps_the_connection_stays_with_the_demoted_one(
    make_server: Callable[..., OwnServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", 1.0)
    monkeypatch.setattr(Channel, "drop", lambda self: None)
    assert "read-only replica" in await fail_over(make_server, "redis")
