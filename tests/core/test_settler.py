"""The settler: batches, patience with a server that is away, and leases kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hivebus.memory.transport import MemoryTransport
from hivebus.settler import Settler
from hivebus.transport import Ack, Delivery, Endpoint, Extend, Inbox, Outgoing, Retry, Settled, Settlement

from .flaky import FlakyReader, FlakyTransport, until


class Desk:
    """A settler over the inbox ``dev`` with some messages in hand.

    Attributes:
        told: what observers heard; fenced: tokens whose lease was lost.
    """

    def __init__(self, reader: FlakyReader, deliveries: Sequence[Delivery], *, lease: float, max_batch: int) -> None:
        self.reader = reader
        self.tokens = [delivery.token for delivery in deliveries]
        self.told: list[tuple[Settlement, Settled]] = []
        self.fenced: list[str] = []
        self.settler = Settler(
            reader, lease=lease, max_batch=max_batch, settled=self.told.extend, fenced=self.fenced.append
        )
        for token in self.tokens:
            self.settler.hold(token)


async def desk(*, count: int = 3, lease: float = 30, max_batch: int = 100) -> Desk:
    transport = FlakyTransport()
    await transport.connect()
    ids = [f"m{number}" for number in range(count)]
    await transport.publish([Outgoing("dev", each, "agent.dev.x", 2, 0, None, b"{}") for each in ids])
    reader = await transport.open(Inbox("dev"), consumer="first", lease=lease)
    assert isinstance(reader, FlakyReader)
    deliveries = await reader.receive(limit=count, start=count, wait=0)
    return Desk(reader, deliveries, lease=lease, max_batch=max_batch)


async def test_what_is_settled_in_one_turn_is_one_call() -> None:
    on = await desk()
    answers = await asyncio.gather(*(on.settler.submit(Ack(token)) for token in on.tokens))
    assert answers == ["done"] * 3
    assert on.reader.settled == [[Ack(token) for token in on.tokens]]
    assert on.told == [(Ack(token), "done") for token in on.tokens]
    assert on.settler.held == 0


async def test_no_call_settles_more_than_the_limit() -> None:
    on = await desk(count=5, max_batch=2)
    for token in on.tokens:
        on.settler.put(Ack(token))
    await on.settler.close()
    assert [len(batch) for batch in on.reader.settled] == [2, 2, 1]


async def test_settling_twice_is_harmless() -> None:
    on = await desk(count=1)
    assert await on.settler.submit(Ack(on.tokens[0])) == "done"
    assert await on.settler.submit(Ack(on.tokens[0])) == "gone"


async def test_a_server_that_is_away_for_a_while_is_told_afterwards() -> None:
    on = await desk()
    on.reader.away = 2
    assert await asyncio.gather(*(on.settler.submit(Ack(token)) for token in on.tokens)) == ["done"] * 3
    assert on.reader.settled == [[Ack(token) for token in on.tokens]]


async def test_at_the_end_a_server_that_stays_away_is_given_up() -> None:
    on = await desk(count=1)
    on.reader.away = 10**9
    answer = on.settler.submit(Ack(on.tokens[0]))
    await until(lambda: on.reader.away < 10**9 - 3)
    on.settler.give_up_after(0.1)
    async with asyncio.timeout(10):
        await on.settler.close()
    assert await answer == "stale"
    assert on.told == []


async def test_at_the_end_a_server_that_comes_back_in_time_is_told() -> None:
    on = await desk(count=1)
    on.reader.away = 3
    answer = on.settler.submit(Ack(on.tokens[0]))
    on.settler.give_up_after(10)
    await on.settler.close()
    assert await answer == "done"


# --- Leases ----------------------------------------------------------------------------------------------


async def what_is_held_is_kept(on: Desk) -> None:
    """While nothing else is asked of the server, only the heart keeps the lease of half a second."""
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    heir = await transport.open(Inbox("dev"), consumer="heir", lease=30)
    on.settler.start()
    try:
        assert list(await heir.receive(limit=10, start=0, wait=1.2)) == []
        assert await on.settler.submit(Ack(on.tokens[0])) == "done"
    finally:
        await on.settler.close()
        await heir.close()


async def test_what_is_held_is_kept_for_longer_than_a_lease() -> None:
    on = await desk(lease=0.5)
    await what_is_held_is_kept(on)
    assert on.fenced == []
    assert {type(each) for batch in on.reader.settled for each in batch} == {Extend, Ack}


async def test_without_a_heart_it_would_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nothing extends the lease."""

    async def still(settler: Settler) -> None:
        """Never beat."""

    monkeypatch.setattr(Settler, "_beat", still)
    with pytest.raises(AssertionError):
        await what_is_held_is_kept(await desk(lease=0.5))


async def test_a_lost_lease_is_told_once() -> None:
    on = await desk(lease=0.15)
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    heir = await transport.open(Inbox("dev"), consumer="heir", lease=30)
    # A suspect is handed out alone, so the heir takes them one by one.
    taken: list[Delivery] = []
    while len(taken) < 3:
        for delivery in await heir.receive(limit=10, start=10, wait=5):
            taken.append(delivery)
            await heir.settle([Retry(delivery.token, 30)])
    on.settler.start()
    await until(lambda: len(on.fenced) == 3)
    await asyncio.sleep(0.2)
    assert sorted(on.fenced) == sorted(on.tokens)
    assert on.settler.held == 0
    await on.settler.close()


async def test_what_is_settled_is_not_extended_any_more() -> None:
    on = await desk(lease=0.15)
    on.settler.start()
    await asyncio.gather(*(on.settler.submit(Ack(token)) for token in on.tokens))
    before = len(on.reader.settled)
    await asyncio.sleep(0.2)
    assert len(on.reader.settled) == before
    await on.settler.close()


async def test_closing_without_a_heart_or_work_returns_at_once() -> None:
    on = await desk(count=0)
    await on.settler.close()
    assert on.reader.settled == []
