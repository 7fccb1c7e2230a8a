"""What a check works with: transports, inboxes and messages of its own, and patient questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from hivebus import envelope
from hivebus.errors import HivebusError
from hivebus.transport import (
    Ack,
    Capabilities,
    DeadLetters,
    Delivery,
    Directory,
    Inbox,
    Inspectable,
    Listener,
    Located,
    Outgoing,
    Published,
    Publisher,
    Reader,
    Retry,
    Schedules,
    Settled,
    Settlement,
    Transport,
)

T = TypeVar("T")
LONG = 30.0
"""A lease that does not end within a check."""


class Broken(AssertionError):
    """A promise is broken; the text says what was expected and what was seen."""


def expect(kept: bool, what: str) -> None:
    """Raise `Broken` with *what* unless the promise was kept; unlike ``assert``, also under ``python -O``."""
    if not kept:
        raise Broken(what)


class Harness:
    """Serves one check.

    Attributes:
        subject: the transport under test, connected.
        capabilities: what it declared.
        lease: seconds of a lease that shall end within the check.
        later: seconds of a delay that does not end within a check, but soon after.
        patience: seconds after which something that must happen counts as not happening.
        inboxes: the names that were used.
    """

    subject: Publisher
    capabilities: Capabilities

    def __init__(
        self,
        make: Callable[[], Awaitable[Publisher]],
        *,
        lease: float = 0.4,
        patience: float = 10.0,
        name_inbox: Callable[[], str] | None = None,
    ) -> None:
        self.lease = lease
        self.later = lease * 5
        self.patience = patience
        self.inboxes: list[str] = []
        self._make = make
        self._name_inbox = name_inbox or fresh_name
        self._transports: list[Publisher] = []
        self._readers: list[Reader] = []
        self._numbers = iter(range(1, 1_000_000))

    async def start(self) -> None:
        """Connect the transport under test."""
        self.subject = await self.unconnected()
        self.capabilities = await self.subject.connect()

    async def close(self) -> None:
        """Close all that the check opened."""
        for reader in self._readers:
            await _quietly(reader.close())
        for transport in self._transports:
            await _quietly(transport.close())

    # --- Making ---------------------------------------------------------------------------------

    async def unconnected(self) -> Publisher:
        """Return another transport to the same server, not yet connected."""
        transport = await self._make()
        self._transports.append(transport)
        return transport

    async def another(self) -> Publisher:
        """Return another transport to the same server, as a second process would have it."""
        transport = await self.unconnected()
        await transport.connect()
        return transport

    def inbox(self) -> str:
        """Return the name of an inbox that nobody uses."""
        name = self._name_inbox()
        self.inboxes.append(name)
        return name

    def message(
        self,
        inbox: str,
        *,
        data: bytes | None = None,
        priority: int = 2,
        delay: float = 0,
        ttl: float | None = None,
        message_id: str | None = None,
        message_type: str = "notification",
    ) -> Outgoing:
        """Return a message that differs from all others."""
        made = envelope.compose(
            from_agent="conformance",
            to_agent=inbox,
            content=f"message {next(self._numbers)}",
            message_type=message_type,
            priority=priority,
            message_id=message_id,
        )
        encoded = envelope.encode(made) if data is None else data
        return Outgoing(inbox, made.message_id, f"agent.{inbox}.{message_type}", priority, delay, ttl, encoded)

    def messages(self, inbox: str, count: int, *, priority: int = 2) -> list[Outgoing]:
        """Return *count* messages."""
        return [self.message(inbox, priority=priority) for _ in range(count)]

    async def reader(
        self, inbox: str, *, lease: float = LONG, consumer: str | None = None, transport: Publisher | None = None
    ) -> Reader:
        """Return a reader; without *consumer*, one that nobody else is."""
        opener = cast(Transport, transport or self.subject)
        name = consumer or f"consumer-{next(self._numbers)}"
        reader = await opener.open(Inbox(inbox), consumer=name, lease=lease)
        self._readers.append(reader)
        return reader

    # --- Doing ----------------------------------------------------------------------------------

    async def publish(self, *items: Outgoing, transport: Publisher | None = None) -> list[Published]:
        """Publish, in batches of the declared size, and return the results; an item that failed raises its error."""
        results: list[Published | HivebusError] = []
        size = self.capabilities.max_batch.value
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            answers = await (transport or self.subject).publish(batch)
            expect(len(answers) == len(batch), f"{len(batch)} items were published and {len(answers)} answered")
            results += answers
        for result in results:
            if isinstance(result, HivebusError):
                raise result
        return [result for result in results if isinstance(result, Published)]

    async def take(self, reader: Reader, *, limit: int = 1, start: int = 0) -> list[Delivery]:
        """Return what a reader receives, as soon as it is something."""
        found = await self.eventually(
            lambda: reader.receive(limit=limit, start=start, wait=0.1), "nothing was handed out that should be"
        )
        return list(found)

    async def take_one(self, reader: Reader, *, start: bool = False) -> Delivery:
        """Return the next delivery, marked started or not."""
        return (await self.take(reader, start=int(start)))[0]

    async def drain(self, reader: Reader, count: int, *, start: int = 0) -> list[Delivery]:
        """Return *count* deliveries without settling any, the first *start* of them marked started."""
        taken: list[Delivery] = []
        while len(taken) < count:
            taken += await self.take(reader, limit=count - len(taken), start=max(0, start - len(taken)))
        return taken

    async def nothing(self, *readers: Reader, seconds: float) -> None:
        """Raise `Broken` if any of the readers receives something within so many seconds."""
        end = _now() + seconds
        while True:
            for reader in readers:
                found = await reader.receive(limit=10, start=0, wait=0)
                expect(not found, f"{len(found)} handed out that should not be")
            if _now() >= end:
                return
            await asyncio.sleep(min(0.05, seconds / 5))

    async def settle(self, reader: Reader, *batch: Settlement) -> list[Settled]:
        """Settle a batch and return its results."""
        results = await reader.settle(batch)
        expect(len(results) == len(batch), f"{len(batch)} settlements were asked for and {len(results)} answered")
        return list(results)

    async def done(self, reader: Reader, *batch: Settlement) -> None:
        """Settle a batch, all of which must be done."""
        results = await self.settle(reader, *batch)
        expect(results == ["done"] * len(batch), f"settling {_kinds(batch)} was answered {results}")

    async def ack(self, reader: Reader, *deliveries: Delivery) -> None:
        """Acknowledge what this reader holds."""
        await self.done(reader, *[Ack(delivery.token) for delivery in deliveries])

    async def retry(self, reader: Reader, delivery: Delivery, *, delay: float, counts: bool = True) -> None:
        """Give back what this reader holds."""
        await self.done(reader, Retry(delivery.token, delay, counts))

    async def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def located(self, item: Outgoing) -> Located:
        """Return where the one live entry of a message is."""
        found = await self.inspectable.locate([item.message_id], [item.inbox])
        expect(len(found) == 1, f"1 place was expected for the message and {len(found)} found")
        return found[0]

    async def eventually(self, ask: Callable[[], Awaitable[T]], otherwise: str) -> T:
        """Ask again and again until the answer is true and return it; `Broken` when patience ends."""
        end = _now() + self.patience
        while True:
            answer = await ask()
            if answer:
                return answer
            expect(_now() < end, f"{otherwise}, within {self.patience:g} s")
            await asyncio.sleep(0.02)

    # --- What the subject is, for checks that need it -------------------------------------------

    @property
    def inspectable(self) -> Inspectable:
        """The transport under test."""
        return cast(Inspectable, self.subject)

    @property
    def dead_letters(self) -> DeadLetters:
        """The transport under test."""
        return cast(DeadLetters, self.subject)

    @property
    def schedules(self) -> Schedules:
        """The transport under test."""
        return cast(Schedules, self.subject)

    @property
    def directory(self) -> Directory:
        """The transport under test."""
        return cast(Directory, self.subject)

    @property
    def listener(self) -> Listener:
        """The transport under test."""
        return cast(Listener, self.subject)


def fresh_name() -> str:
    """Return the name of an inbox that nobody uses."""
    return f"check-{envelope.new_message_id()[:13]}"


def _kinds(batch: Sequence[Settlement]) -> str:
    return ", ".join(type(each).__name__ for each in batch)


async def _quietly(closing: Awaitable[None]) -> None:
    # A server that went away during the check was reported there.
    with contextlib.suppress(HivebusError):
        await closing


def _now() -> float:
    return asyncio.get_running_loop().time()
