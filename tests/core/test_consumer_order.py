"""The consumer: how many handlers run at once, and in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from hivebus.bus import Bus
from hivebus.consumer import Consumer
from hivebus.message import Message
from hivebus.transport import Delivery

from .flaky import Backwards, FlakyReader, FlakyTransport, Serving, running, until


async def never_more_at_once(bus: Bus, *, allowed: int) -> None:
    at_once = most = handled = 0

    @bus.on()
    async def handle(message: Message) -> None:
        nonlocal at_once, most, handled
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        handled += 1

    for number in range(30):
        await bus.send("dev", number)
    async with running(bus, concurrency=allowed):
        await until(lambda: handled == 30)
    assert most == allowed


@pytest.mark.parametrize("allowed", [1, 3, 16])
async def test_as_many_handlers_run_at_once_as_were_asked_for_and_never_more(allowed: int) -> None:
    async with Bus("memory://", agent="dev") as bus:
        await never_more_at_once(bus, allowed=allowed)


async def test_another_worker_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a consumer that adds two workers for one."""
    add = Consumer._add_worker

    def add_two(consumer: Consumer) -> None:
        add(consumer)
        add(consumer)

    monkeypatch.setattr(Consumer, "_add_worker", add_two)
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: 100)
    async with Bus("memory://", agent="dev") as bus:
        with pytest.raises(AssertionError):
            await never_more_at_once(bus, allowed=3)


async def handled_in_order(transport: FlakyTransport, *, concurrency: int) -> list[str]:
    handled: list[str] = []
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            handled.append(message.priority.value)

        for priority in ("low", "medium", "high", "urgent", "emergency"):
            for number in range(10):
                await bus.send("dev", number, priority=priority)
        async with running(bus, concurrency=concurrency):
            await until(lambda: len(handled) == 50)
    return handled


async def test_an_emergency_is_handled_before_what_is_low_in_a_backlog() -> None:
    levels = ["emergency", "urgent", "high", "medium", "low"]
    expected = [level for level in levels for _ in range(10)]
    assert await handled_in_order(FlakyTransport(), concurrency=1) == expected
    assert await handled_in_order(FlakyTransport(), concurrency=8) == expected


async def test_what_was_fetched_and_not_started_is_sorted_by_level_too() -> None:
    levels = ["emergency", "urgent", "high", "medium", "low"]
    handled = await handled_in_order(FlakyTransport(reads=Backwards), concurrency=1)
    assert handled == [level for level in levels for _ in range(10)]


class Levelless(Backwards):
    """Tells of no level."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return [each._replace(priority=1) for each in await super().receive(limit=limit, start=start, wait=wait)]


async def test_without_their_levels_the_order_would_be_that_of_the_hand_out() -> None:
    """Saboteur: one queue for all levels."""
    handled = await handled_in_order(FlakyTransport(reads=Levelless), concurrency=1)
    assert handled[0] == "low"


async def test_a_handler_runs_before_more_is_asked_for() -> None:
    log: list[str] = []

    class Noting(FlakyReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            log.append("asked")
            return await super().receive(limit=limit, start=start, wait=wait)

    async with Bus("memory://", agent="dev", plugins=[Serving(FlakyTransport(reads=Noting))]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            log.append("handled")

        await bus.send("dev", "x")
        async with running(bus):
            await until(lambda: log.count("asked") == 2)
    assert log[:3] == ["asked", "handled", "asked"]


async def others_runs_while_handlers_block(monkeypatch: pytest.MonkeyPatch) -> int:
    """Handle ten messages, each longer than a turn and without suspending; return how often another task ran."""
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: 100)
    handled = others = 0

    async def another() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 0 < handled < 10

    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal handled
            time.sleep(0.003)  # noqa: ASYNC251 - a handler that keeps the loop to itself
            handled += 1

        for number in range(10):
            await bus.send("dev", number)
        task = asyncio.create_task(another())
        async with running(bus, concurrency=1):
            await until(lambda: handled == 10)
        task.cancel()
    return others


async def test_others_run_between_handlers_that_keep_the_loop_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await others_runs_while_handlers_block(monkeypatch) >= 9


async def test_without_an_end_to_its_turn_a_worker_would_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur."""
    monkeypatch.setattr("hivebus.consumer.TURN", 1e9)

    assert await others_runs_while_handlers_block(monkeypatch) == 0
