"""Copies: `replicated` is said when a real replica has confirmed, and never without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest

from hivebus import outbox
from hivebus.errors import DurabilityUnavailable, Unknown
from hivebus.transport import Ack, Endpoint
from hivebus_redis import streams
from hivebus_redis.streams import RedisStreams, open_streams

from .own_server import DURABLE, OwnServer
from .replicas import Pair, make_pair
from .room import Room, outgoing, publish, settle, take

KINDS = ("redis", "valkey")
GIVE_UP_AFTER = 2.0
Make = Callable[..., OwnServer]


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, make_server: Make) -> Pair:
    """A primary with a replica, of each kind in turn."""
    return make_pair(make_server, kind=request.param)


@pytest.fixture
def valkey_pair(make_server: Make) -> Pair:
    """A primary with a replica, of the kind that answers WAIT too early."""
    return make_pair(make_server, kind="valkey")


@pytest.fixture
async def pair_room(pair: Pair) -> AsyncIterator[Room]:
    """A room on the primary."""
    async for each in room_on(pair):
        yield each


async def room_on(pair: Pair) -> AsyncIterator[Room]:
    with pair.primary.client() as client:
        room = Room(pair.url, client)
        yield room
        await room.close()


async def transport_in(room: Room) -> RedisStreams:
    """Return a transport that waits for copies, as another process would have one."""
    transport = open_streams(Endpoint(url=room.url, namespace=room.namespace, durability="replicated"))
    room._transports.append(transport)
    await transport.connect()
    return transport


def copies(pair: Pair, room: Room) -> list[str]:
    """Return the message ids that the replica has."""
    with pair.replica.client() as client:
        return [fields["i"] for _, fields in client.xrange(room.key("q:2"))]


# --- Given -------------------------------------------------------------------------------------------


async def test_what_is_replicated_is_on_the_replica_when_send_returns(pair: Pair, pair_room: Room) -> None:
    async with pair_room.bus("sender", durability="replicated") as bus:
        receipts = [await bus.send("pm", "hello", message_id=f"m-{n}") for n in range(20)]
        assert {each.durability for each in receipts} == {"replicated"}
        assert copies(pair, pair_room) == [f"m-{n}" for n in range(20)]


async def test_both_levels_together_are_two_promises(make_server: Make) -> None:
    pair = make_pair(make_server, *DURABLE, kind="redis")
    for wanted in ("replicated", "fsync+replicated"):
        async with Room(pair.url, None).bus("sender", durability=wanted) as bus:
            assert (await bus.send("pm", "hello")).durability == "fsync+replicated"
    pair.primary.client().config_set("appendfsync", "everysec")
    async with Room(pair.url, None).bus("sender", durability="replicated") as bus:
        assert (await bus.send("pm", "hello")).durability == "replicated"
    with pytest.raises(DurabilityUnavailable, match="'replicated', not 'fsync.replicated'.*appendfsync is everysec"):
        await Room(pair.url, None).bus("sender", durability="fsync+replicated").__aenter__()


async def test_more_copies_than_there_are_replicas_are_refused(pair: Pair, pair_room: Room) -> None:
    began = monotonic()
    with pytest.raises(DurabilityUnavailable, match="1 of 2 replicas are connected"):
        await pair_room.bus("sender", f"{pair.url}?replicas=2", durability="replicated").__aenter__()
    assert monotonic() - began < 5


# --- Not known ---------------------------------------------------------------------------------------


async def lose_the_replica(pair: Pair, room: Room, monkeypatch: pytest.MonkeyPatch) -> tuple[float, str]:
    """Send while the replica is dead; return how long it took and what the sender was told."""
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", GIVE_UP_AFTER)
    async with room.bus("sender", durability="replicated") as bus:
        pair.replica.kill()
        began = monotonic()
        try:
            told = (await bus.send("pm", "hello", message_id="m-1")).durability or ""
        except Unknown as error:
            told = str(error)
        took = monotonic() - began
        pair.replica.start()
        pair.await_link()
        assert (await bus.send("pm", "hello", message_id="m-1")).state == "duplicate"
    assert room.entries() == ["m-1"] == copies(pair, room), "stored once, and copied now"
    return took, told


async def test_with_the_replica_gone_the_sender_is_told_in_time(
    pair: Pair, pair_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    took, told = await lose_the_replica(pair, pair_room, monkeypatch)

    assert GIVE_UP_AFTER - 1 <= took <= GIVE_UP_AFTER + 1
    assert "the message is stored, but not known to be replicated (0 of 1 replicas confirmed" in told


async def test_saboteur_a_sender_that_ignores_the_count_is_promised_a_copy_that_is_not_there(
    pair: Pair, pair_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "judged", lambda results, **facts: results)
    _, told = await lose_the_replica(pair, pair_room, monkeypatch)

    assert told == "replicated"


async def send_twice_to_a_paused_replica(pair: Pair, room: Room) -> list[str]:
    """Send a message whose copy is not confirmed, and again over another connection; return what both are told."""
    first, second = await transport_in(room), await transport_in(room)
    pair.replica.pause()
    told = await publish(first, outgoing("m-1")) + await publish(second, outgoing("m-1"))
    pair.replica.resume()
    assert room.entries() == ["m-1"]
    return told


async def test_a_duplicate_waits_for_its_copy_as_the_first_one_does(pair: Pair, pair_room: Room) -> None:
    assert await send_twice_to_a_paused_replica(pair, pair_room) == ["Unknown", "Unknown"]


async def test_saboteur_on_valkey_a_duplicate_that_writes_nothing_is_confirmed_by_nobody(
    valkey_pair: Pair, change_library: Callable[..., None]
) -> None:
    counters = "redis.call('HSET', k.meta, 'n', count, 'b', string.format('%.0f', bytes))"
    change_library((counters, f"if f > 0 then {counters} end"))
    async for room in room_on(valkey_pair):
        assert await send_twice_to_a_paused_replica(valkey_pair, room) == ["Unknown", "duplicate"]


async def test_settling_waits_for_no_replica(pair: Pair, pair_room: Room) -> None:
    """An ack that a failover forgets brings its message back, which is what at least once means."""
    transport = await transport_in(pair_room)
    await publish(transport, outgoing("m-1"))
    reader = await pair_room.reader(transport)
    (delivery,) = await take(reader)
    pair.replica.pause()
    began = monotonic()

    assert await settle(reader, Ack(delivery.token)) == "done"

    assert monotonic() - began < 0.4
    pair.replica.resume()
