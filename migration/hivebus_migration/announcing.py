"""What travels is written down, and its copies set out, as soon as the sender is on its way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import TypeAlias

from hivebus.address import shadow_of
from hivebus.errors import HivebusError
from hivebus.transport import Outgoing, Published
from hivebus_migration.bridge_lock import is_bridged
from hivebus_migration.copies import Copies
from hivebus_migration.facts import Attempt, Fact, Intent, Moment, Spooled, boot_id
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg
from hivebus_migration.plans import Course, Plans
from hivebus_migration.telling import attempts, read_known

EVERY = 0.02
"""Seconds from one round to the next. In a round is announced what was answered, and what has waited for longer."""
QUIET = 10
"""Rounds in which nothing left; then there is none until something does. A sender that goes on arms no timer, and is
called back to the caches that the writing down has taken from it."""


Departure: TypeAlias = tuple[Sequence[Outgoing], Sequence[Course], int, int]
"""One batch that leaves by one leg: what, how each of it travels, and when, in ns of the wall clock and of the one that
does not jump. A plain tuple, since nothing else is made without a call of ours while a sender waits.
"""
_Answer: TypeAlias = tuple[Departure, Sequence[Published | HivebusError], int]
"""What left, what the leg said of each of the batch, and when, in ns of the clock that does not jump."""


class Announcing:
    """The ledger's and the other leg's share of sending: none of it costs a sender anything.

    Args:
        ledger: what is written into.
        plans: remember what was announced before.
        legacy: the leg whose copies a bridge may write.
        copies: by the name of a leg, how copies travel it.
    """

    def __init__(self, ledger: Ledger, plans: Plans, *, legacy: Leg, copies: Mapping[str, Copies]) -> None:
        self._ledger = ledger
        self._plans = plans
        self._legacy = legacy
        self._copies = copies
        self._session = ""
        self._number = 0
        self._left: list[Departure] = []
        self._answered: list[_Answer] = []
        self._next_round: asyncio.TimerHandle | None = None
        self._quiet = 0

    def begin(self) -> None:
        """Give this process a name as a sender: those that were forked from one would all count as the same."""
        self._session = os.urandom(8).hex()

    def departs(self, batch: Sequence[Outgoing], courses: Sequence[Course]) -> Departure:
        """Announce a batch in a moment, when the acting leg has it; what was announced before is not again."""
        departure = batch, courses, time_ns(), monotonic_ns()
        self._left.append(departure)
        if self._next_round is None:
            self._go_on()
        return departure

    def answered(self, departure: Departure, answers: Sequence[Published | HivebusError]) -> None:
        """Write down in a moment what the acting leg has answered just now."""
        self._answered.append((departure, answers, monotonic_ns()))
        if self._next_round is None:
            self._go_on()

    def catch_up(self) -> None:
        """Announce at once what is on its way."""
        self._catch_up(left_before=monotonic_ns())

    def close(self) -> None:
        """Do now what is left to do."""
        if self._next_round is not None:
            self._next_round.cancel()
            self._next_round = None
        self.catch_up()

    def _go_round(self) -> None:
        self._next_round = None
        self._quiet = 0 if self._left or self._answered else self._quiet + 1
        if self._quiet < QUIET:
            self._go_on()
        # While its sender waits for an answer, nothing of this is done; unless it waits for long.
        self._catch_up(left_before=monotonic_ns() - int(EVERY * 1e9))

    def _go_on(self) -> None:
        self._next_round = asyncio.get_running_loop().call_later(EVERY, self._go_round)

    def _catch_up(self, *, left_before: int) -> None:
        if not self._answered and (not self._left or self._left[0][-1] > left_before):
            return
        answered, self._answered = self._answered, []
        known = {id(departure) for departure, _, _ in answered}
        left, self._left = self._left, []
        due: list[Departure] = []
        for each in left:
            *_, left_at = each
            (due if id(each) in known or left_at <= left_before else self._left).append(each)
        facts = self._announce(due)
        for departure, answers, mono in answered:
            facts += _attempts(departure, answers, at=mono)
        if facts:
            self._ledger.note(*facts)

    def _announce(self, departures: Sequence[Departure]) -> list[Fact]:
        """Set out the copies of what was never announced before, and return what is to be written down about it."""
        facts: list[Fact] = []
        copies: list[tuple[Leg, Outgoing]] = []
        fresh: list[tuple[Outgoing, Course, Moment]] = []
        for batch, courses, wall, mono in departures:
            at = Moment(wall, mono, boot_id())
            pairs = zip(batch, courses, strict=True)
            fresh += [(item, course, at) for item, course in pairs if self._plans.remember(item, course)]
        spools = any(course.other is self._legacy for _, course, _ in fresh) and is_bridged(self._ledger.path)
        for item, course, at in fresh:
            facts.append(self._intent(item, course, at))
            other = course.other
            if other is None:
                continue
            copy = item._replace(inbox=shadow_of(item.inbox))
            # A row of the spool has no delay; the leg itself refuses what it cannot delay.
            if spools and other is self._legacy and not item.delay:
                facts.append(_spooled(copy, leg=other.name, at=at))
            else:
                copies.append((other, copy))
        for leg, copy in copies:
            self._copies[leg.name].put(copy)
        return facts

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


def _attempts(departure: Departure, answers: Sequence[Published | HivebusError], *, at: int) -> Sequence[Attempt]:
    batch, courses, _, mono = departure
    leg = courses[0].acting
    return attempts(batch, answers, leg=leg.name, driver=leg.driver, seconds=(at - mono) / 1e9)
