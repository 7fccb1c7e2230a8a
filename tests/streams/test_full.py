"""An inbox at its limit refuses the sender, exactly there, and nothing is trimmed to make room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hivebus.errors import QueueFull
from hivebus.transport import Ack, DeadLetter, Retry

from .room import Room, ids, outgoing, publish, settle, take

HUNDRED = b"x" * 100
NO_ROOM = "elseif is_tight and (count + 1 > max_count or bytes + #data > max_bytes) then"
"""Where the server refuses a message."""


async def test_the_last_message_that_fits_is_stored_and_the_next_is_refused(room: Room) -> None:
    transport = await room.transport(max_messages=3)
    assert await publish(transport, *(outgoing(f"m-{n}") for n in range(3))) == ["stored"] * 3

    (refused,) = await transport.publish([outgoing("m-3")])

    assert isinstance(refused, QueueFull)
    assert "inbox of pm is full" in str(refused) and "3 unsettled messages" in str(refused)
    assert room.entries() == ["m-0", "m-1", "m-2"]
    assert ids(await take(await room.reader(transport), 3)) == ["m-0", "m-1", "m-2"]


async def test_of_a_batch_as_many_are_stored_as_fit(room: Room) -> None:
    transport = await room.transport(max_messages=3)

    states = await publish(transport, *(outgoing(f"m-{n}", priority=n) for n in (1, 2, 3, 4, 5)))

    assert states == ["stored"] * 3 + ["QueueFull"] * 2
    assert sorted(room.entries()) == ["m-1", "m-2", "m-3"]


async def test_a_full_inbox_does_not_stop_another(redis_room: Room) -> None:
    transport = await redis_room.transport(max_messages=1)

    states = await publish(transport, outgoing(), outgoing(), outgoing(inbox="other"), outgoing())

    assert states == ["stored", "QueueFull", "stored", "QueueFull"]


async def test_bytes_are_limited_as_exactly_as_messages(room: Room) -> None:
    transport = await room.transport(max_bytes=300)

    states = await publish(transport, *(outgoing(f"m-{n}", data=HUNDRED) for n in range(3)))
    assert states + await publish(transport, outgoing("one-byte", data=b"x")) == ["stored"] * 3 + ["QueueFull"]

    reader = await room.reader(transport)
    await settle(reader, Ack((await take(reader))[0].token))
    assert await publish(transport, outgoing("fits", data=HUNDRED), outgoing("one-byte", data=b"x")) == [
        "stored",
        "QueueFull",
    ]
    assert room.redis.xlen(room.key("q:2")) == 4, "what is settled stays as history"


async def test_each_settled_message_makes_room_for_one(room: Room) -> None:
    transport = await room.transport(max_messages=4)
    reader = await room.reader(transport)
    await publish(transport, *(outgoing() for _ in range(4)))
    first, second, third, _ = await take(reader, 4)

    assert await publish(transport, outgoing()) == ["QueueFull"], "what is in flight still counts"
    await settle(reader, Ack(first.token))
    assert await publish(transport, outgoing(), outgoing()) == ["stored", "QueueFull"]
    await settle(reader, DeadLetter(second.token, "no"))
    assert await publish(transport, outgoing(), outgoing()) == ["stored", "QueueFull"]
    await settle(reader, Retry(third.token, 100))
    assert await publish(transport, outgoing()) == ["QueueFull"], "what waits for a retry still counts"


async def test_scheduled_messages_count(room: Room) -> None:
    transport = await room.transport(max_messages=2)

    states = await publish(transport, outgoing(delay=100), outgoing(delay=100), outgoing(), outgoing(delay=100))

    assert states == ["scheduled", "scheduled", "QueueFull", "QueueFull"]


async def test_a_known_id_is_a_duplicate_even_when_there_is_no_room(room: Room) -> None:
    transport = await room.transport(max_messages=2)
    await publish(transport, outgoing("m-1"), outgoing("m-2", delay=100))

    states = await publish(transport, outgoing("m-1"), outgoing("m-2"), outgoing("m-3"))

    assert states == ["duplicate", "duplicate", "QueueFull"]


async def test_a_refused_id_is_not_remembered(redis_room: Room) -> None:
    transport = await redis_room.transport(max_messages=1)
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"), outgoing("m-2"))
    await settle(reader, Ack((await take(reader))[0].token))

    assert await publish(transport, outgoing("m-2")) == ["stored"]


async def test_a_sender_that_waits_goes_on_when_there_is_room(room: Room) -> None:
    async with room.bus("sender", f"{room.url}?max_messages=1", on_full="wait") as bus:
        await bus.send("pm", "first")
        waiting = asyncio.create_task(bus.send("pm", "second"))
        reader = await room.reader(await room.transport())
        (first,) = await take(reader)
        assert await take(reader, wait=0.2) == [] and not waiting.done()

        await settle(reader, Ack(first.token))

        async with asyncio.timeout(20):
            assert (await waiting).state == "stored"
        assert len(await take(reader)) == 1


async def test_a_sender_that_does_not_wait_is_told_at_once(redis_room: Room) -> None:
    async with redis_room.bus("sender", f"{redis_room.url}?max_messages=1") as bus:
        await bus.send("pm", "first")
        with pytest.raises(QueueFull, match="pm is full"):
            await bus.send("pm", "second")


async def test_a_sender_waits_only_for_a_bounded_time(redis_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus.outbox.WAIT_WHEN_FULL", 0.3)
    async with redis_room.bus("sender", f"{redis_room.url}?max_messages=1", on_full="wait") as bus:
        await bus.send("pm", "first")
        with pytest.raises(QueueFull):
            await bus.send("pm", "second")


async def test_saboteur_without_the_limit_the_next_message_is_stored(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library((NO_ROOM, "elseif false then"))
    transport = await redis_room.transport(max_messages=3)

    assert await publish(transport, *(outgoing() for _ in range(4))) == ["stored"] * 4


async def test_saboteur_without_the_recount_settled_messages_take_up_room(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("local truth = backlog(k)", "local truth = count"))
    transport = await redis_room.transport(max_messages=1)
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing())
    await settle(reader, Ack((await take(reader))[0].token))

    assert await publish(transport, outgoing()) == ["QueueFull"]


async def test_saboteur_a_stream_that_is_cut_to_its_limit_loses_unread_messages(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        (
            "last = redis.call('XADD', stream, '*',",
            "last = redis.call('XADD', stream, 'MAXLEN', '3', '*',",
        ),
        (NO_ROOM, "elseif false then"),
    )
    transport = await redis_room.transport(max_messages=3)
    await publish(transport, *(outgoing(f"m-{n}") for n in range(4)))

    assert redis_room.entries() == ["m-1", "m-2", "m-3"]
