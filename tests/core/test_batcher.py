"""The batcher: gathers without a timer, and answers nobody before the server did."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any

import pytest

from hivebus.batcher import Batcher


class Gate:
    """A server that answers a batch when it is let through.

    Attributes:
        batches: what arrived, in order; answered: which of it was let through.
    """

    def __init__(self, *, open_: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.answered: list[Any] = []
        self._open = open_
        self._passes: asyncio.Queue[None] = asyncio.Queue()

    async def flush(self, batch: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(batch))
        if not self._open:
            await self._passes.get()
        self.answered += batch
        return [f"answer {item}" for item in batch]

    def let_one_through(self) -> None:
        self._passes.put_nowait(None)


async def settle_down() -> None:
    """Give everything that can run its turn."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_lone_item_leaves_at_once() -> None:
    gate = Gate()
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=100)
    answer = batcher.submit(1)
    await settle_down()
    assert gate.batches == [[1]]
    gate.let_one_through()
    assert await answer == "answer 1"


async def test_what_is_submitted_in_one_turn_leaves_together() -> None:
    gate = Gate(open_=True)
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=100)
    assert await asyncio.gather(*(batcher.submit(number) for number in range(5))) == [
        f"answer {number}" for number in range(5)
    ]
    assert gate.batches == [[0, 1, 2, 3, 4]]


async def test_what_waits_while_a_batch_is_in_flight_leaves_together_after_it() -> None:
    gate = Gate()
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=100)
    batcher.submit(0)
    await settle_down()
    for number in (1, 2, 3):
        batcher.submit(number)
        await settle_down()
    assert gate.batches == [[0]]
    gate.let_one_through()
    await settle_down()
    assert gate.batches == [[0], [1, 2, 3]]
    batcher.submit(4)
    gate.let_one_through()
    gate.let_one_through()
    await batcher.drain()
    assert gate.batches == [[0], [1, 2, 3], [4]]


async def test_no_batch_has_more_than_the_limit_and_the_order_is_kept() -> None:
    gate = Gate(open_=True)
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=4)
    await asyncio.gather(*(batcher.submit(number) for number in range(10)))
    assert gate.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_lanes_do_not_wait_for_each_other() -> None:
    passes: dict[Hashable, asyncio.Event] = {"slow": asyncio.Event(), "fast": asyncio.Event()}
    batches: list[list[tuple[str, int]]] = []

    async def flush(batch: Sequence[tuple[str, int]]) -> Sequence[int]:
        batches.append(list(batch))
        await passes[batch[0][0]].wait()
        return [number for _, number in batch]

    batcher: Batcher[tuple[str, int], int] = Batcher(flush, limit=10, lane=lambda item: item[0])
    slow = [batcher.submit(("slow", 1))]
    fast = [batcher.submit(("fast", 1))]
    await settle_down()
    slow.append(batcher.submit(("slow", 2)))
    fast.append(batcher.submit(("fast", 2)))
    passes["fast"].set()
    assert await asyncio.gather(*fast) == [1, 2]
    assert not any(answer.done() for answer in slow)
    passes["slow"].set()
    assert await asyncio.gather(*slow) == [1, 2]
    assert sorted(batches) == [[("fast", 1)], [("fast", 2)], [("slow", 1)], [("slow", 2)]]


async def test_one_batch_of_a_lane_is_in_flight_at_a_time() -> None:
    in_flight = most = 0

    async def flush(batch: Sequence[int]) -> Sequence[int]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return batch

    batcher: Batcher[int, int] = Batcher(flush, limit=3)

    async def sender(number: int) -> None:
        for _ in range(20):
            assert await batcher.submit(number) == number

    await asyncio.gather(*(sender(number) for number in range(10)))
    assert most == 1


# --- Nobody is answered before the server was ------------------------------------------------------------


async def nobody_is_answered_before_the_server_was(batcher: Batcher[int, str], gate: Gate) -> None:
    answers = [batcher.submit(number) for number in range(3)]
    await settle_down()
    assert gate.batches == [[0, 1, 2]]
    assert not any(answer.done() for answer in answers)
    gate.let_one_through()
    await asyncio.gather(*answers)
    assert gate.answered == [0, 1, 2]


async def test_nobody_is_answered_before_the_server_was() -> None:
    gate = Gate()
    await nobody_is_answered_before_the_server_was(Batcher(gate.flush, limit=10), gate)


async def test_an_answer_before_its_time_would_be_seen() -> None:
    """Saboteur: a batcher that answers when the batch has left."""

    class Hasty(Batcher[int, str]):
        async def _carry(self, batch: Sequence[tuple[int, asyncio.Future[str] | None]]) -> None:
            for item, answer in batch:
                if answer is not None:
                    answer.set_result(f"answer {item}")
            await super()._carry(batch)

    gate = Gate()
    hasty = Hasty(gate.flush, limit=10)
    with pytest.raises(AssertionError):
        await nobody_is_answered_before_the_server_was(hasty, gate)
    gate.let_one_through()
    await hasty.drain()


# --- When something goes wrong ---------------------------------------------------------------------------


async def test_an_item_fails_alone() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int | Exception]:
        return [ValueError(str(item)) if item % 2 else item for item in batch]

    batcher: Batcher[int, int] = Batcher(flush, limit=10)
    results = await asyncio.gather(*(batcher.submit(number) for number in range(4)), return_exceptions=True)
    assert [str(result) for result in results] == ["0", "1", "2", "3"]
    assert [type(result) for result in results] == [int, ValueError, int, ValueError]


async def test_a_batch_that_raises_is_told_to_all_in_it_and_the_next_one_is_sent() -> None:
    gate = Gate(open_=True)

    async def flush(batch: Sequence[int]) -> Sequence[str]:
        if 0 in batch:
            raise OSError("lost")
        return [*(await gate.flush(batch))]

    batcher: Batcher[int, str] = Batcher(flush, limit=2)
    results = await asyncio.gather(*(batcher.submit(number) for number in range(4)), return_exceptions=True)
    assert [str(result) for result in results] == ["lost", "lost", "answer 2", "answer 3"]


@pytest.mark.parametrize("results", [[], ["one"], ["one", "two", "three"]])
async def test_a_server_that_answers_too_little_or_too_much_leaves_nobody_waiting(results: list[str]) -> None:
    async def flush(batch: Sequence[int]) -> Sequence[str]:
        return results

    batcher: Batcher[int, str] = Batcher(flush, limit=10)
    answers = [batcher.submit(1), batcher.submit(2)]
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


async def test_a_sender_that_is_cancelled_takes_nothing_back_and_harms_nobody() -> None:
    gate = Gate()
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=10)
    first, second = batcher.submit(1), batcher.submit(2)
    first.cancel()
    await settle_down()
    gate.let_one_through()
    assert await second == "answer 2"
    assert gate.answered == [1, 2]


async def test_a_batch_that_is_cancelled_is_told_to_all_in_it_and_the_lane_goes_on() -> None:
    gate = Gate()
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=2)
    batcher.put(0)
    lost, later = batcher.submit(1), batcher.submit(2)
    await settle_down()
    (task,) = batcher._tasks
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lost
    await settle_down()
    gate.let_one_through()
    assert await later == "answer 2"
    await batcher.drain()
    assert gate.batches == [[0, 1], [2]]


# --- put and drain ---------------------------------------------------------------------------------------


async def test_what_is_put_leaves_in_order_with_what_is_submitted() -> None:
    gate = Gate(open_=True)
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=10)
    batcher.put(1)
    answer = batcher.submit(2)
    batcher.put(3)
    assert await answer == "answer 2"
    assert gate.batches == [[1, 2, 3]]


async def test_what_is_put_may_fail_without_a_sound() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[Any]:
        return [ValueError("nobody asks") for _ in batch]

    batcher: Batcher[int, Any] = Batcher(flush, limit=10)
    batcher.put(1)
    await batcher.drain()


async def test_drain_returns_when_everything_is_answered() -> None:
    gate = Gate()
    batcher: Batcher[int, str] = Batcher(gate.flush, limit=1)
    batcher.put(1)
    batcher.put(2)
    draining = asyncio.create_task(batcher.drain())
    await settle_down()
    gate.let_one_through()
    await settle_down()
    assert not draining.done()
    gate.let_one_through()
    await draining
    assert gate.answered == [1, 2]


async def test_drain_of_an_idle_batcher_returns_at_once() -> None:
    await Batcher(Gate().flush, limit=1).drain()
