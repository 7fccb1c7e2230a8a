"""Gathers single items into batches without a timer.

What is submitted while its lane is busy leaves together as soon as a batch is answered. An idle lane
sends at once, so a lone sender waits for nobody; a busy one fills its batches by itself. Nobody is
answered before the server was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Batch: TypeAlias = list[tuple[Item, asyncio.Future[Result] | None]]
WORTH_SPLITTING = 16
"""Items in a batch below which a second one under way costs more than the waiting that it saves."""


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    """What waits, how many batches are under way, and whether the next one is about to leave."""

    waiting: deque[tuple[Item, asyncio.Future[Result] | None]] = field(default_factory=deque)
    under_way: int = 0
    leaving: bool = False


class Batcher(Generic[Item, Result]):
    """A queue per lane, with a fixed number of batches under way.

    Args:
        flush: is given a batch, returns one result or exception per item, in order.
        limit: the most items in a batch.
        lane: what an item must queue behind; one lane for all by default.
        under_way: how many batches of a lane may be under way; with more than one, *flush* must carry
            them out in the order of its calls.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        limit: int,
        lane: Callable[[Item], Hashable] = lambda item: None,
        under_way: int = 1,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._lane_of = lane
        self._under_way = under_way
        self._lanes: dict[Hashable, _Lane[Item, Result]] = {}
        # The loop alone does not keep a task alive.
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item; the future holds its result once its batch is answered.

        Cancelling the future does not take the item back: it may have left already.
        """
        if self._loop is None:
            # Asked for once: on Python 3.11 every question is a system call.
            self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = self._loop.create_future()
        self.put(item, answer)
        return answer

    def put(self, item: Item, answer: asyncio.Future[Result] | None = None) -> None:
        """Queue an item whose result goes into *answer*, or to nobody; *flush* sees it all the same."""
        key = self._lane_of(item)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            self._idle.clear()
        lane.waiting.append((item, answer))
        if lane.leaving or lane.under_way >= self._under_way:
            return
        if lane.under_way == 0:
            # A task begins in the next turn, as a callback does that would make one: a lone sender saves a turn.
            lane.leaving = True
            self._begin(self._set_out(key, lane))
        else:
            self._leave_soon(key, lane)

    def waiting(self, lane: Hashable) -> int:
        """Return how many items of a lane have not left yet."""
        known = self._lanes.get(lane)
        return len(known.waiting) if known is not None else 0

    async def drain(self) -> None:
        """Return when everything that was submitted is answered."""
        await self._idle.wait()

    async def _set_out(self, key: Hashable, lane: _Lane[Item, Result]) -> None:
        batch = self._next_batch(lane)
        self._leave(key, lane)
        await self._carry(key, lane, batch)

    def _leave_soon(self, key: Hashable, lane: _Lane[Item, Result]) -> None:
        # In the next turn of the loop: all that is submitted in this one goes along.
        lane.leaving = True
        asyncio.get_running_loop().call_soon(self._leave, key, lane)

    def _leave(self, key: Hashable, lane: _Lane[Item, Result]) -> None:
        lane.leaving = False
        while lane.waiting and lane.under_way < self._under_way:
            self._begin(self._carry(key, lane, self._next_batch(lane)))
        if not lane.under_way and not lane.waiting and self._lanes.get(key) is lane:
            del self._lanes[key]
            if not self._lanes:
                self._idle.set()

    def _next_batch(self, lane: _Lane[Item, Result]) -> _Batch[Item, Result]:
        size = min(len(lane.waiting), self._limit)
        if lane.under_way == 0 and self._under_way > 1 and size >= 2 * WORTH_SPLITTING:
            # Two halves: while the server has one, the senders of the other are at work.
            size //= 2
        lane.under_way += 1
        return [lane.waiting.popleft() for _ in range(size)]

    def _begin(self, carrying: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, key: Hashable, lane: _Lane[Item, Result], batch: _Batch[Item, Result]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            _answer(answered)
        finally:
            lane.under_way -= 1
            if not lane.leaving:
                # After those who have just been answered: what they send next goes along.
                self._leave_soon(key, lane)


def _answer(
    answered: Sequence[tuple[tuple[Item, asyncio.Future[Result] | None], Result | Exception]],
) -> None:
    for (_, answer), result in answered:
        if answer is None or answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _fail(batch: _Batch[Item, Result], error: BaseException) -> None:
    for _, answer in batch:
        if answer is None or answer.done():
            continue
        if isinstance(error, Exception):
            answer.set_exception(error)
        else:
            answer.cancel()
