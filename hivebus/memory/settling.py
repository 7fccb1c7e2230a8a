"""What a consumer of an inbox in memory says became of a message, and whether it still has a say."""

from __future__ import annotations

from hivebus.memory.entry import Consumer
from hivebus.memory.leases import Leases
from hivebus.transport import Ack, DeadLetter, Retry, Settled, Settlement, Start


class Settling(Leases):
    """The fates that consumers decide."""

    def settle(self, consumer: Consumer, settlement: Settlement, now: float) -> Settled:
        """Carry out one settlement if *consumer* still holds the message."""
        self.renew(consumer, now)
        self.advance(now)
        stored = consumer.held.get(settlement.token)
        if stored is None:
            if isinstance(settlement, Ack) and settlement.result is not None:
                return self._conclude(settlement, now)
            return self._refusal(settlement.token)
        if isinstance(settlement, Ack):
            stored.release()
            stored.outcome = settlement.result
            self._finish(stored, "acknowledged", now)
        elif isinstance(settlement, Retry):
            stored.release()
            stored.failures += 1 if settlement.counts else 0
            stored.suspect = False
            self._wait(stored, "retrying", now + settlement.delay)
        elif isinstance(settlement, DeadLetter):
            stored.release()
            self._bury(stored, settlement.reason, now)
        elif isinstance(settlement, Start):
            stored.started = True
        self.advance(now)
        return "done"

    def _conclude(self, ack: Ack, now: float) -> Settled:
        """Settle what is somebody else's by now: its work is done, and shall not be done again."""
        stored = self._known.get(ack.token.rpartition("#")[0])
        if stored is None or stored.is_settled:
            return "gone"
        if stored.consumer is not None:
            stored.release()
        else:
            self._remove(stored)
        stored.outcome = ack.result
        self._finish(stored, "acknowledged", now)
        return "done"

    def _refusal(self, token: str) -> Settled:
        stored = self._known.get(token.rpartition("#")[0])
        return "gone" if stored is None or stored.is_settled else "stale"
