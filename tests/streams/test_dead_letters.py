"""Dead letters: queued again once and as a new message, deleted for good, and named even when they have no id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hivebus.errors import BrokerFull
from hivebus.transport import Ack, DeadLetter, Located
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams

from .room import Room, ids, outgoing, publish, settle, take
from .test_out_of_memory import fill, heal

OPERATORS = 8
LETTERS = 50


async def kill(reader: StreamReader, count: int = 1, *, reason: str = "broken") -> None:
    """Give up what is handed out next."""
    for delivery in await take(reader, count):
        assert await settle(reader, DeadLetter(delivery.token, reason)) == "done"


async def dead(transport: RedisStreams) -> list[Located]:
    """Return the dead letters, newest first."""
    return list(await transport.dead("pm", limit=1000))


async def test_of_eight_operators_who_requeue_fifty_letters_each_letter_is_queued_by_one(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    names = [f"m-{n}" for n in range(LETTERS)]
    await publish(transport, *(outgoing(each) for each in names))
    await kill(reader, LETTERS)
    operators = [await room.transport() for _ in range(OPERATORS)]

    answers = await asyncio.gather(*(each.requeue("pm", [name]) for name in names for each in operators))

    done = [answer == [True] for answer in answers]
    assert [done[at : at + OPERATORS].count(True) for at in range(0, len(done), OPERATORS)] == [1] * LETTERS
    again = await take(reader, LETTERS)
    assert sorted(ids(again)) == sorted(names) and {each.attempt for each in again} == {1}
    assert await take(reader, wait=0.1) == [] and await dead(transport) == []


async def test_a_requeued_message_is_a_new_one_of_the_same_id(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1", priority=4, ttl=100), outgoing("low", priority=1))
    await kill(reader)

    assert await transport.requeue("pm", ["m-1"]) == [True]

    assert await publish(transport, outgoing("m-1")) == ["duplicate"]
    (found,) = await transport.locate(["m-1"], ["pm"])
    assert (found.state, found.priority, found.attempts, found.requeued) == ("queued", 4, 0, 1)
    *_, (_, fields) = room.redis.xrange(room.key("q:4"))
    assert "x" not in fields, "it has no deadline any more"
    (first,) = await take(reader)
    assert ids([first]) == ["m-1"] and (first.attempt, first.failures, first.crashes) == (1, 0, 0)
    await settle(reader, Ack(first.token))
    assert (await transport.locate(["m-1"], ["pm"]))[0].state == "acknowledged"


async def test_how_often_it_was_requeued_outlives_each_death(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    for times in range(4):
        await kill(reader, reason=f"death {times}")
        (letter,) = await dead(transport)
        assert (letter.requeued, letter.reason, letter.attempts) == (times, f"death {times}", 1)
        await transport.requeue("pm", ["m-1"])


async def test_what_expired_unread_is_handed_out_when_it_is_requeued(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1", ttl=0.05))
    await asyncio.sleep(0.1)
    reader = await room.reader(transport)
    assert await take(reader, wait=0.1) == []
    (letter,) = await dead(transport)
    assert (letter.state, letter.reason) == ("expired", "expired")

    assert await transport.requeue("pm", ["m-1"]) == [True]

    assert ids(await take(reader)) == ["m-1"]


async def test_a_message_without_an_id_is_purged_by_its_name_and_never_requeued(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    room.redis.xadd(room.key("q:2"), {"sensor": "42"})
    await publish(transport, outgoing("m-1"))
    await kill(reader, 2)
    newest, strange = await dead(transport)
    assert (strange.message_id, strange.data) == ("", b"sensor=42")
    assert strange.letter is not None and newest.letter is not None

    assert await transport.requeue("pm", ["", strange.letter]) == [False, False]
    assert await transport.purge("pm", ["", strange.letter, strange.letter]) == [False, True, False]

    assert [each.message_id for each in await dead(transport)] == ["m-1"]


async def test_a_letter_whose_id_is_in_use_again_is_not_queued_beside_it(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    (letter,) = await dead(transport)
    assert letter.letter is not None
    room.redis.delete(room.key("id:m-1"))  # as it is after thirty days
    await publish(transport, outgoing("m-1"))

    assert await transport.requeue("pm", ["m-1", letter.letter]) == [False, False]

    assert ids(await take(reader, 2, wait=0.2)) == ["m-1"]
    assert await transport.purge("pm", [letter.letter]) == [True]
    assert (await transport.locate(["m-1"], ["pm"]))[0].state == "delivered", "the living one is still known"


async def test_a_letter_that_outlived_its_id_is_requeued_by_its_name(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    (letter,) = await dead(transport)
    room.redis.delete(room.key("id:m-1"))

    assert letter.letter is not None and await transport.requeue("pm", [letter.letter]) == [True]

    assert await publish(transport, outgoing("m-1")) == ["duplicate"]
    assert ids(await take(reader)) == ["m-1"]


async def test_the_id_of_a_purged_message_is_free(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)

    assert await transport.purge("pm", ["m-1"]) == [True]

    assert await transport.locate(["m-1"], ["pm"]) == []
    assert await publish(transport, outgoing("m-1")) == ["stored"]


async def test_what_somebody_else_wrote_into_the_dead_letters_harms_nothing(room: Room) -> None:
    transport = await room.transport()
    room.redis.xadd(room.key("dlq"), {"i": "m-1", "r": "because"})
    room.redis.xadd(room.key("dlq"), {"what": "is this"})
    room.redis.xadd(room.key("dlq"), {"i": "m-2", "d": "x", "l": "9", "g": "many"})
    letters = await dead(transport)

    assert [(each.message_id, each.requeued) for each in letters] == [("m-2", 0), ("", 0), ("m-1", 0)]
    names = [each.letter or "" for each in letters]
    assert await transport.requeue("pm", names) == [False] * 3
    assert await transport.purge("pm", names) == [True] * 3


async def test_a_full_server_refuses_a_requeue_keeps_the_letter_and_lets_it_be_purged(own_room: Room) -> None:
    transport = await own_room.transport()
    reader = await own_room.reader(transport)
    await publish(transport, outgoing("m-1"), outgoing("m-2"), outgoing("waits"))
    await kill(reader, 2)
    fill(own_room)

    with pytest.raises(BrokerFull):
        await transport.requeue("pm", ["m-1"])

    assert {each.message_id for each in await dead(transport)} == {"m-1", "m-2"}
    assert await transport.purge("pm", ["m-2"]) == [True]
    assert await transport.cancel("pm", ["waits"]) == [True]
    heal(own_room)
    assert await transport.requeue("pm", ["m-1"]) == [True]
    assert ids(await take(reader, 2, wait=0.2)) == ["m-1"]


async def test_what_is_requeued_takes_up_room_again(room: Room) -> None:
    transport = await room.transport(max_messages=1)
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    assert await publish(transport, outgoing("m-2")) == ["stored"]

    assert await transport.requeue("pm", ["m-1"]) == [True], "a full inbox does not refuse what an operator wants"

    assert await publish(transport, outgoing("m-3")) == ["QueueFull"]
    assert sorted(ids(await take(reader, 2))) == ["m-1", "m-2"]


# --- Saboteurs --------------------------------------------------------------------------------------------


async def test_saboteur_a_letter_that_stays_where_it_was_is_queued_by_everybody(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("  redis.call('XDEL', k.dlq, entry)\nend", "end"), (" and (not kept or kept == 'd' .. entry)", ""))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    (letter,) = await dead(transport)
    assert letter.letter is not None

    answers = await asyncio.gather(*(transport.requeue("pm", [letter.letter]) for _ in range(2)))

    assert answers == [[True], [True]]
    assert ids(await take(reader, 2)) == ["m-1", "m-1"]


async def test_saboteur_without_a_look_at_the_id_a_message_lives_twice(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library((" and (not kept or kept == 'd' .. entry)", ""))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    (letter,) = await dead(transport)
    redis_room.redis.delete(redis_room.key("id:m-1"))
    await publish(transport, outgoing("m-1"))

    assert letter.letter is not None and await transport.requeue("pm", [letter.letter]) == [True]

    assert ids(await take(reader, 2)) == ["m-1", "m-1"]


async def test_saboteur_a_generation_that_is_not_buried_with_the_message_is_forgotten(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library((", 'e', entry, 'g', generation(fields))", ", 'e', entry)"))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    await transport.requeue("pm", ["m-1"])
    await kill(reader)

    assert [each.requeued for each in await dead(transport)] == [0]


async def test_saboteur_a_requeue_that_may_exceed_the_memory_is_not_refused(
    own_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("add('requeue', requeue, {})", "add('requeue', requeue, { 'allow-oom' })"))
    transport = await own_room.transport()
    reader = await own_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    fill(own_room)

    assert await transport.requeue("pm", ["m-1"]) == [True]


async def test_saboteur_a_requeue_that_is_not_counted_lets_the_next_sender_in(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("  redis.call('HINCRBY', k.meta, 'n', 1)\n  redis.call('HINCRBY', k.meta, 'b', #data)\n", ""))
    transport = await redis_room.transport(max_messages=2)
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    await kill(reader)
    await publish(transport, outgoing("m-2"))
    redis_room.redis.hset(redis_room.key("meta"), "n", 1)  # as after a recount
    await transport.requeue("pm", ["m-1"])

    assert await publish(transport, outgoing("m-3")) == ["stored"]
