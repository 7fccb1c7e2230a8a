"""How far ahead of its handlers a consumer may take messages, learnt from their pace."""

from __future__ import annotations

from time import monotonic

AHEAD = 0.01
LONGEST = 500
SAMPLE = 0.02


class Pace:
    """Counts handled messages and allows as many ahead as were handled in the last few milliseconds.

    Slow handlers get a window of exactly their concurrency: whatever is taken runs at once, and
    other consumers of the inbox find the rest. Fast ones get a batch.
    """

    def __init__(self, *, concurrency: int) -> None:
        self._concurrency = concurrency
        self._since = monotonic()
        self._count = 0
        self._rate = 0.0

    def handled(self) -> None:
        """Count one message."""
        self._count += 1

    def window(self) -> int:
        """Return how many messages may be taken and not yet settled."""
        now = monotonic()
        elapsed = now - self._since
        if elapsed >= SAMPLE:
            self._rate = self._count / elapsed
            self._since, self._count = now, 0
        return min(LONGEST, max(self._concurrency, int(self._rate * AHEAD) + self._concurrency))
