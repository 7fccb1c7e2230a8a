"""One consumer of one inbox in memory: the waiting that the inbox itself knows nothing of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from hivebus.address import is_temporary
from hivebus.memory.entry import Consumer
from hivebus.memory.server import MemoryServer
from hivebus.transport import NOTHING_WAITS, Ack, Delivery, Reader, Settled, Settlement

T = TypeVar("T")


class MemoryReader(Reader):
    """Waits for messages and settles them."""

    def __init__(self, server: MemoryServer, inbox: str, *, consumer: str, lease: float) -> None:
        self._server = server
        self._inbox = server.inbox(inbox)
        self._name = consumer
        self._lease = lease
        self._inbox.renew(self._consumer, _now())
        self._bell = asyncio.Event()
        self._woken = False
        self._closed = False
        server.bells.add(self._bell)

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return await self._until_found(
            lambda now: self._inbox.receive(self._consumer, limit=limit, start=start, now=now), wait
        )

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        def look(now: float) -> Sequence[int]:
            counts = self._inbox.look(self._consumer, limit=limit, now=now)
            return counts if any(counts) else ()

        return await self._until_found(look, wait) or NOTHING_WAITS

    async def _until_found(self, find: Callable[[float], Sequence[T]], wait: float) -> Sequence[T]:
        # Even if nothing is waited for, others get a turn: a busy reader must not starve their leases.
        await asyncio.sleep(0)
        deadline = _now() + wait
        while not self._closed:
            self._bell.clear()
            now = _now()
            found = find(now)
            if found or self._woken or now >= deadline:
                self._woken = False
                return found
            # Never longer than a third of the lease: whoever waits is alive.
            await self._wait(min(deadline, now + self._lease / 3, self._inbox.next_change()))
        return []

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        now = _now()
        results = [self._settle(each, now) for each in batch]
        self._server.ring()
        return results

    def holds(self, token: str) -> bool:
        return token in self._consumer.held and _now() < self._consumer.until

    def wake(self) -> None:
        self._woken = True
        self._bell.set()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._inbox.leave(self._consumer, _now())
            if is_temporary(self._inbox.name) and self._inbox is self._server.inboxes.get(self._inbox.name):
                self._server.drop(self._inbox.name, _now())
            self._server.ring()

    @property
    def _consumer(self) -> Consumer:
        # Looked up each time: a later reader of the same name may have begun anew after a takeover.
        return self._inbox.consumer(self._name, lease=self._lease)

    def _settle(self, settlement: Settlement, now: float) -> Settled:
        result = self._inbox.settle(self._consumer, settlement, now)
        if isinstance(settlement, Ack) and settlement.reply is not None and result == "done":
            self._server.addressed(settlement.reply.inbox).publish(settlement.reply, now)
        return result

    async def _wait(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._bell.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
