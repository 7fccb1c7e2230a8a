"""Two roads in one process: memory is moved to, files are left, and faults stand where a test puts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hivebus import envelope
from hivebus.bus import Bus
from hivebus.errors import HivebusError, Unavailable
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import Capabilities, Directory, Endpoint, Entry, Outgoing, Published, Publisher, Scheme
from hivebus_migration.dual_write import DualWrite, join
from hivebus_migration.facts import Attempt, Intent
from hivebus_migration.records import Records, read_records
from hivebus_migration.stages import KIND

from .files_leg import FilesTransport

PATIENCE = 20.0


class Troubled(Publisher):
    """A transport with trouble on the line.

    Attributes:
        endpoint: what it was made for.
        away: nothing answers, neither to `connect` nor to `publish`.
        held: while it is set to an event, `publish` waits for it before it does anything.
        entered: set when `publish` was called.
        failing: what the next calls of `publish` answer instead of doing anything.
        batches: every batch that it was given.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)  # type: ignore[call-arg]
        self.endpoint = endpoint
        self.away = False
        self.held: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.failing: list[HivebusError] = []
        self.batches: list[list[Outgoing]] = []

    async def connect(self) -> Capabilities:
        if self.away:
            raise Unavailable("the server is away")
        return await super().connect()  # type: ignore[safe-super]

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        self.batches.append(list(batch))
        self.entered.set()
        if self.held is not None:
            await self.held.wait()
        if self.failing:
            error = self.failing.pop(0)
            return [error for _ in batch]
        if self.away:
            raise Unavailable("the server is away")
        return await super().publish(batch)  # type: ignore[safe-super]

    @property
    def inboxes_written(self) -> list[str]:
        """Where everything went that it was given."""
        return [item.inbox for batch in self.batches for item in batch]


class Memory(Troubled, MemoryTransport):
    """The road that is moved to; its directory is away when it is."""

    async def read(self, kind: str) -> Mapping[str, Entry]:
        if self.away:
            raise Unavailable("the server is away")
        return await super().read(kind)


class Files(Troubled, FilesTransport):
    """The road that is left."""


class House:
    """Both roads, and what joins them.

    Attributes:
        main, legacy: the transports.
        folder: where the legacy one writes.
        ledger: the file that knows it all.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder / "files"
        self.folder.mkdir(exist_ok=True)
        self.ledger = folder / "ledger.db"
        self.main = Memory(Endpoint(url="memory://", **options))
        self.legacy = Files(Endpoint(url=f"files://{self.folder}"))

    def joined(self) -> DualWrite:
        """Return the transport that joins them, not connected."""
        legs: dict[str, Publisher] = {"memory": self.main, "files": self.legacy}
        return join(Endpoint(url="dualwrite://", legs=legs, ledger=str(self.ledger)))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[DualWrite]:
        """Yield what joins them, connected; it is closed in the end."""
        joined = self.joined()
        await joined.connect()
        try:
            yield joined
        finally:
            await joined.close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a bus of this process travel both roads."""
        return {"HIVEBUS_LEGACY_URL": f"files://{self.folder}", "HIVEBUS_LEDGER": str(self.ledger)}

    def bus(self, agent: str, **options: Any) -> Bus:
        """Return a bus on both roads, in this `environment`; a house is good for one."""
        return Bus("memory://", agent=agent, plugins=[self], **options)

    @hookimpl
    def register_transports(self, register: Callable[[Scheme], None]) -> None:
        register(Scheme(name="memory", transport=lambda endpoint: self.main))
        register(Scheme(name="files", transport=lambda endpoint: self.legacy))

    def records(self) -> Records:
        """Return all that the ledger knows."""
        return read_records(self.ledger)

    def intents(self) -> list[Intent]:
        return list(self.records().intents)

    def attempts(self, leg: str) -> list[Attempt]:
        return [each for each in self.records().attempts if each.leg == leg]

    def outcomes(self, leg: str) -> list[tuple[str, str | None]]:
        """Return outcome and reason of every attempt on a leg, sorted."""
        return sorted(((each.outcome, each.reason) for each in self.attempts(leg)), key=str)


async def set_stage(directory: Directory, agent: str, stage: str, *, epoch: int = 1) -> None:
    """Write a stage, whatever was there before."""
    await directory.write(KIND, agent, {"stage": stage, "epoch": epoch, "by": "a test", "at": 0.0})


async def server(**options: Any) -> MemoryTransport:
    """Return another client of the main road, to look behind it or to change a stage."""
    transport = MemoryTransport(Endpoint(url="memory://", **options))
    await transport.connect()
    return transport


def outgoing(inbox: str = "dev", content: Any = "hello", **changes: Any) -> Outgoing:
    """Return a message on its way to an agent."""
    sent = envelope.compose(from_agent="pm", to_agent=inbox, content=content)
    item = Outgoing(inbox, sent.message_id, f"agent.{inbox}.{sent.message_type}", 2, 0, None, envelope.encode(sent))
    return item._replace(**changes)


async def until(holds: Callable[[], object], *, what: str = "", patience: float = PATIENCE) -> None:
    """Return as soon as it holds, or fail."""
    try:
        async with asyncio.timeout(patience):
            while not holds():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never happened: {what or holds}") from None


async def waiting(directory: MemoryTransport, inbox: str) -> list[str]:
    """Return the ids of what waits in an inbox of the main road."""
    return [place.message_id for place in await directory.peek(inbox, limit=10_000)]
