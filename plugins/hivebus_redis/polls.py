"""The polls of one reader, and what the server says to them."""

from __future__ import annotations

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

    Args:
        channel: the connection; whatever else is asked on it is carried out behind what was asked before.
        keys, facts: what stands first in each question.
        long: the long polls on the same connection.
    """

    def __init__(
        self, server: Server, channel: Channel, *, keys: tuple[str, ...], facts: tuple[Word, ...], long: LongPoll
    ) -> None:
        self._server = server
        self._channel = channel
        self._keys = keys
        self._facts = facts
        self._long = long

    @property
    def leaves_at(self) -> float:
        """When the question of the next `ask` left; now, unless that is a long poll."""
        return self._long.began_at if self._long.is_answered else monotonic()

    async def ask(self, function: str, limit: int, start: int, running: int) -> Answer | None:
        """Return the answer to the long poll that there is one to, or else to this question.

        None when a long poll has failed; or raises what `Server.call` does. Messages may have been handed over then.
        """
        asked_at = self.leaves_at
        if self._long.is_answered:
            reply = self._long.take()
        else:
            words = (*self._facts, limit, start, running)
            reply = await self._server.call(function, self._keys, words, channel=self._channel)
        if reply is None:
            return None
        epoch, kind, due, *rest = reply
        return Answer(asked_at, epoch.decode(), kind, int(due) / 1000, rest)


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
