"""Somebody else trims our streams: what that cost is noticed, counted once, and told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from hivebus.bus import Bus
from hivebus.housekeeping import Plan
from hivebus.tidying import Tidied
from hivebus.transport import Ack, Delivery, Retry
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams

from .room import INBOX, Room, outgoing, publish, settle, take, until

DAY = 86_400.0


async def losses(transport: RedisStreams) -> tuple[int, int]:
    """Return how many were lost and removed since the last look."""
    tidied: Tidied = await transport.tidy(INBOX, keep=DAY)
    return tidied.lost, tidied.removed


async def told_in_all(transport: RedisStreams) -> tuple[int, int]:
    (holding,) = await transport.holding([INBOX])
    return holding.lost, holding.removed


class Half:
    """Ten messages: three acked, two in flight, five unread."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.stream = room.key("q:2")

    async def start(self) -> None:
        self.transport = await self.room.transport()
        self.reader: StreamReader = await self.room.reader(self.transport)
        await publish(self.transport, *[outgoing(f"m-{n}") for n in range(10)])
        taken = await take(self.reader, 5)
        await self.reader.settle([Ack(each.token) for each in taken[:3]])
        self.held: list[Delivery] = taken[3:]
        assert await losses(self.transport) == (0, 0)

    def entry(self, number: int) -> str:
        entry: str = self.room.redis.xrange(self.stream)[number][0]
        return entry


@pytest.fixture
async def half(room: Room) -> Half:
    made = Half(room)
    await made.start()
    return made


WAYS: dict[str, tuple[Callable[[Half], object], int, int]] = {
    # how, how many of those were unread or in flight, how many in all
    "XTRIM MAXLEN": (lambda half: half.room.redis.xtrim(half.stream, maxlen=3, approximate=False), 4, 7),
    "XTRIM MINID": (lambda half: half.room.redis.xtrim(half.stream, minid=half.entry(6), approximate=False), 3, 6),
    "XADD MAXLEN": (
        lambda half: half.room.redis.xadd(half.stream, {"i": "new", "d": "x"}, maxlen=2, approximate=False),
        6,
        9,
    ),
    "XDEL of one unread": (lambda half: half.room.redis.xdel(half.stream, half.entry(7)), 1, 1),
    "XDEL of one in flight": (lambda half: half.room.redis.xdel(half.stream, half.entry(4)), 1, 1),
    "XDEL of one acked": (lambda half: half.room.redis.xdel(half.stream, half.entry(1)), 0, 1),
    "XTRIM of all": (lambda half: half.room.redis.xtrim(half.stream, maxlen=0, approximate=False), 7, 10),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_of_taking_messages_away_is_noticed_and_counted_once(half: Half, way: str) -> None:
    take_away, lost, removed = WAYS[way]
    take_away(half)

    assert await losses(half.transport) == (lost, removed)
    assert await losses(half.transport) == (0, 0)
    assert await told_in_all(half.transport) == (lost, removed)


@pytest.mark.parametrize("way", WAYS)
async def test_a_reader_that_reads_on_before_anybody_looks_does_not_wipe_out_the_trace(half: Half, way: str) -> None:
    take_away, lost, removed = WAYS[way]
    take_away(half)
    await half.reader.settle([Ack(each.token) for each in half.held])
    rest = await take(half.reader, 10, wait=0.1)
    await half.reader.settle([Ack(each.token) for each in rest])

    # What was in flight was settled meanwhile, so it was not lost.
    in_flight = {"XDEL of one unread": 0, "XDEL of one in flight": 1, "XDEL of one acked": 0}.get(way, 2)
    assert await losses(half.transport) == (lost - in_flight, removed)
    assert 10 + way.startswith("XADD") - 5 - len(rest) == lost - in_flight


async def test_what_was_taken_away_in_flight_and_fails_is_lost_and_not_counted_twice(half: Half) -> None:
    half.room.redis.xtrim(half.stream, maxlen=5, approximate=False)
    assert await losses(half.transport) == (2, 5)

    assert await settle(half.reader, Retry(half.held[0].token, 0)) == "done"
    assert await settle(half.reader, Ack(half.held[1].token)) == "done"
    assert len(await take(half.reader, 6, wait=0.2)) == 5
    assert await losses(half.transport) == (0, 0)
    assert await told_in_all(half.transport) == (2, 5)
    assert half.room.redis.exists(half.room.key("gone")) == 0


async def test_what_fails_after_it_was_taken_away_is_counted_when_it_would_be_handed_out(half: Half) -> None:
    half.room.redis.xdel(half.stream, half.entry(3))
    assert await settle(half.reader, Retry(half.held[0].token, 0)) == "done"
    assert len(await take(half.reader, 6, wait=0.2)) == 5

    assert await losses(half.transport) == (1, 1)
    counts = (await half.transport.counts([INBOX]))[0]
    assert counts.retrying == 0


async def test_what_waits_for_a_retry_and_is_taken_away_leaves_no_ghost(half: Half) -> None:
    await settle(half.reader, Retry(half.held[0].token, 3600))
    half.room.redis.xdel(half.stream, half.entry(3))

    assert await losses(half.transport) == (1, 1)
    counts = (await half.transport.counts([INBOX]))[0]
    assert (counts.retrying, counts.in_flight, counts.waiting) == (0, 1, 5)


async def test_what_hivebus_does_itself_is_no_alarm(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    for n in range(5):
        await publish(
            transport, *[outgoing(f"m-{n}-{each}", ttl=0.02 if each % 3 == 0 else None) for each in range(50)]
        )
        await asyncio.sleep(0.03)
        await transport.cancel(INBOX, [f"m-{n}-1"])
        taken = await take(reader, 20)
        await reader.settle([Ack(each.token) for each in taken[:10]])
        await reader.settle([Retry(each.token, 0.01) for each in taken[10:]])
        tidied = await transport.tidy(INBOX, keep=0)
        await transport.shed(INBOX, older_than=0, limit=5)
        assert (tidied.lost, tidied.removed) == (0, 0)
    assert await told_in_all(transport) == (0, 0)


async def test_without_a_group_everything_that_was_taken_away_was_unread(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *[outgoing(f"m-{n}") for n in range(10)])
    room.redis.xtrim(room.key("q:2"), maxlen=4, approximate=False)

    assert await losses(transport) == (6, 6)


async def test_a_stream_that_was_deleted_and_made_anew_is_counted_from_there(half: Half) -> None:
    half.room.redis.delete(half.stream)
    await publish(half.transport, *[outgoing(f"n-{n}") for n in range(5)])
    await half.transport.tidy(INBOX, keep=DAY)
    half.room.redis.xtrim(half.stream, maxlen=2, approximate=False)

    assert await losses(half.transport) == (3, 3)


async def test_the_consumer_that_notices_warns(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transport = await redis_room.transport()
    await publish(transport, *[outgoing(f"m-{n}") for n in range(10)])
    redis_room.redis.xtrim(redis_room.key("q:2"), maxlen=4, approximate=False)
    plan = Plan(keep=DAY, max_bytes=2**30, own_every=0.05, all_every=600)
    monkeypatch.setattr("hivebus.consuming.Plan", lambda **given: plan)

    def warnings() -> list[logging.LogRecord]:
        return [each for each in caplog.records if "not by hivebus" in each.message]

    async with redis_room.bus(INBOX) as bus:
        running = asyncio.create_task(handle_all(bus))
        await until(warnings)
        bus.stop()
        await running

    (warning,) = warnings()
    assert (warning.levelname, warning.inbox, warning.messages) == ("WARNING", INBOX, 6)  # type: ignore[attr-defined]


def handle_all(bus: Bus) -> Awaitable[None]:
    @bus.on()
    async def handle(message: object) -> None:
        """Take everything."""

    return bus.run()


async def test_saboteur_a_trim_of_ours_that_is_not_counted_is_a_false_alarm(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if count > 0 then redis.call('HINCRBY', k.meta, 't' .. level, count) end", ""))
    half = Half(redis_room)
    await half.start()
    await half.transport.shed(INBOX, older_than=0, limit=3)

    assert await losses(half.transport) == (0, 3)


async def test_saboteur_a_reader_that_does_not_count_makes_read_messages_look_lost(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        ("redis.call('HINCRBY', k.meta, k.taken .. level, #read[1][2])", ""),
        ("(not known[2] and last ~= '0-0')", "false"),
    )
    half = Half(redis_room)
    await half.start()
    half.room.redis.xdel(half.stream, half.entry(1))

    assert (await losses(half.transport))[0] > 0


async def test_saboteur_without_a_look_at_what_is_pending_it_is_not_missed(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("(group and missing_pending(k, level, group) or 0)", "0"))
    half = Half(redis_room)
    await half.start()
    half.room.redis.xdel(half.stream, half.entry(4))

    assert await losses(half.transport) == (0, 1)
