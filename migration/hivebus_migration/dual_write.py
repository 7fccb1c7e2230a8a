"""Two transports as one: the agent's stage says which of them acts, and a copy travels the other.

The sender's result is the acting leg's. The copy goes to the agent's shadow inbox, in the background;
whatever becomes of it is written into the ledger and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

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
from hivebus_migration.announcing import Announcing
from hivebus_migration.copies import LEGACY_PATIENCE, MAIN_PATIENCE, Copies
from hivebus_migration.facts import Attempt
from hivebus_migration.ledger import Ledger
from hivebus_migration.ledger_closing import close_ledger
from hivebus_migration.leg import Leg
from hivebus_migration.offering import Delegating, Offer, offering
from hivebus_migration.plans import Course, Plans
from hivebus_migration.stage_cache import StageCache
from hivebus_migration.stage_file import StageFile
from hivebus_migration.watched_reader import WatchedReader

CONNECT_WITHIN = 5.0
"""Seconds that a leg may take to connect; then it goes on in the background."""
CLOSE_WITHIN = 3.0
"""Seconds for which `close` waits for copies that are still on their way."""
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
        self._plans = Plans(main, legacy, stage_of=lambda agent: self._stages.of(agent))
        self._stages = StageCache(
            lambda: self.inner(Directory),
            StageFile(ledger, namespace=namespace),
            changed=self._stages_changed,
        )
        self._copies = {
            main.name: Copies(main, told=self._told, patience=MAIN_PATIENCE),
            legacy.name: Copies(legacy, told=self._told, patience=LEGACY_PATIENCE, absent="no_bridge"),
        }
        self._announcing = Announcing(self._ledger, self._plans, legacy=legacy, copies=self._copies)
        self.legs = (main.name, legacy.name)
        self._closed = False

    # --- connecting --------------------------------------------------------------------------

    async def connect(self) -> Capabilities:
        """Connect both legs; one that is away is connected in the background, and both away is `Unavailable`."""
        self._announcing.begin()
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
        # What was given up in this very turn of the loop is told of in the next one.
        await asyncio.sleep(0)
        self._announcing.close()
        await self._stages.close()
        await asyncio.gather(*(copies.close(within=CLOSE_WITHIN) for copies in self._copies.values()))
        await asyncio.gather(self._main.close(), self._legacy.close())
        await close_ledger(self._ledger, within=FLUSH_WITHIN)

    # --- sending -----------------------------------------------------------------------------

    def lane(self, item: Outgoing) -> Hashable:
        """Return the lane of the leg that would act if it had never been sent."""
        return self._plans.course(item).acting.lane(item)

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Hand a batch to the legs that act, and copies to the others; return what the acting legs answered."""
        courses = list(map(self._plans.of, batch))
        acting = courses[0].acting
        if len(courses) > 1 and any(course.acting is not acting for course in courses):
            return await self._publish_apart(batch, courses)
        departure = self._announcing.departs(batch, courses)
        try:
            answers = await acting.publish(batch)
        except HivebusError as error:
            answers = [error] * len(batch)
        self._announcing.answered(departure, answers)
        return list(map(Course.told, courses, answers))

    async def _publish_apart(
        self, batch: Sequence[Outgoing], courses: Sequence[Course]
    ) -> Sequence[Published | HivebusError]:
        """Publish what acts on either leg as a batch of its own."""
        places = [
            [place for place, course in enumerate(courses) if course.acting is leg]
            for leg in (self._main, self._legacy)
        ]
        answers = await asyncio.gather(*(self.publish([batch[place] for place in of_leg]) for of_leg in places))
        by_place = dict(zip(chain(*places), chain(*answers), strict=True))
        return [by_place[place] for place in range(len(batch))]

    def _stages_changed(self) -> None:
        # What is on its way keeps the course that it left by, also if it has to be sent again.
        self._announcing.catch_up()
        self._plans.stages_changed()

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
