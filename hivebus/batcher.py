"""Gathers single items into batches without a timer.

What is submitted while its lane is busy leaves together as soon as a batch is answered. An idle lane
sends at once, so a lone sender waits for nobody; a busy one fills its batches by itself. Nobody is
answered before the server was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Waiting: TypeAlias = tuple[Item, asyncio.Future[Result] | None]


class Batcher(Generic[Item, Result]):
    """A queue per lane, with one batch of it in flight.

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
        self._lanes: dict[Hashable, deque[_Waiting[Item, Result]]] = {}
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
        waiting = self._lanes.get(key)
        if waiting is None:
            waiting = self._open(key)
        waiting.append((item, answer))

    def waiting(self, lane: Hashable) -> int:
        """Return how many items of a lane have not left yet."""
        return len(self._lanes.get(lane, ()))

    async def drain(self) -> None:
        """Return when everything that was submitted is answered."""
        await self._idle.wait()

    def _open(self, key: Hashable) -> deque[_Waiting[Item, Result]]:
        waiting = self._lanes[key] = deque()
        self._idle.clear()
        self._begin(key, waiting)
        return waiting

    def _begin(self, key: Hashable, waiting: deque[_Waiting[Item, Result]]) -> None:
        # It begins in the next turn of the loop: all that is submitted in this one goes along.
        task = asyncio.get_running_loop().create_task(self._empty(key, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _empty(self, key: Hashable, waiting: deque[_Waiting[Item, Result]]) -> None:
        try:
            while waiting:
                await self._carry([waiting.popleft() for _ in range(min(len(waiting), self._limit))])
                # After those who have just been answered: what they send next goes along.
                await asyncio.sleep(0)
        finally:
            if waiting:
                # A batch was cancelled, and the others have nothing to do with it.
                self._begin(key, waiting)
            else:
                self._close(key)

    def _close(self, key: Hashable) -> None:
        del self._lanes[key]
        if not self._lanes:
            self._idle.set()

    async def _carry(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            _answer(answered)


def _answer(
    answered: Sequence[tuple[_Waiting[Item, Result], Result | Exception]],
) -> None:
    for (_, answer), result in answered:
        if answer is None or answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _fail(batch: Sequence[_Waiting[Item, Result]], error: BaseException) -> None:
    for _, answer in batch:
        if answer is None or answer.done():
            continue
        if isinstance(error, Exception):
            answer.set_exception(error)
        else:
            answer.cancel()
