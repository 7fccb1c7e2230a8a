"""The transport author's page: what moves messages, and what it must promise.

Batches below, singles above: the bus gathers single sends and settlements, a transport moves
batches. Implement the smallest class that is true:

* `Publisher`: can hand a message over (a terminal, a webhook).
* `Listener`: a publisher that can also be listened to, fire-and-forget.
* `Transport`: a publisher whose inboxes can be opened, read and settled.

What else it can do is a base class of `hivebus.offers` to add: `Inspectable`, `Replayable`,
`DeadLetters`, `Schedules`, `Clock`, `Directory`, `Notifying`, `Rendering`. How well it does it is a value in its
`Capabilities`.
An option that a transport cannot honour is an `Unsupported` error, never silently dropped.

All times are relative and in seconds: clocks differ, and only the server's counts.
Errors of the backend never leave the transport: translate them into `hivebus.errors`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hivebus.capabilities import ABSENT as ABSENT
from hivebus.capabilities import LADDERS as LADDERS
from hivebus.capabilities import Capabilities as Capabilities
from hivebus.capabilities import Feature as Feature
from hivebus.capabilities import emulated as emulated
from hivebus.capabilities import native as native
from hivebus.errors import HivebusError, Unsupported
from hivebus.offers import ROUTES as ROUTES
from hivebus.offers import Clock as Clock
from hivebus.offers import Counts as Counts
from hivebus.offers import DeadLetters as DeadLetters
from hivebus.offers import Directory as Directory
from hivebus.offers import Entry as Entry
from hivebus.offers import Inspectable as Inspectable
from hivebus.offers import Located as Located
from hivebus.offers import Notifying as Notifying
from hivebus.offers import OneShot as OneShot
from hivebus.offers import Rendering as Rendering
from hivebus.offers import Replayable as Replayable
from hivebus.offers import Schedules as Schedules
from hivebus.offers import State as State
from hivebus.scheme import Endpoint as Endpoint
from hivebus.scheme import Scheme as Scheme

Evidence = Literal["accepted", "visible", "taken", "presented", "acked"]
PoolPolicy = Literal["round_robin", "least_loaded"]
"""round_robin: as many messages for each. least_loaded: the next one for who has the fewest in hand."""
NOTHING_WAITS = (0, 0, 0, 0, 0, 0)


# --- What travels -----------------------------------------------------------------------------
# Named tuples, because one of each is made per message; a frozen dataclass costs three times as much.


@dataclass(frozen=True, slots=True)
class Inbox:
    """A queue that readers of one *group* share: an agent's or a pool's.

    Attributes:
        name: an agent's, or a pool's with ``@`` before it.
        policy: how the readers of a pool share it from now on; None leaves that as it is.
    """

    name: str
    group: str = "main"
    policy: PoolPolicy | None = None


class Outgoing(NamedTuple):
    """One encoded message and where it goes.

    Attributes:
        inbox: the name of the inbox, a routing fact (``to_agent`` may be a list).
        message_id: the key for deduplication and status.
        routing_key: ``agent.<to_agent>.<message_type>``.
        priority: 1 (low) to 5 (emergency).
        delay: seconds before it is queued; 0 is now.
        ttl: seconds from acceptance until it expires; None is never.
        data: the encoded message; a transport never looks inside.
        legs: for a transport that joins several roads, those chosen for it, the acting one first; none
            leaves it to the transport.
    """

    inbox: str
    message_id: str
    routing_key: str
    priority: int
    delay: float
    ttl: float | None
    data: bytes
    legs: tuple[str, ...] = ()


class Published(NamedTuple):
    """What a transport can prove about one item.

    Attributes:
        state: ``stored``, or handed on where nothing is kept; ``duplicate`` when the id was known already, so nothing
            was added; or ``scheduled`` when it waits for its delay.
        evidence: what is proven at this moment.
        idle: seconds since somebody last read the inbox; None when nobody ever did or it is not known.
        readers: how many consumers hold a lease on the inbox; None when it is not known.
        leg: the road that this is about, where the transport joins several; None for its only one.
        others: the roads on which a copy follows; what became of those is not known yet.
        durability: the level that the server is known to give at this moment; None where it never changes.
        heard: how many listeners it reached at most, where nothing is kept; 0 is certain. None where it is kept.
        routes: what `Directory.changes` was when the item was stored, or later; None where that is not counted.
    """

    state: Literal["stored", "duplicate", "scheduled"]
    evidence: Evidence = "accepted"
    idle: float | None = None
    readers: int | None = None
    leg: str | None = None
    others: tuple[str, ...] = ()
    durability: str | None = None
    heard: int | None = None
    routes: int | None = None


class Delivery(NamedTuple):
    """One handing-over of a message to one consumer.

    Attributes:
        token: what settles it; opaque, and stale as soon as the lease is lost.
        data: the encoded message as it was published.
        attempt: 1 for the first handing-over.
        failures: how often a handler failed with it.
        crashes: how often a consumer died while it ran alone.
        alone: its last consumer died with it: nothing else may run in this process meanwhile.
        priority: its level; fetched messages wait for their handlers in this order.
    """

    token: str
    data: bytes
    attempt: int = 1
    failures: int = 0
    crashes: int = 0
    alone: bool = False
    priority: int = 2


class Ack(NamedTuple):
    """Handled: never hand it out again. *reply* is published together with the ack.

    With a *result* it is kept together with the ack, where `Located.outcome` finds it. Its work is done then,
    so it is settled, and kept, even when the lease was lost meanwhile; whoever has the message now loses it.
    Of two results the first is kept.
    """

    token: str
    result: bytes | None = None
    reply: Outgoing | None = None


class Retry(NamedTuple):
    """Hand it out again after *delay* seconds at its level; *counts* as a failure or not."""

    token: str
    delay: float
    counts: bool = True


class DeadLetter(NamedTuple):
    """Move it to the dead letters with this reason."""

    token: str
    reason: str


class Extend(NamedTuple):
    """Still working: renew the lease."""

    token: str


class Start(NamedTuple):
    """Its handler is about to run: if the consumer dies now, this message is suspect."""

    token: str


Settlement = Ack | Retry | DeadLetter | Extend | Start
Settled = Literal["done", "stale", "gone"]
"""done: it happened. stale: the lease was lost, somebody else decides. gone: it was settled before."""


# --- What a transport implements ---------------------------------------------------------------


class Publisher(ABC):
    """Hands batches over. All that a terminal or a webhook can be.

    Attributes:
        abandonable: whether `publish` may be cancelled at any time: sent again, what it was about is stored once.
        legs: the names of the roads that it joins; none for a transport that is a road itself.
    """

    abandonable: bool = False
    legs: Sequence[str] = ()

    @abstractmethod
    async def connect(self) -> Capabilities:
        """Connect and return what this server can do, or raise `Unavailable`. Called once, must not hang."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything. May be called twice, and without a successful `connect`."""

    @abstractmethod
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Hand a batch over and return one result per item, in order.

        An item fails alone: return its error, `Refused` when nothing was written and `Unknown` when
        that cannot be known. Do not retry an item yourself: the bus does, with the same ids.
        Batches of different lanes may be in flight at once.
        """

    def lane(self, item: Outgoing) -> Hashable:
        """Return what *item* must queue behind: one batch per lane is in flight at a time."""
        return None


class Listener(Publisher):
    """Fire-and-forget reception: what nobody hears is gone, and there is nothing to settle.

    The core refuses for it what its capabilities lack: a message that asks for an ack, a delay, a time to live.
    """

    @abstractmethod
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        """Return up to *limit* messages whose routing key matches, waiting up to *wait* seconds for the first.

        From the return of the first call on, everything that matches is kept for the next call with the same
        patterns, in a bounded buffer. One message is returned once, however many of the patterns match it; of a
        message to a list, each copy has the key of its own recipient (`hivebus.patterns.key_of_copy`).

        Args:
            patterns: `hivebus.patterns.Patterns` checks and matches them; raises `InvalidMessage` for what is none.
            limit: the most that are returned.
            wait: seconds to wait for the first.

        Raises:
            Unavailable: the server is away; what was sent meanwhile may not have been heard, which is logged.
        """


class Reader(ABC):
    """One consumer of one inbox. `receive` is called by one task, `settle` by another."""

    @abstractmethod
    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        """Return up to *limit* deliveries, highest level first, waiting up to *wait* seconds for the first.

        The first *start* of them are marked started, as by `Start`. Every call renews the lease on
        all that this consumer holds. A suspect message comes first and alone: one delivery with
        ``alone`` set, only to a reader with nothing started, so a call may return nothing while
        messages wait. Raises `Unavailable` when the server does not answer; nothing is lost then.
        """

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        """Take nothing, and return what `receive` would find, waiting up to *wait* seconds for the first.

        Only for transports that declare the capability ``pools``: a process that reads several inboxes sleeps
        at all of them at once, and takes from one. It renews the lease as `receive` does.

        Args:
            limit: how many would be taken; counting may end there.
            wait: seconds to wait for the first.

        Returns:
            how many suspect messages wait, then how many others, from the lowest level to the highest.
        """
        raise Unsupported(f"{type(self).__name__} lacks the capability pools", hint="hivebus transports describe")

    @abstractmethod
    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        """Carry out a batch and return one result per item, in order.

        Each is decided by the server against the present owner of the token. Settling twice is
        harmless: the second is ``gone`` or ``stale``. Raises `Unavailable` or `Unknown` when the
        outcome is not known; the bus then settles the same batch again.
        """

    def holds(self, token: str) -> bool:
        """Tell whether the lease on this delivery certainly holds, as far as that is known without asking.

        Asked right before a handler begins; on False the bus asks the server, by `Extend`. A process that was stopped,
        or whose event loop was blocked, for longer than a lease would otherwise begin with what somebody else has by
        now. Unless a transport says so, it does.
        """
        return True

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `receive` return soon, with what there is."""

    @abstractmethod
    async def close(self) -> None:
        """Hand back at once what was not started; leave what was started to its lease. Idempotent."""


class Transport(Publisher):
    """Inboxes that can be read: durable or not, as its capabilities say."""

    @abstractmethod
    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        """Open an inbox for one consumer; an inbox that does not exist yet is created.

        Args:
            inbox: what to read. Messages sent before the first `open` are handed out too.
            consumer: a name that no other live process uses.
            lease: seconds without a sign of life after which the consumer counts as dead.

        An inbox called ``agent~token`` is a temporary one for replies, with one reader. It is gone when that reader is
        closed: what nobody took from it, and what is sent to it from then on, goes to the inbox of ``agent``.
        """
