"""A handler begins only with what certainly is its own: a process that was held up asks before it goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.message import Message
from hivebus.transport import Ack, Endpoint, Inbox
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import open_streams

from .room import INBOX, LONG, PATIENCE, Room, ids, outgoing, publish, take

LEASE = 0.4
CONTENTS = [f"m-{number}" for number in range(8)]


def hold_up(work: Coroutine[Any, Any, None]) -> None:
    """Block this thread, and the event loop in it, until *work* is done in another one."""
    thread = threading.Thread(target=lambda: asyncio.run(work))
    thread.start()
    thread.join()


async def take_over_all(room: Room, left: int) -> None:
    """Be another consumer, and handle everything when the lease of the first one is over."""
    transport = open_streams(Endpoint(url=room.url, namespace=room.namespace))
    await transport.connect()
    heir = await transport.open(Inbox(INBOX), consumer="heir", lease=LONG)
    while left:
        taken = await take(heir)
        await heir.settle([Ack(each.token) for each in taken])
        left -= len(taken)
    await heir.close()
    await transport.close()


@asynccontextmanager
async def with_all_in_hand(room: Room) -> AsyncIterator[Bus]:
    """Send the contents to an agent with a short lease."""
    async with room.bus(INBOX, lease=LEASE) as bus:
        for content in CONTENTS:
            await bus.send(INBOX, content)
        yield bus


async def handled_by_who_is_held_up(room: Room) -> list[str]:
    """Return what a consumer handles whose first handler blocks the loop until another one has handled everything."""
    handled: list[str] = []
    async with with_all_in_hand(room) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            handled.append(message.content)
            if len(handled) == 1:
                hold_up(take_over_all(room, len(CONTENTS)))
                await bus.send(INBOX, "the last", priority="low")
            if message.content == "the last":
                bus.stop()

        async with asyncio.timeout(PATIENCE):
            await bus.run(concurrency=len(CONTENTS))
    return handled


async def test_what_somebody_else_has_by_now_is_not_begun(redis_room: Room) -> None:
    assert await handled_by_who_is_held_up(redis_room) == [CONTENTS[0], "the last"]


async def test_saboteur_a_consumer_that_is_always_sure_handles_it_again(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamReader, "holds", lambda reader, token: True)

    assert await handled_by_who_is_held_up(redis_room) == [*CONTENTS, "the last"]


async def given_to_who_is_held_up(room: Room) -> list[str]:
    """Return what `consume` yields to a caller that takes too long with the first of them."""
    given: list[str] = []
    async with with_all_in_hand(room) as bus, aclosing(bus.consume()) as deliveries:
        async for handed in deliveries:
            given.append(handed.message.content)
            if len(given) == 1:
                hold_up(take_over_all(room, len(CONTENTS)))
                await bus.send(INBOX, "the last", priority="low")
            elif given[-1] == "the last":
                break
    return given


async def test_what_somebody_else_has_by_now_is_not_yielded(redis_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: len(CONTENTS))

    assert await given_to_who_is_held_up(redis_room) == [CONTENTS[0], "the last"]


async def test_saboteur_whoever_is_always_sure_yields_it_again(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: len(CONTENTS))
    monkeypatch.setattr(StreamReader, "holds", lambda reader, token: True)

    assert await given_to_who_is_held_up(redis_room) == [*CONTENTS, "the last"]


async def test_an_answer_that_was_read_after_a_lease_is_not_relied_on(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    reader = await room.reader(transport, lease=LEASE)

    receiving = asyncio.create_task(reader.receive(limit=1, start=1, wait=PATIENCE))
    await asyncio.sleep(0)
    time.sleep(LEASE * 1.1)  # noqa: ASYNC251 - the loop shall stand still
    (late,) = await receiving

    assert ids([late]) == ["m-1"] and not reader.holds(late.token)


async def test_every_answer_renews_what_is_held(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"), outgoing("m-2"))
    reader = await room.reader(transport, lease=LEASE)
    one, other = await take(reader, 2)
    for _ in range(3):
        await asyncio.sleep(LEASE / 2)
        await reader.settle([Ack(one.token)])
    assert not reader.holds(one.token) and reader.holds(other.token)

    await asyncio.sleep(LEASE * 1.1)
    assert not reader.holds(other.token)
    await reader.receive(limit=0, start=0, wait=0)
    assert reader.holds(other.token), "nobody has taken it over"
