"""A sender that is too fast is told how deep the inbox is and since when, or waits a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from hivebus.errors import BrokerFull, QueueFull
from hivebus.transport import Ack, Endpoint, Retry
from hivebus_redis.library import read_prefix
from hivebus_redis.one_shot import redis_one_shot
from hivebus_redis.streams import RedisStreams

from .own_server import OwnServer
from .room import PATIENCE, Room, ids, outgoing, publish, settle, take
from .test_out_of_memory import fill, heal

MILLION = 1_000_000
BULK = 2500
"""Messages in one call; a function's stack holds few more."""


async def refusal(transport: RedisStreams) -> QueueFull:
    """Send one message that must be refused, and return why."""
    (refused,) = await transport.publish([outgoing()])
    assert isinstance(refused, QueueFull)
    return refused


# --- What a sender is told --------------------------------------------------------------------------------


async def test_a_refusal_tells_how_deep_the_inbox_is_and_how_long_the_oldest_has_waited(room: Room) -> None:
    transport = await room.transport(max_messages=5)
    reader = await room.reader(transport)
    await publish(transport, outgoing("in-flight"))
    await take(reader)
    before = time.time()
    await publish(transport, outgoing("oldest", priority=1), outgoing("later", delay=100))
    await asyncio.sleep(0.3)
    await publish(transport, outgoing("newer", priority=5), outgoing("newest"))

    refused = await refusal(transport)

    assert refused.depth == 5
    assert refused.oldest_seconds is not None and 0.3 <= refused.oldest_seconds <= time.time() - before + 0.01
    assert "inbox of pm is full" in str(refused) and "holds 5 of 5 unsettled messages" in str(refused)
    assert f"the oldest has waited for {refused.oldest_seconds:.1f} s" in str(refused)


async def test_when_nothing_waits_there_is_no_oldest(room: Room) -> None:
    transport = await room.transport(max_messages=2)
    reader = await room.reader(transport)
    await publish(transport, outgoing("held"), outgoing("later", delay=100))
    await take(reader)

    refused = await refusal(transport)

    assert (refused.depth, refused.oldest_seconds) == (2, None) and "oldest" not in str(refused)


async def test_what_waits_for_its_next_attempt_at_once_is_the_oldest(redis_room: Room) -> None:
    transport = await redis_room.transport(max_messages=1)
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("again"))
    (delivery,) = await take(reader)
    await asyncio.sleep(0.2)
    await settle(reader, Retry(delivery.token, 0))

    refused = await refusal(transport)

    assert refused.oldest_seconds is not None and refused.oldest_seconds >= 0.2


async def test_the_depth_counts_what_the_same_batch_has_stored(redis_room: Room) -> None:
    transport = await redis_room.transport(max_messages=3)

    *_, refused = await transport.publish([outgoing() for _ in range(4)])

    assert isinstance(refused, QueueFull) and refused.depth == 3


async def test_a_bus_and_a_one_shot_sender_are_told_the_same(room: Room) -> None:
    async with room.bus("sender", f"{room.url}?max_messages=1") as bus:
        await bus.send("pm", "x")
        with pytest.raises(QueueFull) as told:
            await bus.send("pm", "x")
    one_shot = redis_one_shot(Endpoint(url=room.url, namespace=room.namespace, max_messages=1))
    assert one_shot is not None
    (refused,) = one_shot.publish_once([outgoing()])

    assert isinstance(refused, QueueFull)
    assert (told.value.depth, refused.depth) == (1, 1)
    assert told.value.oldest_seconds is not None and refused.oldest_seconds is not None


async def test_a_sender_that_waits_is_told_at_the_end_for_how_long(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus.outbox.WAIT_WHEN_FULL", 1.0)
    async with room.bus("sender", f"{room.url}?max_messages=1", on_full="wait") as bus:
        await bus.send("pm", "first")
        began = time.monotonic()
        with pytest.raises(QueueFull) as told:
            await bus.send("pm", "second")
        waited = time.monotonic() - began

    assert 0.3 <= told.value.waited_seconds <= waited <= 1.0 + PATIENCE / 4
    assert f"no room within {told.value.waited_seconds:.1f} s of waiting" in str(told.value)
    assert told.value.depth == 1 and room.entries() != [] and len(room.entries()) == 1


# --- Exactly at the limit ---------------------------------------------------------------------------------


async def test_the_million_and_first_message_is_refused(make_server: Callable[..., OwnServer]) -> None:
    server = make_server()
    room = Room(server.url, server.client())
    transport = await room.transport()
    await asyncio.to_thread(bulk_publish, room, MILLION - 1)
    async with room.bus("sender") as bus:
        assert (await bus.send("pm", "the millionth")).state == "stored"
        with pytest.raises(QueueFull) as told:
            await bus.send("pm", "the million and first")
        assert told.value.depth == MILLION
        assert (await bus.queue("pm")).waiting == MILLION

        reader = await room.reader(transport)
        await settle(reader, Ack((await take(reader))[0].token))
        assert (await bus.send("pm", "there is room again")).state == "stored"
        with pytest.raises(QueueFull):
            await bus.send("pm", "and none again")
    await room.close()
    room.redis.close()


async def test_what_is_cancelled_makes_room_at_once(room: Room) -> None:
    transport = await room.transport(max_messages=2)
    await publish(transport, outgoing("queued"), outgoing("later", delay=100))
    assert await publish(transport, outgoing()) == ["QueueFull"]

    await transport.cancel("pm", ["queued"])
    assert await publish(transport, outgoing("m-1"), outgoing("m-2")) == ["stored", "QueueFull"]
    await transport.cancel("pm", ["later"])
    assert await publish(transport, outgoing("m-3"), outgoing("m-4")) == ["stored", "QueueFull"]
    assert ids(await take(await room.reader(transport), 3, wait=0.3)) == ["m-1", "m-3"]
    assert await publish(transport, outgoing("m-5")) == ["QueueFull"], "what was passed over is not counted twice"


# --- Without memory ---------------------------------------------------------------------------------------


async def test_a_server_without_memory_refuses_every_sender_while_a_consumer_drains_it(own_room: Room) -> None:
    transport = await own_room.transport()
    names = [f"m-{n}" for n in range(100)]
    await publish(transport, *(outgoing(each) for each in names))
    reader = await own_room.reader(transport)
    fill(own_room)

    handled: list[str] = []
    refused = 0
    while len(handled) < len(names):
        refused += sum(isinstance(each, BrokerFull) for each in await transport.publish([outgoing(), outgoing()]))
        batch = await take(reader, 10)
        assert await reader.settle([Ack(each.token) for each in batch]) == ["done"] * len(batch)
        handled += ids(batch)

    assert (handled, refused) == (names, 20)
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.in_flight) == (0, 0)
    heal(own_room)
    assert await publish(transport, outgoing()) == ["stored"]


# --- Saboteurs --------------------------------------------------------------------------------------------


async def test_saboteur_what_is_cancelled_and_still_counted_takes_up_room(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("redis.call('HLEN', k.sched) - redis.call('SCARD', k.cancelled)", "redis.call('HLEN', k.sched)"))
    transport = await redis_room.transport(max_messages=1)
    await publish(transport, outgoing("m-1"))
    await transport.cancel("pm", ["m-1"])

    assert await publish(transport, outgoing("m-2")) == ["QueueFull"]


async def test_saboteur_the_oldest_of_one_level_is_not_the_oldest(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        (
            "  for level = 1, 5 do\n    local first = first_unread",
            "  for level = 5, 5 do\n    local first = first_unread",
        )
    )
    transport = await redis_room.transport(max_messages=1)
    await publish(transport, outgoing(priority=1))

    assert (await refusal(transport)).oldest_seconds is None


async def test_saboteur_a_sender_whose_waiting_has_no_end_is_never_told(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus.outbox.WAIT_WHEN_FULL", float("inf"))
    async with redis_room.bus("sender", f"{redis_room.url}?max_messages=1", on_full="wait") as bus:
        await bus.send("pm", "first")
        waiting = asyncio.create_task(bus.send("pm", "second"))
        assert await asyncio.wait([waiting], timeout=2) == (set(), {waiting})
        waiting.cancel()
        await asyncio.wait([waiting])


def bulk_publish(room: Room, count: int) -> None:
    """Publish so many small messages by the server-side function, without a client's work for each."""
    keys = (room.key("meta"), f"{room.namespace}:{{@sys}}:inboxes")
    for start in range(0, count, BULK):
        size = min(BULK, count - start)
        words = [word for n in range(start, start + size) for word in (f"m-{n}", "{}")]
        _, states = room.redis.execute_command(
            "FCALL", f"{read_prefix()}publish", 2, *keys, "pm", MILLION, 2**40, size, 2, 0, "", *words
        )
        assert states == "1" * size
