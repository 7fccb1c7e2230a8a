"""The process that writes the legacy leg for all others of its machine, and reads the shadow inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hivebus.transport import Publisher
from hivebus_migration.ledger import Ledger
from hivebus_migration.ledger_closing import close_ledger
from hivebus_migration.leg import Leg
from hivebus_migration.shadow_reader import ShadowReaders
from hivebus_migration.spool import Spool
from hivebus_migration.spool_writer import SpoolWriter

CONNECT_WITHIN = 5.0
CLOSE_WITHIN = 3.0
STOP_WITHIN = 8.0
"""Seconds; a server that hangs is noticed after 5."""
FLUSH_WITHIN = 5.0


class Summary(NamedTuple):
    """What a bridge did in its life.

    Attributes:
        written: copies that the legacy leg took; failed: those that it did not.
        seen: copies that came to the shadow inboxes.
    """

    written: int
    failed: int
    seen: int


class Bridge:
    """Runs until it is told to stop. Either side may be away, also at the start: it is waited for.

    Args:
        roads: both transports by the names of their legs, the one that is moved to first; not connected.
        ledger: the file that all processes of this machine share.
    """

    def __init__(self, roads: Mapping[str, Publisher], *, ledger: Path) -> None:
        self.main, self.legacy = (Leg(name, publisher) for name, publisher in roads.items())
        self._ledger = Ledger(ledger)
        self._writer = SpoolWriter(self.legacy, Spool(ledger), self._ledger)
        self._readers = ShadowReaders(self.main, self._ledger)

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None]) -> Summary:
        """Work until *stop* is set; *ready* is called once. Raises `ConfigError`."""
        legs = (self.main, self.legacy)
        try:
            await asyncio.gather(*(leg.connect(within=CONNECT_WITHIN) for leg in legs))
            await self._work(stop, ready)
        finally:
            await self._writer.close(within=CLOSE_WITHIN)
            await asyncio.gather(*(leg.close() for leg in legs))
            await close_ledger(self._ledger, within=FLUSH_WITHIN)
        return Summary(self._writer.written, self._writer.failed, self._readers.seen)

    async def _work(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        work = [asyncio.create_task(self._writer.run()), asyncio.create_task(self._readers.run())]
        stopped = asyncio.create_task(stop.wait())
        ready()
        # Neither ends by itself: one that does has met a bug, and half a bridge is worse than none.
        await asyncio.wait([*work, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self._writer.stop()
        self._readers.stop()
        _, late = await asyncio.wait(work, timeout=STOP_WITHIN)
        for task in late:
            task.cancel()
        for task in work:
            with suppress(asyncio.CancelledError):
                await task
