"""Break what happens to the messages of a consumer that is slow, stops, is paused or dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hivebus.transport import (
    Ack,
    DeadLetter,
    Delivery,
    Extend,
    Inbox,
    Reader,
    Retry,
    Settled,
    Settlement,
    Start,
)

from .honest import Honest, HonestReader, sabotages


@sabotages("abandoned_work_is_taken_over")
class WaitsForTheDead(Honest):
    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        return await super().open(inbox, consumer=consumer, lease=3600)


@sabotages("extending_keeps_a_slow_handlers_message")
class SwallowsExtensions(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement | None:
            return None if isinstance(settlement, Extend) else settlement


@sabotages("receiving_renews_the_lease")
class ReceivesWithoutRenewing(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            until = self.inner._consumer.until
            found = await self.inner.receive(limit=limit, start=start, wait=wait)
            self.inner._consumer.until = until
            return found


class UnfencedReader(HonestReader):
    """Lets anybody settle for the present owner."""

    unfenced: tuple[type, ...] = (Ack, Retry, DeadLetter, Start)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        return [self._settle(each) for each in batch]

    def _settle(self, settlement: Settlement) -> Settled:
        now = asyncio.get_running_loop().time()
        stored = self.stored(settlement.token)
        if stored.consumer is None or stored.token is None or not isinstance(settlement, self.unfenced):
            return self.queue.settle(self.inner._consumer, settlement, now)
        return self.queue.settle(stored.consumer, settlement._replace(token=stored.token), now)


@sabotages("a_stale_owner_cannot_settle")
class LetsTheStaleSettle(Honest):
    Reads = UnfencedReader


@sabotages("a_stale_owner_cannot_extend")
class LetsTheStaleExtend(Honest):
    class Reads(UnfencedReader):
        unfenced = (Extend,)


@sabotages("a_stale_owner_does_not_claim_to_hold_it")
class IsAlwaysSure(Honest):
    class Reads(HonestReader):
        def holds(self, token: str) -> bool:
            return True


@sabotages("started_work_comes_back_alone")
class StartsNothing(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return await self.inner.receive(limit=limit, start=0, wait=wait)


@sabotages("a_mark_makes_a_message_started")
class SwallowsStarts(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement | None:
            return None if isinstance(settlement, Start) else settlement


@sabotages("a_busy_reader_is_handed_no_suspect")
class TakesEverybodyForIdle(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            started = [stored for stored in self.inner._consumer.held.values() if stored.started]
            for stored in started:
                stored.started = False
            found = await self.inner.receive(limit=limit, start=start, wait=wait)
            for stored in started:
                stored.started = True
            return found


@sabotages("a_retried_suspect_is_none_any_more")
class SuspectsForEver(Honest):
    class Reads(HonestReader):
        async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
            suspects = [stored for each in batch if (stored := self.stored(each.token)).suspect]
            answers = await self.inner.settle(batch)
            for stored in suspects:
                stored.suspect = True
            return answers


@sabotages("fetched_work_comes_back_in_bulk_and_uncounted")
class TakesFetchedForStarted(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return await self.inner.receive(limit=limit, start=limit, wait=wait)


@sabotages("a_crash_counts_only_for_what_ran_alone")
class BlamesEverybody(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            found = await self.inner.receive(limit=limit, start=start, wait=wait)
            return [each._replace(crashes=each.attempt - 1) for each in found]


@sabotages("closing_hands_back_what_was_not_started")
class LeavesWithoutAWord(Honest):
    class Reads(HonestReader):
        async def close(self) -> None:
            pass


@sabotages("closing_leaves_started_work_to_its_lease")
class HandsBackWhatRuns(Honest):
    class Reads(HonestReader):
        async def close(self) -> None:
            for stored in self.inner._consumer.held.values():
                stored.started = False
            await self.inner.close()


@sabotages("a_later_process_settles_in_the_name_of_a_consumer")
class ClosesItsReaders(Honest):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Reader] = []

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        self.opened.append(await super().open(inbox, consumer=consumer, lease=lease))
        return self.opened[-1]

    async def close(self) -> None:
        for reader in self.opened:
            await reader.close()
