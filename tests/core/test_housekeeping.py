"""Housekeeping: who does it, how much at once, what it tells, and what it forgets to stay within its bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hivebus import housekeeping
from hivebus.bus import Bus
from hivebus.errors import Unavailable
from hivebus.housekeeping import Housekeeper, Plan
from hivebus.memory.transport import MemoryTransport
from hivebus.shedding import shed_older, shed_to
from hivebus.tidying import Tidied
from hivebus.transport import Ack, Capabilities, Endpoint, Inbox, Outgoing, Published, Publisher

PLAN = Plan(keep=86_400, max_bytes=2**30, own_every=0.02, all_every=0.02, pause=0)


class Watched(MemoryTransport):
    """Memory that writes down who was tidied."""

    def __init__(self) -> None:
        super().__init__(Endpoint(url="memory://"))
        self.tidied: list[str] = []
        self.answers: list[Tidied | Exception] = []

    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        self.tidied.append(inbox)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return await super().tidy(inbox, keep=keep)


@pytest.fixture
async def transport() -> AsyncIterator[Watched]:
    made = Watched()
    await made.connect()
    yield made
    await made.close()


async def another() -> Watched:
    made = Watched()
    await made.connect()
    return made


async def publish(
    transport: MemoryTransport, inbox: str, *names: str, ttl: float | None = None, size: int = 10
) -> None:
    items = [Outgoing(inbox, name, "r", 2, 0, ttl, b"x" * size) for name in names]
    assert all(isinstance(each, Published) for each in await transport.publish(items))


async def settle_all(transport: MemoryTransport, inbox: str) -> None:
    reader = await transport.open(Inbox(inbox), consumer="one", lease=30)
    await reader.settle([Ack(each.token) for each in await reader.receive(limit=1000, start=1000, wait=0)])
    await reader.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# --- Who does it --------------------------------------------------------------------------------------


async def test_of_five_processes_one_looks_after_all_inboxes_and_each_after_its_own(transport: Watched) -> None:
    await publish(transport, "nobody", "m-1")
    watched = [await another() for _ in range(5)]
    # Claims that live long enough to be kept on a busy machine.
    plan = replace(PLAN, all_every=0.3)
    keepers = [Housekeeper(each, f"own-{n}", plan=plan) for n, each in enumerate(watched)]
    for keeper in keepers:
        keeper.start()
    await until(lambda: all(len(each.tidied) >= 20 for each in watched))
    await until(lambda: any("nobody" in each.tidied for each in watched))
    for keeper in keepers:
        await keeper.close()

    assert all(f"own-{n}" in each.tidied for n, each in enumerate(watched))
    assert sum("nobody" in each.tidied for each in watched) == 1


async def test_when_the_one_is_gone_another_takes_its_place(transport: Watched) -> None:
    plan = Plan(keep=86_400, max_bytes=2**30, all_every=0.1)
    first, second = (Housekeeper(transport, name, plan=plan) for name in ("a", "b"))

    assert [await first.claim(), await second.claim(), await first.claim()] == [True, False, True]
    await asyncio.sleep(0.25)
    assert [await second.claim(), await first.claim()] == [True, False]


async def test_saboteur_a_claim_that_does_not_compare_lets_everybody_in(
    transport: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(kind: str) -> Mapping[str, Any]:
        return {}

    first, second = (Housekeeper(transport, name, plan=PLAN) for name in ("a", "b"))
    write = transport.write
    monkeypatch.setattr(transport, "read", read)
    monkeypatch.setattr(transport, "write", lambda *args, expect, ttl: write(*args, ttl=ttl))

    assert [await first.claim(), await second.claim()] == [True, True]


async def test_a_transport_that_cannot_be_tidied_is_left_alone() -> None:
    class Wall(Publisher):
        async def connect(self) -> Capabilities:
            return Capabilities()

        async def close(self) -> None:
            """Nothing is open."""

        async def publish(self, batch: Any) -> list[Published]:
            return []

    keeper = Housekeeper(Wall(), "own", plan=PLAN)
    keeper.start()
    await asyncio.sleep(0.05)
    await keeper.close()


# --- How much, and what is told -------------------------------------------------------------------------


async def test_a_round_goes_on_while_there_is_more_and_adds_up_what_was_done(transport: Watched) -> None:
    transport.answers = [Tidied(expired=200, more=True), Tidied(expired=200, trimmed=5, more=True), Tidied(expired=7)]

    assert await Housekeeper(transport, "own", plan=PLAN).tidy("own") == Tidied(expired=407, trimmed=5)
    assert len(transport.tidied) == 3


async def test_a_round_that_never_ends_is_cut_and_the_next_one_goes_on(
    transport: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "STEPS", 10)
    transport.answers = [Tidied(expired=1, more=True) for _ in range(100)]

    assert await Housekeeper(transport, "own", plan=PLAN).tidy("own") == Tidied(expired=10, more=True)


async def test_losses_are_a_warning_and_expiry_is_not(transport: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="hivebus.housekeeping")
    transport.answers = [Tidied(lost=3, removed=4), Tidied(removed=2), Tidied(expired=9), Tidied()]
    keeper = Housekeeper(transport, "own", plan=PLAN)
    for _ in range(4):
        await keeper.tidy("own")

    told = [(each.levelname, each.__dict__["inbox"], each.__dict__["messages"]) for each in caplog.records]
    assert told == [("WARNING", "own", 3), ("WARNING", "own", 2), ("INFO", "own", 9)]


async def test_a_server_that_is_away_is_waited_for(transport: Watched, caplog: pytest.LogCaptureFixture) -> None:
    transport.answers = [Unavailable("nobody is there") for _ in range(3)]
    keeper = Housekeeper(transport, "own", plan=PLAN)
    keeper.start()
    await until(lambda: len(transport.tidied) > 6)
    await keeper.close()

    assert sum("cannot be tidied" in each.message for each in caplog.records) == 3


async def test_closing_does_not_wait_for_a_server_that_does_not_answer(transport: Watched) -> None:
    class Silent(Watched):
        async def tidy(self, inbox: str, *, keep: float) -> Tidied:
            self.tidied.append(inbox)
            await asyncio.Event().wait()
            return Tidied()

    silent = Silent()
    await silent.connect()
    keeper = Housekeeper(silent, "own", plan=PLAN)
    keeper.start()
    await until(lambda: silent.tidied)
    async with asyncio.timeout(5):
        await keeper.close()


async def test_a_bus_keeps_house_while_it_consumes_and_not_after(
    transport: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus.consuming.Plan", lambda **given: PLAN)
    await publish(transport, "nobody", "m-1", ttl=0.01)

    async with Bus("memory://", agent="pm") as bus:
        before = asyncio.all_tasks()
        running = asyncio.create_task(bus.run())
        await until(
            lambda: transport._server.inboxes["nobody"]._expired == 0 and transport._server.inboxes["nobody"]._dead
        )
        bus.stop()
        await running
        consuming = bus.consume()
        await bus.send("pm", "x")
        assert (await anext(consuming)).message.content == "x"
        await consuming.aclose()
        assert asyncio.all_tasks() == before


# --- What is forgotten ----------------------------------------------------------------------------------


async def test_the_oldest_of_all_inboxes_go_until_the_bytes_fit(transport: Watched) -> None:
    for n in range(4):
        for inbox in ("a", "b"):
            await publish(transport, inbox, f"{inbox}-{n}", size=100)
            await settle_all(transport, inbox)
            await asyncio.sleep(0.002)

    gone = await shed_to(transport, ["a", "b"], max_bytes=500)

    assert {inbox: each.messages for inbox, each in gone.items()} == {"a": 2, "b": 1}
    assert sum(each.bytes for each in await transport.holding(["a", "b"])) == 500


async def test_what_is_not_settled_counts_and_stays(transport: Watched) -> None:
    await publish(transport, "a", *[f"m-{n}" for n in range(5)], size=100)
    await settle_all(transport, "a")
    await publish(transport, "a", "unread", size=1000)

    gone = await shed_to(transport, ["a"], max_bytes=0)

    assert gone["a"].messages == 5
    (holding,) = await transport.holding(["a"])
    assert (holding.bytes, [each.message_id for each in holding.blockers]) == (1000, ["unread"])


@pytest.mark.parametrize("dry_run", [True, False])
async def test_age_and_bytes_together_count_nothing_twice(transport: Watched, dry_run: bool) -> None:
    await publish(transport, "a", *[f"m-{n}" for n in range(10)], size=100)
    await settle_all(transport, "a")
    await asyncio.sleep(0.05)
    await publish(transport, "a", *[f"n-{n}" for n in range(10)], size=100)
    await settle_all(transport, "a")

    gone = await shed_older(transport, ["a"], older_than=0.03, dry_run=dry_run)
    assert gone["a"].messages == 10
    gone = await shed_to(transport, ["a"], max_bytes=700, gone=gone, dry_run=dry_run)

    assert (gone["a"].messages, gone["a"].bytes) == (13, 1300)
    assert (await transport.holding(["a"]))[0].bytes == (2000 if dry_run else 700)
