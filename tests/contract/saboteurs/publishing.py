"""Break what a publisher promises."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hivebus.errors import Unavailable
from hivebus.transport import (
    Outgoing,
    Published,
    Settlement,
    native,
)

from .honest import Honest, HonestReader, sabotages


@sabotages("connecting_tells_what_the_server_can_do")
class InventsWords(Honest):
    async def connect(self) -> Any:
        return replace(await super().connect(), order=native("mostly"))


@sabotages("every_item_of_a_batch_is_answered")
class LeavesTheLastUnanswered(Honest):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        return (await super().publish(batch))[:-1]


@sabotages("no_receipt_proves_more_than_is_declared")
class ClaimsThatAllIsAcked(Honest):
    async def connect(self) -> Any:
        return replace(await super().connect(), evidence=native("accepted"))

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        return [result._replace(evidence="acked") for result in await super().publish(batch)]


@sabotages("a_lane_is_always_the_same")
class InventsLanes(Honest):
    def lane(self, item: Outgoing) -> object:
        return object()


@sabotages("closing_twice_is_harmless")
class InsistsOnOneClose(Honest):
    async def close(self) -> None:
        if self._connected is None:
            raise Unavailable("already closed")
        await super().close()


@sabotages("answers_come_in_the_order_of_the_batch")
class AnswersBackwards(Honest):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        return list(reversed(await super().publish(batch)))


@sabotages("one_id_is_one_message")
class IgnoresIds(Honest):
    numbers = itertools.count()

    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(message_id=f"{item.message_id}.{next(self.numbers)}")


@sabotages("an_acked_id_is_still_known")
class ForgetsWhatIsSettled(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        inbox = self._server.inbox(item.inbox)
        known = inbox._known.get(item.message_id)
        if known is not None and known.is_settled:
            del inbox._known[item.message_id]
        return item


@sabotages("a_delayed_message_waits")
class IgnoresDelays(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(delay=0)

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        return [result._replace(state="scheduled") for result in await super().publish(batch)]


@sabotages("an_expired_message_is_not_handed_out")
class IgnoresTimeToLive(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(ttl=None)


@sabotages("a_retry_does_not_outlive_its_time_to_live")
class ForgetsTimeToLiveAtRetry(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            self.stored(settlement.token).expires = None
            return settlement


@sabotages("a_full_batch_arrives")
class CutsBatches(Honest):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        return [*await super().publish(batch[:100]), *[Published("stored") for _ in batch[100:]]]


@sabotages("a_message_of_full_size_arrives")
class CutsMessages(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(data=item.data[:128_000])
