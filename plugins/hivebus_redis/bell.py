"""The bell of one inbox: a plain blocking read that takes nothing, on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hivebus.errors import HivebusError, NotPermitted
from hivebus.transport import Inbox
from hivebus_redis.connection import Server, Word
from hivebus_redis.layout import Layout

LOOK_AGAIN = 0.05
"""Seconds between two polls of an idle reader that may not sleep on the streams."""
LONGEST_SLEEP = 5.0
"""Seconds after which an idle reader looks again in any case."""


class Bell:
    """For who may not poll long: rings when there may be something new, or when it cannot tell.

    Args:
        rings: is called then.
    """

    def __init__(self, server: Server, layout: Layout, inbox: Inbox, *, rings: Callable[[], None]) -> None:
        self._server = server
        self._streams = layout.listening(inbox.name)
        self._rings = rings
        self._channel = server.channel(reply_timeout=LONGEST_SLEEP + 2.0)
        self._listening: asyncio.Task[None] | None = None

    def listen(self, ids: Sequence[bytes]) -> None:
        """Listen for entries behind these ids, unless it still listens."""
        # One that still waits is kept: it waits behind older entries, so it can only ring too early.
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen(ids))

    async def close(self) -> None:
        """Stop listening, for good."""
        # The connection is dropped rather than the task cancelled: on Python 3.11 a cancellation can get
        # lost inside redis-py, and a plain read has taken nothing that could be lost.
        await self._server.forget(self._channel)
        if self._listening is not None:
            await asyncio.wait([self._listening])

    async def _listen(self, ids: Sequence[bytes]) -> None:
        words: tuple[Word, ...] = ("BLOCK", int(LONGEST_SLEEP * 1000), "STREAMS", *self._streams, *ids)
        try:
            await self._channel.call("XREAD", "COUNT", 1, *words)
        except NotPermitted:
            # Without that right it is looked again and again, but not at full speed.
            await asyncio.sleep(LOOK_AGAIN)
        except HivebusError:
            pass  # the next poll meets the same server, and reports what is wrong
        self._rings()
