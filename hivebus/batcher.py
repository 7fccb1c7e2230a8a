"""Gathers single items into batches without a timer.

What is submitted while the previous batch of its lane is in flight leaves together as soon as that
batch is answered. An idle lane sends at once, so a lone sender waits for nobody; a busy one fills its
batches by itself. Nobody is answered before the server was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """One queue and at most one batch in flight per lane.

    Args:
        flush: is given a batch, returns one result or exception per item, in order.
        limit: the most items in a batch.
        lane: what an item must queue behind; one lane for all by default.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        limit: int,
        lane: Callable[[Item], Hashable] = lambda item: None,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._lane_of = lane
        self._lanes: dict[Hashable, deque[tuple[Item, asyncio.Future[Result] | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item; the future holds its result once its batch is answered.

        Cancelling the future does not take the item back: it may have left already.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue(item, answer)
        return answer

    def put(self, item: Item) -> None:
        """Queue an item whose result nobody waits for; *flush* sees it all the same."""
        self._queue(item, None)

    async def drain(self) -> None:
        """Return when everything that was submitted is answered."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _queue(self, item: Item, answer: asyncio.Future[Result] | None) -> None:
        lane = self._lane_of(item)
        waiting = self._lanes.get(lane)
        if waiting is None:
            waiting = self._lanes[lane] = deque()
            # A task starts in the next turn of the loop: all that is submitted in this one goes along.
            task = asyncio.get_running_loop().create_task(self._empty(lane, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        waiting.append((item, answer))

    async def _empty(self, lane: Hashable, waiting: deque[tuple[Item, asyncio.Future[Result] | None]]) -> None:
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), self._limit))]
                await self._send(batch)
        finally:
            # No await since the queue was seen empty, so nobody can have added to it.
            del self._lanes[lane]
            for _, answer in waiting:
                if answer is not None:
                    answer.cancel()

    async def _send(self, batch: list[tuple[Item, asyncio.Future[Result] | None]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except BaseException as error:
            for _, answer in batch:
                if answer is not None and not answer.done():
                    answer.cancel() if isinstance(error, asyncio.CancelledError) else answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), result in zip(batch, results, strict=True):
            if answer is None or answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
