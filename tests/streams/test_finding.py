"""What is stored together shares a place: each message of it is found all the same, and no other one instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hivebus.errors import HivebusError
from hivebus.transport import Ack, DeadLetter, Located, Retry
from hivebus_redis.streams import RedisStreams

from .room import INBOX, Room, ids, outgoing, publish, settle, take

COUNT = 120
"""Messages in a batch: more than the first two looks back see."""
LOOK_BACK = "xrevrange"
STEPS = 3
"""Looks back for a whole batch."""


async def located(transport: RedisStreams, *names: str) -> list[Located]:
    return list(await transport.locate(names, [INBOX]))


async def states(transport: RedisStreams, *names: str) -> list[str]:
    return [row.state for row in await located(transport, *names)]


async def in_turns(room: Room, *, levels: tuple[int, int]) -> list[str]:
    """Store two batches, and return the states of both, asked for in one call, one of each in turns."""
    transport = await room.transport()
    for batch, level in zip("ab", levels, strict=True):
        await publish(transport, *(outgoing(f"{batch}-{n}", priority=level) for n in range(COUNT)))
    return await states(transport, *(f"{batch}-{n}" for n in range(COUNT) for batch in "ab"))


async def sent_twice(room: Room) -> list[str]:
    """Handle a batch, forget its ids as after the dedup window, send it again, and return the states."""
    transport = await room.transport()
    names = [f"m-{n}" for n in range(10)]
    await publish(transport, *map(outgoing, names))
    reader = await room.reader(transport)
    for each in await take(reader, len(names)):
        await settle(reader, Ack(each.token))
    room.redis.delete(*(room.key(f"id:{name}") for name in names))
    await publish(transport, *map(outgoing, names))
    return await states(transport, *names)


async def test_each_message_of_a_batch_is_found_in_its_own_state(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, *(outgoing(f"m-{n}") for n in range(COUNT)))
    taken = await take(reader, 5)
    await settle(reader, Ack(taken[0].token))
    await settle(reader, DeadLetter(taken[1].token, "no"))
    await settle(reader, Retry(taken[2].token, 60.0))

    rows = await located(transport, *(f"m-{n}" for n in range(COUNT)))

    assert [row.message_id for row in rows] == [f"m-{n}" for n in range(COUNT)]
    assert [row.state for row in rows[:5]] == ["acknowledged", "dead_lettered", "retrying", "delivered", "delivered"]
    assert [row.token for row in rows[3:5]] == [each.token for each in taken[3:]]
    assert {row.state for row in rows[5:]} == {"queued"}
    assert all(row.data is not None and row.message_id.encode() in row.data for row in rows)


async def test_a_batch_is_looked_through_once_in_a_call_whatever_the_order(room: Room) -> None:
    transport = await room.transport()
    names = [f"m-{n}" for n in range(COUNT)]
    await publish(transport, *map(outgoing, names))
    before = room.calls(LOOK_BACK)

    for asked in (names, names[::-1]):
        assert await states(transport, *asked) == ["queued"] * COUNT
        assert room.calls(LOOK_BACK) - before <= STEPS
        before = room.calls(LOOK_BACK)


async def test_batches_of_two_levels_that_are_asked_for_in_turns_are_looked_through_once_each(room: Room) -> None:
    before = room.calls(LOOK_BACK)

    assert await in_turns(room, levels=(1, 4)) == ["queued"] * 2 * COUNT
    assert room.calls(LOOK_BACK) - before <= 2 * STEPS


async def test_of_two_batches_of_a_level_that_are_asked_for_in_turns_each_is_found(room: Room) -> None:
    assert await in_turns(room, levels=(2, 2)) == ["queued"] * 2 * COUNT


async def test_saboteur_who_remembers_another_batch_loses_sight(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if not batch or batch.last ~= last then", "if not batch then"))

    assert "acknowledged" in await in_turns(redis_room, levels=(2, 2))


async def test_what_was_sent_again_long_after_is_found_where_it_is_now(room: Room) -> None:
    assert await sent_twice(room) == ["queued"] * 10


async def test_saboteur_who_remembers_the_older_one_of_two_tells_what_became_of_that(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("batch.rows[passed] = batch.rows[passed] or row", "batch.rows[passed] = row"))

    assert "acknowledged" in await sent_twice(redis_room)


async def test_levels_that_are_stored_in_one_call_keep_places_of_their_own(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *(outgoing(f"m-{n}", priority=1 + n % 5, delay=60 * (n % 2)) for n in range(20)))

    rows = await located(transport, *(f"m-{n}" for n in range(20)))

    assert [(row.state, row.priority) for row in rows] == [
        ("scheduled" if n % 2 else "queued", 1 + n % 5) for n in range(20)
    ]


async def test_only_the_message_itself_is_cancelled(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(10)))

    assert await transport.cancel(INBOX, ["m-4"]) == [True]

    assert ids(await take(await room.reader(transport), 9)) == [f"m-{n}" for n in range(10) if n != 4]


async def test_the_first_of_very_many_is_found(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(1201)))

    assert await states(transport, "m-0", "m-499", "m-500", "m-1200") == ["queued"] * 4


async def test_a_shared_place_is_a_number_and_kept_in_the_same_form_as_one_of_its_own(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("alone"))
    await publish(transport, outgoing("first"), outgoing("second"))

    values = [int(room.redis.get(room.key(f"id:{name}"))) for name in ("alone", "first", "second")]
    assert values[0] > 0 > values[1] == values[2]
    # How much that takes in bytes depends on more than the value.
    assert len({room.redis.object("encoding", room.key(f"id:{name}")) for name in ("alone", "first")}) == 1


async def with_a_deleted_entry(room: Room) -> list[str]:
    """Delete entries behind hivebus: of a held message and of a settled one; return their states."""
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, *(outgoing(f"m-{n}") for n in range(10)))
    taken = await take(reader, 5)
    await settle(reader, Ack(taken[0].token))
    room.redis.xdel(room.key("q:2"), *(each.token.split("/")[1] for each in taken[:2]))
    held = await states(transport, "m-1", "m-2")
    await settle(reader, Ack(taken[1].token))
    return [*held, *await states(transport, "m-0", "m-1")]


async def test_what_is_held_and_was_deleted_is_not_called_acknowledged(room: Room) -> None:
    assert await with_a_deleted_entry(room) == ["delivered", "delivered", "acknowledged", "acknowledged"]


async def test_saboteur_without_a_look_at_what_is_held_it_is(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("local state = holds_deleted(k, stream, latest) and", "local state = false and"))

    assert (await with_a_deleted_entry(redis_room))[0] == "acknowledged"


async def test_saboteur_who_takes_the_first_that_it_sees_cancels_another_message(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("batch.rows[passed] = batch.rows[passed] or row", "batch.rows[id] = batch.rows[id] or row"))
    transport = await redis_room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(10)))
    await transport.cancel(INBOX, ["m-4"])

    assert ids(await take(await redis_room.reader(transport), 9)) == [f"m-{n}" for n in range(9)]


async def test_saboteur_a_place_that_too_many_share_loses_sight_of_the_first(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        ("for first = at + 4, last, 2 * TOGETHER do", "for first = at + 4, last, 1e9 do"),
        ("last = math.min(first + 2 * TOGETHER - 1, last)", "last = last"),
    )
    transport = await redis_room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(1201)))

    assert await states(transport, "m-0") == ["acknowledged"]


async def test_who_knows_of_no_shared_places_takes_no_other_message_for_one(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    """As a release from before does, that runs beside this one during an upgrade."""
    await publish(await redis_room.transport(), *(outgoing(f"m-{n}") for n in range(10)))
    change_library(("local shared, rest = string.match(value, '^(%-?)(.*)$')", "local shared, rest = '', value"))
    old = await redis_room.transport()

    with pytest.raises(HivebusError):
        await states(old, "m-4")
    with pytest.raises(HivebusError):
        await old.cancel(INBOX, ["m-4"])

    assert len(ids(await take(await redis_room.reader(old), 10))) == 10
