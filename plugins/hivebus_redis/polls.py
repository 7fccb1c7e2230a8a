"""The polls of one reader: asked when it has its turn, or begun before that by whoever hears its bell."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, NamedTuple

from hivebus.transport import Delivery
from hivebus_redis.connection import Channel, Server, Word


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

    A question that was begun is answered to the next `ask`. Whoever does not ask has to `give_up`, and may have
    lost messages then.

    Args:
        channel: the connection; whatever else is asked on it is carried out behind what is under way.
        keys, facts: what stands first in each question.
    """

    def __init__(self, server: Server, channel: Channel, *, keys: tuple[str, ...], facts: tuple[Word, ...]) -> None:
        self._server = server
        self._channel = channel
        self._keys = keys
        self._facts = facts
        self._under_way: asyncio.Future[Any] | None = None
        self._began_at = 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether one was begun that nobody waits for yet."""
        return self._under_way is not None

    @property
    def leaves_at(self) -> float:
        """When the question of the next `ask` left; now, if none was begun."""
        return monotonic() if self._under_way is None else self._began_at

    def begin(self, limit: int, start: int, running: int) -> None:
        """Ask for deliveries at once, if the connection is whole."""
        if self._under_way is None:
            self._began_at = monotonic()
            words = self._server.words("receive", self._keys, (*self._facts, limit, start, running))
            self._under_way = self._channel.begin(*words)

    async def ask(self, function: str, limit: int, start: int, running: int) -> Answer:
        """Return the answer to what was begun, or else to this question.

        Raises what `Server.call` does. Messages may have been handed over then.
        """
        asked_at = self.leaves_at
        begun, self._under_way = self._under_way, None
        words = (*self._facts, limit, start, running)
        reply = await self._server.call(function, self._keys, words, channel=self._channel, begun=begun)
        epoch, kind, due, *rest = reply
        return Answer(asked_at, epoch.decode(), kind, int(due) / 1000, rest)

    def give_up(self) -> bool:
        """Let the answer to what was begun be dropped when it comes; tell whether there was anything."""
        begun, self._under_way = self._under_way, None
        if begun is None:
            return False
        if not begun.cancel() and not begun.cancelled():
            begun.exception()  # looked at: nobody else will, and the loop would complain
        return True


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
