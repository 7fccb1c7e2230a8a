"""What a transport may offer besides moving messages: each is a base class to add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hivebus.errors import HivebusError
    from hivebus.transport import Outgoing, Published

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
        at: server time of acceptance, in seconds since the epoch.
        priority: its level; data: its encoded form, where it is still stored.
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
    at: float | None = None
    priority: int | None = None
    data: bytes | None = None


class Inspectable(ABC):
    """Answers questions without taking anything."""

    @abstractmethod
    async def inboxes(self) -> Sequence[str]:
        """Return the names of all inboxes that exist, sorted."""

    @abstractmethod
    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        """Return one count per inbox, in order; an unknown inbox counts zero."""

    @abstractmethod
    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        """Return every place among *inboxes* where one of *ids* is known; nothing for an unknown id."""

    @abstractmethod
    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return up to *limit* messages that wait or are handed out, in the order of hand-out."""


class Replayable(ABC):
    """Keeps history."""

    @abstractmethod
    def history(self, inbox: str, *, since: float, limit: int) -> AsyncIterator[Located]:
        """Yield up to *limit* messages accepted within the last *since* seconds, oldest first."""


class DeadLetters(ABC):
    """Keeps what was given up."""

    @abstractmethod
    async def dead(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return dead letters, newest first, with reason, attempts and data."""

    @abstractmethod
    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Queue dead letters again under their ids, attempts reset; False for what is not there."""

    @abstractmethod
    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Delete dead letters for good; False for what is not there."""


class Schedules(ABC):
    """Can take back what has not been handed out."""

    @abstractmethod
    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Cancel scheduled or queued messages; False for what was handed out already."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A shared fact and its version."""

    value: Mapping[str, Any]
    version: int


class Directory(ABC):
    """Shared facts (agents, pools, topics, stages, attestation) with compare-and-set."""

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


class Rendering(ABC):
    """What is read at the far end is not the encoded message, but a rendering of it for people.

    Attributes:
        driver: how it is written, in one word, such as ``safe``; comparisons name it.
    """

    driver: str

    @abstractmethod
    def fingerprint(self, data: bytes) -> str:
        """Return the fingerprint of what will be read when *data* arrives whole."""


class OneShot(ABC):
    """Sends from a process that lives for one message: blocking, no event loop, few imports.

    Attributes:
        durability: what the server gives, when that is known without asking it.
    """

    durability: str | None = None

    @abstractmethod
    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Connect, hand the batch over, disconnect; raise `Unavailable` or `Unknown`."""
