"""The consumer and its lease: kept while a handler works, and who lost it stops."""

from __future__ import annotations

import asyncio

import pytest

from hivebus.bus import Bus
from hivebus.consumer import Consumer
from hivebus.message import Message
from hivebus.settler import Settler
from hivebus.transport import Ack, Delivery, Inbox

from .flaky import Backwards, FlakyTransport, Serving, line, running, until, until_state


async def a_slow_handler_is_kept_alive() -> None:
    handled: list[str] = []

    async def handle(message: Message) -> None:
        handled.append(message.content)
        await asyncio.sleep(1.0)

    async with (
        Bus("memory://", agent="dev", lease=0.3) as slow,
        Bus("memory://", agent="dev", lease=30) as other,
    ):
        slow.on()(handle)
        other.on()(handle)
        receipt = await slow.send("dev", "x")
        # With one handler at once, nothing is read meanwhile that would renew the lease besides.
        async with running(slow, concurrency=1):
            await until(lambda: handled)
            async with running(other):
                await until_state(slow, receipt.message_id, "acknowledged")
        assert (await slow.status(receipt.message_id)).attempts == 1
    assert handled == ["x"]


async def test_a_handler_that_takes_longer_than_its_lease_is_kept_alive() -> None:
    await a_slow_handler_is_kept_alive()


async def test_without_a_heart_somebody_else_would_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nothing extends the lease."""
    monkeypatch.setattr(Settler, "start", lambda settler: None)
    with pytest.raises(AssertionError):
        await a_slow_handler_is_kept_alive()


async def who_lost_the_lease_stops() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()
    taken_over: list[str] = []
    transport = FlakyTransport()
    async with (
        Bus("memory://", agent="dev", lease=0.15, plugins=[Serving(transport)]) as cut_off,
        Bus("memory://", agent="dev", lease=30) as heir,
    ):

        @cut_off.on()
        async def works_on(message: Message) -> None:
            started.set()
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        @heir.on()
        async def takes_over(message: Message) -> None:
            taken_over.append(message.content)

        receipt = await heir.send("dev", "x")
        async with running(cut_off, concurrency=1):
            await started.wait()
            transport.readers[0].away = 10**9
            async with running(heir):
                await until_state(heir, receipt.message_id, "acknowledged")
            transport.readers[0].away = 0
            async with asyncio.timeout(2):
                await cancelled.wait()
        assert taken_over == ["x"]
        assert (await heir.status(receipt.message_id)).state == "acknowledged"


async def test_a_handler_that_lost_its_lease_is_cancelled() -> None:
    await who_lost_the_lease_stops()


async def test_a_handler_that_is_not_told_would_work_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nobody tells the handler."""
    monkeypatch.setattr(Consumer, "_fence", lambda consumer, token: None)
    with pytest.raises(TimeoutError):
        await who_lost_the_lease_stops()


async def test_what_was_fetched_and_lost_is_not_started() -> None:
    """Two are in hand, one is running: the other is lost with it and never starts."""
    transport = FlakyTransport(reads=Backwards)
    started: list[str] = []
    ended = asyncio.Event()
    async with Bus("memory://", agent="dev", lease=0.15, plugins=[Serving(transport)]) as cut_off:

        @cut_off.on()
        async def works_on(message: Message) -> None:
            started.append(message.content)
            try:
                await asyncio.sleep(5)
            finally:
                ended.set()

        for content in ("first", "second"):
            await cut_off.send("dev", content, priority="high" if content == "first" else "low")
        async with running(cut_off, concurrency=1):
            await until(lambda: started)
            transport.readers[0].away = 10**9
            heir = await (await line()).open(Inbox("dev"), consumer="heir", lease=30)
            taken: list[Delivery] = []
            while len(taken) < 2:
                found = await heir.receive(limit=10, start=10, wait=5)
                taken += found
                await heir.settle([Ack(delivery.token) for delivery in found])
            transport.readers[0].away = 0
            async with asyncio.timeout(3):
                await ended.wait()
            await asyncio.sleep(0.05)
    assert started == ["first"]
