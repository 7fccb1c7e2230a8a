"""One inbox in memory: what waits, what is due, who holds what, what is dead.

The rules of delivery, without a server and without waiting: every method takes the time of now and
returns at once. A message is always in exactly one place: a level, the suspects, `due`, what a
consumer holds, `dead`, or settled and only remembered by its id.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from hivebus.memory.entry import Consumer, Stored
from hivebus.memory.keeping import Kept
from hivebus.memory.sharing import Sharing
from hivebus.tidying import Tidied
from hivebus.transport import (
    Ack,
    Counts,
    DeadLetter,
    Delivery,
    Located,
    Outgoing,
    Published,
    Retry,
    Settled,
    Settlement,
    Start,
    State,
)

LEVELS = (5, 4, 3, 2, 1)
DEDUP_WINDOW = 3600.0
"""Seconds for which the id of a settled message is still known."""
OUTCOME_WINDOW = 86_400.0
"""Seconds for which what a handler returned is kept, and its id known with it."""
DEAD_LETTER_AGE = 30 * 86_400.0
"""Seconds for which a dead letter is kept."""


class MemoryInbox:
    """All that is known of one inbox. Times are in seconds of one clock that never goes back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._known: dict[str, Stored] = {}
        self._levels: dict[int, deque[Stored]] = {level: deque() for level in LEVELS}
        self._suspects: deque[Stored] = deque()
        self._due: dict[str, Stored] = {}
        self._dead: dict[str, Stored] = {}
        self._consumers: dict[str, Consumer] = {}
        self._timers: list[tuple[float, int, Callable[[Stored, float], None], Stored]] = []
        self._numbers = itertools.count(1)
        self._last_read: float | None = None
        self._expired = 0
        self.kept = Kept()
        self.sharing = Sharing() if name.startswith("@") else None

    # --- On the way in --------------------------------------------------------------------------

    def publish(self, item: Outgoing, now: float) -> Published:
        """Queue the message, now or after its delay; one whose id is known already is not added."""
        self.advance(now)
        if item.message_id in self._known:
            return self._published("duplicate", now)
        stored = Stored(item=item, at=time.time(), accepted=now)
        self._known[item.message_id] = stored
        self._accept(stored, now)
        return self._published("scheduled" if item.delay > 0 else "stored", now)

    def _accept(self, stored: Stored, now: float) -> None:
        self.kept.add(stored, now)
        if stored.item.ttl is not None:
            stored.expires = now + stored.item.ttl
            self._call_at(stored.expires, self._expire, stored)
        if stored.item.delay > 0:
            self._wait(stored, "scheduled", now + stored.item.delay)
        else:
            self._queue(stored, now)

    def _published(self, state: Literal["stored", "duplicate", "scheduled"], now: float) -> Published:
        idle = None if self._last_read is None else now - self._last_read
        return Published(state, "accepted", idle, self._readers(now))

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

    # --- On the way out -------------------------------------------------------------------------

    def receive(self, consumer: Consumer, *, limit: int, start: int, now: float) -> list[Delivery]:
        """Hand out what may be handed to *consumer*, whose lease is renewed; the first *start* are started."""
        self._last_read = now
        self.renew(consumer, now)
        self.advance(now)
        self._take_over(now)
        room = limit
        if self.sharing is not None:
            room = self.sharing.share(consumer, limit=limit, waiting=sum(1 for _ in self._waiting()), now=now)
        chosen = list(itertools.islice(self._choose(consumer), room)) if room else []
        if self.sharing is not None:
            self.sharing.gave(consumer, len(chosen), limit=limit, now=now)
        return [self._deliver(stored, consumer, started=place < start) for place, stored in enumerate(chosen)]

    def look(self, consumer: Consumer, *, limit: int, now: float) -> list[int]:
        """Return what `receive` would find, suspects first and then level by level; nothing is taken."""
        self._last_read = now
        self.renew(consumer, now)
        self.advance(now)
        self._take_over(now)
        if self._suspects:
            return [len(self._suspects), 0, 0, 0, 0, 0]
        counts = [0, *(min(limit, len(self._levels[level])) for level in reversed(LEVELS))]
        if self.sharing is not None:
            share = self.sharing.share(consumer, limit=limit, waiting=sum(1 for _ in self._waiting()), now=now)
            # Who has found something comes at once, or not at all; who has not would take it as soon as it comes.
            self.sharing.gave(consumer, 0, limit=0 if share else limit, now=now)
            counts = counts if share else [0] * len(counts)
        return counts

    def renew(self, consumer: Consumer, now: float) -> None:
        """Note a sign of life: the lease on all that the consumer holds starts again."""
        consumer.until = now + consumer.lease
        self._consumers[consumer.name] = consumer

    def consumer(self, name: str, *, lease: float) -> Consumer:
        """Return the consumer of that name with what it holds; one that was taken over starts with nothing."""
        consumer = self._consumers.get(name) or Consumer(name)
        consumer.lease = lease
        return consumer

    def leave(self, consumer: Consumer, now: float) -> None:
        """Hand back what the consumer did not start; what it started is left to its lease."""
        self._hand_back([stored for stored in consumer.held.values() if not stored.started], now)
        if self.sharing is not None:
            self.sharing.leave(consumer)
        if not consumer.held:
            self._consumers.pop(consumer.name, None)

    def _choose(self, consumer: Consumer) -> Iterator[Stored]:
        held = consumer.held.values()
        if any(stored.suspect for stored in held):
            return  # it runs alone: nothing else may be started beside it
        if self._suspects:
            # Whoever is busy gets nothing until it is idle, or a suspect could wait for ever.
            if not any(stored.started for stored in held):
                suspect = max(self._suspects, key=lambda stored: stored.item.priority)
                self._suspects.remove(suspect)
                yield suspect
            return
        for level in self._levels.values():
            while level:
                yield level.popleft()

    def _deliver(self, stored: Stored, consumer: Consumer, *, started: bool) -> Delivery:
        stored.state = "delivered"
        stored.attempts += 1
        stored.started = started
        stored.consumer = consumer
        # Numbered, so that the token of an earlier handing-over can never settle this one.
        stored.token = f"{stored.item.message_id}#{next(self._numbers)}"
        consumer.held[stored.token] = stored
        return Delivery(
            token=stored.token,
            data=stored.item.data,
            attempt=stored.attempts,
            failures=stored.failures,
            crashes=stored.crashes,
            alone=stored.suspect,
            priority=stored.item.priority,
        )

    # --- Leases ---------------------------------------------------------------------------------

    def _take_over(self, now: float) -> None:
        for consumer in [each for each in self._consumers.values() if each.until <= now]:
            del self._consumers[consumer.name]
            if self.sharing is not None:
                self.sharing.leave(consumer)
            started = [stored for stored in consumer.held.values() if stored.started]
            for stored in started:
                # Only who ran alone is guilty of the crash; among several, all are mere suspects.
                stored.crashes += 1 if stored.suspect else 0
                stored.suspect = True
            self._hand_back(list(consumer.held.values()), now)

    def _hand_back(self, batch: list[Stored], now: float) -> None:
        for stored in reversed(batch):
            stored.release()
            self._queue(stored, now, first=True)

    # --- Settling -------------------------------------------------------------------------------

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

    def _finish(self, stored: Stored, state: State, now: float) -> None:
        stored.state = state
        if state != "acknowledged":
            stored.item = stored.item._replace(data=b"")
        kept = DEDUP_WINDOW if stored.outcome is None else OUTCOME_WINDOW
        self._call_at(now + kept, self._forget, stored)

    def _bury(self, stored: Stored, reason: str, now: float) -> None:
        stored.state = "expired" if reason == "expired" else "dead_lettered"
        self._expired += reason == "expired"
        stored.reason = reason
        stored.letter = f"dead/{next(self._numbers)}"
        self._dead[stored.letter] = stored
        self._call_at(now + DEAD_LETTER_AGE, self._forget, stored)

    # --- What happens by itself -----------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let happen what is due by now: delays end, messages expire, settled ids are forgotten."""
        while self._timers and self._timers[0][0] <= now:
            _, _, action, stored = heapq.heappop(self._timers)
            action(stored, now)

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

    def _call_at(self, when: float, action: Callable[[Stored, float], None], stored: Stored) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), action, stored))

    def _wait(self, stored: Stored, state: State, until: float) -> None:
        stored.state = state
        stored.due = until
        self._due[stored.item.message_id] = stored
        self._call_at(until, self._end_wait, stored)

    def _end_wait(self, stored: Stored, now: float) -> None:
        if self._due.get(stored.item.message_id) is stored and stored.due <= now:
            del self._due[stored.item.message_id]
            self._queue(stored, now)

    def _queue(self, stored: Stored, now: float, *, first: bool = False) -> None:
        if stored.expires is not None and stored.expires <= now:
            self._bury(stored, "expired", now)
            return
        stored.state = "queued"
        place = self._suspects if stored.suspect else self._levels[stored.item.priority]
        place.insert(0 if first else len(place), stored)

    def _expire(self, stored: Stored, now: float) -> None:
        if stored.state in ("queued", "scheduled", "retrying") and stored.has_expired(now):
            self._remove(stored)
            self._bury(stored, "expired", now)

    def _remove(self, stored: Stored) -> None:
        if self._due.pop(stored.item.message_id, None) is None:
            place = self._suspects if stored.suspect else self._levels[stored.item.priority]
            place.remove(stored)

    def _forget(self, stored: Stored, now: float) -> None:
        if self._known.get(stored.item.message_id) is stored and stored.is_settled:
            del self._known[stored.item.message_id]
            self._dead.pop(stored.letter or "", None)

    # --- Looking without taking -----------------------------------------------------------------

    def counts(self, now: float) -> Counts:
        """Count what is where."""
        self.advance(now)
        waiting = list(self._waiting())
        return Counts(
            waiting=len(waiting),
            in_flight=sum(len(consumer.held) for consumer in self._consumers.values()),
            retrying=sum(stored.state == "retrying" for stored in self._due.values()),
            scheduled=sum(stored.state == "scheduled" for stored in self._due.values()),
            dead=len(self._dead),
            oldest_waiting_seconds=max((now - stored.accepted for stored in waiting), default=None),
            consumers=self._readers(now),
        )

    def locate(self, message_id: str, now: float) -> Located | None:
        """Return where the message is, or None when its id is not known."""
        self.advance(now)
        stored = self._known.get(message_id)
        return stored.located(self.name, now) if stored else None

    def peek(self, limit: int, now: float) -> list[Located]:
        """Return what is handed out and then what waits, in the order of hand-out."""
        self.advance(now)
        held = (stored for consumer in self._consumers.values() for stored in consumer.held.values())
        first = itertools.islice(itertools.chain(held, self._waiting()), limit)
        return [stored.located(self.name, now) for stored in first]

    def _waiting(self) -> Iterator[Stored]:
        return itertools.chain(self._suspects, *self._levels.values())

    def _readers(self, now: float) -> int:
        return sum(consumer.until > now for consumer in self._consumers.values())

    # --- Dead letters and schedules -------------------------------------------------------------

    def dead(self, limit: int, now: float, *, before: str | None = None) -> list[Located]:
        """Return dead letters, newest first, those behind *before* only."""
        self.advance(now)
        letters: Iterator[Stored] = reversed(self._dead.values())
        if before is not None:
            letters = itertools.islice(itertools.dropwhile(lambda each: each.letter != before, letters), 1, None)
        return [stored.located(self.name, now) for stored in itertools.islice(letters, limit)]

    def requeue(self, name: str, now: float) -> bool:
        """Queue a dead letter again, with nothing counted and no time to live; False when there is none."""
        dead = self._take_letter(name, now)
        if dead is None:
            return False
        item = dead.item._replace(delay=0, ttl=None)
        again = Stored(item=item, at=time.time(), accepted=now, requeued=dead.requeued + 1)
        self._known[item.message_id] = again
        self._accept(again, now)
        return True

    def purge(self, name: str, now: float) -> bool:
        """Delete a dead letter for good; False when there is none."""
        dead = self._take_letter(name, now)
        if dead is None:
            return False
        del self._known[dead.item.message_id]
        return True

    def _take_letter(self, name: str, now: float) -> Stored | None:
        """Take a letter away, by its name or by the id of its message."""
        self.advance(now)
        known = self._known.get(name)
        return self._dead.pop(known.letter or "" if known else name, None)

    def cancel(self, message_id: str, now: float) -> bool:
        """Take back what was never handed out; False for anything else."""
        self.advance(now)
        stored = self._known.get(message_id)
        if stored is None or stored.attempts or stored.state not in ("queued", "scheduled"):
            return False
        self._remove(stored)
        self._finish(stored, "cancelled", now)
        return True
