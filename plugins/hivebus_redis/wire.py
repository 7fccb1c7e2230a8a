"""The fast road to a server: commands go out as they come, answers come back in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import hiredis
from redis import exceptions
from redis.asyncio.connection import Connection, DefaultParser

T = TypeVar("T")


class _Waiting(NamedTuple):
    """Who waits for an answer.

    Attributes:
        take: is given it; answer: done when nobody waits any more; until: time of the loop at which it is late.
    """

    take: Callable[[Any], None]
    answer: asyncio.Future[Any]
    until: float


class Wire(asyncio.Protocol):
    """One established connection.

    redis-py has connected, authenticated and chosen the database; from then on its command layer is
    left out, because it costs more per message than the server does. A command whose answer does not
    come in time breaks the connection, so that no later one can read it instead of its own.
    """

    def __init__(self, connection: Connection) -> None:
        self._reader = hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=DefaultParser.parse_error)
        self._waiting: deque[_Waiting] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._why: Exception | None = None
        # redis-py offers no way to hand over a connection that it has made.
        self._transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr] # noqa: SLF001
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether commands can still be sent."""
        return self._why is None and not self._transport.is_closing()

    def begin(self, packed: bytes, *, within: float) -> asyncio.Future[Any]:
        """Send one packed command and return its answer to be: *within* so many seconds, or what redis-py raises.

        One that is cancelled leaves the connection whole: the answer is read and dropped.
        """

        def take(reply: Any) -> None:
            if answer.done():
                return
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return self._send(packed, 1, take, answer, within=within)

    def begin_all(
        self, packed: bytes, count: int, *, within: float, rings: Callable[[], None] | None = None
    ) -> asyncio.Future[list[Any]]:
        """Send so many commands behind each other and return their answers to be, with an error where there is none.

        All have come by then: what stood behind an error was carried out.

        Args:
            rings: is called as soon as they are there, a turn of the loop before whoever waits for them has them.
        """

        def take(reply: Any) -> None:
            replies.append(reply)
            if len(replies) < count or answer.done():
                return
            answer.set_result(replies)
            if rings is not None:
                rings()

        replies: list[Any] = []
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        return self._send(packed, count, take, answer, within=within)

    def break_off(self, why: Exception) -> None:
        """Drop the connection; whoever waits for an answer gets *why*."""
        self._why = self._why or why
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give each answer to the command that it belongs to."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                self._give(answer)
        except exceptions.InvalidResponse as error:
            self.break_off(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        self._why = self._why or exceptions.ConnectionError(str(error) if error else "the server closed the connection")
        if self._watch is not None:
            self._watch.cancel()
        while self._waiting:
            self._give(self._why)

    def _send(
        self, packed: bytes, count: int, take: Callable[[Any], None], answer: asyncio.Future[T], *, within: float
    ) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(take, answer, loop.time() + within)
        self._waiting.extend([waiting] * count)
        self._transport.write(packed)
        if self._watch is None or self._watch.when() > waiting.until:
            self._watch_until(waiting.until)
        return answer

    def _give(self, reply: Any) -> None:
        if self._waiting:
            self._waiting.popleft().take(reply)

    def _look(self) -> None:
        """Break the connection if an answer is late; else look again when the next one would be."""
        # One timer for all, since answers come in their order: one each would be set and taken back for every message.
        self._watch = None
        first = next((each for each in self._waiting if not each.answer.done()), None)
        if first is None:
            return
        if asyncio.get_running_loop().time() >= first.until:
            self.break_off(exceptions.TimeoutError("no answer in time"))
        else:
            self._watch_until(first.until)

    def _watch_until(self, time: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().call_at(time, self._look)
