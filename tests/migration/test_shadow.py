"""Who reads the road that is moved to: handlers of live agents, and the shadow reader while tmux still acts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hivebus.address import shadow_of
from hivebus.errors import Unavailable, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import Ack, DeadLetter, Delivery, Inbox, Reader, Retry, Transport
from hivebus_migration import ledger, shadow_reader
from hivebus_migration.facts import Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg, fingerprint
from hivebus_migration.shadow_reader import ShadowReaders
from hivebus_migration.watched_reader import WatchedReader

from .files_leg import contents, ids
from .house import House, outgoing, server, set_stage, until, waiting


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(tmp_path)
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)
    return house


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_reader, "LOOK_EVERY", 0.02)


def seen(house: House) -> list[tuple[str, str, str, str]]:
    """Return message, leg, agent and level of every sighting."""
    return [(each.message_id, each.leg, each.agent, each.level) for each in house.records().sightings]


def witnesses(house: House) -> list[tuple[str, str, str]]:
    return [(each.agent, each.leg, each.level) for each in house.records().witnesses]


# --- Handlers ----------------------------------------------------------------------------------------------


async def test_what_a_consumer_takes_and_acks_is_written_down_with_the_fingerprint_of_its_sender(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    item = outgoing()
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        await joined.publish([item])
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        (delivery,) = await reader.receive(limit=5, start=5, wait=5)
        assert await reader.settle([Ack(delivery.token)]) == ["done"]
        assert await reader.settle([Ack(delivery.token)]) == ["gone"]
        await reader.close()
    assert seen(house) == [(item.message_id, "memory", "dev", "taken"), (item.message_id, "memory", "dev", "acked")]
    assert {each.fingerprint for each in house.records().sightings} == {fingerprint(item.data)}
    assert house.intents()[0].legs["memory"] == fingerprint(item.data)
    assert witnesses(house) == [("dev", "memory", "acked")]


async def levels_when_acked(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is on disk at the moment of an ack, as whoever kills the process right then would find it."""
    # Nothing is written of its own accord.
    monkeypatch.setattr(ledger, "LINGER", 60.0)
    await set_stage(await server(), "dev", "live")
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        await joined.publish([outgoing()])
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        (delivery,) = await reader.receive(limit=5, start=5, wait=5)
        await reader.settle([Ack(delivery.token)])
        found = [level for *_, level in seen(house)] if house.ledger.exists() else []
        await reader.close()
    return found


async def test_what_was_seen_is_on_disk_before_it_is_acked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await levels_when_acked(house, monkeypatch) == ["taken"]


async def test_saboteur_an_ack_that_does_not_wait_leaves_a_message_that_nobody_saw(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hurry(self: WatchedReader) -> None:
        pass

    monkeypatch.setattr(WatchedReader, "_write_down", hurry)
    assert await levels_when_acked(house, monkeypatch) == []


async def test_a_message_that_is_handed_over_again_is_one_message(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    item = outgoing()
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        await joined.publish([item])
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        for counts in (True, False):
            (delivery,) = await reader.receive(limit=5, start=5, wait=5)
            await reader.settle([Retry(delivery.token, 0, counts=counts)])
        (delivery,) = await reader.receive(limit=5, start=5, wait=5)
        await reader.settle([Ack(delivery.token)])
        await reader.close()
    assert [level for *_, level in seen(house)] == ["taken", "acked"]


async def test_what_is_given_up_is_not_acked(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        await joined.publish([outgoing()])
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        (delivery,) = await reader.receive(limit=5, start=5, wait=5)
        await reader.settle([DeadLetter(delivery.token, "broken")])
        assert isinstance(reader, WatchedReader) and not reader._held
        await reader.close()
    assert [level for *_, level in seen(house)] == ["taken"]


async def test_a_consumer_is_a_witness_only_once_messages_come_its_way(house: House) -> None:
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        joined._ledger.note(Witness("ops", "memory", "acked", now()))
        joined._ledger.flush()
        # tmux acts, and the copies go to the shadow inbox: that this reader sees none of them says nothing.
        assert witnesses(house) == [("ops", "memory", "acked")]
        await (await server()).publish([outgoing()])
        await reader.receive(limit=5, start=5, wait=5)
        await reader.close()
    assert witnesses(house)[1:] == [("dev", "memory", "acked")]


async def test_with_the_main_road_away_an_inbox_cannot_be_opened_and_says_so(house: House) -> None:
    house.main.away = True
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        with pytest.raises(Unavailable, match="the memory leg is away"):
            await joined.open(Inbox("dev"), consumer="one", lease=30)


async def test_a_reply_does_not_travel_in_the_ack(house: House) -> None:
    async with house.connected() as joined:
        assert isinstance(joined, Transport)
        reader = await joined.open(Inbox("dev"), consumer="one", lease=30)
        with pytest.raises(Unsupported, match="a reply cannot travel in the ack"):
            await reader.settle([Ack("token", reply=outgoing())])
        await reader.close()


async def test_the_reply_of_a_handler_goes_by_the_stage_of_its_recipient(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    bus = house.bus("dev")

    @bus.on()
    async def handle(message: Message) -> str:
        return f"done: {message.content}"

    async with bus:
        running = asyncio.create_task(bus.run())
        await bus.send("dev", "a task")  # to itself: a reply to dev is live, one to pm is not
        await (await server()).publish([outgoing(content="from pm")])
        await until(lambda: contents(house.folder, "pm"), what="the reply is in the file of pm")
        bus.stop(grace=5)
        await running
    assert contents(house.folder, "pm") == ["done: from pm"]
    assert await waiting(await server(), "pm") == []


# --- Shadow inboxes ----------------------------------------------------------------------------------------


@asynccontextmanager
async def shadow_readers(house: House) -> AsyncIterator[ShadowReaders]:
    """Let the readers of shadow inboxes run for the length of the block."""
    leg = Leg("memory", MemoryTransport(house.main.endpoint))
    await leg.connect(within=5)
    ledger = Ledger(house.ledger)
    readers = ShadowReaders(leg, ledger)
    running = asyncio.create_task(readers.run())
    try:
        yield readers
    finally:
        readers.stop()
        async with asyncio.timeout(10):
            await running
        ledger.close()
        await leg.close()


async def test_copies_are_seen_acked_and_handled_by_nobody(house: House) -> None:
    await set_stage(await server(), "dev", "dualwrite")
    items = [outgoing() for _ in range(20)]
    async with shadow_readers(house) as readers, house.connected() as joined:
        await joined.publish(items)
        await until(lambda: readers.seen == 20, what="all copies were seen")
        await until_empty("dev~shadow")
    assert sorted(seen(house)) == sorted((item.message_id, "memory", "dev", "taken") for item in items)
    assert witnesses(house) == [("dev", "memory", "taken")]


async def test_an_agent_that_comes_to_it_is_read_too(house: House) -> None:
    async with shadow_readers(house) as readers, house.connected() as joined:
        await set_stage(await server(), "dev", "dualwrite")
        await until(lambda: joined._stages.of("dev").name == "dualwrite", what="the stage was read")
        await joined.publish([outgoing()])
        await until(lambda: readers.seen == 1, what="the copy was seen")


async def test_agents_that_follow_the_stage_of_everyone_are_read_from_their_first_copy_on(house: House) -> None:
    await set_stage(await server(), "*", "dualwrite")
    async with shadow_readers(house) as readers, house.connected() as joined:
        await joined.publish([outgoing("dev"), outgoing("ops")])
        await until(lambda: readers.seen == 2, what="both copies were seen")
    assert sorted(agent for _, _, agent, _ in seen(house)) == ["dev", "ops"]


async def test_an_agent_that_moved_on_is_read_to_the_end(house: House) -> None:
    await set_stage(await server(), "dev", "dualwrite")
    async with house.connected() as joined:
        await joined.publish([outgoing()])
    await set_stage(await server(), "dev", "live", epoch=2)
    async with shadow_readers(house) as readers:
        await until(lambda: readers.seen == 1, what="the copy was seen")


async def test_a_copy_that_comes_again_because_a_bridge_died_is_noted_once(house: House) -> None:
    await set_stage(await server(), "dev", "dualwrite")
    item = outgoing()
    async with house.connected() as joined:
        await joined.publish([item])
    other = await server()
    died = await other.open(Inbox("dev~shadow"), consumer="died", lease=0.05)
    with Ledger(house.ledger) as ledger:
        watched = WatchedReader(died, agent="dev", leg="memory", level="taken", ledger=ledger)
        await watched.receive(limit=5, start=0, wait=5)
    async with shadow_readers(house) as readers:
        await until(lambda: readers.seen == 1, what="it came again")
        await until_empty("dev~shadow")
    assert seen(house) == [(item.message_id, "memory", "dev", "taken")]


async def test_a_copy_that_died_with_its_bridge_before_it_was_noted_is_noted(house: House) -> None:
    await set_stage(await server(), "dev", "dualwrite")
    item = outgoing()
    async with house.connected() as joined:
        await joined.publish([item])
    died = await (await server()).open(Inbox("dev~shadow"), consumer="died", lease=0.05)
    await died.receive(limit=5, start=0, wait=5)
    async with shadow_readers(house) as readers:
        await until(lambda: readers.seen == 1, what="it came again")
    assert seen(house) == [(item.message_id, "memory", "dev", "taken")]


class Interrupted(Reader):
    """A reader whose server is away every other time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._calls = 0

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        self._fail()
        return await self._reader.receive(limit=limit, start=start, wait=min(wait, 0.05))

    async def settle(self, batch: Any) -> Any:
        self._fail()
        return await self._reader.settle(batch)

    def wake(self) -> None:
        self._reader.wake()

    async def close(self) -> None:
        await self._reader.close()

    def _fail(self) -> None:
        self._calls += 1
        if self._calls % 2:
            raise Unavailable("the server is away")


async def test_a_server_that_comes_and_goes_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0

    async def open_inbox(self: MemoryTransport, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise Unavailable("the server is away")
        return Interrupted(await original(self, inbox, consumer=consumer, lease=lease))

    original = MemoryTransport.open
    monkeypatch.setattr(MemoryTransport, "open", open_inbox)
    await set_stage(await server(), "dev", "dualwrite")
    items = [outgoing() for _ in range(5)]
    async with shadow_readers(house) as readers, house.connected() as joined:
        for item in items:
            await joined.publish([item])
        await until(lambda: readers.seen == 5, what="all copies were seen")
        await until_empty("dev~shadow")
    assert sorted(each.message_id for each in house.records().sightings) == sorted(item.message_id for item in items)


async def until_empty(inbox: str) -> None:
    """Return when nothing waits in an inbox and nobody holds anything of it."""
    other = await server()
    async with asyncio.timeout(20):
        while (counts := (await other.counts([inbox]))[0]).waiting or counts.in_flight:
            await asyncio.sleep(0.01)
    assert counts.dead == 0


# --- What the shadow inbox is for --------------------------------------------------------------------------


async def handled_while_tmux_acts(house: House) -> list[str]:
    """Send to an agent in dualwrite that has a consumer on both roads; return who handled the message."""
    await set_stage(await server(), "dev", "dualwrite")
    handled: list[str] = []
    bus = house.bus("dev")

    @bus.on()
    async def handle(message: Message) -> None:
        handled.append("memory")

    async with bus:
        running = asyncio.create_task(bus.run())
        await until(lambda: bus._consuming.consumer, what="the consumer runs")
        await bus.send("dev", "do it once")
        await until(lambda: house.main.batches, what="the copy was sent")
        other = await server()
        async with asyncio.timeout(20):
            while not handled and not await waiting(other, "dev~shadow"):
                await asyncio.sleep(0.01)
        bus.stop(grace=5)
        await running
    return [*handled, *("files" for _ in ids(house.folder, "dev"))]


async def test_while_the_legacy_leg_acts_no_handler_sees_the_copy(house: House) -> None:
    assert await handled_while_tmux_acts(house) == ["files"]


async def test_saboteur_without_a_shadow_inbox_a_message_is_handled_on_both_roads(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus_migration.announcing.shadow_of", lambda agent: agent)
    assert shadow_of("dev") == "dev~shadow"
    assert sorted(await handled_while_tmux_acts(house)) == ["files", "memory"]
