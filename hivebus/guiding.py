"""Keeps the routes of one bus fresh, without asking for them.

The server counts every change of a subscription, a fallback or a name, and tells the count with each answer to a
publish. Whoever is told another one than it knows reads the routes again, before its sender is told that all is well.
So a subscriber gets everything that is sent after its subscription was acknowledged, and while nothing changes,
nothing is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from hivebus.errors import HivebusError
from hivebus.heading import Heading
from hivebus.routing import Routes, Way, names_of, needs, no_directory
from hivebus.transport import ROUTES, Directory, Publisher

UNCOUNTED = -1
"""The version of routes from a directory that does not count its changes: no answer confirms it."""
FRESH = 1.0
"""Seconds for which routes hold that no answer confirms."""
ROUNDS = 3
"""How often they are read for one answer, before the next answer has to do."""


class Guiding:
    """The routes as this bus knows them.

    Args:
        transport: keeps the directory; where it keeps none, an address means what is written there.

    Attributes:
        routes: the present snapshot; reads: how often it was read, for whoever counts the work.
    """

    def __init__(self, transport: Publisher) -> None:
        self._directory = transport if isinstance(transport, Directory) else None
        self.routes = Routes(version=0 if self._directory else None)
        self.reads = 0
        self._reading: asyncio.Task[None] | None = None
        self._confirmed = 0.0

    async def find(self, heading: Heading) -> Way:
        """Return the way of messages with this heading.

        Raises:
            NotFound: there is no such pool, or nobody but the sender is registered.
            Unsupported: it takes a directory to know who is meant.
        """
        way = self.routes.known.get(heading.text)
        if way is not None:
            return way
        routes = self.routes
        kind = needs(heading.to_agent)
        if kind is None:
            way = routes.way(heading, names_of(heading.to_agent))
        else:
            names = await self.names(heading.to_agent, sender=heading.from_agent)
            routes = self.routes
            way = routes.way(heading, names)
        # Who is registered may be another question the next time; and a temporary inbox is used once.
        if kind != "agents" and "~" not in way.inboxes[0]:
            routes.keep(heading, way)
        return way

    async def names(self, to_agent: str | tuple[str, ...], *, sender: str) -> tuple[str, ...]:
        """Return whom an address means at this moment."""
        kind = needs(to_agent)
        found: Sequence[str] = ()
        if kind is not None:
            if self._directory is None:
                raise no_directory(to_agent)
            found = list(await self._directory.read(kind))
        return names_of(to_agent, registered=sorted(found), pools=sorted(found), sender=sender)

    async def catch_up(self, told: int | None) -> Routes:
        """Return routes that are as new as an answer: *told* is the count that came with it, None for none.

        Raises:
            HivebusError: they cannot be read.
        """
        if self._directory is None:
            return self.routes
        if told is None:
            await self.confirm()
            return self.routes
        for _ in range(ROUNDS):
            if told == self.routes.version:
                break
            await self._read()
        return self.routes

    async def confirm(self) -> None:
        """Read the routes again when they are older than a second and no answer has confirmed them since."""
        now = monotonic()
        if self._directory is None or now < self._confirmed + FRESH:
            return
        self._confirmed = now
        # A message must not fail for this: on another road, the one that keeps the directory may be away.
        with suppress(HivebusError):
            version = await self._directory.changes()
            if version is None or version != self.routes.version:
                await self._read()

    async def _read(self) -> None:
        """Read them; all who wait for that at the same time wait for the same reading."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_now())
        # One of them may be cancelled, and the others have nothing to do with that.
        await asyncio.shield(self._reading)

    async def _read_now(self) -> None:
        assert self._directory is not None
        self.reads += 1
        # Counted first: what changes in between is counted later, and read again.
        version = await self._directory.changes()
        entries = await self._directory.read(ROUTES)
        self.routes = Routes(
            {name: entry.value for name, entry in entries.items()}, version=UNCOUNTED if version is None else version
        )
        self._confirmed = monotonic()
