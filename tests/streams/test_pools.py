"""Pools with real processes: even shares, and nothing lost whoever comes, goes or dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from hivebus.bus import Bus

from .pool_crew import POOL, crew_of
from .room import PATIENCE, Room, until

MANY = 10_000


async def send(bus: Bus, ids: Sequence[str]) -> None:
    """Send messages to the pool, a hundred at once."""
    for at in range(0, len(ids), 100):
        await asyncio.gather(*(bus.send(f"@{POOL}", "work", message_id=each) for each in ids[at : at + 100]))


async def test_one_is_killed_and_one_added_and_nothing_is_lost_and_shares_are_even(
    redis_room: Room, tmp_path: Path
) -> None:
    ids = [f"m-{number}" for number in range(MANY)]
    first, middle, rest = ids[:2000], ids[2000:4000], ids[4000:]
    with crew_of(redis_room, tmp_path) as crew:
        async with redis_room.bus("sender") as sender:
            for name in ("one", "two", "three"):
                crew.start(name)
            await crew.there("one", "two", "three")
            await send(sender, first)
            crew.kill("two")
            crew.start("four")
            await send(sender, middle)
            await crew.there("four")
            await send(sender, rest)
            await until(lambda: len(crew.handled()) == MANY, patience=6 * PATIENCE)
            # A handler may have finished before the kill and its ack not.
            again = [each for each, times in crew.handled().items() if times > 1]
            begun = {line.id for line in crew.lines("D", "two")}
            assert set(again) <= begun
            shares = crew.shares(set(rest))
            assert set(shares) == {"one", "three", "four"}
            even = len(rest) / 3
            assert all(abs(share - even) <= 0.15 * even for share in shares.values()), shares
            assert (await sender.queue(f"@{POOL}")).dead == 0


async def test_joining_and_leaving_under_load_loses_and_duplicates_nothing(redis_room: Room, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    with crew_of(redis_room, tmp_path) as crew:
        async with redis_room.bus("sender") as sender:
            for name in ("one", "two"):
                crew.start(name)
            await crew.there("one", "two")
            sending = asyncio.create_task(send(sender, ids))
            for number in range(3):
                crew.start(f"guest-{number}")
                await crew.there(f"guest-{number}")
                await send(sender, [f"extra-{number}-{each}" for each in range(300)])
                assert await asyncio.to_thread(crew.end, f"guest-{number}") == 0
            await sending
            await until(lambda: len(crew.handled()) == 3900, patience=3 * PATIENCE)
            assert set(crew.handled().values()) == {1}
            assert {line.id for line in crew.lines("D")} == set(crew.handled())


async def test_a_slow_member_holds_nothing_back(redis_room: Room, tmp_path: Path) -> None:
    ids = [f"m-{number}" for number in range(3000)]
    with crew_of(redis_room, tmp_path) as crew:
        async with redis_room.bus("sender") as sender:
            crew.start("slow", concurrency=1, seconds=0.5)
            for name in ("one", "two"):
                crew.start(name)
            await crew.there("slow", "one", "two")
            await send(sender, ids)
            await until(lambda: len(crew.handled()) >= 2990, patience=3 * PATIENCE)
            # All that is left is what it has in hand: nothing was put aside for it.
            waiting = await sender.queue(f"@{POOL}")
            assert waiting.waiting == 0 and waiting.in_flight <= 2
            await until(lambda: len(crew.handled()) == 3000)


async def test_the_mail_of_a_pool_waits_for_its_next_member(redis_room: Room, tmp_path: Path) -> None:
    with crew_of(redis_room, tmp_path) as crew:
        async with redis_room.bus("sender") as sender:
            crew.start("one")
            await crew.there("one")
            assert await asyncio.to_thread(crew.end, "one") == 0
            receipt = await sender.send(f"@{POOL}", "later", message_id="later")
            assert receipt.state == "stored"
            crew.start("two")
            await until(lambda: crew.handled() == {"later": 1})
