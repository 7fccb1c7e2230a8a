"""Where a message of an inbox in memory can be, and every way from one place to another; some of them time takes.

It is always in exactly one place: a level, the suspects, `due`, what a consumer holds, `dead`, or settled and only
remembered by its id.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator

from hivebus.memory.entry import Stored
from hivebus.memory.keeping import Kept
from hivebus.transport import State

LEVELS = (5, 4, 3, 2, 1)
DEDUP_WINDOW = 3600.0
"""Seconds for which the id of a settled message is still known."""
OUTCOME_WINDOW = 86_400.0
"""Seconds for which what a handler returned is kept, and its id known with it."""
DEAD_LETTER_AGE = 30 * 86_400.0
"""Seconds for which a dead letter is kept."""


class Places:
    """The places of one inbox. Times are in seconds of one clock that never goes back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept = Kept()
        self._known: dict[str, Stored] = {}
        self._levels: dict[int, deque[Stored]] = {level: deque() for level in LEVELS}
        self._suspects: deque[Stored] = deque()
        self._due: dict[str, Stored] = {}
        self._dead: dict[str, Stored] = {}
        self._expired = 0
        self._timers: list[tuple[float, int, Callable[[Stored, float], None], Stored]] = []
        self._numbers = itertools.count(1)

    def advance(self, now: float) -> None:
        """Let happen what is due by now: delays end, messages expire, settled ids are forgotten."""
        while self._timers and self._timers[0][0] <= now:
            _, _, action, stored = heapq.heappop(self._timers)
            action(stored, now)

    def _accept(self, stored: Stored, now: float) -> None:
        self.kept.add(stored, now)
        if stored.item.ttl is not None:
            stored.expires = now + stored.item.ttl
            self._call_at(stored.expires, self._expire, stored)
        if stored.item.delay > 0:
            self._wait(stored, "scheduled", now + stored.item.delay)
        else:
            self._queue(stored, now)

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

    def _waiting(self) -> Iterator[Stored]:
        return itertools.chain(self._suspects, *self._levels.values())

    def _remove(self, stored: Stored) -> None:
        if self._due.pop(stored.item.message_id, None) is None:
            place = self._suspects if stored.suspect else self._levels[stored.item.priority]
            place.remove(stored)

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

    def _expire(self, stored: Stored, now: float) -> None:
        if stored.state in ("queued", "scheduled", "retrying") and stored.has_expired(now):
            self._remove(stored)
            self._bury(stored, "expired", now)

    def _forget(self, stored: Stored, now: float) -> None:
        if self._known.get(stored.item.message_id) is stored and stored.is_settled:
            del self._known[stored.item.message_id]
            self._dead.pop(stored.letter or "", None)

    def _call_at(self, when: float, action: Callable[[Stored, float], None], stored: Stored) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), action, stored))
