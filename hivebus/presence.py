"""Signs of life of a process that reads an inbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from hivebus import registry
from hivebus.errors import HivebusError
from hivebus.transport import Directory, Publisher

_log = logging.getLogger(__name__)


class Heart:
    """Beats from `start` to `close`; a server that is away is waited for.

    Args:
        transport: where the agent is registered; nothing happens where it keeps no directory.
        agent: who is here; pools: those whose inboxes it reads as well.
        every: seconds between two beats.
    """

    def __init__(
        self, transport: Publisher, agent: str, *, pools: Sequence[str] = (), every: float = registry.BEAT
    ) -> None:
        self._directory = transport if isinstance(transport, Directory) else None
        self._agent = agent
        self._pools = pools
        self._every = every
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Beat until `close`. The first beat is a moment away: opening the inbox has registered the agent."""
        if self._directory is not None:
            self._beating = asyncio.create_task(self._beat(self._directory))

    async def close(self) -> None:
        """Stop; when the agent was last seen stays known."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def _beat(self, directory: Directory) -> None:
        with suppress(HivebusError):
            await self._warn_of_a_move(directory)
        while True:
            await asyncio.sleep(self._every)
            try:
                await registry.register(directory, self._agent, pools=self._pools)
            except HivebusError as error:
                _log.warning("no sign of life could be given, trying again", extra={"error": str(error)})

    async def _warn_of_a_move(self, directory: Directory) -> None:
        moved_to = await registry.moved_to(directory, self._agent)
        if moved_to is not None:
            _log.warning(
                "this agent was renamed, and its mail goes to its new name",
                extra={"agent": self._agent, "moved_to": moved_to, "undo": f"hivebus agents forget {self._agent}"},
            )
