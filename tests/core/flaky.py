"""Memory with trouble on the line: what fails, and when, is written in the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hivebus.bus import Bus
from hivebus.errors import HivebusError, Unavailable, Unknown
from hivebus.hookspecs import hookimpl
from hivebus.memory.reader import MemoryReader
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import (
    Capabilities,
    Delivery,
    Endpoint,
    Extend,
    Inbox,
    Outgoing,
    Published,
    Publisher,
    Reader,
    Scheme,
    Settled,
    Settlement,
)

Results = Sequence[Published | HivebusError]
Publish = Callable[[Sequence[Outgoing]], Awaitable[Results]]
Trouble = Callable[[Publish, Sequence[Outgoing]], Awaitable[Results]]


async def loses_the_reply(publish: Publish, batch: Sequence[Outgoing]) -> Results:
    """Store everything, and let nobody know."""
    await publish(batch)
    raise Unknown("the connection was lost")


async def loses_the_request(publish: Publish, batch: Sequence[Outgoing]) -> Results:
    """Store nothing, and let nobody know."""
    raise Unknown("the connection was lost")


class FlakyTransport(MemoryTransport):
    """The first calls of `publish` meet one trouble each; all that come after them meet none.

    Attributes:
        batches: every batch that was published, as it arrived.
        capable: changes what `connect` declares.
    """

    def __init__(
        self,
        *,
        troubles: Sequence[Trouble] = (),
        capable: Callable[[Capabilities], Capabilities] = lambda capabilities: capabilities,
        reads: type[FlakyReader] | None = None,
    ) -> None:
        super().__init__(Endpoint(url="memory://"))
        self.batches: list[list[Outgoing]] = []
        self.closed = 0
        self.readers: list[FlakyReader] = []
        self._troubles: Iterator[Trouble] = iter(troubles)
        self._capable = capable
        self._reads = reads or FlakyReader

    async def connect(self) -> Capabilities:
        return self._capable(await super().connect())

    async def close(self) -> None:
        self.closed += 1
        await super().close()

    async def publish(self, batch: Sequence[Outgoing]) -> Results:
        self.batches.append(list(batch))
        trouble = next(self._troubles, None)
        return await (trouble(super().publish, batch) if trouble else super().publish(batch))

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        reader = self._reads(self._server, inbox.name, consumer=consumer, lease=lease)
        self.readers.append(reader)
        return reader


class FlakyReader(MemoryReader):
    """A reader that can be out of reach for a number of calls.

    Attributes:
        away: how many of the next calls raise `Unavailable`.
        settled: every batch of settlements that reached the server.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.away = 0
        self.settled: list[list[Settlement]] = []

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        self._fail()
        return await super().receive(limit=limit, start=start, wait=wait)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        self._fail()
        self.settled.append(list(batch))
        return await super().settle(batch)

    def _fail(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise Unavailable("the server is away")


class Backwards(FlakyReader):
    """Hands out everything at once, the lowest level first."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return [*reversed(await super().receive(limit=1000, start=1000, wait=wait))]


class Serving:
    """A plugin that serves ``memory://`` by the transport of a test, instead of the built-in one."""

    def __init__(self, *transports: Publisher) -> None:
        self._transports = iter(transports)

    @hookimpl
    def register_transports(self, register: Callable[[Scheme], None]) -> None:
        register(Scheme(name="memory", transport=lambda endpoint: next(self._transports)))


async def until(holds: Callable[[], object], *, patience: float = 10.0) -> None:
    """Return as soon as it holds, or fail."""
    async with asyncio.timeout(patience):
        while not holds():
            await asyncio.sleep(0.002)


async def until_state(bus: Bus, message_id: str, state: str, *, patience: float = 10.0) -> None:
    """Return as soon as the message is in this state, or fail."""
    async with asyncio.timeout(patience):
        while (await bus.status(message_id)).state != state:
            await asyncio.sleep(0.002)


async def line() -> MemoryTransport:
    """Return another client of the same server."""
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    return transport


async def crash(*, times: int = 1) -> None:
    """Let a consumer of ``dev`` take a message, start it and die, that many times."""
    transport = await line()
    for number in range(times):
        reader = await transport.open(Inbox("dev"), consumer=f"dies-{number}", lease=0.02)
        assert await reader.receive(limit=1, start=1, wait=5)
        await asyncio.sleep(0.03)


def settlements(transport: FlakyTransport) -> list[Settlement]:
    """Return what the first reader settled, without what only kept a lease alive."""
    return [each for batch in transport.readers[0].settled for each in batch if not isinstance(each, Extend)]


@asynccontextmanager
async def running(bus: Bus, *, concurrency: int = 16) -> AsyncIterator[asyncio.Task[None]]:
    """Let a bus handle messages for the length of the block; what its `run` raises is raised."""
    task = asyncio.create_task(bus.run(concurrency=concurrency))
    try:
        await until(lambda: bus._consuming.consumer or task.done())
        yield task
    finally:
        bus.stop(grace=5)
        async with asyncio.timeout(10):
            await task
