"""What time does: expiry, cancellation, and how long an id is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hivebus.transport import Ack, DeadLetter, Retry

from .ageing import DAY, HOUR, add_aged
from .room import Room, ids, outgoing, publish, settle, take


def age_settled_ids(room: Room, by: int) -> None:
    """Make all settlements look *by* milliseconds older."""
    key = room.key("done")
    rows = room.redis.xrange(key)
    room.redis.delete(key)
    for entry, fields in rows:
        ms, _, seq = entry.partition("-")
        room.redis.xadd(key, fields, id=f"{int(ms) - by}-{seq}")
    room.redis.hdel(room.key("meta"), "swept")


# --- Expired, cancelled -----------------------------------------------------------------------------


async def test_what_expires_in_the_queue_becomes_a_dead_letter_and_is_never_handed_out(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("old", ttl=0.01), outgoing("young", ttl=100))
    await asyncio.sleep(0.02)
    assert (await transport.locate(["old"], ["pm"]))[0].state == "expired"

    assert ids(await take(await room.reader(transport))) == ["young"]

    (dead,) = await transport.dead("pm", limit=9)
    assert (dead.message_id, dead.reason, dead.state) == ("old", "expired", "expired")
    assert (await transport.locate(["old"], ["pm"]))[0].state == "expired"
    assert (await transport.counts(["pm"]))[0].in_flight == 1


async def test_what_expires_while_it_waits_for_its_retry_is_not_handed_out_again(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1", ttl=0.3))
    await settle(reader, Retry((await take(reader))[0].token, 0.35))

    assert await take(reader, wait=1.0) == []
    (dead,) = await transport.dead("pm", limit=9)
    assert (dead.message_id, dead.reason, dead.attempts) == ("m-1", "expired", 1)


async def test_what_expires_with_a_dead_consumer_is_not_handed_out_again(room: Room) -> None:
    transport = await room.transport()
    dying = await room.reader(transport, consumer="dying", lease=0.3)
    await publish(transport, outgoing("m-1", ttl=0.2))
    await take(dying)

    assert await take(await room.reader(transport, consumer="heir"), wait=1.0) == []
    (dead,) = await transport.dead("pm", limit=9)
    assert (dead.message_id, dead.reason) == ("m-1", "expired")


async def test_a_delayed_message_expires_by_the_time_of_its_acceptance(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("too-late", delay=0.2, ttl=0.1), outgoing("in-time", delay=0.2, ttl=100))

    assert ids(await take(await room.reader(transport), 2, wait=0.5)) == ["in-time"]
    (dead,) = await transport.dead("pm", limit=9)
    assert (dead.message_id, dead.reason) == ("too-late", "expired")


async def test_what_is_cancelled_is_never_handed_out_and_its_neighbours_are(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("a"), outgoing("b"), outgoing("c"), outgoing("later", delay=0.1))

    assert await transport.cancel("pm", ["b", "later", "unknown"]) == [True, True, False]

    reader = await room.reader(transport)
    assert ids(await take(reader, 4, wait=0.4)) == ["a", "c"]
    assert [each.state for each in await transport.locate(["b", "later"], ["pm"])] == ["cancelled", "cancelled"]
    assert await publish(transport, outgoing("b")) == ["duplicate"]
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.scheduled, counts.dead) == (0, 0, 0)
    assert room.redis.exists(room.key("cancelled")) == 0


# --- How long an id is remembered -----------------------------------------------------------------------


async def test_an_id_is_remembered_for_an_hour_after_it_was_settled(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await settle(reader, Ack((await take(reader))[0].token))

    age_settled_ids(room, HOUR - 10_000)
    await reader.receive(limit=1, start=1, wait=0)
    assert await publish(transport, outgoing("m-1")) == ["duplicate"]

    age_settled_ids(room, 10_001)
    await reader.receive(limit=1, start=1, wait=0)
    assert (room.redis.exists(room.key("id:m-1")), room.redis.xlen(room.key("done"))) == (0, 0)
    assert await publish(transport, outgoing("m-1")) == ["stored"]
    assert ids(await take(reader)) == ["m-1"]


async def test_the_window_begins_when_a_message_is_settled_and_not_when_it_was_sent(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    add_aged(room, "old", age=3 * HOUR)
    await publish(transport, outgoing("unread"))
    (old, _) = await take(reader, 2)
    await settle(reader, Ack(old.token))
    age_settled_ids(room, HOUR + 1)
    await reader.receive(limit=1, start=1, wait=0)

    assert await publish(transport, outgoing("unread")) == ["duplicate"], "what is not settled is never forgotten"


async def test_every_kind_of_ack_begins_the_window(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, *(outgoing(f"m-{n}", priority=1 + n % 5) for n in range(8)))
    deliveries = await take(reader, 8)
    reader._held.discard(deliveries[0].token)  # as a process that never received it would settle it
    await reader.settle([Ack(deliveries[0].token)])
    await reader.settle([Ack(deliveries[1].token, None, outgoing("reply", inbox="other"))])
    await reader.settle([Ack(each.token) for each in deliveries[2:]])

    age_settled_ids(room, HOUR + 1)
    await reader.receive(limit=1, start=1, wait=0)

    assert room.redis.keys(room.key("id:*")) == []


async def attempts_of_those_acked_together(room: Room) -> list[int]:
    """Ack four at once: a stranger's without an id, one at its first attempt and two at their second."""
    transport = await room.transport()
    reader = await room.reader(transport)
    room.redis.xadd(room.key("q:2"), {"d": "x"})
    await publish(transport, outgoing("first"), outgoing("second"), outgoing("third"))
    again = [each for each in await take(reader, 4) if ids([each]) in (["second"], ["third"])]
    await reader.settle([Retry(each.token, 0) for each in again])
    back = await take(reader, 2)

    held = sorted(reader._held, key=lambda token: token.split("/")[1])
    assert {each.token for each in back} < set(held) and len(held) == 4
    assert await reader.settle([Ack(token) for token in held]) == ["done"] * 4
    return [row.attempts for row in await transport.locate(["first", "second", "third"], ["pm"])]


async def test_what_is_acked_together_keeps_each_count_under_its_own_id(room: Room) -> None:
    assert await attempts_of_those_acked_together(room) == [1, 2, 2]
    (batch,) = (fields["i"] for _, fields in room.redis.xrange(room.key("done")))
    assert batch.split() == ["first", "second", "third"]


async def test_saboteur_ids_that_are_counted_without_the_missing_one_take_the_count_of_another(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("'(%S*) ') do", "'(%S+) ') do"))

    assert await attempts_of_those_acked_together(redis_room) == [1, 1, 2]


async def test_a_dead_letter_is_remembered_for_as_long_as_it_is_kept(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await settle(reader, DeadLetter((await take(reader))[0].token, "no"))

    left = room.redis.pttl(room.key("id:m-1"))
    assert 29 * DAY < left <= 30 * DAY
    assert await publish(transport, outgoing("m-1")) == ["duplicate"]


async def test_saboteur_without_the_sweep_ids_are_never_forgotten(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("do redis.call('UNLINK', k.id .. id) end", "do redis.call('EXISTS', k.id .. id) end"))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await settle(reader, Ack((await take(reader))[0].token))
    age_settled_ids(redis_room, HOUR + 1)
    await reader.receive(limit=1, start=1, wait=0)

    assert await publish(transport, outgoing("m-1")) == ["duplicate"]


async def test_saboteur_a_window_that_begins_at_sending_forgets_unread_messages(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    remembers = "redis.call('MSET', unpack(fresh))"
    change_library((remembers, f"{remembers} for i = 1, #fresh, 2 do redis.call('PEXPIRE', fresh[i], 1) end"))
    transport = await redis_room.transport()
    await publish(transport, outgoing("m-1"))
    await asyncio.sleep(0.02)

    assert await publish(transport, outgoing("m-1")) == ["stored"]
    assert redis_room.entries() == ["m-1", "m-1"]
