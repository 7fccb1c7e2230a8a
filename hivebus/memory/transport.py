"""The reference transport: what each method of the transport page means, with nothing in the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from hivebus import limits
from hivebus.address import is_temporary, owner_of
from hivebus.errors import HivebusError, InvalidMessage, Unavailable, Unsupported
from hivebus.memory.inbox import MemoryInbox
from hivebus.memory.keeping import MOST_AGE
from hivebus.memory.places import DEDUP_WINDOW, LEVELS, OUTCOME_WINDOW
from hivebus.memory.radio import MemoryRadio
from hivebus.memory.reader import MemoryReader
from hivebus.memory.server import MemoryServer, server_for
from hivebus.quota import Quota, Quotas, Spent
from hivebus.tidying import Holding, Shed, Tidied, Tidying
from hivebus.transport import (
    Capabilities,
    Clock,
    Counts,
    DeadLetters,
    Directory,
    Endpoint,
    Entry,
    Feature,
    Inbox,
    Inspectable,
    Located,
    Notifying,
    Outgoing,
    Published,
    Reader,
    Replayable,
    Schedules,
    Transport,
    native,
)


class MemoryTransport(
    Transport, Inspectable, Replayable, Tidying, DeadLetters, Schedules, Clock, Quotas, Directory, Notifying
):
    """All transports made for one URL and namespace in one event loop are clients of one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connected: MemoryServer | None = None

    async def connect(self) -> Capabilities:
        self._connected = server_for(self._endpoint)
        return Capabilities(
            evidence=native("acked"),
            durability=Feature("absent", "none"),
            redelivery=native(),
            fencing=native(),
            priority=native(len(LEVELS)),
            priority_survives_retry=native(),
            delay=native(limits.MAX_DELAY),
            ttl=native(),
            order=native("per_inbox"),
            dedup=native(DEDUP_WINDOW),
            attempts=native("exact"),
            atomic_reply=native(),
            outcomes=native(OUTCOME_WINDOW),
            inspect=native(),
            dead_letters=native(),
            pools=native(),
            replay=native(MOST_AGE),
            retention_guard=native(),
            directory=native(),
            max_body=native(self._endpoint.limit),
        )

    async def close(self) -> None:
        # What a consumer fetched stays with its lease: a later process may settle it in its name.
        self._connected = None

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        results = [self._publish(item) for item in batch]
        self._server.ring()
        return results

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        if inbox.group != "main":
            raise Unsupported(
                f"memory:// keeps one group per inbox, and {inbox.group!r} of {inbox.name} is a second one",
                hint="open an inbox of its own for the second group",
            )
        sharing = self._server.inbox(inbox.name).sharing
        if sharing is not None and inbox.policy is not None:
            sharing.policy = inbox.policy
        return MemoryReader(self._server, inbox.name, consumer=consumer, lease=lease)

    def listener(self) -> MemoryRadio:
        return MemoryRadio(self._endpoint)

    # --- Inspectable ----------------------------------------------------------------------------

    async def inboxes(self) -> Sequence[str]:
        return sorted(name for name in self._server.inboxes if not is_temporary(name))

    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        known = {inbox.name: inbox.counts(_now()) for inbox in self._server.existing(inboxes)}
        return [known.get(name, Counts()) for name in inboxes]

    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        found = (inbox.locate(each, _now()) for inbox in self._server.existing(inboxes) for each in ids)
        return [located for located in found if located is not None]

    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        return [located for each in self._server.existing([inbox]) for located in each.peek(limit, _now())]

    # --- Replayable and Tidying -------------------------------------------------------------------

    async def history(self, inbox: str, *, since: float, limit: int, until: float = 0) -> AsyncIterator[Located]:
        now = _now()
        remembered = self._server.answers.get(owner_of(inbox), ())
        for of, stored in [each for each in remembered if each[0] == inbox][:limit]:
            yield stored.located(of, now)
        kept = (each.kept.history(now, since=since, until=until) for each in self._server.existing([inbox]))
        for stored in islice(chain.from_iterable(kept), limit):
            yield stored.located(inbox, now)

    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        return self._existing(inbox).tidy(_now(), keep=keep)

    async def holding(self, inboxes: Sequence[str]) -> Sequence[Holding]:
        return [self._existing(inbox).kept.holding(_now()) for inbox in inboxes]

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
        kept = self._existing(inbox).kept
        return kept.shed(
            _now(), older_than=older_than, limit=limit, want=want, dry_run=dry_run, behind=int(behind or 0)
        )

    async def clear_away(self) -> int:
        return self._server.clear_away(_now())

    # --- DeadLetters, Schedules and Clock -------------------------------------------------------------

    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        return [
            located for each in self._server.existing([inbox]) for located in each.dead(limit, _now(), before=before)
        ]

    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        results = [self._existing(inbox).requeue(each, _now()) for each in ids]
        self._server.ring()
        return results

    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        return [self._existing(inbox).purge(each, _now()) for each in ids]

    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        return [self._existing(inbox).cancel(each, _now()) for each in ids]

    async def now(self) -> float:
        return time.time()

    # --- Quotas -------------------------------------------------------------------------------------

    async def spend(self, sender: str, count: int, quota: Quota) -> Spent:
        return self._server.spend(sender, count, quota, _now())

    # --- Directory --------------------------------------------------------------------------------

    async def read(self, kind: str) -> Mapping[str, Entry]:
        return self._server.directory.read(kind, _now())

    async def write(
        self,
        kind: str,
        name: str,
        value: Mapping[str, Any] | None,
        *,
        expect: int | None = None,
        ttl: float | None = None,
    ) -> int:
        expires = None if ttl is None else _now() + ttl
        return self._server.directory.write(kind, name, value, expect=expect, expires=expires, now=_now())

    async def changes(self) -> int:
        return self._server.directory.changes

    # --- Inside -----------------------------------------------------------------------------------

    @property
    def _server(self) -> MemoryServer:
        if self._connected is None:
            raise Unavailable(
                "memory:// is not connected", cause="connect was not called, or close was", hint="await connect()"
            )
        return self._connected

    def _existing(self, name: str) -> MemoryInbox:
        """Return the inbox of that name, or one that is forgotten at once: to ask for it does not create it."""
        return self._server.inboxes.get(name) or MemoryInbox(name)

    def _publish(self, item: Outgoing) -> Published | HivebusError:
        try:
            limits.check_encoded(item.data, limit=self._endpoint.limit)
        except InvalidMessage as error:
            return error
        published = self._server.addressed(item.inbox).publish(item, _now())
        return published._replace(routes=self._server.directory.changes)


def _now() -> float:
    return asyncio.get_running_loop().time()
