"""Many plain messages are taken by the server's own XREADGROUP; whatever else waits makes a reader go the long way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from hivebus.errors import Unknown
from hivebus.transport import Ack, Delivery, Retry
from hivebus_redis.bulk import Bulk, Taken
from hivebus_redis.connection import Channel
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams

from .own_server import OwnServer
from .proxy import Proxy
from .room import INBOX, PATIENCE, Room, ids, outgoing, publish, take

Change = Callable[..., None]
DAY = 86_400.0
MANY = 40


async def send(transport: RedisStreams, *names: str, **options: Any) -> None:
    await publish(transport, *(outgoing(name, **options) for name in names))


def named(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(count)]


async def reads(reader: StreamReader, limit: int) -> list[Delivery]:
    """Return what one `receive` brings."""
    return list(await reader.receive(limit=limit, start=limit, wait=1))


async def warm(room: Room, *, level: int = 2) -> tuple[RedisStreams, StreamReader]:
    """Return a reader that has taken many plain messages, and goes the short way if it may."""
    transport = await room.transport()
    reader = await room.reader(transport)
    await send(transport, *named("first", MANY), priority=level)
    taken = await reads(reader, MANY)
    assert len(taken) == MANY
    await reader.settle([Ack(each.token) for each in taken])
    return transport, reader


@pytest.fixture(autouse=True)
def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many messages each transaction took that was not vetoed."""
    took: list[int] = []
    take_in_truth = Bulk.take

    async def noted(self: Bulk, limit: int, **facts: Any) -> Taken | None:
        taken = await take_in_truth(self, limit, **facts)
        if taken is not None:
            took.append(len(taken.deliveries) + len(taken.expired))
        return taken

    monkeypatch.setattr(Bulk, "take", noted)
    return took


def without_chores(room: Room) -> None:
    """Let nothing be due that a poll does besides: it would go the long way for that."""
    room.redis.hset(room.key("meta"), "swept", int(time.time() * 1000) + 60_000)


# --- The short way ------------------------------------------------------------------------------------------


async def test_many_plain_messages_go_the_short_way_each_once_and_in_their_order(
    room: Room, short_ways: list[int]
) -> None:
    transport, reader = await warm(room)
    names = named("m", 10 * MANY)

    await send(transport, *names)
    taken = [each for _ in range(10) for each in await reads(reader, MANY)]

    assert ids(taken) == names and sum(short_ways) >= 8 * MANY
    assert {(each.attempt, each.failures, each.crashes, each.alone, each.priority) for each in taken} == {
        (1, 0, 0, False, 2)
    }
    assert await reader.settle([Ack(each.token) for each in taken]) == ["done"] * len(names)
    (counts,) = await transport.counts([INBOX])
    assert (counts.waiting, counts.in_flight) == (0, 0)


async def test_few_messages_go_the_long_way_which_is_one_call(redis_room: Room, short_ways: list[int]) -> None:
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    for number in range(5):
        await send(transport, f"m-{number}")
        assert ids(await reads(reader, MANY)) == [f"m-{number}"]
    assert not short_ways


async def test_what_is_taken_and_never_settled_comes_back_when_the_lease_is_over(
    redis_room: Room, short_ways: list[int]
) -> None:
    transport = await redis_room.transport()
    dying = await redis_room.reader(transport, consumer="dying", lease=0.3)
    await send(transport, *named("m", 3 * MANY))
    held = [each for _ in range(2) for each in await reads(dying, MANY)]
    assert short_ways == [MANY] and len(held) == 2 * MANY

    await asyncio.sleep(0.4)
    heir = await redis_room.reader(transport, consumer="heir")
    alone: list[str] = []
    while len(alone) < 2 * MANY:
        (suspect,) = [each for each in await take(heir) if each.alone]
        alone += ids([suspect])
        await heir.settle([Ack(suspect.token)])

    assert sorted(alone) == sorted(ids(held)), "what had started is suspect, and comes back alone"


# --- What else waits ----------------------------------------------------------------------------------------


async def emergencies_come_next(room: Room) -> None:
    transport, reader = await warm(room, level=1)
    await send(transport, *named("low", 500), priority=1)
    assert len(await reads(reader, MANY)) == MANY
    await send(transport, *named("emergency", 10), priority=5)

    assert ids(await reads(reader, MANY))[:10] == named("emergency", 10)


async def test_ten_emergencies_behind_500_low_ones_come_next(room: Room) -> None:
    await emergencies_come_next(room)


async def test_saboteur_without_a_look_at_the_other_levels_they_wait(redis_room: Room, change_library: Change) -> None:
    change_library(("(level == tonumber(args[5]) or not has_unread(k, level))", "true"))
    with pytest.raises(AssertionError):
        await emergencies_come_next(redis_room)


async def what_failed_keeps_its_place(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await send(transport, *named("m", 3 * MANY))
    failed, *others = await reads(reader, MANY)
    await reader.settle([Retry(failed.token, 0), *(Ack(each.token) for each in others)])

    again, *_ = await reads(reader, MANY)
    assert (ids([again]), again.failures) == (["m-0"], 1)


async def test_what_failed_comes_before_what_is_new(room: Room) -> None:
    await what_failed_keeps_its_place(room)


async def test_saboteur_without_a_look_at_what_is_ready_it_waits(redis_room: Room, change_library: Change) -> None:
    change_library(("redis.call('EXISTS', k.suspect, k.ready, k.cancelled, k.ttl) == 0", "true"))
    with pytest.raises(AssertionError):
        await what_failed_keeps_its_place(redis_room)


async def what_is_due_comes(room: Room) -> None:
    transport, reader = await warm(room)
    await send(transport, "later", delay=0.001, priority=5)
    await send(transport, *named("m", 3 * MANY))
    await asyncio.sleep(0.01)
    assert ids(await reads(reader, MANY))[0] == "later"


async def test_what_falls_due_comes_next(room: Room) -> None:
    await what_is_due_comes(room)


async def test_saboteur_without_a_look_at_the_time_it_waits(redis_room: Room, change_library: Change) -> None:
    change_library(("and not falls_due(k.due, now) and not falls_due(k.schedule, now)", ""))
    with pytest.raises(AssertionError):
        await what_is_due_comes(redis_room)


async def expired_ones_are_not_handed_out(room: Room, short_ways: list[int]) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await send(transport, *named("m", 2 * MANY))
    await send(transport, *named("brief", 10), ttl=0.05)
    await send(transport, *named("after", 10))
    assert len(await reads(reader, MANY)) == MANY
    await asyncio.sleep(0.1)
    without_chores(room)

    taken = await reads(reader, 3 * MANY)

    assert short_ways == [MANY + 20]
    assert ids(taken) == [*named("m", 2 * MANY)[MANY:], *named("after", 10)]
    dead = await transport.dead(INBOX, limit=100)
    assert sorted(each.message_id for each in dead) == named("brief", 10)
    assert {each.reason for each in dead} == {"expired"}


async def test_what_has_expired_is_a_dead_letter_and_nobody_handles_it(room: Room, short_ways: list[int]) -> None:
    await expired_ones_are_not_handed_out(room, short_ways)


async def test_saboteur_without_the_time_of_the_server_it_is_handed_out(
    redis_room: Room, change_library: Change, short_ways: list[int]
) -> None:
    change_library(("    return now\n", "    return 1\n"))
    with pytest.raises(AssertionError):
        await expired_ones_are_not_handed_out(redis_room, short_ways)


# --- In the middle of it ------------------------------------------------------------------------------------


def in_between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]], *, watched: bool) -> None:
    """Let something happen on the server between `prepare` and the transaction."""

    async def one_by_one(self: Channel, *commands: Sequence[Any]) -> list[Any]:
        replies = []
        for words in commands:
            if words[0] == "MULTI":
                await happens()
            if watched or words[0] != "WATCH":
                replies.append(await self.call(*words))
            else:
                replies.append(b"OK")
        return replies

    monkeypatch.setattr(Channel, "call_all", one_by_one)


async def a_message_is_cancelled_in_between(room: Room, monkeypatch: pytest.MonkeyPatch, *, watched: bool) -> None:
    transport, reader = await warm(room)
    await send(transport, *named("m", MANY))
    taken_back: list[bool] = []

    async def cancel() -> None:
        taken_back.extend(await transport.cancel(INBOX, ["m-7"]))

    in_between(monkeypatch, cancel, watched=watched)
    taken = await reads(reader, MANY)

    assert taken_back == [True] and "m-7" not in ids(taken), "taken back, and handed out all the same"
    assert len(taken) == MANY - 1


async def test_what_is_cancelled_at_the_last_moment_is_not_handed_out(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_message_is_cancelled_in_between(room, monkeypatch, watched=True)


async def test_saboteur_without_a_watch_it_is(redis_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="handed out all the same"):
        await a_message_is_cancelled_in_between(redis_room, monkeypatch, watched=False)


async def test_who_has_lost_the_lease_takes_nothing_on_the_old_one(redis_room: Room) -> None:
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport, consumer="slow", lease=0.2)
    await send(transport, *named("m", 3 * MANY))
    held = await reads(reader, MANY)
    await asyncio.sleep(0.3)
    other = await redis_room.reader(transport, consumer="other")
    assert (await other.receive(limit=1, start=1, wait=1))[0].alone

    await reads(reader, MANY)

    assert set(await reader.settle([Ack(each.token) for each in held])) == {"stale"}


# --- Trouble ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["prepare", "weigh"])
async def test_messages_in_a_lost_answer_are_found_again(redis_room: Room, proxy: Proxy, function: str) -> None:
    transport = await redis_room.transport(proxy.url)
    reader = await redis_room.reader(transport)
    await send(transport, *named("m", 3 * MANY))
    first = await reads(reader, MANY)
    proxy.lose_answers_to(function)
    with pytest.raises(Unknown):
        await reads(reader, MANY)
    assert proxy.lost == 1

    again = await take(reader, 2 * MANY, wait=PATIENCE)

    assert sorted(ids([*first, *again])) == sorted(named("m", 3 * MANY))
    assert {(each.failures, each.crashes, each.alone) for each in again} == {(0, 0, False)}


async def test_functions_that_are_flushed_cost_nobody_a_message(own_room: Room) -> None:
    transport, reader = await warm(own_room)
    await send(transport, *named("m", 2 * MANY))
    assert len(await reads(reader, MANY)) == MANY
    own_room.redis.function_flush()

    assert ids(await take(reader, MANY)) == named("m", 2 * MANY)[MANY:]


async def test_who_may_use_no_transactions_goes_the_long_way(own_room: Room, own_server: OwnServer) -> None:
    operator = await own_room.transport()
    await send(operator, *named("m", 4 * MANY))
    rules = ("~*", "+@connection", "+@stream", "+@read", "+@write", "+fcall", "+time")
    own_room.redis.execute_command("ACL", "SETUSER", "agent", "reset", "on", ">secret", *rules)
    agent = await own_room.transport(own_server.url.replace("unix://", "unix://agent:secret@"))
    reader = await own_room.reader(agent)

    taken = [each for _ in range(4) for each in await take(reader, MANY)]

    assert sorted(ids(taken)) == sorted(named("m", 4 * MANY))
    assert await reader.settle([Ack(each.token) for each in taken]) == ["done"] * len(taken)


async def test_a_stream_that_a_stranger_deletes_is_made_again(room: Room) -> None:
    transport, reader = await warm(room)
    room.redis.delete(room.key("q:2"))
    await send(transport, "m-1")

    assert ids(await take(reader)) == ["m-1"]


async def test_what_a_stranger_wrote_does_not_break_a_token(room: Room) -> None:
    transport, reader = await warm(room)
    await send(transport, *named("m", MANY))
    for fields in ({"i": "a/b c", "d": "x"}, {"i": "é" * 40, "d": "x"}, {"d": "no id"}, {"i": "no-data"}, {"k": "v"}):
        room.redis.xadd(room.key("q:2"), fields)

    taken = await take(reader, MANY + 5)

    assert ids(taken)[MANY:] == ["", "", "", "no-data", ""]
    assert await reader.settle([Ack(each.token) for each in taken]) == ["done"] * (MANY + 5)


# --- What is counted ----------------------------------------------------------------------------------------


async def nothing_seems_lost(room: Room) -> None:
    transport, reader = await warm(room)
    await send(transport, *named("m", 2 * MANY))
    assert (await transport.tidy(INBOX, keep=DAY)).lost == 0
    for _ in range(2):
        await reader.settle([Ack(each.token) for each in await reads(reader, MANY)])
    # An acknowledged entry that somebody trims is no loss.
    entry = room.redis.xrange(room.key("q:2"))[0][0]
    room.redis.xdel(room.key("q:2"), entry)

    assert (await transport.tidy(INBOX, keep=DAY)).lost == 0


async def test_what_was_handed_out_is_counted(room: Room) -> None:
    await nothing_seems_lost(room)


async def test_saboteur_without_weighing_read_messages_look_lost(redis_room: Room, change_library: Change) -> None:
    change_library(("if group and group.pending > 0 then redis.call(", "if false then redis.call("))
    with pytest.raises(AssertionError):
        await nothing_seems_lost(redis_room)
