"""What nobody takes in time becomes a dead letter, also where nobody reads, between two attempts or behind others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hivebus.bus import Bus
from hivebus.housekeeping import Plan
from hivebus.transport import Ack, Delivery, Retry
from hivebus_redis.streams import RedisStreams

from .room import INBOX, Room, ids, outgoing, publish, settle, take, until

DAY = 86_400.0
STEP = 200


async def sweep(transport: RedisStreams) -> int:
    """Tidy until there is nothing more to do; return how many expired."""
    expired, more = 0, True
    while more:
        tidied = await transport.tidy(INBOX, keep=DAY)
        assert tidied.expired <= 5 * STEP
        expired, more = expired + tidied.expired, tidied.more
    return expired


async def expired(transport: RedisStreams) -> list[str]:
    """Return the ids of the dead letters, each of which must be an expired message."""
    found = await transport.dead(INBOX, limit=10_000)
    assert {(each.reason, each.state) for each in found} <= {("expired", "expired")}
    return sorted(each.message_id for each in found)


def numbered(count: int) -> list[str]:
    return [f"m-{n:04}" for n in range(count)]


async def send(transport: RedisStreams, names: list[str], *, ttl: float | None) -> None:
    for at in range(0, len(names), 100):
        items = [outgoing(name, ttl=ttl, priority=1 + n % 5) for n, name in enumerate(names[at : at + 100])]
        await publish(transport, *items)


async def test_three_thousand_messages_that_nobody_ever_reads_are_all_dead_letters(room: Room) -> None:
    transport = await room.transport()
    names = numbered(3000)
    await send(transport, names, ttl=0.05)
    await asyncio.sleep(0.1)

    assert await sweep(transport) == 3000

    assert await expired(transport) == names
    counts = (await transport.counts([INBOX]))[0]
    assert (counts.waiting, counts.in_flight, counts.dead) == (0, 0, 3000)
    assert await sweep(transport) == 0
    assert await take(await room.reader(transport), wait=0.05) == []
    assert len(await expired(transport)) == 3000


async def test_what_expires_behind_others_is_a_dead_letter_and_the_others_are_handed_out(room: Room) -> None:
    transport = await room.transport()
    await send(transport, ["first"], ttl=None)
    await send(transport, [f"e-{n}" for n in range(50)], ttl=0.05)
    await send(transport, ["last"], ttl=100)
    await asyncio.sleep(0.1)

    assert await sweep(transport) == 50

    counts = (await transport.counts([INBOX]))[0]
    assert (counts.waiting, counts.dead) == (2, 50)
    assert len(await expired(transport)) == 50
    assert [each.state for each in await transport.locate(["e-7"], [INBOX])] == ["expired"]
    reader = await room.reader(transport)
    assert sorted(ids(await take(reader, 3, wait=0.2))) == ["first", "last"]
    assert len(await expired(transport)) == 50
    assert room.redis.exists(room.key("cancelled")) == 0


async def test_what_expires_between_two_attempts_is_a_dead_letter_long_before_it_is_due(room: Room) -> None:
    transport = await room.transport()
    await send(transport, numbered(40), ttl=1.5)
    reader = await room.reader(transport)
    taken = await take(reader, 40)
    await reader.settle([Retry(each.token, 3600) for each in taken])
    await reader.close()
    await asyncio.sleep(1.6)

    assert await sweep(transport) == 40

    counts = (await transport.counts([INBOX]))[0]
    assert (counts.retrying, counts.in_flight, counts.waiting, counts.dead) == (0, 0, 0, 40)
    assert {each.attempts for each in await transport.dead(INBOX, limit=100)} == {1}
    assert room.redis.exists(room.key("due"), room.key("fate")) == 0


async def test_what_expires_with_a_consumer_that_died_and_no_other_is_a_dead_letter(room: Room) -> None:
    transport = await room.transport()
    await send(transport, ["m-1"], ttl=1.0)
    await take(await room.reader(transport, lease=0.2))
    await asyncio.sleep(1.1)

    assert await sweep(transport) == 0, "it has one more lease to come back"
    await asyncio.sleep(0.3)
    assert await sweep(transport) == 1
    assert await expired(transport) == ["m-1"]


async def test_what_is_in_flight_is_finished_late_and_expires_only_when_it_fails(room: Room) -> None:
    transport = await room.transport()
    await send(transport, ["done", "failed"], ttl=1.0)
    reader = await room.reader(transport)
    held = {ids([each])[0]: each for each in await take(reader, 2)}
    await asyncio.sleep(1.1)
    assert await sweep(transport) == 0

    assert await settle(reader, Ack(held["done"].token)) == "done"
    assert await settle(reader, Retry(held["failed"].token, 3600)) == "done"
    assert await sweep(transport) == 1
    assert await expired(transport) == ["failed"]


async def test_a_message_whose_delay_outlives_it_expires_when_it_falls_due_without_a_reader(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("late", delay=0.1, ttl=0.05), outgoing("in-time", delay=0.1, ttl=100))
    await asyncio.sleep(0.15)

    assert await sweep(transport) == 1
    assert await expired(transport) == ["late"]
    counts = (await transport.counts([INBOX]))[0]
    assert (counts.waiting, counts.scheduled) == (1, 0)


async def test_what_was_looked_at_once_is_not_read_again_and_expires_by_its_mark(room: Room) -> None:
    transport = await room.transport()
    seconds, micro = room.redis.time()
    now = seconds * 1000 + micro // 1000
    for n in range(500):
        fields = {"i": f"m-{n}", "d": "x", **({"x": now + 300} if n % 10 == 0 else {})}
        room.redis.xadd(room.key("q:2"), fields, id=f"{now - 60_000 + n}-0")
    assert await sweep(transport) == 0
    assert room.redis.zcard(room.key("ttl")) == 50
    assert room.redis.hget(room.key("meta"), "c2") == f"{now - 60_000 + 499}-0"
    await asyncio.sleep(0.35)

    assert await sweep(transport) == 50
    assert room.redis.exists(room.key("ttl")) == 0
    assert (await transport.counts([INBOX]))[0].waiting == 450


async def test_where_readers_keep_up_nothing_is_noted(room: Room) -> None:
    transport = await room.transport()
    await send(transport, numbered(300), ttl=100)
    reader = await room.reader(transport)
    await reader.settle([Ack(each.token) for each in await take(reader, 300)])

    assert await sweep(transport) == 0
    assert room.redis.exists(room.key("ttl"), room.key("cancelled")) == 0


async def test_readers_and_a_sweep_at_once_make_one_dead_letter_of_each(room: Room) -> None:
    transport = await room.transport()
    names = numbered(2000)
    await send(transport, names, ttl=0.15)
    seen: list[str] = []
    done = asyncio.Event()

    async def consume(name: str) -> None:
        reader = await room.reader(await room.transport(), consumer=name)
        while not done.is_set():
            taken: list[Delivery] = list(await reader.receive(limit=10, start=10, wait=0.05))
            seen.extend(ids(taken))
            await asyncio.sleep(0.005)
            await reader.settle([Ack(each.token) for each in taken])

    async def clean() -> None:
        sweeper = await room.transport()
        while len(seen) + (await sweeper.counts([INBOX]))[0].dead < 2000:
            await sweeper.tidy(INBOX, keep=DAY)
        done.set()

    async with asyncio.timeout(60):
        await asyncio.gather(consume("a"), consume("b"), clean())

    gone = await expired(transport)
    assert sorted([*gone, *seen]) == names
    assert len(gone) > 100
    counts = (await transport.counts([INBOX]))[0]
    assert (counts.waiting, counts.in_flight, counts.retrying) == (0, 0, 0)


async def test_a_bus_sweeps_its_own_inbox_and_those_without_any_reader(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = await room.transport()
    for inbox in ("busy", "nobody"):
        await publish(transport, *[outgoing(f"{inbox}-{n}", inbox=inbox, ttl=0.3) for n in range(20)])
    # Between two attempts, so that the reader of this inbox does not come across them.
    reader = await room.reader(transport, inbox="busy")
    await reader.settle([Retry(each.token, 3600) for each in await take(reader, 20)])
    await publish(transport, outgoing("kept", inbox="nobody", ttl=100))
    plan = Plan(keep=DAY, max_bytes=2**30, own_every=0.1, all_every=0.1)
    monkeypatch.setattr("hivebus.consuming.Plan", lambda **given: plan)

    async with room.bus("busy") as bus:
        running = asyncio.create_task(run(bus))
        await until(lambda: [room.redis.xlen(room.key("dlq", each)) for each in ("busy", "nobody")] == [20, 20])
        bus.stop()
        await running

    counts = await transport.counts(["busy", "nobody"])
    assert [(each.waiting, each.retrying, each.dead) for each in counts] == [(0, 0, 20), (1, 0, 20)]


async def run(bus: Bus) -> None:
    @bus.on()
    async def handle(message: object) -> None:
        """Take everything."""

    await bus.run()


# --- Saboteurs ------------------------------------------------------------------------------------------


async def test_saboteur_a_sweep_that_leaves_no_mark_makes_two_dead_letters_of_one(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if redis.call('SADD', k.cancelled, token) == 0 then return 0 end", ""))
    transport = await redis_room.transport()
    await send(transport, ["first"], ttl=None)
    await publish(transport, outgoing("e-1", ttl=0.02, priority=1))
    await asyncio.sleep(0.05)
    await transport.tidy(INBOX, keep=DAY)
    await transport.tidy(INBOX, keep=DAY)

    assert await expired(transport) == ["e-1", "e-1"]


async def test_saboteur_a_sweep_that_does_not_look_at_what_is_retried_leaves_it_there(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("add(look_at_waiting(k, limit, now))", "add(0, false)"))
    transport = await redis_room.transport()
    await send(transport, ["m-1"], ttl=0.05)
    reader = await redis_room.reader(transport)
    await settle(reader, Retry((await take(reader))[0].token, 3600))
    await asyncio.sleep(0.1)

    assert await sweep(transport) == 0
    assert (await transport.counts([INBOX]))[0].retrying == 1


async def test_saboteur_without_the_sweep_what_nobody_reads_waits_for_ever(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("add(look_at_unread(k, level, lasts[level], limit, now))", "add(0, false)"))
    transport = await redis_room.transport()
    await send(transport, ["m-1"], ttl=0.02)
    await asyncio.sleep(0.05)

    assert await sweep(transport) == 0
    assert await expired(transport) == []


async def test_saboteur_a_reader_that_does_not_know_the_mark_buries_what_was_buried(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("'SISMEMBER', k.cancelled, level .. '/' .. entry) == 1", "'SISMEMBER', k.cancelled, '') == 1"))
    transport = await redis_room.transport()
    await publish(transport, outgoing("first", priority=1), outgoing("e-1", ttl=0.02, priority=1))
    await asyncio.sleep(0.05)
    await transport.tidy(INBOX, keep=DAY)
    await take(await redis_room.reader(transport), 2, wait=0.1)

    assert await expired(transport) == ["e-1", "e-1"]
