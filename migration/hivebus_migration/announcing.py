"""What travels is written down, and its copies set out, as soon as the sender is on its way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns, time_ns

from hivebus.address import shadow_of
from hivebus.errors import HivebusError
from hivebus.transport import Outgoing, Published
from hivebus_migration.bridge_lock import is_bridged
from hivebus_migration.copies import Copies
from hivebus_migration.facts import Fact, Intent, Moment, Spooled, boot_id
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg
from hivebus_migration.plans import Course, Plan
from hivebus_migration.telling import attempts, read_known

EVERY = 0.02
"""Seconds from one round to the next. In a round is announced what was answered, and what has waited for longer."""
QUIET = 10
"""Rounds in which nothing left; then there is none until something does. A sender that goes on arms no timer."""


class Departure:
    """One batch on its way.

    Attributes:
        batch, plans: what leaves, and how each travels.
        wall, mono: when, in ns of the two clocks.
        heard: what its legs have answered, and nobody has written down yet: leg, items, answers, seconds.
        is_announced: whether it was written down that it left.
    """

    __slots__ = ("batch", "heard", "is_announced", "mono", "plans", "wall")

    def __init__(self, batch: Sequence[Outgoing], plans: Sequence[Plan]) -> None:
        self.batch = batch
        self.plans = plans
        self.wall = time_ns()
        self.mono = monotonic_ns()
        self.heard: list[tuple[Leg, Sequence[Outgoing], Sequence[Published | HivebusError], float]] = []
        self.is_announced = False


class Announcing:
    """The ledger's and the other leg's share of sending: none of it costs a sender anything.

    Args:
        ledger: what is written into.
        legacy: the leg whose copies a bridge may write.
        copies: by the name of a leg, how copies travel it.
    """

    def __init__(self, ledger: Ledger, *, legacy: Leg, copies: Mapping[str, Copies]) -> None:
        self._ledger = ledger
        self._legacy = legacy
        self._copies = copies
        self._session = ""
        self._number = 0
        self._departures: list[Departure] = []
        self._next_round: asyncio.TimerHandle | None = None
        self._quiet = 0

    def begin(self) -> None:
        """Give this process a name as a sender: those that were forked from one would all count as the same."""
        self._session = os.urandom(8).hex()

    def departs(self, departure: Departure) -> None:
        """Announce a batch in a moment, when the acting legs have it; what was announced before is not again."""
        self._departures.append(departure)
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().call_later(EVERY, self._go_round)

    def answered(
        self,
        departure: Departure,
        leg: Leg,
        batch: Sequence[Outgoing],
        answers: Sequence[Published | HivebusError],
    ) -> None:
        """Write down what an acting leg has answered just now."""
        departure.heard.append((leg, batch, answers, (monotonic_ns() - departure.mono) / 1e9))
        if departure.is_announced:
            self.departs(departure)

    def close(self) -> None:
        """Do now what is left to do."""
        if self._next_round is not None:
            self._next_round.cancel()
            self._next_round = None
        self._catch_up(lambda departure: True)

    def _go_round(self) -> None:
        self._quiet = 0 if self._departures else self._quiet + 1
        # While its sender waits for an answer, nothing of this is done.
        long_ago = monotonic_ns() - EVERY * 1e9
        self._catch_up(lambda departure: bool(departure.heard) or departure.mono < long_ago)
        more = self._departures or self._quiet < QUIET
        self._next_round = asyncio.get_running_loop().call_later(EVERY, self._go_round) if more else None

    def _catch_up(self, is_due: Callable[[Departure], bool]) -> None:
        departures = [each for each in self._departures if is_due(each)]
        self._departures = [each for each in self._departures if not is_due(each)]
        self._announce([each for each in departures if not each.is_announced])
        for departure in departures:
            heard, departure.heard = departure.heard, []
            for leg, batch, answers, seconds in heard:
                self._ledger.note(*attempts(batch, answers, leg=leg.name, driver=leg.driver, seconds=seconds))

    def _announce(self, departures: Sequence[Departure]) -> None:
        facts: list[Fact] = []
        copies: list[tuple[Leg, Outgoing]] = []
        fresh: list[tuple[Outgoing, Plan, Moment]] = []
        for departure in departures:
            departure.is_announced = True
            at = Moment(departure.wall, departure.mono, boot_id())
            pairs = zip(departure.batch, departure.plans, strict=True)
            fresh += [(item, plan, at) for item, plan in pairs if not plan.announced]
        spools = any(plan.course.other is self._legacy for _, plan, _ in fresh) and is_bridged(self._ledger.path)
        for item, plan, at in fresh:
            if plan.announced:
                continue  # twice in one go
            plan.announced = True
            facts.append(self._intent(item, plan.course, at))
            other = plan.course.other
            if other is None:
                continue
            copy = item._replace(inbox=shadow_of(item.inbox))
            # A row of the spool has no delay; the leg itself refuses what it cannot delay.
            if spools and other is self._legacy and not item.delay:
                facts.append(_spooled(copy, leg=other.name, at=at))
            else:
                copies.append((other, copy))
        if facts:
            self._ledger.note(*facts)
        for leg, copy in copies:
            self._copies[leg.name].put(copy)

    def _intent(self, item: Outgoing, course: Course, at: Moment) -> Intent:
        self._number += 1
        known = read_known(item.data)
        legs = (course.acting, course.other) if course.other else (course.acting,)
        return Intent(
            message_id=item.message_id,
            agent=item.inbox,
            sender=known.sender,
            session=self._session,
            number=self._number,
            # agent.<to_agent>.<message_type>, and a type may have dots of its own.
            message_type=known.message_type or item.routing_key.split(".", 2)[-1],
            level=item.priority,
            size=len(item.data),
            stage=course.stage.name,
            epoch=course.stage.epoch,
            acting=course.acting.name,
            legs={leg.name: leg.fingerprint(item.data) for leg in legs},
            at=at,
        )


def _spooled(copy: Outgoing, *, leg: str, at: Moment) -> Spooled:
    return Spooled(leg, copy.inbox, copy.message_id, copy.routing_key, copy.priority, copy.ttl, copy.data, at)
