"""Memory as it is, with places where a saboteur can lay hands on: each overrides one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hivebus.memory.entry import Stored
from hivebus.memory.inbox import MemoryInbox
from hivebus.memory.reader import MemoryReader
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import (
    Delivery,
    Endpoint,
    Inbox,
    Outgoing,
    Published,
    Publisher,
    Reader,
    Settled,
    Settlement,
)

T = TypeVar("T", bound=Publisher)


def sabotages(*names: str) -> Callable[[type[T]], type[T]]:
    """Say which checks a transport must not pass."""

    def note(saboteur: type[T]) -> type[T]:
        saboteur.sabotages = names  # type: ignore[attr-defined]
        return saboteur

    return note


class HonestReader(Reader):
    """Passes everything on, and shows where."""

    def __init__(self, inner: Reader) -> None:
        assert isinstance(inner, MemoryReader)
        self.inner = inner

    @property
    def queue(self) -> MemoryInbox:
        return self.inner._inbox

    def stored(self, token: str) -> Stored:
        return self.queue._known[token.rpartition("#")[0]]

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return await self.inner.receive(limit=limit, start=start, wait=wait)

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        return await self.inner.glance(limit=limit, wait=wait)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        changed = [self.settlement(each) for each in batch]
        kept = [each for each in changed if each is not None]
        answers = iter(await self.inner.settle(kept) if kept else [])
        return ["done" if each is None else next(answers) for each in changed]

    def settlement(self, settlement: Settlement) -> Settlement | None:
        """Return what is settled in its place; None swallows it."""
        return settlement

    def holds(self, token: str) -> bool:
        return self.inner.holds(token)

    def wake(self) -> None:
        self.inner.wake()

    async def close(self) -> None:
        await self.inner.close()


class Honest(MemoryTransport):
    """Memory as it is; each saboteur overrides one thing."""

    Reads: type[HonestReader] = HonestReader

    def __init__(self) -> None:
        super().__init__(Endpoint(url="memory://"))

    def outgoing(self, item: Outgoing) -> Outgoing | None:
        """Return what is published in its place; None loses it."""
        return item

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        changed = [self.outgoing(item) for item in batch]
        answers = iter(await super().publish([item for item in changed if item is not None]))
        return [Published("stored") if item is None else next(answers) for item in changed]

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        return self.Reads(await super().open(inbox, consumer=consumer, lease=lease))
