"""The polls of one reader, and what the server says to them."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from hivebus.transport import Delivery
from hivebus_redis.connection import Channel, Server, Word
from hivebus_redis.long_poll import LongPoll


class Answer(NamedTuple):
    """What the server said to a poll, as ``functions/receive.lua`` and ``look.lua`` have it.

    Attributes:
        asked_at: when the question left.
        due: seconds until something falls due.
    """

    asked_at: float
    epoch: str
    kind: bytes
    due: float
    rest: list[bytes]

    def deliveries(self) -> list[Delivery]:
        """Return what was handed over."""
        # Latin-1 reads whatever bytes a stranger may have chosen for an id.
        return [_delivery(self.rest[at].decode("latin-1"), self.rest[at + 1]) for at in range(0, len(self.rest), 2)]


class Polls:
    """Asks for one consumer, one question at a time.

    Whoever gives a poll up cannot know whether the server will still come to it. So each has a number, and the question
    what a reader holds tells the last one: the server refuses that poll, and all before it, from then on.

    Args:
        channel: the connection; whatever else is asked on it is carried out behind what was asked before.
        keys, facts: what stands first in each poll.
        long: the long polls on the same connection.

    Attributes:
        number: of the last one.
    """

    def __init__(
        self, server: Server, channel: Channel, *, keys: tuple[str, ...], facts: tuple[Word, ...], long: LongPoll
    ) -> None:
        self._server = server
        self._channel = channel
        self._keys = keys
        self._facts = facts
        self._long = long
        self.number = 0

    @property
    def leaves_at(self) -> float:
        """When the question of the next `ask` left; now, unless that is a long poll."""
        return self._long.began_at if self._long.is_answered else monotonic()

    def begin(self, ids: Sequence[bytes], *, seconds: float, limit: int, start: int, running: int) -> bool:
        """Ask for what comes behind these ids, and after so many seconds in any case; tell whether that was begun."""
        words = self._words(limit, start, running)
        return self._long.begin(ids, self._server.words("receive", self._keys, words), seconds=seconds)

    async def ask(self, function: str, limit: int, start: int, running: int) -> Answer | None:
        """Return the answer to the long poll that there is one to, or else to this question.

        None when it came too late to be carried out, or a long poll has failed; or raises what `Server.call` does.
        Messages may have been handed over then.
        """
        asked_at = self.leaves_at
        if self._long.is_answered:
            reply = self._long.take()
        else:
            words = self._words(limit, start, running)
            reply = await self._server.call(function, self._keys, words, channel=self._channel)
        if reply is None or reply[1] == b"late":
            return None
        epoch, kind, due, *rest = reply
        return Answer(asked_at, epoch.decode(), kind, int(due) / 1000, rest)

    def next_number(self) -> int:
        """Return the number of a poll that somebody else asks for the same consumer."""
        self.number += 1
        return self.number

    def _words(self, limit: int, start: int, running: int) -> tuple[Word, ...]:
        return (*self._facts, limit, start, running, self.next_number())


def _delivery(token: str, data: bytes) -> Delivery:
    # A token begins with its level, and what is known about earlier attempts stands before it.
    if token[1] == "/":
        return Delivery(token if _is_plain(token) else _without_id(token), data, priority=int(token[0]))
    fate, _, token = token.partition(" ")
    parts = [int(part) for part in fate.split(",")]
    return Delivery(token, data, parts[0] + 1, parts[1], parts[2], len(parts) > 3, int(token[0]))


def _is_plain(token: str) -> bool:
    """Tell whether the id in it can be one of a message: a stranger may write anything, and ids are kept as words."""
    return token.isascii() and token.isprintable() and " " not in token and token.count("/") == 3


def _without_id(token: str) -> str:
    level, entry, epoch, _ = token.split("/", 3)
    return f"{level}/{entry}/{epoch}/"
