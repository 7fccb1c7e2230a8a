"""Reads the past of an inbox, and sends parts of it again: `bus.history` and `bus.replay`.

A message that is sent again is a new one: with an id and a timestamp of its own, and with the old id as `replay_of`.
The new id follows from the old one, the receiver and the label of the run, so a run that was interrupted is
repeated with its label, and what it had sent already is not stored twice.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

from hivebus import limits
from hivebus.errors import HivebusError, InvalidMessage
from hivebus.offers import Located, Replayable
from hivebus.setting_rules import DURATION_RULE, seconds

if TYPE_CHECKING:
    from hivebus.message import Message
    from hivebus.receipt import Receipt

BATCH = 100
BEHIND = 0.5
"""Seconds of delay that a run with a rate makes up for; after a longer one it goes on at its rate."""
MAX_RATE = 1_000_000
STILL_WAITS = ("queued", "delivered", "retrying")

Read = Callable[[bytes], "Message"]
Send = Callable[[Sequence["Message"]], Awaitable[Sequence["Receipt | HivebusError"]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a replay found and sent.

    Attributes:
        agent: whose history; to: who gets it.
        label: repeat the run with it, and nothing is stored twice.
        dry_run: nothing was sent.
        messages: how many fit; by_type: the same by their types.
        first: when the first of them was accepted; last: the last.
        waiting: how many more fit, and still wait in the inbox that they would be sent to again.
        missing: ids that were asked for and are not in that part of the history.
        sent: new ids by the old ones.
        known: likewise, those that an earlier run with this label had sent.
    """

    agent: str
    to: str
    label: str
    dry_run: bool
    messages: int
    by_type: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    waiting: int
    missing: Sequence[str]
    sent: Mapping[str, str]
    known: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What shall be sent again, checked.

    Attributes:
        since: the oldest age in seconds; until: the youngest.
        ids: only these; types: only of these types; None is all.
        to: who gets it.
        rate: messages a second; None is as fast as it goes.
    """

    agent: str
    since: float
    until: float
    ids: Collection[str] | None
    types: Collection[str] | None
    to: str
    rate: float | None
    label: str


def wish(
    agent: str,
    *,
    since: str | float,
    until: str | float | None,
    ids: Collection[str] | None,
    types: Collection[str] | None,
    to: str | None,
    rate: float | None,
    label: str | None,
) -> Wish:
    """Return what is asked for, or raise `InvalidMessage` naming what is wrong with it."""
    oldest, youngest = age(since, field="since"), age(until or 0, field="until")
    if youngest > oldest:
        raise InvalidMessage(field="until", value=until, rule=f"must be a smaller age than since, which is {since!r}")
    if rate is not None and not 0 < rate <= MAX_RATE:
        raise InvalidMessage(field="rate", value=rate, rule=f"must be above 0 and at most {MAX_RATE} messages a second")
    if isinstance(ids, str) or isinstance(types, str):
        raise InvalidMessage(field="ids" if isinstance(ids, str) else "types", value=ids, rule="must be a list")
    return Wish(
        agent=limits.check_owner(agent, field="agent"),
        since=oldest,
        until=youngest,
        ids=None if ids is None else {limits.check_message_id(each, field="ids") for each in ids},
        types=None if types is None else {limits.check_message_type(each) for each in types},
        to=limits.check_owner(agent if to is None else to, field="to"),
        rate=rate,
        label=limits.check_message_id(label, field="label") if label is not None else os.urandom(4).hex(),
    )


def age(value: str | float, *, field: str) -> float:
    """Return the seconds of an age such as ``24h``, or raise `InvalidMessage`."""
    try:
        found = seconds(value)
    except ValueError:
        found = -1
    if found < 0:
        raise InvalidMessage(field=field, value=value, rule=f"{DURATION_RULE}, counted back from now")
    return found


async def messages_of(
    source: Replayable, agent: str, *, since: float, limit: int | None, read: Read
) -> AsyncGenerator[Message]:
    """Yield the messages of a history; what cannot be read as one is left out."""
    async for found in source.history(agent, since=since, limit=sys.maxsize if limit is None else limit):
        message = _read(found, read)
        if message is not None:
            yield message


async def replay(source: Replayable, wanted: Wish, *, read: Read, send: Send | None) -> ReplayReport:
    """Send again what fits, oldest first; without *send*, only find out what that is.

    Raises:
        HivebusError: a message could not be sent. Its hint says how many were, and how to go on.
    """
    run = _Run(wanted, send)
    async for found in source.history(wanted.agent, since=wanted.since, until=wanted.until, limit=sys.maxsize):
        message = _read(found, read)
        if message is not None and run.fits(message):
            await run.add(message, found)
    await run.flush()
    return run.report()


def new_id(old: str, *, to: str, label: str) -> str:
    """Return the id under which a run sends a message again: the same one each time."""
    return str(uuid5(NAMESPACE_OID, f"hivebus replay {old} {to} {label}"))


def _read(found: Located, read: Read) -> Message | None:
    try:
        return read(found.data or b"")
    except InvalidMessage:
        return None  # a dead letter to be: whoever takes it from the inbox says why


@dataclass(slots=True)
class _Run:
    wanted: Wish
    send: Send | None
    messages: int = 0
    waiting: int = 0
    first: float | None = None
    last: float | None = None
    by_type: Counter[str] = field(default_factory=Counter)
    found: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    batch: list[Message] = field(default_factory=list)
    ready_at: float = 0.0

    def fits(self, message: Message) -> bool:
        ids, types = self.wanted.ids, self.wanted.types
        return (ids is None or message.message_id in ids) and (types is None or message.message_type in types)

    async def add(self, message: Message, found: Located) -> None:
        self.found.add(message.message_id)
        if found.state in STILL_WAITS and self.wanted.to == self.wanted.agent:
            self.waiting += 1  # it comes by itself
            return
        self.messages += 1
        self.by_type[message.message_type] += 1
        self.first = found.at if self.first is None else self.first
        self.last = found.at
        if self.send is not None:
            self.batch.append(message)
            if len(self.batch) >= self._batch_size():
                await self.flush()

    async def flush(self) -> None:
        batch, self.batch = self.batch, []
        if not batch or self.send is None:
            return
        await self._take_turn(len(batch))
        repeated = [self._again(each) for each in batch]
        for message, again, outcome in zip(batch, repeated, await self.send(repeated), strict=True):
            if isinstance(outcome, HivebusError):
                raise self._stopped(outcome)
            into = self.known if outcome.state == "duplicate" else self.sent
            into[message.message_id] = again.message_id

    def report(self) -> ReplayReport:
        return ReplayReport(
            agent=self.wanted.agent,
            to=self.wanted.to,
            label=self.wanted.label,
            dry_run=self.send is None,
            messages=self.messages,
            by_type=dict(self.by_type),
            first=_moment(self.first),
            last=_moment(self.last),
            waiting=self.waiting,
            missing=sorted(set(self.wanted.ids or ()) - self.found),
            sent=self.sent,
            known=self.known,
        )

    def _again(self, message: Message) -> Message:
        return message.replace(
            message_id=new_id(message.message_id, to=self.wanted.to, label=self.wanted.label),
            to_agent=self.wanted.to,
            timestamp=datetime.now(UTC),
            replay_of=message.message_id,
        )

    def _stopped(self, error: HivebusError) -> HivebusError:
        error.hint = (
            f"{len(self.sent) + len(self.known)} messages were sent before; run it again with the label"
            f" {self.wanted.label}, and they are not stored twice"
        )
        return error

    def _batch_size(self) -> int:
        # With a rate, fifty times a second: a receiver sees a stream and no bursts.
        return BATCH if self.wanted.rate is None else max(1, min(BATCH, int(self.wanted.rate / 50)))

    async def _take_turn(self, count: int) -> None:
        if self.wanted.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self.ready_at = max(self.ready_at, now - BEHIND) if self.ready_at else now
        if self.ready_at > now:
            await asyncio.sleep(self.ready_at - now)
        self.ready_at += count / self.wanted.rate


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
