"""Fresh routes on transports of every kind: those that count, those that do not, and those that keep no directory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from hivebus import guiding, registry
from hivebus.bus import Bus
from hivebus.errors import HivebusError, Unavailable, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.presence import Heart
from hivebus.transport import ROUTES, Capabilities, Endpoint, Entry, Outgoing, Published, Publisher

from .flaky import Serving, until


class Uncounted(MemoryTransport):
    """Keeps a directory and counts no changes, as a third-party transport may."""

    def __init__(self) -> None:
        super().__init__(Endpoint(url="memory://uncounted"))
        self.away = False
        self.reads = 0

    async def changes(self) -> None:  # type: ignore[override]
        if self.away:
            raise Unavailable("the directory is away")

    async def read(self, kind: str) -> dict[str, Entry]:
        self.reads += kind == ROUTES
        return dict(await super().read(kind))

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        answers = await super().publish(batch)
        return [each._replace(routes=None) if isinstance(each, Published) else each for each in answers]


class Wall(Publisher):
    """Keeps nothing but what is written on it."""

    def __init__(self) -> None:
        self.inboxes: list[str] = []

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        pass

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        self.inboxes += [item.inbox for item in batch]
        return [Published("stored") for _ in batch]


async def test_where_nobody_counts_routes_are_looked_at_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Uncounted()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        for _ in range(5):
            await bus.send("dev", "x")
        assert transport.reads == 1
        await registry.subscribe(transport, "audit", ["agent.#"])
        # A second later, without waiting for it.
        bus._sending._guiding._confirmed = 0.0
        receipt = await bus.send("dev", "y")
        assert set((await bus.status(receipt.message_id)).recipients) == {"dev", "audit"}


async def test_a_directory_that_is_away_keeps_no_message_from_another_road() -> None:
    transport = Uncounted()
    transport.away = True
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        assert (await bus.send("dev", "x")).state == "stored"


@pytest.mark.parametrize("to_agent", ["*", "broadcast", "@architects"])
async def test_an_address_that_takes_a_directory_is_unsupported_where_there_is_none(to_agent: str) -> None:
    wall = Wall()
    async with Bus("memory://", agent="pm", plugins=[Serving(wall)]) as bus:
        with pytest.raises(Unsupported, match="keeps a directory"):
            await bus.send(to_agent, "x")
        with pytest.raises(Unsupported, match="inspect"):
            await bus.broadcast("x", agents=["dev"], wait="acked")
        with pytest.raises(Unsupported, match="live_only"):
            await bus.broadcast("x", agents=["dev"], live_only=True)
        with pytest.raises(Unsupported, match="directory"):
            await bus.subscribe("agent.#")
        assert await bus.broadcast("x", agents=["dev", "qa"])
    assert wall.inboxes == ["dev", "qa"]


async def test_a_bus_that_cannot_subscribe_is_closed_again() -> None:
    with pytest.raises(Unsupported, match="directory"):
        async with Bus("memory://", agent="pm", subscriptions=["agent.#"], plugins=[Serving(Wall())]):
            pass


async def test_all_who_wait_for_newer_routes_wait_for_one_reading() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await registry.subscribe(transport, "audit", ["agent.#"])
    guide = guiding.Guiding(transport)
    await asyncio.gather(*(guide.catch_up(1) for _ in range(50)))
    assert guide.reads == 1


async def test_a_count_that_is_never_reached_is_asked_for_a_few_times_only() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    guide = guiding.Guiding(transport)
    await guide.catch_up(99)
    assert guide.reads == guiding.ROUNDS


async def test_who_reads_under_a_name_that_was_given_up_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await registry.register(transport, "old")
    await registry.rename(transport, "old", "new")
    heart = Heart(transport, "old")
    with caplog.at_level(logging.WARNING):
        heart.start()
        await until(lambda: caplog.records)
        await heart.close()
    assert caplog.records[0].moved_to == "new"  # type: ignore[attr-defined]


async def test_signs_of_life_go_on_when_the_server_is_back(caplog: pytest.LogCaptureFixture) -> None:
    class Flickering(MemoryTransport):
        beats = 0

        async def write(self, *args: object, **options: object) -> int:
            self.beats += 1
            if self.beats == 1:
                raise Unavailable("away")
            return 0

    transport = Flickering(Endpoint(url="memory://"))
    await transport.connect()
    heart = Heart(transport, "dev", every=0.01)
    heart.start()
    await until(lambda: transport.beats > 2)
    await heart.close()
    assert "no sign of life" in caplog.text


async def test_the_housekeeper_prunes_what_senders_know_of_the_forgotten() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await registry.subscribe(transport, "gone", ["agent.#"])
    assert await registry.prune(transport) == ["gone"]
    assert await transport.read(ROUTES) == {}
