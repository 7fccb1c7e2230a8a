"""What travels is written down, and its copies set out, as soon as the sender is on its way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from hivebus.address import shadow_of
from hivebus.errors import HivebusError
from hivebus.transport import Outgoing, Published
from hivebus_migration.bridge_lock import is_bridged
from hivebus_migration.copies import Copies
from hivebus_migration.facts import Fact, Intent, Moment, Spooled, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg
from hivebus_migration.plans import Plan
from hivebus_migration.telling import attempts, read_known

AFTER_THE_SENDER = 0.002
"""Seconds after which a message is announced: by then its sender's server has it."""


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
        self._departed: list[tuple[Sequence[Outgoing], Sequence[Plan], Moment]] = []
        self._answered: list[tuple[Leg, Sequence[Outgoing], Sequence[Published | HivebusError], float]] = []

    def begin(self) -> None:
        """Give this process a name as a sender: those that were forked from one would all count as the same."""
        self._session = os.urandom(8).hex()

    def departs(self, batch: Sequence[Outgoing], plans: Sequence[Plan]) -> None:
        """Announce a batch that is handed to the acting legs now; what was announced before is not again."""
        self._soon()
        self._departed.append((batch, plans, now()))

    def answered(
        self, leg: Leg, batch: Sequence[Outgoing], answers: Sequence[Published | HivebusError], seconds: float
    ) -> None:
        """Write down what an acting leg answered after that many seconds."""
        self._soon()
        self._answered.append((leg, batch, answers, seconds))

    def catch_up(self) -> None:
        """Do now what is left to do."""
        departed, self._departed = self._departed, []
        answered, self._answered = self._answered, []
        self._announce(
            [(item, plan, at) for batch, plans, at in departed for item, plan in zip(batch, plans, strict=True)]
        )
        for leg, batch, answers, seconds in answered:
            self._ledger.note(*attempts(batch, answers, leg=leg.name, driver=leg.driver, seconds=seconds))

    def _soon(self) -> None:
        if not self._departed and not self._answered:
            asyncio.get_running_loop().call_later(AFTER_THE_SENDER, self.catch_up)

    def _announce(self, departed: Sequence[tuple[Outgoing, Plan, Moment]]) -> None:
        facts: list[Fact] = []
        copies: list[tuple[Leg, Outgoing]] = []
        fresh = [each for each in departed if not each[1].announced]
        spools = any(plan.other is self._legacy for _, plan, _ in fresh) and is_bridged(self._ledger.path)
        for item, plan, at in fresh:
            if plan.announced:
                continue  # twice in one go
            plan.announced = True
            facts.append(self._intent(item, plan, at))
            if plan.other is None:
                continue
            copy = item._replace(inbox=shadow_of(item.inbox))
            # A row of the spool has no delay; the leg itself refuses what it cannot delay.
            if spools and plan.other is self._legacy and not item.delay:
                facts.append(_spooled(copy, leg=plan.other.name, at=at))
            else:
                copies.append((plan.other, copy))
        if facts:
            self._ledger.note(*facts)
        for leg, copy in copies:
            self._copies[leg.name].put(copy)

    def _intent(self, item: Outgoing, plan: Plan, at: Moment) -> Intent:
        self._number += 1
        known = read_known(item.data)
        legs = (plan.acting, plan.other) if plan.other else (plan.acting,)
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
            stage=plan.stage.name,
            epoch=plan.stage.epoch,
            acting=plan.acting.name,
            legs={leg.name: leg.fingerprint(item.data) for leg in legs},
            at=at,
        )


def _spooled(copy: Outgoing, *, leg: str, at: Moment) -> Spooled:
    return Spooled(leg, copy.inbox, copy.message_id, copy.routing_key, copy.priority, copy.ttl, copy.data, at)
