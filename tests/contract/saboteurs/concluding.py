"""Break what is kept with an ack."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.transport import Ack, Settled, Settlement

from .honest import Honest, HonestReader, sabotages


@sabotages("an_outcome_is_kept_with_its_ack")
class DropsOutcomes(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            return settlement._replace(result=None) if isinstance(settlement, Ack) else settlement


@sabotages("an_outcome_is_kept_after_the_lease_is_lost", "an_outcome_reaches_a_message_that_waits")
class DropsLateOutcomes(Honest):
    class Reads(HonestReader):
        def settlement(self, settlement: Settlement) -> Settlement:
            held = {token for consumer in self.queue._consumers.values() for token in consumer.held}
            late = isinstance(settlement, Ack) and settlement.token not in held
            return settlement._replace(result=None) if late else settlement


@sabotages("only_an_outcome_settles_what_was_lost")
class TakesEveryAckForAnOutcome(Honest):
    class Reads(HonestReader):
        async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
            return await self.inner.settle(
                [each._replace(result=b"1") if isinstance(each, Ack) else each for each in batch]
            )
