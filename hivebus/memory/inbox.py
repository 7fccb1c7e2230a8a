"""One inbox in memory: the rules of delivery, without a server and without waiting.

Every method takes the time of now and returns at once. What senders and housekeepers do is here; below it stand
`places`, `leases`, `settling` and `looking`, best read in this order.
"""

from __future__ import annotations

import time
from typing import Literal

from hivebus.memory.entry import Stored
from hivebus.memory.looking import Looking
from hivebus.memory.places import DEDUP_WINDOW
from hivebus.memory.settling import Settling
from hivebus.tidying import Tidied
from hivebus.transport import Outgoing, Published


class MemoryInbox(Settling, Looking):
    """All that is known of one inbox. Times are in seconds of one clock that never goes back."""

    def publish(self, item: Outgoing, now: float) -> Published:
        """Queue the message, now or after its delay; one whose id is known already is not added."""
        self.advance(now)
        if item.message_id in self._known:
            return self._published("duplicate", now)
        stored = Stored(item=item, at=time.time(), accepted=now)
        self._known[item.message_id] = stored
        self._accept(stored, now)
        return self._published("scheduled" if item.delay > 0 else "stored", now)

    def cancel(self, message_id: str, now: float) -> bool:
        """Take back what was never handed out; False for anything else."""
        self.advance(now)
        stored = self._known.get(message_id)
        if stored is None or stored.attempts or stored.state not in ("queued", "scheduled"):
            return False
        self._remove(stored)
        self._finish(stored, "cancelled", now)
        return True

    def left(self, now: float) -> list[Stored]:
        """Return what somebody still has to look at: what is not settled, and dead letters."""
        self.advance(now)
        return [stored for stored in self._known.values() if not stored.is_settled or stored.letter is not None]

    def inherit(self, left: list[Stored], settled: list[Stored], now: float) -> None:
        """Take over what was left in another inbox, and know what was settled there; nothing is added twice."""
        for stored in settled:
            if self._known.setdefault(stored.item.message_id, stored) is stored:
                self._call_at(max(now, stored.accepted + DEDUP_WINDOW), self._forget, stored)
        for stored in left:
            if stored.letter is not None and stored.item.message_id not in self._known:
                self._known[stored.item.message_id] = stored
                self._bury(stored, stored.reason or "", now)
            elif stored.letter is None:
                ttl = None if stored.expires is None else max(0.0, stored.expires - now)
                delay = max(0.0, stored.due - now) if stored.state == "scheduled" else 0
                self.publish(stored.item._replace(inbox=self.name, delay=delay, ttl=ttl), now)

    def tidy(self, now: float, *, keep: float) -> Tidied:
        """Let happen what is due, forget what was settled long ago, and say what happened since the last time."""
        self.advance(now)
        self._take_over(now)
        expired, self._expired = self._expired, 0
        return Tidied(expired=expired, trimmed=self.kept.trim(now, keep=keep))

    def next_change(self) -> float:
        """Return when something will be due or a lease will end, unless somebody acts before."""
        times = [consumer.until for consumer in self._consumers.values() if consumer.held]
        if self.sharing is not None:
            times.append(self.sharing.next_turn())
        return min([*times, *(timer[0] for timer in self._timers[:1])], default=float("inf"))

    def _published(self, state: Literal["stored", "duplicate", "scheduled"], now: float) -> Published:
        idle = None if self._last_read is None else now - self._last_read
        return Published(state, "accepted", idle, self._readers(now))
