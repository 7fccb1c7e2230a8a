"""Temporary reply inboxes: each is there while its reader lives, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, cast

from hivebus.address import is_temporary, owner_of
from hivebus.errors import HivebusError
from hivebus.transport import Delivery, Located
from hivebus_redis.connection import Server
from hivebus_redis.inspection import all_inboxes, located
from hivebus_redis.layout import Layout
from hivebus_redis.reader import CLOSE_TIMEOUT, StreamReader

STEP = 200
"""How many entries one call looks at: about a millisecond of the server's time."""


class ReplyReader(StreamReader):
    """The one reader of a temporary inbox. When it is closed the inbox is gone, and what is in it is its agent's."""

    _is_estranged = False
    _is_gone = False

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        """Return deliveries; an inbox that was dropped, because its reader slept for too long, is opened again."""
        if self._is_estranged:
            await self.start()
            self._is_estranged = False
        return await super().receive(limit=limit, start=start, wait=wait)

    async def close(self) -> None:
        """Drop the inbox, and those whose readers died."""
        await super().close()
        if self._is_gone:
            return
        self._is_gone = True
        with suppress(HivebusError, TimeoutError):
            # With a server that is away, somebody else drops it when the lease is over.
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await drop(self._server, self._layout, self._inbox.name, "closed")
                await drop_forsaken(self._server, self._layout)

    def _note_epoch(self, epoch: str) -> None:
        self._is_estranged = epoch != self._epoch
        super()._note_epoch(epoch)


async def drop_forsaken(server: Server, layout: Layout) -> int:
    """Drop the temporary inboxes that nobody reads any more; return how many messages went to their agents."""
    inboxes = [name for name in await all_inboxes(server, layout) if is_temporary(name)]
    return sum([await drop(server, layout, inbox, "forsaken") for inbox in inboxes])


async def drop(server: Server, layout: Layout, inbox: str, why: Literal["closed", "forsaken"]) -> int:
    """Drop one inbox, in steps; return how many messages went to its agent."""
    keys = (layout.meta(inbox), layout.index(), layout.meta(owner_of(inbox)))
    moved, more = 0, 1
    while more:
        passed, more = await server.call("drop", keys, (why, STEP))
        moved += passed
    return moved


async def answers(server: Server, layout: Layout, inbox: str, *, first_ms: int, last_ms: int) -> list[Located]:
    """Return what was accepted in a temporary inbox that is gone."""
    keys = (layout.meta(owner_of(inbox)),)
    rows = cast(list[Any], await server.ask("answers", keys, (inbox, first_ms, last_ms)))
    return [located(inbox, row) for row in rows]
