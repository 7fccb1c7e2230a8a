"""Copies for the leg that does not act: written in the background, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from hivebus.errors import Refused, Unavailable, Unknown
from hivebus.transport import Outgoing, Published
from hivebus_migration.facts import Attempt
from hivebus_migration.leg import Leg
from hivebus_migration.telling import attempt

MOST = 2_000
"""Copies that may wait for a leg; those that come then are failures of that leg."""
MOST_BYTES = 64 * 1024**2
BATCH = 500
"""Copies that are handed over at once."""
MAIN_PATIENCE = 5.0
LEGACY_PATIENCE = 20.0
"""Seconds in which a leg must answer. A terminal gives up on one paste after 3 s by itself, but may first have to
wait for its turn in the window, behind other processes: whoever cuts that short takes for unknown what was never sent.
"""
END_WITHIN = 0.5
"""Seconds that a transport gets to end after it was told to."""

Told = Callable[[Sequence[Attempt]], None]


@dataclass(slots=True)
class _Lane:
    """What waits behind each other, and what was given to the transport and is not answered."""

    waiting: deque[Outgoing] = field(default_factory=deque)
    under_way: Sequence[Outgoing] = ()
    since: float = 0.0


class Copies:
    """Hands copies over one batch per lane at a time; whatever becomes of them is told, and raised to nobody.

    Args:
        leg: takes them.
        told: is given every attempt.
        patience: seconds in which the leg must answer for a batch.
        absent: the word for a leg that is not there, where it has a better one than the error's name.
    """

    def __init__(self, leg: Leg, *, told: Told, patience: float, absent: str | None = None) -> None:
        self._leg = leg
        self._told = told
        self._patience = patience
        self._absent = absent
        self._lanes: dict[Hashable, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._bytes = 0

    def put(self, item: Outgoing) -> None:
        """Queue a copy. Never waits: when there is no room, that is a failure of the leg."""
        if self._count >= MOST or self._bytes >= MOST_BYTES:
            self._tell([item], [_NotSent("queue_full")], since=monotonic())
            return
        self._count += 1
        self._bytes += len(item.data)
        key = self._leg.lane(item)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            task = asyncio.create_task(self._write(key, lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        lane.waiting.append(item)

    async def close(self, *, within: float) -> None:
        """Return when all copies are written; what is left after *within* seconds is given up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        left = list(self._lanes.values())
        self._lanes.clear()
        for lane in left:
            # What was handed over may have arrived; what still waited has not.
            self._tell(lane.under_way, [_NotAnswered("closed")] * len(lane.under_way), since=lane.since)
            self._tell(lane.waiting, [_NotSent("closed")] * len(lane.waiting), since=monotonic())
            lane.under_way = ()
            lane.waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_WITHIN)

    async def _write(self, key: Hashable, lane: _Lane) -> None:
        while lane.waiting:
            lane.under_way = [lane.waiting.popleft() for _ in range(min(len(lane.waiting), BATCH))]
            lane.since = monotonic()
            results = await self._publish(lane.under_way)
            self._tell(lane.under_way, results, since=lane.since)
            self._count -= len(lane.under_way)
            self._bytes -= sum(len(item.data) for item in lane.under_way)
            lane.under_way = ()
        if self._lanes.get(key) is lane:
            del self._lanes[key]

    async def _publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | BaseException]:
        # A task of its own: a transport that raises what it must not raise, or never answers, harms nobody here.
        writing = asyncio.ensure_future(self._leg.publish(batch))
        try:
            await asyncio.wait([writing], timeout=self._patience)
        finally:
            writing.cancel()
        if not writing.done() or writing.cancelled():
            await asyncio.wait([writing], timeout=END_WITHIN)
            return [_NotAnswered("timeout")] * len(batch)
        error = writing.exception()
        return [error] * len(batch) if error is not None else writing.result()

    def _tell(self, batch: Sequence[Outgoing], results: Sequence[Published | BaseException], *, since: float) -> None:
        if not batch:
            return
        seconds = monotonic() - since
        self._told(
            [
                attempt(
                    item,
                    result,
                    leg=self._leg.name,
                    driver=self._leg.driver,
                    seconds=seconds,
                    reason=self._word(result),
                )
                for item, result in zip(batch, results, strict=True)
            ]
        )

    def _word(self, result: Published | BaseException) -> str | None:
        return self._absent if isinstance(result, Unavailable) and not hasattr(result, "reason") else None


class _NotSent(Refused):
    """It was never handed over."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the copy was not sent: {reason}")
        self.reason = reason


class _NotAnswered(Unknown):
    """It was handed over, and nobody knows what became of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the copy was not answered: {reason}")
        self.reason = reason
