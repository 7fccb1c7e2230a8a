"""When what leaves is written down and copied: in rounds, for which a sender arms one timer and not one a message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from hivebus_migration import announcing
from hivebus_migration.announcing import Announcing, Departure

from .acting import in_stage
from .house import House, outgoing, until

COUNT = 30


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def timers_of_a_busy_sender(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send message after message, with less than a few rounds in between; return how many timers senders armed."""
    armed = 0
    departs = Announcing.departs

    def counting(self: Announcing, *what: Any) -> Departure:
        nonlocal armed
        before = self._next_round
        departure = departs(self, *what)
        armed += self._next_round is not before
        return departure

    monkeypatch.setattr(Announcing, "departs", counting)
    async with house.connected() as joined:
        for _ in range(COUNT):
            await joined.publish([outgoing()])
            await asyncio.sleep(announcing.EVERY)
    assert len(house.intents()) == COUNT
    return armed


async def test_a_busy_sender_arms_one_timer_for_many_messages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await in_stage("live")
    monkeypatch.setattr(announcing, "QUIET", 1000)
    assert await timers_of_a_busy_sender(house, monkeypatch) == 1


async def test_saboteur_rounds_that_end_at_once_cost_each_message_a_timer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage("live")
    monkeypatch.setattr(announcing, "QUIET", 0)
    assert await timers_of_a_busy_sender(house, monkeypatch) > 1


async def test_when_nothing_leaves_any_more_the_rounds_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await in_stage("live")
    monkeypatch.setattr(announcing, "EVERY", 0.001)
    async with house.connected() as joined:
        for _ in range(2):
            await joined.publish([outgoing()])
            assert joined._announcing._next_round is not None
            await until(lambda: joined._announcing._next_round is None)
    assert len(house.intents()) == 2


async def test_a_round_that_fails_is_not_the_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await in_stage("live")
    monkeypatch.setattr(announcing, "EVERY", 0.001)
    async with house.connected() as joined:
        with monkeypatch.context() as broken:
            broken.setattr(Announcing, "_announce", lambda self, departures: 1 / 0)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            await joined.publish([outgoing()])
            await until(lambda: joined._announcing._next_round is None)
        later = outgoing()
        await joined.publish([later])
        await until(lambda: joined._announcing._next_round is None)
    assert later.message_id in {each.message_id for each in house.intents()}


async def test_what_waits_for_its_answer_for_long_is_copied_meanwhile(house: House) -> None:
    await in_stage("live")
    async with house.connected() as joined:
        house.main.held = asyncio.Event()
        sending = asyncio.create_task(joined.publish([outgoing()]))
        await until(lambda: bool(house.legacy.batches))
        assert not sending.done()
        house.main.held.set()
        await sending
    assert (len(house.intents()), len(house.legacy.batches)) == (1, 1)
    assert house.outcomes("memory") == [("accepted", None)]


async def announced_before_it_was_answered(house: House, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let a round come while a message waits for its answer, and tell whether that announced it."""
    await in_stage("live")
    async with house.connected() as joined:
        monkeypatch.setattr(announcing, "EVERY", 3600.0)
        house.main.held = asyncio.Event()
        sending = asyncio.create_task(joined.publish([outgoing()]))
        await house.main.entered.wait()
        joined._announcing._go_round()
        was_announced = joined._announcing._left == []
        house.main.held.set()
        await sending
        joined._announcing._go_round()
        assert not joined._announcing._left and not joined._announcing._answered
    return was_announced


async def test_what_is_answered_in_time_is_not_copied_before(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not await announced_before_it_was_answered(house, monkeypatch)


async def test_saboteur_rounds_that_wait_for_nobody_announce_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up = Announcing._catch_up
    monkeypatch.setattr(Announcing, "_catch_up", lambda self, left_before: catch_up(self, left_before=monotonic_ns()))
    assert await announced_before_it_was_answered(house, monkeypatch)
