"""Who may take how much of a pool's inbox: even shares among those that want more, and nobody waits for the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hivebus.memory.entry import Consumer
from hivebus.transport import PoolPolicy

PATIENCE = 0.01
"""Seconds that a message waits for the member whose turn it is."""


@dataclass(slots=True, eq=False)
class Member:
    """One consumer.

    Attributes:
        consumer: it, with what it holds.
        given: how much it was given, counted from the least of those that were there when it came.
        wants: how much room it had left when it last asked, which was at *asked*.
        held: since when it waits because it is somebody else's turn.
    """

    consumer: Consumer
    given: int = 0
    wants: int = 0
    asked: float = 0.0
    held: float | None = None


class Sharing:
    """The members of one pool."""

    def __init__(self) -> None:
        self.policy: PoolPolicy = "round_robin"
        self._members: dict[str, Member] = {}

    def share(self, consumer: Consumer, *, limit: int, waiting: int, now: float) -> int:
        """Return the most that *consumer* may take of what waits."""
        me = self._member(consumer)
        others = [each for each in self._members.values() if each is not me and each.wants]
        share = self._fair(me, limit, waiting, others)
        if waiting and not share and me.held is not None and now - me.held >= PATIENCE:
            # They had their turn and did not come. Until they ask again nobody waits for them.
            for each in others:
                each.wants = 0 if each.asked <= me.held else each.wants
            share = self._fair(me, limit, waiting, others)
        if share or not waiting:
            me.held = None
        elif me.held is None or now - me.held >= PATIENCE:
            me.held = now
        return share

    def gave(self, consumer: Consumer, count: int, *, limit: int, now: float) -> None:
        """Note what a consumer got that had room for *limit*."""
        me = self._member(consumer)
        left = limit - count
        me.given += count
        me.asked = now
        # With less than half of its room left it works before it asks again.
        me.wants = left if left * 2 >= limit else 0

    def leave(self, consumer: Consumer) -> None:
        """Forget a member."""
        self._members.pop(consumer.name, None)

    def next_turn(self) -> float:
        """Return when somebody who waits for his turn may take what is left."""
        return min((each.held + PATIENCE for each in self._members.values() if each.held is not None), default=1e99)

    def _member(self, consumer: Consumer) -> Member:
        if consumer.name not in self._members:
            least = min((each.given for each in self._members.values()), default=0)
            self._members[consumer.name] = Member(consumer, given=least)
        self._members[consumer.name].consumer = consumer
        return self._members[consumer.name]

    def _fair(self, me: Member, limit: int, waiting: int, others: Iterable[Member]) -> int:
        mine = self._load(me)
        share = 0
        while share < min(limit, waiting):
            claimed = sum(min(each.wants, max(0, mine + share - self._load(each))) for each in others)
            if share + 1 + claimed > waiting:
                break
            share += 1
        return share

    def _load(self, member: Member) -> int:
        return len(member.consumer.held) if self.policy == "least_loaded" else member.given
