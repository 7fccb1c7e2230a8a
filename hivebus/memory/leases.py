"""Who reads an inbox in memory: handing out, under one lease a consumer, and what a lease leaves behind that ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hivebus.memory.entry import Consumer, Stored
from hivebus.memory.places import LEVELS, Places
from hivebus.memory.sharing import Sharing
from hivebus.transport import Delivery


class Leases(Places):
    """The consumers of one inbox."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sharing = Sharing() if name.startswith("@") else None
        self._consumers: dict[str, Consumer] = {}
        self._last_read: float | None = None

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

    def consumer(self, name: str, *, lease: float) -> Consumer:
        """Return the consumer of that name with what it holds; one that was taken over starts with nothing."""
        consumer = self._consumers.get(name) or Consumer(name)
        consumer.lease = lease
        return consumer

    def renew(self, consumer: Consumer, now: float) -> None:
        """Note a sign of life: the lease on all that the consumer holds starts again."""
        consumer.until = now + consumer.lease
        self._consumers[consumer.name] = consumer

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

    def _readers(self, now: float) -> int:
        return sum(consumer.until > now for consumer in self._consumers.values())
