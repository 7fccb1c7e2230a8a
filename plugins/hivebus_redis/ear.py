"""A connection that has subscribed: it only listens, keeps what it hears, and notices when it hears nothing more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import hiredis
from hiredis import pack_command
from redis import exceptions
from redis.asyncio.connection import Connection, DefaultParser

MOST_WAITING = 10_000
MOST_BYTES = 32 * 1024 * 1024
"""What may wait to be taken; then no more is read, and a server whose own patience ends cuts the listener off."""
LOOK_EVERY = 5.0
"""Seconds of silence after which the server is asked whether it is there; as many it has for its answer."""
Wanted = Callable[[str, str], bool]


class Backlog:
    """What was heard and not taken yet; it outlives the connection on which it came."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self.came = asyncio.Event()

    def add(self, data: bytes) -> None:
        """Keep a message."""
        self._waiting.append(data)
        self._bytes += len(data)
        self.came.set()

    def take(self, limit: int) -> list[bytes]:
        """Return the oldest ones, up to *limit*."""
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._bytes -= sum(map(len, taken))
        return taken

    @property
    def is_full(self) -> bool:
        """Whether no more should be read for now."""
        return len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES


class Ear(asyncio.Protocol):
    """One subscribed connection.

    Args:
        connection: as redis-py made it: connected, authenticated.
        wanted: is asked about the pattern and the channel of each message: the globs of the server are looser than
            our patterns, and it sends a message once per glob that matches.
        backlog: where messages are kept.
    """

    def __init__(self, connection: Connection, *, wanted: Wanted, backlog: Backlog) -> None:
        self._reader = hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=DefaultParser.parse_error)
        self._wanted = wanted
        self._backlog = backlog
        self._confirmed = asyncio.get_running_loop().create_future()
        self._unconfirmed = 0
        self._was_silent = False
        self._is_paused = False
        self.why: Exception | None = None
        self.lost_at = 0.0
        # redis-py offers no way to hand over a connection that it has made.
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[union-attr,assignment] # noqa: SLF001
        self._transport.set_protocol(self)
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    @property
    def is_open(self) -> bool:
        """Whether it still listens."""
        return self.why is None and not self._transport.is_closing()

    async def subscribe(self, globs: Sequence[str], *, within: float) -> None:
        """Return when the server has confirmed every pattern, or raise what redis-py would."""
        self._unconfirmed = len(globs)
        self._transport.write(pack_command(("PSUBSCRIBE", *globs)))  # type: ignore[arg-type]
        try:
            await asyncio.wait_for(self._confirmed, within)
        except TimeoutError:
            self.break_off(exceptions.TimeoutError("no answer in time"))
            raise exceptions.TimeoutError("no answer in time") from None

    def go_on(self) -> None:
        """Read on, if it had stopped because too much was waiting."""
        if self._is_paused and not self._backlog.is_full and self.is_open:
            self._is_paused = False
            self._transport.resume_reading()

    def break_off(self, why: Exception) -> None:
        """Drop the connection."""
        self._lose(why)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep what is wanted."""
        self._was_silent = False
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except exceptions.InvalidResponse as error:
            self.break_off(error)
        if self._backlog.is_full and self.is_open and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Wake who waits: there is something to mend."""
        self._lose(exceptions.ConnectionError(str(error) if error else "the server closed the connection"))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self.break_off(reply)
        elif reply[0] == b"pmessage":
            _, glob, channel, data = reply
            # Anybody may publish on a channel of any name.
            if self._wanted(glob.decode(errors="replace"), channel.decode(errors="replace")):
                self._backlog.add(data)
        elif reply[0] == b"psubscribe":
            self._unconfirmed -= 1
            if not self._unconfirmed and not self._confirmed.done():
                self._confirmed.set_result(None)

    def _look(self) -> None:
        if not self.is_open:
            return
        if not self._is_paused:
            if self._was_silent:
                self.break_off(exceptions.TimeoutError("the server does not answer any more"))
                return
            self._was_silent = True
            self._transport.write(pack_command(("PING",)))
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _lose(self, why: Exception) -> None:
        if self.why is not None:
            return
        self.why, self.lost_at = why, monotonic()
        self._timer.cancel()
        if not self._confirmed.done():
            self._confirmed.set_exception(why)
            # It is told to who waits for it, if anybody does.
            self._confirmed.exception()
        self._backlog.came.set()
