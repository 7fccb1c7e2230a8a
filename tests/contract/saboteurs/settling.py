"""Break what becomes of a message by ack, retry and dead letter."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.transport import (
    Ack,
    DeadLetter,
    Delivery,
    Retry,
    Settled,
    Settlement,
)

from .honest import Honest, HonestReader, sabotages


@sabotages("what_is_acked_never_comes_back")
class SwallowsAcks(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement | None:
            return None if isinstance(settlement, Ack) else settlement


@sabotages("acking_twice_is_harmless")
class SaysDoneToEverything(Honest):
    class Reads(HonestReader):
        async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
            return ["done" for _ in await self.inner.settle(batch)]


@sabotages("settlements_are_answered_in_order")
class SettlesBackwards(Honest):
    class Reads(HonestReader):
        async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
            return list(reversed(await self.inner.settle(batch)))


@sabotages("a_retry_waits_its_delay")
class RetriesAtOnce(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return settlement._replace(delay=0) if isinstance(settlement, Retry) else settlement


@sabotages("a_retry_holds_nobody_back")
class WaitsBehindARetry(Honest):
    class Reads(HonestReader):
        async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
            return [] if self.queue._due else await self.inner.receive(limit=limit, start=start, wait=wait)


@sabotages("a_retry_keeps_its_level")
class RetriesAtTheLowestLevel(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            stored = self.stored(settlement.token)
            stored.item = stored.item._replace(priority=1)
            return settlement


@sabotages("a_retry_counts_as_a_failure")
class CountsNoFailures(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return settlement._replace(counts=False) if isinstance(settlement, Retry) else settlement


@sabotages("an_uncounted_retry_is_no_failure")
class CountsEveryRetry(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return settlement._replace(counts=True) if isinstance(settlement, Retry) else settlement


@sabotages("a_dead_letter_is_not_handed_out")
class NeverGivesUp(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return Retry(settlement.token, 0) if isinstance(settlement, DeadLetter) else settlement


@sabotages("a_reply_is_sent_with_its_ack")
class LosesReplies(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return settlement._replace(reply=None) if isinstance(settlement, Ack) else settlement


@sabotages("a_refused_ack_sends_no_reply")
class RepliesWithoutAsking(Honest):
    class Reads(HonestReader):
        async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
            replies = [each.reply for each in batch if isinstance(each, Ack) and each.reply is not None]
            for reply in replies:
                self.inner._server.inbox(reply.inbox).publish(reply, 0)
            return await self.inner.settle(batch)
