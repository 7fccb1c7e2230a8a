"""The transport of a drill: the ordinary one, whose readers keep book of what they are handed and settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic

from hivebus.hookspecs import hookimpl
from hivebus.transport import Ack, Delivery, Endpoint, Extend, Inbox, Scheme, Settled, Settlement, Start
from hivebus_redis.address import parse_endpoint
from hivebus_redis.connection import CONNECT_TIMEOUT, REPLY_TIMEOUT, Server
from hivebus_redis.drill.ledger import Book, line_of
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams

PREFIX = "watched+"
CALL_LIMIT = REPLY_TIMEOUT + CONNECT_TIMEOUT
"""Seconds after which one call to the server has failed: its own two timeouts."""
CLEARLY = 1.0
OPENED = "opened"
"""What a book says when its consumer is about to ask for messages."""


class Watch:
    """A plugin that serves ``watched+unix://`` and ``watched+redis://`` URLs.

    Attributes:
        handed: the last delivery of each message that this process was handed.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.handed: dict[str, Delivery] = {}

    @hookimpl
    def register_transports(self, register: Callable[[Scheme], None]) -> None:
        """Add the schemes."""
        for name in ("unix", "redis"):
            register(Scheme(name=f"{PREFIX}{name}", transport=self._open))

    def _open(self, endpoint: Endpoint) -> RedisStreams:
        endpoint = replace(endpoint, url=endpoint.url.removeprefix(PREFIX))
        return WatchedStreams(Server(parse_endpoint(endpoint)), namespace=endpoint.namespace, watch=self)


class WatchedStreams(RedisStreams):
    """Opens readers that keep book."""

    def __init__(self, server: Server, *, namespace: str, watch: Watch) -> None:
        super().__init__(server, namespace=namespace, limit=256 * 1024)
        self._watch = watch

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> StreamReader:
        """Open an inbox."""
        reader = WatchedReader(
            self._server, self._layout, inbox, consumer=consumer, lease=lease, continuity=self._continuity
        )
        reader.watch = self._watch
        await reader.start()
        self._watch.book.write("M", "-", OPENED, 1)
        return reader


class WatchedReader(StreamReader):
    """Writes down every hand-over, settlement and renewal, and calls that took too long."""

    watch: Watch

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        """Receive."""
        began = monotonic()
        try:
            return await super().receive(limit=limit, start=start, wait=wait)
        finally:
            # Two calls may be due: one that asks what a lost answer held, and the poll itself.
            self._timed("receive", began, allowed=wait + 2 * CALL_LIMIT + CLEARLY)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        """Settle."""
        began = monotonic()
        try:
            answers = await super().settle(batch)
        finally:
            self._timed("settle", began, allowed=CALL_LIMIT + CLEARLY)
        self.watch.book.write_all(
            line for item, answer in zip(batch, answers, strict=True) if (line := _settled(item, answer, began))
        )
        return answers

    async def _take(self, limit: int, start: int) -> list[Delivery]:
        # A long poll left before.
        began = self._polls.leaves_at
        deliveries = await super()._take(limit, start)
        for each in deliveries:
            self.watch.handed[_id(each.token)] = each
        self.watch.book.write_all(
            line_of("P", _id(each.token) or "?", each.token, began, each.attempt, each.failures) for each in deliveries
        )
        return deliveries

    def _timed(self, call: str, began: float, *, allowed: float) -> None:
        seconds = monotonic() - began
        if seconds > allowed:
            self.watch.book.write("C", "-", call, seconds, allowed)


def _settled(item: Settlement, answer: Settled, began: float) -> bytes | None:
    message_id = _id(item.token) or "?"
    if isinstance(item, Extend):
        return line_of("L", message_id, item.token, began) if answer == "done" else None
    if isinstance(item, Start):
        return None
    return line_of("K" if isinstance(item, Ack) else "N", message_id, item.token, answer, began)


def _id(token: str) -> str:
    return token.split("/", 3)[3]
