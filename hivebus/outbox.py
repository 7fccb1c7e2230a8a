"""Sends what is submitted, in batches, and again with the same ids while the outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from time import monotonic

from hivebus.batcher import Batcher
from hivebus.errors import HivebusError, QueueFull, Unknown, is_passing
from hivebus.transport import Outgoing, Published, Publisher

GIVE_UP_AFTER = 10.0
"""Seconds for which a batch is sent again before its senders are told."""
LATE_ATTEMPT = 0.5
"""Seconds that those get who waited behind a batch until it was given up."""
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
        self._late: dict[Hashable, int] = {}
        self._batcher: Batcher[Outgoing, Published] = Batcher(self._flush, limit=limit, lane=transport.lane)

    def send(self, item: Outgoing) -> Awaitable[Published]:
        """Return what the transport proves, once awaited, or raise what became of it."""
        if self._wait_when_full:
            return self._send_patiently(item)
        return self._batcher.submit(item)

    def send_impatiently(self, item: Outgoing) -> Awaitable[Published]:
        """Return what `send` returns, and never wait for room."""
        return self._batcher.submit(item)

    async def drain(self) -> None:
        """Return when everything that was submitted is answered."""
        await self._batcher.drain()

    async def _send_patiently(self, item: Outgoing) -> Published:
        began = monotonic()
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._batcher.submit(item)
            except QueueFull as full:
                if monotonic() + pause > began + WAIT_WHEN_FULL:
                    raise full.after(monotonic() - began) from full
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _flush(self, batch: Sequence[Outgoing]) -> Sequence[Published | Exception]:
        began = monotonic()
        late = self._take_late(batch) if self._late else 0
        if late:
            results = await self._publish_once_more(batch)
        else:
            results = list(await self._publish(batch))
        pause = FIRST_PAUSE
        while (open_ := _retryable(results, late)) and monotonic() + pause < began + GIVE_UP_AFTER:
            _log.warning("sending again", extra={"count": len(open_), "error": str(results[open_[0]])})
            # Full jitter: senders that lost the same server do not come back together.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(LONGEST_PAUSE, pause * 2)
            # An attempt that takes longer than its senders wait is given up; what it was about is still not known.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._bound(began + GIVE_UP_AFTER - monotonic())):
                    again = await self._publish([batch[index] for index in open_])
                    for index, result in zip(open_, again, strict=True):
                        results[index] = result
        if open_ or late:
            lane = self._transport.lane(batch[0])
            self._late[lane] = self._batcher.waiting(lane)
        if self._told is not None:
            self._told(batch, results, monotonic() - began)
        return results

    def _bound(self, seconds: float) -> float | None:
        # Whoever writes into a terminal is not interrupted half-way: it keeps a time of its own.
        return seconds if self._transport.abandonable else None

    def _take_late(self, batch: Sequence[Outgoing]) -> int:
        """Return how many items waited behind a batch that was given up; they are the first ones."""
        lane = self._transport.lane(batch[0])
        waiting = self._late.pop(lane, 0)
        late = min(len(batch), waiting)
        if waiting > late:
            self._late[lane] = waiting - late
        return late

    async def _publish_once_more(self, batch: Sequence[Outgoing]) -> list[Published | HivebusError]:
        """Publish for who has waited long enough: one short attempt."""
        try:
            async with asyncio.timeout(self._bound(LATE_ATTEMPT)):
                return list(await self._publish(batch))
        except TimeoutError:
            away = Unknown("the server does not answer", cause="nor did it before", hint="send again with the same id")
            return [away] * len(batch)

    async def _publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        try:
            return await self._transport.publish(batch)
        except HivebusError as error:
            return [error] * len(batch)


def _retryable(results: Sequence[Published | HivebusError], late: int) -> list[int]:
    return [
        index
        for index, each in enumerate(results)
        if index >= late and isinstance(each, HivebusError) and is_passing(each)
    ]
