"""Conversations: the tree of messages of which each answers another.

No index is kept for it, since sending would pay for that. From one message the way up is found by ids, and the way
down in the histories from the time of the first message on: of those who take part, then of all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hivebus.address import parse_address
from hivebus.errors import InvalidMessage
from hivebus.transport import Clock, DeadLetters, Inspectable, Located, Publisher, Replayable

if TYPE_CHECKING:
    from hivebus.message import Message

LOOKED_AT = 10_000
"""How many messages of an inbox are looked at, from the beginning of the conversation on."""
LOOKED_AT_IN_ALL = 50_000
"""How many messages of all inboxes are looked at; those who take part come first."""
LETTERS = 1000
"""How many dead letters of an inbox are looked at, the newest ones."""
HIGHEST = 1000
"""How many messages the way up may be long."""
LONGEST_AGO = 86_400.0
"""Seconds that are looked back where it is not known when a conversation began."""
MARGIN = 1.0
_ANSWERS_NOTHING = b',"correlation_id":null,'

Read = Callable[[bytes], "Message"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Attributes:
        places: where it is or was, one for each of its recipients that is known.
        depth: how many messages above it are shown.
    """

    message: Message
    places: Sequence[Located]
    depth: int = 0


@dataclass(slots=True)
class _Found:
    message: Message
    places: dict[str, Located] = field(default_factory=dict)


class Threads:
    """Finds conversations on one transport.

    Args:
        transport: where to look; what it does not offer is not looked at.
        read: turns bytes into a message.
    """

    def __init__(self, transport: Publisher, *, read: Read) -> None:
        self._transport = transport
        self._read = read
        self._left = LOOKED_AT_IN_ALL

    @property
    def is_complete(self) -> bool:
        """Whether all was looked at that there is to be looked at."""
        return self._left > 0

    async def of(self, places: Sequence[Located]) -> list[Turn]:
        """Return the whole conversation of a message, in the order of a tree; only itself where there is none."""
        known = _Known(self._read)
        known.add(places)
        if not known.messages:
            return []  # what it said is not kept any more
        root = await self._climb(known)
        since = await self._age(known.messages[root])
        others = await self._inboxes()
        looked_at: set[str] = set()
        while self._left > 0 and (inbox := _next(known.participants(), others, looked_at)) is not None:
            looked_at.add(inbox)
            await self._look_through(inbox, known, since=since)
            known.settle()
        return list(known.tree(root))

    async def _inboxes(self) -> Sequence[str]:
        return await self._transport.inboxes() if isinstance(self._transport, Inspectable) else ()

    async def _climb(self, known: _Known) -> str:
        """Return the id of the topmost message that can be found."""
        (current,) = known.messages
        if not isinstance(self._transport, Inspectable):
            return current
        inboxes = await self._transport.inboxes()
        for _ in range(HIGHEST):
            above = known.messages[current].message.correlation_id
            if above is None or above in known.messages:
                break
            known.add(await self._transport.locate([above], inboxes))
            if above not in known.messages:
                break
            current = above
        return current

    async def _age(self, found: _Found) -> float:
        accepted = [place.at for place in found.places.values() if place.at is not None]
        if not accepted:
            return LONGEST_AGO
        now = await self._transport.now() if isinstance(self._transport, Clock) else time.time()
        return max(0.0, now - min(accepted)) + MARGIN

    async def _look_through(self, inbox: str, known: _Known, *, since: float) -> None:
        if isinstance(self._transport, Replayable):
            limit = min(LOOKED_AT, self._left)
            async for place in self._transport.history(inbox, since=since, limit=limit):
                self._left -= 1
                known.offer(place)
        if isinstance(self._transport, DeadLetters):
            for place in await self._transport.dead(inbox, limit=LETTERS):
                known.offer(place)


class _Known:
    """What was found so far: the messages of the conversation, and those that may turn out to be of it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._offered: dict[str, _Found] = {}
        self.messages: dict[str, _Found] = {}

    def add(self, places: Iterable[Located]) -> None:
        """Take in a message of the conversation."""
        for place in places:
            self._put(place, self.messages)

    def offer(self, place: Located) -> None:
        """Take in a message that may be of the conversation."""
        if _ANSWERS_NOTHING in (place.data or b"") and place.message_id not in self.messages:
            return  # most do, and reading each would take longer than all the rest
        self._put(place, self.messages if place.message_id in self.messages else self._offered)

    def settle(self) -> None:
        """Find out what belongs to the conversation, by what is known now."""
        grown = True
        while grown:
            more = {
                each: found
                for each, found in self._offered.items()
                if found.message.correlation_id in self.messages and each not in self.messages
            }
            self.messages |= more
            grown = bool(more)

    def participants(self) -> set[str]:
        """Return the inboxes in which further messages may be."""
        return {inbox for found in self.messages.values() for inbox in _inboxes(found)}

    def tree(self, root: str) -> Iterator[Turn]:
        """Yield the messages below *root*, each behind what it answers, the oldest first."""
        below: dict[str, list[str]] = {}
        for each, found in sorted(self.messages.items(), key=lambda item: item[1].message.timestamp):
            if found.message.correlation_id is not None and each != root:
                below.setdefault(found.message.correlation_id, []).append(each)
        waiting = [(root, 0)]
        seen = {root}
        while waiting:
            current, depth = waiting.pop()
            found = self.messages[current]
            yield Turn(found.message, list(found.places.values()), depth)
            fresh = [each for each in below.get(current, ()) if each not in seen]
            seen.update(fresh)
            waiting += [(each, depth + 1) for each in reversed(fresh)]

    def _put(self, place: Located, into: dict[str, _Found]) -> None:
        found = into.get(place.message_id)
        if found is None:
            try:
                found = into[place.message_id] = _Found(self._read(place.data or b""))
            except InvalidMessage:
                return  # nobody can say what it answers
        found.places[place.inbox] = place


def _next(participants: set[str], others: Sequence[str], looked_at: set[str]) -> str | None:
    """Return the inbox to look into next: of somebody who takes part, or else any other."""
    return min(participants - looked_at, default=next((each for each in others if each not in looked_at), None))


def _inboxes(found: _Found) -> Iterator[str]:
    message = found.message
    yield message.from_agent
    yield from found.places
    for address in (message.reply_to, message.to_agent):
        if address is not None:
            parsed = parse_address(address)
            yield from parsed.names if parsed.kind in ("agent", "list") else ()
