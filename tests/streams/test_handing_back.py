"""A graceful stop hands back at once what had not started: another consumer has it within a second, uncounted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from .room import LONG, PATIENCE, Room, ids, outgoing, publish, take

WITHIN = 1.0


async def close_with_work_in_hand(room: Room) -> tuple[float, list[tuple[int, int, int]]]:
    """Close a reader that has started one of ten messages; return when its heir had the rest, and how they count."""
    transport = await room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(10)))
    first = await room.reader(transport, consumer="first", lease=LONG)
    assert len(await first.receive(limit=10, start=1, wait=PATIENCE)) == 10
    heir = await room.reader(transport, consumer="heir", lease=LONG)
    waiting = asyncio.create_task(take(heir, 9, wait=2 * WITHIN))
    began = monotonic()
    await first.close()
    taken = await waiting
    assert set(ids(taken)) <= {f"m-{n}" for n in range(1, 10)}, "what had started is left to its lease"
    return monotonic() - began, [(each.attempt, each.failures, each.crashes) for each in taken]


async def test_what_had_not_started_is_with_another_consumer_at_once(room: Room) -> None:
    took, counted = await close_with_work_in_hand(room)

    assert took <= WITHIN and counted == [(1, 0, 0)] * 9


async def test_saboteur_a_reader_that_only_goes_away_leaves_its_work_to_the_lease(
    room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        (
            "    if redis.call('SREM', k.fetched, token) == 0 then\n      busy = true",
            "    if true then\n      busy = true",
        )
    )
    took, counted = await close_with_work_in_hand(room)

    assert took > WITHIN and counted == []


async def test_a_bus_that_stops_hands_back_what_its_handlers_have_not_seen(room: Room) -> None:
    seen: list[str] = []
    started = asyncio.Event()
    async with room.bus("pm", lease=LONG) as first, room.bus("pm", lease=LONG) as heir, room.bus("sender") as sender:

        @first.on()
        async def hold(message: object) -> None:
            started.set()
            await asyncio.sleep(0.3)

        @heir.on()
        async def handle(message) -> None:
            seen.append(message.message_id)

        for number in range(5):
            await sender.send("pm", "hello", message_id=f"m-{number}")
        working = asyncio.create_task(first.run(concurrency=1))
        await started.wait()
        first.stop()
        inheriting = asyncio.create_task(heir.run())
        async with asyncio.timeout(WITHIN + 0.3):
            while len(seen) < 4:
                await asyncio.sleep(0.01)
        heir.stop()
        await asyncio.gather(working, inheriting)
        assert sorted(seen) == [f"m-{number}" for number in range(1, 5)]
        assert {(await sender.status(each)).attempts for each in seen} <= {1, 2}
        assert (await sender.queue("pm")).dead == 0


async def test_what_was_accepted_in_one_millisecond_comes_back_in_its_order(room: Room) -> None:
    transport = await room.transport()
    names = [f"m-{n}" for n in range(25)]
    await publish(transport, *map(outgoing, names))
    first = await room.reader(transport, consumer="first", lease=LONG)
    await first.receive(limit=25, start=0, wait=PATIENCE)
    await first.close()
    heir = await room.reader(transport, consumer="heir", lease=LONG)

    assert ids(await take(heir, 25)) == names
