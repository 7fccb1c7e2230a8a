"""Break what is handed out, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hivebus.transport import (
    Delivery,
    Inbox,
    Outgoing,
    Reader,
)

from .honest import Honest, HonestReader, sabotages


@sabotages("what_is_sent_arrives_byte_for_byte")
class TakesEverythingForText(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(data=item.data.decode(errors="replace").encode())


@sabotages("what_was_sent_before_the_first_open_is_handed_out")
class LosesWhatNobodyListensTo(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing | None:
        return item if item.inbox in self._server.inboxes else None


@sabotages("an_inbox_gets_its_own_messages_only")
class HasOneInboxForAll(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(inbox="all")

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        return await super().open(Inbox("all"), consumer=consumer, lease=lease)


@sabotages("a_message_goes_to_one_reader")
class StoresEverythingTwice(Honest):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        await super().publish([item._replace(message_id=f"{item.message_id}.2") for item in batch])
        return await super().publish(batch)


@sabotages("a_limit_is_kept")
class TakesMoreThanItShould(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return await self.inner.receive(limit=limit * 2, start=start, wait=wait)


@sabotages("messages_of_one_level_arrive_in_order")
class HandsOutBackwards(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return list(reversed(await self.inner.receive(limit=limit, start=start, wait=wait)))


@sabotages("the_highest_level_comes_first")
class IgnoresLevels(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(priority=1)


@sabotages("ten_emergencies_overtake_five_hundred_low")
class ReadsAhead(Honest):
    class Reads(HonestReader):
        ahead: Sequence[Delivery] = ()

        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            self.ahead = self.ahead or await self.inner.receive(limit=100, start=start, wait=wait)
            found, self.ahead = self.ahead[:limit], self.ahead[limit:]
            return found


@sabotages("a_first_delivery_is_attempt_one")
class CountsFromZero(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            found = await self.inner.receive(limit=limit, start=start, wait=wait)
            return [each._replace(attempt=each.attempt - 1) for each in found]


@sabotages("an_empty_inbox_returns_after_the_wait")
class WaitsForEver(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return await self.inner.receive(limit=limit, start=start, wait=3600)


@sabotages("a_message_reaches_a_reader_that_waits", "a_reader_that_waits_is_alive")
class SleepsThroughTheWait(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            found = await self.inner.receive(limit=limit, start=start, wait=0)
            if not found:
                await asyncio.sleep(wait)
            return found


@sabotages("waking_ends_a_wait")
class CannotBeWoken(Honest):
    class Reads(HonestReader):
        def wake(self) -> None:
            pass
