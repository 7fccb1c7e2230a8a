"""Deliveries one by one, for callers that settle themselves: what `bus.consume` iterates."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from hivebus.codec import Codec
from hivebus.consumer import CRASH_LOOP, Work
from hivebus.delivery import Handed
from hivebus.errors import HivebusError, InvalidMessage
from hivebus.hops import HOP_LIMIT, is_too_far
from hivebus.pace import Pace
from hivebus.settler import FIRST_PAUSE, LONGEST_PAUSE, Settler
from hivebus.transport import DeadLetter, Delivery, Reader, Retry, Settled, Settlement

WAIT = 5.0
COME_AGAIN = 1.0
"""Seconds after which a message of another type is handed out again."""
_log = logging.getLogger(__name__)


class Inflow:
    """An async iterator over the inbox of one reader.

    Args:
        reader: the open inbox.
        types: only these; others are handed back uncounted.
        delivered: is told about each batch before the caller gets it.
        settled: is told about each batch of settlements with the server's answers.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        codec: Codec,
        types: Sequence[str] | None,
        lease: float,
        max_crashes: int,
        max_hops: int,
        max_batch: int,
        delivered: Callable[[Sequence[Work]], None] | None,
        settled: Callable[[Sequence[tuple[Settlement, Settled]]], None] | None,
    ) -> None:
        self._reader = reader
        self._codec = codec
        self._types = None if types is None else frozenset(types)
        self._max_crashes = max_crashes
        self._max_hops = max_hops
        self._delivered = delivered
        self._pace = Pace(concurrency=1)
        self._fetched: deque[Handed] = deque()
        self._settler = Settler(reader, lease=lease, max_batch=max_batch, settled=settled, fenced=lambda token: None)
        self._settler.start()
        self._pause = FIRST_PAUSE
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Handed:
        """Return the next delivery, waiting for as long as it takes."""
        while not self._closed:
            while not self._fetched and not self._closed:
                await self._fetch(WAIT)
            handed = await self._next()
            if handed is not None:
                return handed
        raise StopAsyncIteration

    async def first(self, *, within: float) -> Handed | None:
        """Return the next delivery, or None when nothing came within that many seconds.

        Bounded waits instead of a cancellation: a reader that is cancelled may have been handed something.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        await self._fetch(min(WAIT, within))
        handed = await self._next()
        while handed is None and not self._closed and loop.time() < deadline:
            await self._fetch(min(WAIT, deadline - loop.time()))
            handed = await self._next()
        return handed

    async def _fetch(self, wait: float) -> None:
        limit = max(1, self._pace.window() - self._settler.held)
        try:
            deliveries = await self._reader.receive(limit=limit, start=limit, wait=max(0.0, wait))
        except HivebusError as error:
            _log.warning("the inbox cannot be read, trying again", extra={"error": str(error), "seconds": self._pause})
            await asyncio.sleep(random.uniform(0, self._pause))
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            return
        self._pause = FIRST_PAUSE
        works = [work for delivery in deliveries if (work := self._take(delivery))]
        if works and self._delivered is not None:
            self._delivered(works)
        self._fetched.extend(Handed(work.message, work.delivery, self._settler) for work in works)

    async def _next(self) -> Handed | None:
        while self._fetched and not self._closed:
            handed = self._fetched[0]
            is_ours = self._reader.holds(handed.token) or await self._settler.confirm(handed.token)
            if self._closed:
                break
            self._fetched.popleft()
            self._pace.handled()
            if is_ours:
                handed.was_handed_over()
                return handed
        return None

    async def close(self) -> None:
        """Hand back what was fetched and not given out; what the caller holds is left to its lease."""
        if self._closed:
            return
        self._closed = True
        self._reader.wake()
        for handed in self._fetched:
            self._settler.put(Retry(handed.token, 0, counts=False))
        self._settler.give_up_after(LONGEST_PAUSE)
        await self._settler.close()
        await self._reader.close()

    def _take(self, delivery: Delivery) -> Work | None:
        if delivery.crashes >= self._max_crashes:
            self._settler.put(DeadLetter(delivery.token, CRASH_LOOP))
            return None
        try:
            message = self._codec.decode(delivery.data)
        except InvalidMessage as error:
            self._settler.put(DeadLetter(delivery.token, f"invalid:{error.why}"))
            return None
        if is_too_far(message, limit=self._max_hops):
            self._settler.put(DeadLetter(delivery.token, HOP_LIMIT))
            return None
        if self._types is not None and message.message_type not in self._types:
            self._settler.put(Retry(delivery.token, COME_AGAIN, counts=False))
            return None
        self._settler.hold(delivery.token)
        return Work(delivery, message)
