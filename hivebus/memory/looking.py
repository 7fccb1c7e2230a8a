"""What people ask an inbox in memory: how much is where, where a message is, what is dead and shall come back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from hivebus.memory.entry import Stored
from hivebus.memory.leases import Leases
from hivebus.transport import Counts, Located


class Looking(Leases):
    """Looks without taking; only `requeue` and `purge` change something, and only about dead letters."""

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
