"""What an inbox in memory keeps of the past: every message in the order of acceptance, until it is forgotten."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile

from hivebus.memory.entry import Stored
from hivebus.tidying import Blocker, Holding, Shed

NO_HISTORY = ("scheduled", "dead_lettered", "expired", "cancelled")
MOST_AGE = 86_400
"""Seconds after which a settled message is forgotten, also when nobody tidies."""


class Kept:
    """The messages of one inbox, settled or not."""

    def __init__(self) -> None:
        self._all: deque[Stored] = deque()

    def add(self, stored: Stored, now: float) -> None:
        """Keep a message that was accepted, and forget what nobody tidied away in time."""
        self.trim(now, keep=MOST_AGE)
        self._all.append(stored)

    def history(self, now: float, *, since: float, until: float) -> Iterator[Stored]:
        """Return what was accepted in that time and neither given up nor taken back, oldest first."""
        return (
            stored
            for stored in list(self._all)
            if now - since <= stored.accepted <= now - until and stored.state not in NO_HISTORY
        )

    def trim(self, now: float, *, keep: float) -> int:
        """Forget what is settled and older; return how many."""
        count = sum(1 for _ in self._settled(now, older_than=keep))
        self._drop(count)
        return count

    def shed(self, now: float, *, older_than: float, limit: int, want: int | None, dry_run: bool, behind: int) -> Shed:
        """Forget the oldest that are settled, as many as are wanted."""
        chosen: list[Stored] = []
        size = 0
        for stored in islice(self._settled(now, older_than=older_than), behind, None):
            if len(chosen) == limit or (want is not None and size >= want):
                break
            chosen.append(stored)
            size += len(stored.item.data)
        if not dry_run:
            self._drop(len(chosen))
        past = behind + len(chosen) if dry_run else 0
        following = next(islice(self._settled(now, older_than=older_than), past, None), None)
        return Shed(
            messages=len(chosen),
            bytes=size,
            first=chosen[0].at if chosen else None,
            last=chosen[-1].at if chosen else None,
            oldest=following.at if following else None,
            behind=str(past) if dry_run else "",
        )

    def holding(self, now: float) -> Holding:
        """Return how much is kept and what stands in the way of forgetting it."""
        first = self._all[0] if self._all else None
        blocker = next((stored for stored in self._all if not stored.is_settled), None)
        return Holding(
            bytes=sum(len(stored.item.data) for stored in self._all),
            oldest=first.at if first and first.is_settled else None,
            blockers=(_blocker(blocker, now),) if blocker else (),
        )

    def _settled(self, now: float, *, older_than: float) -> Iterator[Stored]:
        return takewhile(lambda stored: stored.is_settled and now - stored.accepted >= older_than, self._all)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            stored = self._all.popleft()
            if stored.state == "acknowledged":
                stored.item = stored.item._replace(data=b"")


def _blocker(stored: Stored, now: float) -> Blocker:
    kinds = {"delivered": "held", "retrying": "retrying"}
    return Blocker(
        kind=kinds.get(stored.state, "unread"),  # type: ignore[arg-type]
        priority=stored.item.priority,
        group="main",
        consumer=stored.consumer.name if stored.consumer else None,
        message_id=stored.item.message_id,
        at=stored.at,
        held_seconds=now - stored.accepted,
        count=1,
    )
