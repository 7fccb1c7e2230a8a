"""Two transports as one: the agent's stage says which of them acts, and a copy travels the other.

The sender's result is the acting leg's. The copy goes to the agent's shadow inbox, in the background;
whatever becomes of it is written into the ledger and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from hivebus.address import shadow_of
from hivebus.errors import ConfigError, HivebusError, Unavailable
from hivebus.transport import (
    ABSENT,
    Capabilities,
    Directory,
    Endpoint,
    Inbox,
    Outgoing,
    Published,
    Reader,
    Transport,
)
from hivebus_migration.bridge_lock import is_bridged
from hivebus_migration.copies import LEGACY_PATIENCE, MAIN_PATIENCE, Copies
from hivebus_migration.facts import Attempt, Fact, Intent, Moment, Spooled, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.ledger_closing import close_ledger
from hivebus_migration.leg import Leg
from hivebus_migration.offering import Delegating, Offer, offering
from hivebus_migration.plans import Plan, Plans
from hivebus_migration.stage_cache import StageCache
from hivebus_migration.stage_file import StageFile
from hivebus_migration.telling import attempts, read_known
from hivebus_migration.watched_reader import WatchedReader

CONNECT_WITHIN = 5.0
"""Seconds that a leg may take to connect; then it goes on in the background."""
CLOSE_WITHIN = 3.0
"""Seconds for which `close` waits for copies that are still on their way."""
AFTER_THE_SENDER = 0.002
"""Seconds after which a message is announced: by then its sender's server has it."""
FLUSH_WITHIN = 2.0
"""Seconds for which `close` waits for the ledger."""


def join(endpoint: Endpoint) -> DualWrite:
    """Return the transport that joins the two legs of *endpoint*; it offers what the first of them offers."""
    if len(endpoint.legs) != 2:
        raise ConfigError(
            "dualwrite:// is no URL of its own: it joins two transports",
            hint="set url to the one to move to, and legacy_url to the one that is left",
        )
    main, legacy = (Leg(name, publisher) for name, publisher in endpoint.legs.items())
    if not isinstance(main.publisher, Directory):
        raise ConfigError(
            f"the {main.name} transport keeps no directory, so it cannot hold the stages of agents",
            hint="set url to a transport that does, such as redis://localhost:6379",
        )
    ledger = Path(endpoint.ledger)
    return offering(DualWrite, main.publisher)(main, legacy, ledger=ledger, namespace=endpoint.namespace)


class DualWrite(Delegating):
    """Sends by the leg that acts, copies to the other, and reads from the one that is moved to.

    It claims what the transport that is moved to can do, since that is what ``Bus(require=...)`` asks
    about and what holds for every agent that is live. For an agent whose legacy leg still acts, that
    leg's limits hold: an option that it cannot honour is its error. Only a reply inside an ack is never
    offered: the stage of its recipient decides how it travels. While the transport that is moved to is
    away, nothing of it is claimed.

    Args:
        main: the leg that is moved to; legacy: the one that is left.
        ledger: the file in which both are compared.
        namespace: which bus this is.
    """

    def __init__(self, main: Leg, legacy: Leg, *, ledger: Path, namespace: str) -> None:
        self._main = main
        self._legacy = legacy
        self._ledger = Ledger(ledger)
        self._stages = StageCache(lambda: self.inner(Directory), StageFile(ledger, namespace=namespace))
        self._plans = Plans(main, legacy, stage_of=self._stages.of)
        self._copies = {
            main.name: Copies(main, told=self._told, patience=MAIN_PATIENCE),
            legacy.name: Copies(legacy, told=self._told, patience=LEGACY_PATIENCE, absent="no_bridge"),
        }
        self.legs = (main.name, legacy.name)
        self.under_way = min(main.publisher.under_way, legacy.publisher.under_way)
        self._session = ""
        self._number = 0
        self._fresh: list[tuple[Outgoing, Plan, Moment]] = []
        self._later: list[Callable[[], None]] = []
        self._closed = False

    # --- connecting --------------------------------------------------------------------------

    async def connect(self) -> Capabilities:
        """Connect both legs; one that is away is connected in the background, and both away is `Unavailable`."""
        # Made here: processes forked from one that joined them would all count as the same sender.
        self._session = os.urandom(8).hex()
        there = await asyncio.gather(*(leg.connect(within=CONNECT_WITHIN) for leg in (self._main, self._legacy)))
        if not any(there):
            raise Unavailable(
                f"neither {self._main.name} nor {self._legacy.name} can be reached",
                cause=f"{self._main.error.what}; {self._legacy.error.what}",
                hint=self._main.error.hint or "start one of them, or check url and legacy_url: hivebus config show",
            )
        await self._stages.start()
        return replace(self._main.capabilities or Capabilities(), atomic_reply=ABSENT)

    async def close(self) -> None:
        """Give copies that are on their way 3 s to arrive, write down what became of all, and disconnect."""
        if self._closed:
            return
        self._closed = True
        self._catch_up()
        await self._stages.close()
        await asyncio.gather(*(copies.close(within=CLOSE_WITHIN) for copies in self._copies.values()))
        await asyncio.gather(self._main.close(), self._legacy.close())
        await close_ledger(self._ledger, within=FLUSH_WITHIN)

    # --- sending -----------------------------------------------------------------------------

    def lane(self, item: Outgoing) -> Hashable:
        """Return the lane of the acting leg."""
        return self._plans.of(item).acting.lane(item)

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Hand a batch to the legs that act, and copies to the others; return what the acting legs answered."""
        at = now()
        plans = [self._plans.of(item) for item in batch]
        for item, plan in zip(batch, plans, strict=True):
            if not plan.announced:
                plan.announced = True
                self._announce_soon(item, plan, at)
        legs = {plan.acting for plan in plans}
        if len(legs) == 1:
            answers = await self._act(legs.pop(), batch)
        else:
            answers = await self._act_on_both(batch, plans)
        return [_with_legs(answer, plan) for answer, plan in zip(answers, plans, strict=True)]

    async def _act_on_both(
        self, batch: Sequence[Outgoing], plans: Sequence[Plan]
    ) -> Sequence[Published | HivebusError]:
        places = {
            leg: [place for place, plan in enumerate(plans) if plan.acting is leg] for leg in (self._main, self._legacy)
        }
        answers = await asyncio.gather(
            *(self._act(leg, [batch[place] for place in of_leg]) for leg, of_leg in places.items())
        )
        by_place = {
            place: answer
            for of_leg, of_answers in zip(places.values(), answers, strict=True)
            for place, answer in zip(of_leg, of_answers, strict=True)
        }
        return [by_place[place] for place in range(len(batch))]

    async def _act(self, leg: Leg, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        began = monotonic()
        answers = await leg.publish(batch)
        seconds = monotonic() - began
        self._soon(lambda: self._told(attempts(batch, answers, leg=leg.name, driver=leg.driver, seconds=seconds)))
        return answers

    def _announce_soon(self, item: Outgoing, plan: Plan, at: Moment) -> None:
        if not self._fresh:
            self._soon(self._announce)
        self._fresh.append((item, plan, at))

    def _soon(self, act: Callable[[], None]) -> None:
        """Do *act* when the sender is on its way: neither the ledger nor the other leg shall cost it anything."""
        if not self._later:
            asyncio.get_running_loop().call_later(AFTER_THE_SENDER, self._catch_up)
        self._later.append(act)

    def _catch_up(self) -> None:
        acts, self._later = self._later, []
        for act in acts:
            act()

    def _announce(self) -> None:
        """Note what travels since when, and send the copies on their way."""
        fresh, self._fresh = self._fresh, []
        facts: list[Fact] = []
        copies: list[tuple[Leg, Outgoing]] = []
        spools = any(plan.other is self._legacy for _, plan, _ in fresh) and is_bridged(self._ledger.path)
        for item, plan, at in fresh:
            facts.append(self._intent(item, plan, at))
            if plan.other is None:
                continue
            copy = item._replace(inbox=shadow_of(item.inbox))
            # A row of the spool has no delay; the leg itself refuses what it cannot delay.
            if spools and plan.other is self._legacy and not item.delay:
                facts.append(_spooled(copy, leg=plan.other.name, at=at))
            else:
                copies.append((plan.other, copy))
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

    def _told(self, told: Sequence[Attempt]) -> None:
        self._ledger.note(*told)

    # --- what the transport inside offers ------------------------------------------------------

    def inner(self, kind: type[Offer]) -> Offer:
        """Return the transport that is moved to, or raise why it is away."""
        self._main.check()
        assert isinstance(self._main.publisher, kind)
        return self._main.publisher

    async def open_watched(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        """Open an inbox of the transport that is moved to; what its reader hands over is written down."""
        reader = await self.inner(Transport).open(inbox, consumer=consumer, lease=lease)
        return WatchedReader(
            reader,
            agent=inbox.name,
            leg=self._main.name,
            level="acked",
            ledger=self._ledger,
            # While the other leg acts, what comes this way goes to the shadow inbox, which this does not read.
            expects=self._stages.of(inbox.name).main_acts,
        )


def _with_legs(answer: Published | HivebusError, plan: Plan) -> Published | HivebusError:
    if not isinstance(answer, Published):
        return answer
    return answer._replace(leg=plan.acting.name, others=(plan.other.name,) if plan.other else ())


def _spooled(copy: Outgoing, *, leg: str, at: Moment) -> Spooled:
    return Spooled(leg, copy.inbox, copy.message_id, copy.routing_key, copy.priority, copy.ttl, copy.data, at)
