"""The short way for many plain messages: the server's own XREADGROUP, in a transaction that a function may veto.

A function copies each message three times, which costs the server twice as much as handing it out does. Where
nothing but new entries of one level waits, none of what a function decides is to be decided: see
``functions/bulk.lua``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import Any

from hivebus.errors import NotPermitted, Unsupported
from hivebus.transport import Delivery, Inbox
from hivebus_redis.connection import Channel, Server, Word
from hivebus_redis.layout import Layout

WORTH = 16
"""Messages in a poll from which on the next one goes the short way."""
MAX_ID = 64
POOL = "@"
_OF_IDS = (ascii_letters + digits + "_.:-").encode()


@dataclass(frozen=True, slots=True)
class Taken:
    """What one transaction took.

    Attributes:
        deliveries: in their order; expired: those whose time to live was over, which nobody may handle.
    """

    deliveries: list[Delivery]
    expired: list[Delivery]


class Bulk:
    """Decides when a consumer goes the short way, and goes it.

    Args:
        channel: a connection on which nothing else is watched.
    """

    def __init__(self, server: Server, channel: Channel, layout: Layout, inbox: Inbox, *, consumer: str) -> None:
        self._server = server
        self._channel = channel
        self._group = inbox.group
        self._consumer = consumer
        self._meta = layout.meta(inbox.name)
        self._veto = layout.veto(inbox.name)
        self._cancelled = layout.cancelled(inbox.name)
        self._streams = {level: layout.stream(inbox.name, level) for level in range(1, 6)}
        self._level = 0
        # Members of a pool take turns, and whose it is only the function knows.
        self._forbidden = inbox.name.startswith(POOL)

    @property
    def is_worth_it(self) -> bool:
        """Whether many messages of one level were taken last time, and nothing else waited."""
        return self._level > 0

    def learn(self, deliveries: Sequence[Delivery], *, plain: bool) -> None:
        """Take note of what a poll brought."""
        many = plain and len(deliveries) >= WORTH and deliveries[0].priority == deliveries[-1].priority
        self._level = deliveries[0].priority if many and not self._forbidden else 0

    async def take(self, limit: int, *, epoch: str, lease_ms: int, number: int) -> Taken | None:
        """Take up to *limit* messages; None when something else may have to be handed out first, or it comes too late.

        Raises what `Channel.call_all` does. Messages may have been taken then.
        """
        level, keys = self._level, (self._meta,)
        self._level = 0
        stream = self._streams[level]
        facts: tuple[Word, ...] = (self._group, self._consumer, lease_ms, epoch, level, number)
        try:
            replies = await self._channel.call_all(
                ("WATCH", self._veto, self._cancelled),
                self._server.words("prepare", (self._meta, self._veto), facts),
                ("MULTI",),
                self._server.words("weigh", keys, (self._group, level, -1)),
                ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", limit, "STREAMS", stream, ">"),
                self._server.words("weigh", keys, (self._group, level, 1)),
                ("EXEC",),
            )
        except NotPermitted:
            self._forbidden = True
            raise
        now, done = replies[1], replies[-1]
        if done is None:
            return None
        errors = [str(each) for each in done if isinstance(each, Exception)]
        if errors:
            # A stream was deleted, or a function: the long way makes it anew.
            raise Unsupported("a part of a transaction failed", cause=errors[0])
        taken = _taken(done[1], level, epoch, now)
        self.learn(taken.deliveries, plain=not taken.expired)
        return taken


def _taken(reply: Any, level: int, epoch: str, now: int) -> Taken:
    deliveries: list[Delivery] = []
    expired: list[Delivery] = []
    before, behind = f"{level}/", f"/{epoch}/"
    for entry, fields in reply[0][1] if reply else ():
        is_over = False
        if len(fields) == 4 and fields[0] == b"i" and fields[2] == b"d":
            _, found, _, data = fields
        else:
            facts = dict(zip(fields[::2], fields[1::2], strict=False))
            found, data, deadline = facts.get(b"i", b""), facts.get(b"d", b""), facts.get(b"x", b"")
            is_over = deadline.isdigit() and int(deadline) <= now
        # Another program may write anything: what can be no id of a message would break tokens.
        message_id = "" if found.translate(None, _OF_IDS) or len(found) > MAX_ID else found.decode()
        delivery = Delivery(f"{before}{entry.decode()}{behind}{message_id}", data, 1, 0, 0, False, level)
        (expired if is_over else deliveries).append(delivery)
    return Taken(deliveries, expired)
