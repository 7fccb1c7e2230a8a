"""What one listener listens for, on a connection of its own, which is made again when it was lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from redis import exceptions

from hivebus.errors import Unavailable
from hivebus.patterns import Patterns
from hivebus_redis import alarms
from hivebus_redis.address import Address
from hivebus_redis.connection import REPLY_TIMEOUT, make_connection
from hivebus_redis.ear import Backlog, Ear
from hivebus_redis.errors import translated, while_away
from hivebus_redis.layout import Layout


class Subscription:
    """The patterns of one listener.

    Args:
        address: the server.
        layout: the names of its channels.
        patterns: what is listened for.
    """

    def __init__(self, address: Address, layout: Layout, patterns: Patterns) -> None:
        self._where = address.where
        self._patterns = patterns
        self._layout = layout
        self._globs = {text: layout.channel(_glob(text)) for text in patterns.texts}
        self._connection = make_connection(address)
        self._backlog = Backlog()
        self._ear: Ear | None = None
        self._mending = asyncio.Lock()
        self._closed = False

    async def take(self, *, limit: int, wait: float) -> list[bytes]:
        """Return up to *limit* messages, waiting up to *wait* seconds for the first."""
        deadline = monotonic() + wait
        # Whoever asks again and again lets the connection be read.
        await asyncio.sleep(0)
        while True:
            self._backlog.came.clear()
            # What was heard before the connection was lost is not lost with it.
            if taken := self._backlog.take(limit):
                if self._ear is not None:
                    self._ear.go_on()
                return taken
            await self._listen()
            left = deadline - monotonic()
            if left <= 0:
                return []
            with suppress(TimeoutError):
                await asyncio.wait_for(self._backlog.came.wait(), left)

    async def close(self) -> None:
        """Listen no more; whoever waits is told."""
        self._closed = True
        if self._ear is not None:
            self._ear.break_off(exceptions.ConnectionError("closed by this side"))
        await self._connection.disconnect(nowait=True)

    async def _listen(self) -> None:
        """Return when it listens, or raise why it cannot."""
        async with self._mending:
            if self._closed:
                raise Unavailable(f"this listener of {self._where} is closed", hint="listen on one that is open")
            if self._ear is not None and self._ear.is_open:
                return
            before, self._ear = self._ear, None
            try:
                self._ear = await while_away(self._subscribe, where=self._where)
            except BaseException:
                # The next one who mends it still has to tell since when nothing was heard.
                self._ear = before
                raise
            if before is not None:
                alarms.notifications_may_be_missed(
                    self._where,
                    patterns=self._patterns.texts,
                    seconds=monotonic() - before.lost_at,
                    why=str(before.why),
                )

    async def _subscribe(self) -> Ear:
        with translated(self._where, connecting=True):
            await self._connection.disconnect(nowait=True)
            await self._connection.connect()  # type: ignore[no-untyped-call]
            ear = Ear(self._connection, wanted=self._is_wanted, backlog=self._backlog)
            try:
                await ear.subscribe(tuple(dict.fromkeys(self._globs.values())), within=REPLY_TIMEOUT)
            except BaseException:
                ear.break_off(exceptions.ConnectionError("it could not subscribe"))
                raise
            return ear

    def _is_wanted(self, glob: str, channel: str) -> bool:
        # The server sends a message once per glob: it is taken with that of the first pattern, and no other.
        found = self._patterns.first(channel.removeprefix(self._layout.channel("")))
        return found is not None and self._globs[found] == glob


def _glob(pattern: str) -> str:
    """Return the glob of Redis that matches what *pattern* matches, and more: its asterisk does not end at a dot."""
    if pattern.endswith(".#"):
        return f"{pattern.removesuffix('.#')}*"
    return pattern.replace("#", "*")
