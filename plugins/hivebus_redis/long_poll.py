"""A poll that waits at the server until there is something to be handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import ceil
from time import monotonic
from typing import Any

from hivebus_redis.connection import Channel, Word


class LongPoll:
    """The long polls of one reader, of which one at most is under way.

    A function cannot block. So a blocking read goes first, which takes nothing, and the poll stands right behind it on
    the same connection: the server comes to it when the read has ended, without another round trip.

    Args:
        channel: a connection on which nothing else is asked meanwhile.
        streams: what is read behind.
        rings: is called when there is an answer, or an error in its place.

    Attributes:
        began_at: when the last one left.
        is_refused: whether the server does not let this reader wait.
    """

    def __init__(self, channel: Channel, *, streams: Sequence[str], rings: Callable[[], None]) -> None:
        self._channel = channel
        self._streams = streams
        self._rings = rings
        self._begun: asyncio.Future[list[Any]] | None = None
        self.began_at = 0.0
        self.is_refused = False

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer to be taken."""
        return self._begun is not None and self._begun.done()

    def begin(self, ids: Sequence[bytes], poll: Sequence[Word], *, seconds: float) -> bool:
        """Have the poll carried out when there is something behind these ids, and after so many seconds in any case.

        Tell whether that was begun: not when there is no connection that is whole.
        """
        self.began_at = monotonic()
        # Zero would be for ever.
        block = max(1, ceil(seconds * 1000))
        read: tuple[Word, ...] = ("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *self._streams, *ids)
        self._begun = self._channel.begin_all((read, poll), lasting=seconds, rings=self._rings)
        return self._begun is not None

    def take(self) -> list[bytes] | None:
        """Return the answer that is there; None for an error, after which messages may have been handed over."""
        assert self._begun is not None
        (read, answer), self._begun = self._begun.result(), None
        if isinstance(answer, Exception):
            return None
        self.is_refused = isinstance(read, Exception)
        polled: list[bytes] = answer
        return polled

    def give_up(self) -> bool:
        """Let the connection go on which the server still waits; tell whether messages may have been handed over."""
        begun, self._begun = self._begun, None
        if begun is not None and not begun.done():
            begun.cancel()
            self._channel.drop()
        return begun is not None
