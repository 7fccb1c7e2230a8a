"""Sends what is submitted, in batches, and again with the same ids while the outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from time import monotonic

from hivebus.batcher import Batcher
from hivebus.errors import HivebusError, QueueFull, Unavailable, Unknown
from hivebus.transport import Outgoing, Published, Publisher

GIVE_UP_AFTER = 10.0
"""Seconds for which a batch is sent again before its senders are told."""
WAIT_WHEN_FULL = 30.0
"""Seconds for which a sender waits for room, when it asked to."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
_log = logging.getLogger(__name__)

Told = Callable[[Sequence[Outgoing], Sequence[Published | HivebusError], float], None]


class Outbox:
    """The way from a bus to its transport.

    Args:
        transport: takes batches.
        limit: the most items in a batch.
        wait_when_full: whether a full inbox makes the sender wait instead of raising at once.
        told: is given each batch, its results and the seconds that it took; None when nobody asks.
    """

    def __init__(self, transport: Publisher, *, limit: int, wait_when_full: bool, told: Told | None) -> None:
        self._transport = transport
        self._wait_when_full = wait_when_full
        self._told = told
        self._batcher: Batcher[Outgoing, Published] = Batcher(
            self._flush, limit=limit, lane=transport.lane, under_way=transport.under_way
        )

    async def send(self, item: Outgoing) -> Published:
        """Return what the transport proved, or raise what became of it."""
        if not self._wait_when_full:
            return await self._batcher.submit(item)
        deadline = monotonic() + WAIT_WHEN_FULL
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._batcher.submit(item)
            except QueueFull:
                if monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def drain(self) -> None:
        """Return when everything that was submitted is answered."""
        await self._batcher.drain()

    async def _flush(self, batch: Sequence[Outgoing]) -> Sequence[Published | Exception]:
        began = monotonic()
        results = list(await self._publish(batch))
        pause = FIRST_PAUSE
        while (open_ := _retryable(results)) and monotonic() + pause < began + GIVE_UP_AFTER:
            _log.warning("sending again", extra={"count": len(open_), "error": str(results[open_[0]])})
            # Full jitter: senders that lost the same server do not come back together.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(LONGEST_PAUSE, pause * 2)
            again = await self._publish([batch[index] for index in open_])
            for index, result in zip(open_, again, strict=True):
                results[index] = result
        if self._told is not None:
            self._told(batch, results, monotonic() - began)
        return results

    async def _publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        try:
            return await self._transport.publish(batch)
        except HivebusError as error:
            return [error] * len(batch)


def _retryable(results: Sequence[Published | HivebusError]) -> list[int]:
    return [index for index, result in enumerate(results) if _is_retryable(result)]


def _is_retryable(result: Published | HivebusError) -> bool:
    return isinstance(result, Unavailable) or (isinstance(result, Unknown) and result.repeatable)
