"""The stages as a sender knows them: at once, and never older than about a second while the directory answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hivebus.errors import HivebusError
from hivebus.transport import Directory
from hivebus_migration.pausing import pause_unless
from hivebus_migration.stage_file import StageFile
from hivebus_migration.stages import Stage, Stages, read_stages, stage_of

REFRESH_EVERY = 1.0
PATIENCE = 5.0
"""Seconds for which the directory may keep us waiting for one answer."""
STOP_WITHIN = 1.0
_log = logging.getLogger(__name__)


class StageCache:
    """Answers from memory, and asks the directory in the background.

    While the directory is away, what was last known holds: in this process, or of any process of this
    machine through *file*. Where nothing was ever known, every agent is off: as before the migration.

    Args:
        directory: returns the directory, or raises `HivebusError` while it is away.
        file: where the last known stages are kept.
        changed: is told when stages are others than before.
    """

    def __init__(
        self, directory: Callable[[], Directory], file: StageFile, *, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._directory = directory
        self._file = file
        self._changed = changed
        self._stages: Stages = {}
        self._is_kept = False
        self._refreshing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Learn the first stages, and begin to keep them fresh."""
        if not await self._refresh():
            self._know(self._file.read() or {})
        self._refreshing = asyncio.create_task(self._keep_fresh())

    def of(self, agent: str) -> Stage:
        """Return the stage of an agent as it was last known."""
        return stage_of(agent, self._stages)

    async def close(self) -> None:
        """Stop asking."""
        self._stopping.set()
        if self._refreshing is not None:
            # By a flag first: a cancellation can get lost in a client that is just connecting.
            await asyncio.wait([self._refreshing], timeout=STOP_WITHIN)
            self._refreshing.cancel()

    async def _keep_fresh(self) -> None:
        # Also while nothing is sent: the first message after a quiet hour must not go by an hour-old stage.
        while not self._stopping.is_set():
            await pause_unless(self._stopping, REFRESH_EVERY)
            if not self._stopping.is_set():
                await self._refresh()

    async def _refresh(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                stages = await read_stages(self._directory())
        except (HivebusError, TimeoutError) as error:
            _log.debug("the stages cannot be read, the last known ones hold", extra={"error": str(error)})
            return False
        if stages != self._stages or not self._is_kept:
            # Looking into the file once a second would hold up a sender now and then.
            self._file.write(stages)
            self._is_kept = True
        self._know(stages)
        return True

    def _know(self, stages: Stages) -> None:
        is_news = stages != self._stages
        self._stages = stages
        if is_news:
            self._changed()
