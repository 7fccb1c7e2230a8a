"""What a joined transport offers besides sending: what the transport that is moved to offers, and nothing else.

The core asks ``isinstance(transport, Inspectable)``, so the answer must be that of the transport
inside. `offering` makes a class out of those mixins below whose promise that transport keeps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from hivebus.quota import Quota, Quotas, Spent
from hivebus.tidying import Holding, Shed, Tidied, Tidying
from hivebus.transport import (
    Clock,
    Counts,
    DeadLetters,
    Directory,
    Entry,
    Inbox,
    Inspectable,
    Listener,
    Located,
    Notifying,
    Publisher,
    Reader,
    Replayable,
    Schedules,
    Transport,
)

Offer = TypeVar("Offer")
Joined = TypeVar("Joined", bound="Delegating")


class Delegating(Publisher):
    """A transport with another one inside."""

    @abstractmethod
    def inner(self, kind: type[Offer]) -> Offer:
        """Return the transport inside as a *kind*, or raise why it cannot be asked now."""

    @abstractmethod
    async def open_watched(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        """Open an inbox of the transport inside, with a reader that writes down what it hands over."""


def offering(joined: type[Joined], main: Publisher) -> type[Joined]:
    """Return *joined* with a mixin for everything that *main* offers."""
    mixins = [mixin for kind, mixin in _MIXINS if isinstance(main, kind)]
    return type(joined.__name__, (*mixins, joined), {})


class _Reading(Delegating, Transport):
    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        return await self.open_watched(inbox, consumer=consumer, lease=lease)


class _Listening(Delegating, Listener):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return await self.inner(Listener).listen(patterns, limit=limit, wait=wait)


class _Notifying(Delegating, Notifying):
    def listener(self) -> Listener:
        return self.inner(Notifying).listener()


class _Inspecting(Delegating, Inspectable):
    async def inboxes(self) -> Sequence[str]:
        return await self.inner(Inspectable).inboxes()

    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        return await self.inner(Inspectable).counts(inboxes)

    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        return await self.inner(Inspectable).locate(ids, inboxes)

    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        return await self.inner(Inspectable).peek(inbox, limit=limit)

    async def held(self, inbox: str, *, limit: int) -> Sequence[Located]:
        return await self.inner(Inspectable).held(inbox, limit=limit)


class _Replaying(Delegating, Replayable):
    def history(self, inbox: str, *, since: float, limit: int, until: float = 0) -> AsyncIterator[Located]:
        return self.inner(Replayable).history(inbox, since=since, limit=limit, until=until)


class _KeepingTidy(Delegating, Tidying):
    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        return await self.inner(Tidying).tidy(inbox, keep=keep)

    async def holding(self, inboxes: Sequence[str]) -> Sequence[Holding]:
        return await self.inner(Tidying).holding(inboxes)

    async def shed(
        self,
        inbox: str,
        *,
        older_than: float,
        limit: int,
        want: int | None = None,
        dry_run: bool = False,
        behind: str = "",
    ) -> Shed:
        return await self.inner(Tidying).shed(
            inbox, older_than=older_than, limit=limit, want=want, dry_run=dry_run, behind=behind
        )

    async def clear_away(self) -> int:
        return await self.inner(Tidying).clear_away()


class _KeepingDeadLetters(Delegating, DeadLetters):
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        return await self.inner(DeadLetters).dead(inbox, limit=limit, before=before)

    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        return await self.inner(DeadLetters).requeue(inbox, ids)

    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        return await self.inner(DeadLetters).purge(inbox, ids)


class _Scheduling(Delegating, Schedules):
    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        return await self.inner(Schedules).cancel(inbox, ids)


class _TellingTime(Delegating, Clock):
    async def now(self) -> float:
        return await self.inner(Clock).now()


class _Counting(Delegating, Quotas):
    async def spend(self, sender: str, count: int, quota: Quota) -> Spent:
        return await self.inner(Quotas).spend(sender, count, quota)


class _KeepingFacts(Delegating, Directory):
    async def read(self, kind: str) -> Mapping[str, Entry]:
        return await self.inner(Directory).read(kind)

    async def write(
        self,
        kind: str,
        name: str,
        value: Mapping[str, Any] | None,
        *,
        expect: int | None = None,
        ttl: float | None = None,
    ) -> int:
        return await self.inner(Directory).write(kind, name, value, expect=expect, ttl=ttl)

    async def changes(self) -> int | None:
        return await self.inner(Directory).changes()


_MIXINS: Sequence[tuple[type, type[Delegating]]] = (
    (Transport, _Reading),
    (Listener, _Listening),
    (Notifying, _Notifying),
    (Inspectable, _Inspecting),
    (Replayable, _Replaying),
    (Tidying, _KeepingTidy),
    (DeadLetters, _KeepingDeadLetters),
    (Schedules, _Scheduling),
    (Clock, _TellingTime),
    (Quotas, _Counting),
    (Directory, _KeepingFacts),
)
