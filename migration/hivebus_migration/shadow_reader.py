"""Reads the shadow inboxes: copies on the leg that does not act yet, seen by nobody but the comparison."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence

from hivebus.address import behind_shadow, shadow_of
from hivebus.errors import HivebusError
from hivebus.transport import Ack, Directory, Inbox, Inspectable, Transport
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg
from hivebus_migration.pausing import pause_unless
from hivebus_migration.stages import EVERYONE, read_stages
from hivebus_migration.watched_reader import WatchedReader

LOOK_EVERY = 1.0
"""Seconds between two looks for agents that came to it."""
LEASE = 15.0
LIMIT = 500
WAIT = 5.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
_log = logging.getLogger(__name__)


class ShadowReaders:
    """One reader per agent whose copies are compared; none of them ever runs a handler.

    An agent that has moved on keeps its reader: what was still in its shadow inbox is read to the end.

    Args:
        main: the leg that is moved to.
        ledger: is told what came.
    """

    def __init__(self, main: Leg, ledger: Ledger) -> None:
        self._main = main
        self._ledger = ledger
        self._readers: dict[str, ShadowReader] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    @property
    def seen(self) -> int:
        """How many copies came."""
        return sum(reader.seen for reader in self._readers.values())

    async def run(self) -> None:
        """Read until `stop`; a server that is away is waited for."""
        while not self._stopping.is_set():
            for agent in await self._wanted():
                if agent not in self._tasks:
                    self._readers[agent] = reader = ShadowReader(agent, self._main, self._ledger)
                    self._tasks[agent] = asyncio.create_task(reader.run())
            await pause_unless(self._stopping, LOOK_EVERY)
        for reader in self._readers.values():
            reader.stop()
        for task in self._tasks.values():
            await task

    def stop(self) -> None:
        """Make `run` end; whoever was cancelled between reading and its ack would see the same copies again."""
        self._stopping.set()

    async def _wanted(self) -> Sequence[str]:
        publisher = self._main.publisher
        try:
            self._main.check()
            assert isinstance(publisher, Directory)
            stages = await read_stages(publisher)
            inboxes = await publisher.inboxes() if isinstance(publisher, Inspectable) else ()
        except HivebusError as error:
            _log.debug("the stages cannot be read, trying again", extra={"error": str(error)})
            return ()
        # Those that follow the stage of everyone are known by the first copy in their shadow inbox.
        chosen = {name for name, stage in stages.items() if stage.name == "dualwrite" and name != EVERYONE}
        return sorted(chosen | {agent for agent, is_shadow in map(behind_shadow, inboxes) if is_shadow})


class ShadowReader:
    """Takes what is in one shadow inbox, writes it down, and acks it.

    Attributes:
        seen: how many copies came.
    """

    def __init__(self, agent: str, main: Leg, ledger: Ledger) -> None:
        self._agent = agent
        self._main = main
        self._ledger = ledger
        self._stopping = asyncio.Event()
        self._reader: WatchedReader | None = None
        self.seen = 0

    async def run(self) -> None:
        """Read until `stop`."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                await self._take(self._reader or await self._open())
                pause = FIRST_PAUSE
            except HivebusError as error:
                _log.warning("a shadow inbox cannot be read", extra={"agent": self._agent, "error": str(error)})
                await pause_unless(self._stopping, pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        if self._reader is not None:
            await self._reader.close()

    def stop(self) -> None:
        """Make `run` end once what it has in hand is acked."""
        self._stopping.set()
        if self._reader is not None:
            self._reader.wake()

    async def _open(self) -> WatchedReader:
        publisher = self._main.publisher
        assert isinstance(publisher, Transport)
        consumer = f"shadow-{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        reader = await publisher.open(Inbox(shadow_of(self._agent)), consumer=consumer, lease=LEASE)
        self._reader = WatchedReader(reader, agent=self._agent, leg=self._main.name, level="taken", ledger=self._ledger)
        return self._reader

    async def _take(self, reader: WatchedReader) -> None:
        # Not marked as started: what a bridge had in hand when it died comes back in bulk.
        deliveries = await reader.receive(limit=LIMIT, start=0, wait=WAIT)
        self.seen += len(deliveries)
        acks = [Ack(delivery.token) for delivery in deliveries]
        pause = FIRST_PAUSE
        # Until it is answered: a copy that came again because its ack was lost would look like a duplicate.
        while acks:
            try:
                await reader.settle(acks)
            except HivebusError:
                if self._stopping.is_set():
                    raise
                await pause_unless(self._stopping, pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                return
