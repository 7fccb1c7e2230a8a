"""A server without memory takes nothing new, and lets consumers drain it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hivebus.errors import BrokerFull
from hivebus.message import Message
from hivebus.transport import Ack, DeadLetter, Endpoint, Retry
from hivebus_redis.one_shot import redis_one_shot

from .room import PATIENCE, Room, ids, outgoing, publish, settle, take


def fill(room: Room) -> None:
    """Leave the server no memory for anything new."""
    room.redis.config_set("maxmemory-policy", "noeviction")
    room.redis.config_set("maxmemory", "1mb")


def heal(room: Room) -> None:
    """Give the server its memory back."""
    room.redis.config_set("maxmemory", "0")


async def test_a_sender_is_told_and_nothing_is_written(own_room: Room) -> None:
    transport = await own_room.transport()
    await publish(transport, outgoing("before"))
    fill(own_room)

    (refused,) = await transport.publish([outgoing("during")])

    assert isinstance(refused, BrokerFull) and "out of memory" in str(refused)
    assert own_room.entries() == ["before"]
    heal(own_room)
    assert await publish(transport, outgoing("during")) == ["stored"]


async def test_consumers_drain_it_in_every_way(own_room: Room) -> None:
    transport = await own_room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(4)))
    fill(own_room)
    reader = await own_room.reader(transport)

    first, second, third, fourth = await take(reader, 4)
    answers = await reader.settle(
        [Ack(first.token), DeadLetter(second.token, "no"), Retry(third.token, 0), Retry(fourth.token, 100)]
    )

    assert answers == ["done"] * 4
    (again,) = await take(reader)
    assert ids([again]) == ["m-2"] and await settle(reader, Ack(again.token)) == "done"
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.dead, counts.retrying, counts.waiting) == (1, 1, 0)


async def test_a_consumer_that_starts_while_memory_is_short_drains_it(own_room: Room) -> None:
    async with own_room.bus("sender") as sender:
        await sender.send("pm", "hello")
        fill(own_room)
        seen: list[str] = []
        async with own_room.bus("pm") as bus:

            @bus.on()
            async def handle(message: Message) -> None:
                seen.append(message.content)
                bus.stop()

            async with asyncio.timeout(PATIENCE):
                await bus.run()
        assert seen == ["hello"]
        assert (await sender.queue("pm")).in_flight == 0


async def test_a_one_shot_sender_is_told_too(own_room: Room) -> None:
    sender = redis_one_shot(Endpoint(url=own_room.url, namespace=own_room.namespace))
    assert sender is not None
    sender.publish_once([outgoing()])
    fill(own_room)

    (refused,) = sender.publish_once([outgoing()])

    assert isinstance(refused, BrokerFull)


async def test_a_bus_gives_the_refusal_to_its_sender_at_once(own_room: Room) -> None:
    async with own_room.bus("sender") as bus:
        fill(own_room)
        with pytest.raises(BrokerFull, match="let consumers drain it"):
            await bus.send("pm", "hello")


async def test_saboteur_a_sender_that_may_exceed_the_memory_is_not_refused(
    own_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("add('publish', publish, {})", "add('publish', publish, { 'allow-oom' })"))
    transport = await own_room.transport()
    fill(own_room)

    assert await publish(transport, outgoing()) == ["stored"]


async def test_saboteur_without_leave_to_exceed_the_memory_consumers_are_stuck(
    own_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("add('settle', settle, { 'allow-oom' })", "add('settle', settle, {})"))
    transport = await own_room.transport()
    await publish(transport, outgoing())
    reader = await own_room.reader(transport)
    (delivery,) = await take(reader)
    fill(own_room)

    with pytest.raises(BrokerFull):
        await settle(reader, Ack(delivery.token))
