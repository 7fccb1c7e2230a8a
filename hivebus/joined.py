"""Several inboxes as one: what an agent reads that is a member of pools. With a single inbox there is none of this.

A receive looks at all inboxes that are awake, and then takes from each as much as the levels say. An inbox where
nothing waits is left asleep: its glance goes on and takes nothing, and it is awake again when that has ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hivebus.errors import HivebusError
from hivebus.transport import Delivery, Extend, Reader, Settled, Settlement, Start

ASLEEP = 5.0
"""Seconds that one glance at an inbox where nothing waits may last."""
MISSES = 5
"""How often a glance may be wrong, with no sleep in between, before it is not believed at once."""
A_NAP = 0.001
NEW = 0.02
"""Seconds for which it is known what waits there, when such a glance has ended."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
LEVELS = (5, 4, 3, 2, 1)
_SEPARATOR = "|"
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Part:
    """One inbox: its glance while nothing waits there, when that ended, and until when it rests after an error."""

    name: str
    mark: str
    reader: Reader
    asleep: asyncio.Task[Sequence[int]] | None = None
    slept_at: float = 0.0
    woke_at: float = 0.0
    resting_until: float = 0.0
    pause: float = FIRST_PAUSE
    misses: int = 0


class JoinedReader(Reader):
    """Reads several inboxes as one consumer of each.

    The highest level is handed out first, whichever inbox it is in; inboxes with the same level take turns. A suspect
    message runs alone in the process: with one waiting anywhere, nothing is taken until nothing runs.

    Args:
        readers: the open inboxes by name.
        lease: seconds; each inbox where something is held is asked three times as often.
    """

    def __init__(self, readers: dict[str, Reader], *, lease: float) -> None:
        self._parts = [_Part(name, f"{at}{_SEPARATOR}", reader) for at, (name, reader) in enumerate(readers.items())]
        self._lease = lease
        self._started: set[str] = set()
        self._alone: Delivery | None = None
        self._unfinished: tuple[Sequence[Settlement], list[Settled | None]] | None = None
        self._alarm = asyncio.Event()
        self._woken = False
        self._closed = False
        self._turn = 0

    def inbox_of(self, token: str) -> str:
        """Return the name of the inbox that a delivery came from."""
        return self._part_of(token).name

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        """Return deliveries of all inboxes, highest level first, waiting for the first at all of them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not self._closed:
            self._alarm.clear()
            deliveries = await self._look_and_take(limit, start)
            if deliveries:
                return deliveries
            left = deadline - loop.time()
            if left <= 0 or self._woken:
                break
            await self._sleep(min(left, self._lease / 3))
        self._woken = False
        return []

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        """Settle each where it came from. When one inbox fails, the answers of the others are kept for the next try."""
        tried, results = self._unfinished or (None, [])
        if tried is not batch:
            results = [None] * len(batch)
        by_part: dict[str, list[int]] = {}
        for at, each in enumerate(batch):
            if results[at] is None:
                by_part.setdefault(self._part_of(each.token).mark, []).append(at)
        self._unfinished = (batch, results)
        outcomes = await asyncio.gather(
            *(self._settle(self._part_of(mark), batch, places, results) for mark, places in by_part.items()),
            return_exceptions=True,
        )
        for error in outcomes:
            if isinstance(error, BaseException):
                raise error
        self._unfinished = None
        return [result for result in results if result is not None]

    def holds(self, token: str) -> bool:
        """Ask the reader that it came from."""
        part = self._part_of(token)
        return part.reader.holds(token.removeprefix(part.mark))

    def wake(self) -> None:
        """Make a waiting `receive` return."""
        self._woken = True
        self._alarm.set()
        for part in self._parts:
            part.reader.wake()

    async def close(self) -> None:
        """Close every inbox."""
        if self._closed:
            return
        self._closed = True
        self.wake()
        await asyncio.gather(*(part.reader.close() for part in self._parts))
        glances = [part.asleep for part in self._parts if part.asleep is not None]
        await asyncio.gather(*glances, return_exceptions=True)

    # --- looking -----------------------------------------------------------------------------

    async def _look_and_take(self, limit: int, start: int) -> Sequence[Delivery]:
        if self._alone is not None and not self._started:
            return self._hand_over_alone(self._alone)
        seen = await self._look(limit)
        suspects = [part for part, counts in seen if counts[0]]
        if self._alone is not None or (suspects and self._started):
            # Something has to run alone. Looking has renewed the leases; settling the last that runs rings.
            return []
        if suspects:
            return await self._take({suspects[0].mark: 1}, start)
        self._fall_asleep([part for part, counts in seen if not any(counts)], limit)
        shares = self._shares(seen, limit)
        return await self._take(shares, start) if shares else []

    async def _look(self, limit: int) -> list[tuple[_Part, Sequence[int]]]:
        """Return what waits in each inbox that is awake; raises when none of them can be read."""
        now = asyncio.get_running_loop().time()
        awake = [part for part in self._parts if self._is_awake(part, now)]
        answers = await asyncio.gather(*(self._glance(part, limit) for part in awake), return_exceptions=True)
        seen: list[tuple[_Part, Sequence[int]]] = []
        errors: list[HivebusError] = []
        for part, answer in zip(awake, answers, strict=True):
            if isinstance(answer, HivebusError):
                errors.append(answer)
                self._let_rest(part, answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                part.pause = FIRST_PAUSE
                seen.append((part, answer))
        if errors and len(errors) == len(self._parts):
            raise errors[0]
        return seen

    async def _glance(self, part: _Part, limit: int) -> Sequence[int]:
        over, part.asleep = part.asleep, None
        # What it has just woken up for is as good as a new look.
        is_new = asyncio.get_running_loop().time() - part.woke_at < NEW
        if over is not None and (is_new or over.exception()) and any(over.result()):
            return over.result()
        return await part.reader.glance(limit=limit, wait=0)

    def _is_awake(self, part: _Part, now: float) -> bool:
        return part.resting_until <= now and (part.asleep is None or part.asleep.done())

    def _let_rest(self, part: _Part, error: HivebusError) -> None:
        # Full jitter: consumers that lost the same server do not come back together.
        seconds = random.uniform(0, part.pause)
        part.pause = min(LONGEST_PAUSE, part.pause * 2)
        loop = asyncio.get_running_loop()
        part.resting_until = loop.time() + seconds
        loop.call_later(seconds, self._alarm.set)
        _log.warning(
            "an inbox cannot be read, trying again",
            extra={"inbox": part.name, "error": str(error), "seconds": seconds},
        )

    def _fall_asleep(self, parts: Sequence[_Part], limit: int) -> None:
        for part in parts:
            part.slept_at = asyncio.get_running_loop().time()
            part.asleep = asyncio.create_task(part.reader.glance(limit=limit, wait=ASLEEP))
            part.asleep.add_done_callback(partial(self._wake_up, part))

    def _wake_up(self, part: _Part, _glance: object) -> None:
        part.woke_at = asyncio.get_running_loop().time()
        if part.woke_at - part.slept_at > A_NAP:
            part.misses = 0
        self._alarm.set()

    async def _sleep(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self._alarm.set)
        await self._alarm.wait()
        timer.cancel()

    # --- taking ------------------------------------------------------------------------------

    def _shares(self, seen: Sequence[tuple[_Part, Sequence[int]]], limit: int) -> dict[str, int]:
        """Return how many to take from each inbox, so that nothing waits anywhere that stands above what is taken."""
        shares: dict[str, int] = {}
        self._turn += 1
        turned = [seen[(at + self._turn) % len(seen)] for at in range(len(seen))]
        for level in LEVELS:
            waiting = {part.mark: counts[level] for part, counts in turned if counts[level]}
            while waiting and limit > 0:
                each = max(1, limit // len(waiting))
                for mark in list(waiting):
                    take = min(waiting[mark], each, limit)
                    shares[mark] = shares.get(mark, 0) + take
                    limit -= take
                    waiting[mark] -= take
                waiting = {mark: count for mark, count in waiting.items() if count}
        return {mark: share for mark, share in shares.items() if share}

    async def _take(self, shares: dict[str, int], start: int) -> Sequence[Delivery]:
        calls = []
        for mark, share in shares.items():
            calls.append(self._receive(self._part_of(mark), share, min(start, share)))
            start -= min(start, share)
        batches = await asyncio.gather(*calls)
        taken = [delivery for batch in batches for delivery in batch if not delivery.alone]
        for alone in (delivery for batch in batches for delivery in batch if delivery.alone):
            # It became suspect after the look, and its inbox does not know that something runs for another one.
            self._alone = alone
        if self._alone is not None and not self._started:
            return self._hand_over_alone(self._alone)
        if not taken:
            self._missed([self._part_of(mark) for mark in shares], limit=sum(shares.values()))
        taken.sort(key=lambda delivery: -delivery.priority)
        return taken

    async def _receive(self, part: _Part, limit: int, start: int) -> Sequence[Delivery]:
        try:
            batch = await part.reader.receive(limit=limit, start=start, wait=0)
        except HivebusError as error:
            self._let_rest(part, error)
            return []
        part.misses = 0 if batch else part.misses
        marked = [delivery._replace(token=part.mark + delivery.token) for delivery in batch]
        self._started.update(delivery.token for delivery in marked[:start] if not delivery.alone)
        return marked

    def _missed(self, parts: Sequence[_Part], *, limit: int) -> None:
        """Somebody else was faster, or its time was over: wait for the next one where that was."""
        for part in parts:
            part.misses += 1
        if all(part.misses < MISSES for part in parts):
            now = asyncio.get_running_loop().time()
            self._fall_asleep([part for part in parts if self._is_awake(part, now)], limit)
            return
        # A glance sees what is not handed out: look again, but not at full speed.
        for part in parts:
            part.misses = 0
        asyncio.get_running_loop().call_later(FIRST_PAUSE, self._alarm.set)

    def _hand_over_alone(self, delivery: Delivery) -> Sequence[Delivery]:
        self._alone = None
        self._started.add(delivery.token)
        return [delivery]

    # --- settling ----------------------------------------------------------------------------

    async def _settle(
        self, part: _Part, batch: Sequence[Settlement], places: Sequence[int], results: list[Settled | None]
    ) -> None:
        bare = [batch[at]._replace(token=batch[at].token.removeprefix(part.mark)) for at in places]
        answers = await part.reader.settle(bare)
        for at, answer in zip(places, answers, strict=True):
            results[at], each = answer, batch[at]
            if isinstance(each, Start) and answer == "done":
                self._started.add(each.token)
            elif not (isinstance(each, Extend) and answer == "done"):
                self._started.discard(each.token)
        if not self._started:
            self._alarm.set()

    def _part_of(self, token: str) -> _Part:
        return self._parts[int(token.partition(_SEPARATOR)[0])]
