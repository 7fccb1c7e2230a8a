"""What a transport may offer besides moving messages: each is a base class to add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hivebus.errors import HivebusError
    from hivebus.transport import Listener, Outgoing, Published

PEEKED_AT = 10_000
State = Literal[
    "scheduled",
    "queued",
    "delivered",
    "retrying",
    "acknowledged",
    "dead_lettered",
    "expired",
    "cancelled",
    "unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """An inbox at one moment, counted by the server.

    Attributes:
        waiting: queued and not handed out; in_flight: handed out and not settled; retrying: waiting
            for another attempt; scheduled: waiting for its delay; dead: in the dead letters.
        oldest_waiting_seconds: age of the oldest waiting message; None when none waits.
        consumers: how many hold a lease.
    """

    waiting: int = 0
    in_flight: int = 0
    retrying: int = 0
    scheduled: int = 0
    dead: int = 0
    oldest_waiting_seconds: float | None = None
    consumers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a message is, derived from the queue itself.

    Attributes:
        attempts: how often it was handed over so far.
        consumer: who holds it; reason: why it is a dead letter.
        token: settles it on behalf of *consumer*; only while it is delivered.
        lease_seconds: until the lease of *consumer* ends.
        due_seconds: until its delay or retry ends.
        outcome: what its handler returned, as it was kept with the ack.
        at: server time of acceptance, in seconds since the epoch.
        priority: its level; data: its encoded form, where it is still stored.
        requeued: how often it came back from the dead letters.
        letter: names it among the dead letters, also where it came without an id; None for all others.
    """

    message_id: str
    inbox: str
    state: State
    attempts: int = 0
    consumer: str | None = None
    reason: str | None = None
    token: str | None = None
    lease_seconds: float | None = None
    due_seconds: float | None = None
    outcome: bytes | None = None
    at: float | None = None
    priority: int | None = None
    data: bytes | None = None
    requeued: int = 0
    letter: str | None = None


class Inspectable(ABC):
    """Answers questions without taking anything."""

    @abstractmethod
    async def inboxes(self) -> Sequence[str]:
        """Return the names of all inboxes that exist, sorted; temporary reply inboxes are not among them."""

    @abstractmethod
    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        """Return one count per inbox, in order; an unknown inbox counts zero."""

    @abstractmethod
    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        """Return every place among *inboxes* where one of *ids* is known; nothing for an unknown id."""

    @abstractmethod
    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return up to *limit* messages that wait or are handed out, in the order of hand-out."""

    async def held(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return up to *limit* messages that are handed out, however many wait in front of them.

        Unless a transport does it better, this looks at the first `PEEKED_AT` of all.
        """
        peeked = await self.peek(inbox, limit=PEEKED_AT)
        return [place for place in peeked if place.state == "delivered"][:limit]


class Replayable(ABC):
    """Keeps history."""

    @abstractmethod
    def history(self, inbox: str, *, since: float, limit: int, until: float = 0) -> AsyncIterator[Located]:
        """Yield up to *limit* messages accepted within the last *since* seconds, oldest first.

        What still waits is among them, and its state says so; dead letters and what was cancelled are no
        history. It is read page by page, ends where it stood when it began, and changes nothing.

        Args:
            inbox: whose.
            since: the oldest age in seconds; until: the youngest.
            limit: the most that are yielded.
        """


class DeadLetters(ABC):
    """Keeps what was given up. Each of *ids* is the id of a message, or the `Located.letter` of a dead letter."""

    @abstractmethod
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        """Return dead letters, newest first, with reason, attempts and data.

        Args:
            inbox: whose.
            limit: the most that are returned.
            before: the `Located.letter` of the last one that is known already, to go on behind it.
        """

    @abstractmethod
    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Queue dead letters again under their ids; False for what is not there, and for a letter without an id.

        A new generation of the same message: at its level, with nothing counted against it, and without
        a deadline, since the old one may be what killed it. Of two who requeue one letter, one does.
        """

    @abstractmethod
    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Delete dead letters for good, and forget their ids; False for what is not there."""


class Schedules(ABC):
    """Can take back what has not been handed out."""

    @abstractmethod
    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Cancel scheduled or queued messages; False for what was handed out already."""


class Clock(ABC):
    """Tells the time by which delays end."""

    @abstractmethod
    async def now(self) -> float:
        """Return the server's time, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A shared fact and its version."""

    value: Mapping[str, Any]
    version: int


ROUTES = "routes"
"""The kind of facts that senders have to know, and whose changes are counted: subscriptions, fallbacks, renames."""


class Directory(ABC):
    """Shared facts (agents, pools, routes, stages, attestation) with compare-and-set."""

    @abstractmethod
    async def read(self, kind: str) -> Mapping[str, Entry]:
        """Return all live entries of a kind by name."""

    @abstractmethod
    async def write(
        self,
        kind: str,
        name: str,
        value: Mapping[str, Any] | None,
        *,
        expect: int | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write one entry and return its new version; None as value deletes it.

        Args:
            expect: the version that must be there now, 0 for no entry, None for any;
                raises `hivebus.errors.Conflict` otherwise, and nothing is written.
            ttl: seconds after which the entry is gone.
        """

    async def changes(self) -> int | None:
        """Return how often the facts of the kind `ROUTES` have changed, as `Published.routes` tells it.

        It only grows: with every write that changes the value of an entry, and with every deletion. Writing the
        same value again is no change. None where nobody counts; senders then look again every second.
        """
        return None


class Rendering(ABC):
    """What is read at the far end is not the encoded message, but a rendering of it for people.

    Attributes:
        driver: how it is written, in one word, such as ``safe``; comparisons name it.
    """

    driver: str

    @abstractmethod
    def fingerprint(self, data: bytes) -> str:
        """Return the fingerprint of what will be read when *data* arrives whole."""


class Notifying(ABC):
    """Has a fire-and-forget road beside its inboxes, on the same server.

    The two do not mix: what is published in an inbox is not heard, and what is heard is in no inbox.
    """

    @abstractmethod
    def listener(self) -> Listener:
        """Return a new listener of this server and namespace, not yet connected; whoever asked for it closes it."""


class OneShot(ABC):
    """Sends from a process that lives for one message: blocking, no event loop, few imports.

    Attributes:
        durability: what the server gives, when that is known without asking it.
        patience: seconds that one attempt may last without an answer; whoever sends again sets it before each.
    """

    durability: str | None = None
    patience: float = 10.0

    def read(self, kind: str) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the values of all live facts of a kind, by name; None where no directory can be read this way."""
        return None

    def now(self) -> float | None:
        """Return the server's time, in seconds since the epoch; None where it is not told."""
        return None

    @abstractmethod
    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Connect, hand the batch over, disconnect; raise `Unavailable` or `Unknown`."""
