"""Pools and a bus: joining them, what is refused, and that everything works there that works in an inbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hivebus import pools
from hivebus.bus import Bus
from hivebus.errors import Conflict, InvalidMessage, Reject, Unsupported
from hivebus.message import Message
from hivebus.pools import check_policy, check_pools, join, not_there
from hivebus.transport import ABSENT

from .flaky import FlakyTransport, Serving, line, running, until, until_state
from .test_observing import Watching


def test_pools_are_named_with_or_without_their_sign_and_each_once() -> None:
    assert check_pools(["architects", "@architects", "@qa-1"]) == ("architects", "qa-1")


@pytest.mark.parametrize("wrong", ["architects", ["Architects"], ["@@a"], [""], [None], [3], 7, ["sys"], ["@sys"]])
def test_what_is_no_list_of_pools_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidMessage, match="pools"):
        Bus("memory://", agent="dev", pools=wrong)


def test_a_policy_is_one_of_two() -> None:
    assert [check_policy(each) for each in (None, "round_robin", "least_loaded")] == [
        None,
        "round_robin",
        "least_loaded",
    ]
    with pytest.raises(InvalidMessage, match="must be round_robin or least_loaded"):
        Bus("memory://", agent="dev", pools=["a"], pool_policy="random")  # type: ignore[arg-type]


async def test_the_first_member_makes_the_pool_and_a_policy_holds_until_another_one_is_given() -> None:
    directory = await line()
    assert await join(directory, "architects") == "round_robin"
    assert await join(directory, "architects", policy="least_loaded") == "least_loaded"
    assert await join(directory, "architects") == "least_loaded"
    entry = (await directory.read("pools"))["architects"]
    assert entry.value == {"policy": "least_loaded"}
    assert await join(directory, "architects") and (await directory.read("pools"))["architects"] == entry


async def test_two_that_join_at_once_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = await line()
    write = directory.write

    async def somebody_is_faster(*args: Any, **options: Any) -> int:
        monkeypatch.setattr(directory, "write", write)
        await join(directory, "a", policy="least_loaded")
        return await write(*args, **options)

    monkeypatch.setattr(directory, "write", somebody_is_faster)
    assert await join(directory, "a") == "least_loaded"


async def test_a_pool_that_changes_all_the_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = await line()

    async def never(*args: Any, **options: Any) -> int:
        raise Conflict("no")

    monkeypatch.setattr(directory, "write", never)
    with pytest.raises(Conflict, match="changes all the time"):
        await join(directory, "a")


def test_a_wrong_name_is_answered_with_those_that_are_close() -> None:
    error = not_there("architetcs", ["architects", "qa"])
    assert "@architects" in str(error) and "@qa" not in str(error)
    assert "nobody has ever joined" in str(not_there("zzz", ["architects"]))


@pytest.mark.parametrize("capability", ["pools", "directory"])
async def test_a_transport_without_pools_is_refused_at_connect(capability: str) -> None:
    transport = FlakyTransport(capable=lambda all_of: replace(all_of, **{capability: ABSENT}))
    with pytest.raises(Unsupported, match=capability):
        async with Bus("memory://", agent="dev", pools=["a"], plugins=[Serving(transport)]):
            pass
    assert transport.closed


async def test_a_bus_handles_what_comes_to_it_and_to_its_pools() -> None:
    watching = Watching()
    async with Bus("memory://", agent="dev", pools=["a", "b"], plugins=[watching]) as bus:
        handled: list[str] = []

        @bus.on()
        async def handle(message: Message) -> str:
            handled.append(str(message.to_agent))
            return "done"

        async with running(bus):
            for to in ("dev", "@a", "@b"):
                receipt = await bus.send(to, "work", reply_to="pm")
                await until_state(bus, receipt.message_id, "acknowledged")
        assert handled == ["dev", "@a", "@b"]
        assert (await bus.queue("pm")).waiting == 3
        assert [fact.inbox for fact in watching.delivered] == handled
        assert [fact.inbox for fact in watching.settled] == handled
        directory = await line()
        assert (await directory.read("agents"))["dev"].value["pools"] == ["a", "b"]


async def test_nobody_needs_pools_to_send_to_one_and_is_told_that_nobody_reads_it() -> None:
    await join(await line(), "architects")
    async with Bus("memory://", agent="pm") as pm:
        receipt = await pm.send("@architects", "hello")
        assert receipt.state == "stored" and "nobody has ever read @architects" in receipt.notes[0]
        async with Bus("memory://", agent="dev", pools=["architects"]) as dev:
            message = await dev.take(wait=5)
            assert message is not None and message.message_id == receipt.message_id


async def test_one_message_goes_to_one_member_and_members_share_evenly() -> None:
    async with (
        Bus("memory://", agent="pm") as pm,
        Bus("memory://", agent="one", pools=["a"]) as one,
        Bus("memory://", agent="two", pools=["a"]) as two,
    ):
        shares = {"one": 0, "two": 0}

        def count(bus: Bus) -> None:
            @bus.on()
            async def handle(message: Message) -> None:
                shares[bus.agent] += 1

        count(one)
        count(two)
        async with running(one), running(two):
            await asyncio.sleep(0.05)
            await asyncio.gather(*(pm.send("@a", number) for number in range(200)))
            await until(lambda: sum(shares.values()) == 200)
        assert abs(shares["one"] - shares["two"]) <= 30


async def test_dead_letters_live_in_the_pool_and_come_back_from_there() -> None:
    async with Bus("memory://", agent="dev", pools=["a"]) as bus:

        @bus.on("notification")
        async def refuse(message: Message) -> None:
            raise Reject("no")

        async with running(bus):
            receipt = await bus.send("@a", "x", message_type="notification")
            await until_state(bus, receipt.message_id, "dead_lettered")
        directory = await line()
        assert [each.reason for each in await directory.dead("@a", limit=5)] == ["no"]
        assert await directory.requeue("@a", [receipt.message_id]) == [True]


async def test_the_past_of_a_pool_can_be_read_and_sent_again() -> None:
    async with Bus("memory://", agent="dev", pools=["a"]) as bus:
        first = await bus.send("@a", "x")
        assert await bus.take(wait=5)
        assert [each.message_id async for each in bus.history("@a")] == [first.message_id]
        report = await bus.replay("@a", since="1h")
        again = await bus.take(wait=5)
        assert again is not None and again.replay_of == first.message_id and again.message_id in report.sent.values()
        await join(await line(), "b")
        to_pool = await bus.replay("@a", since="1h", to="@b")
        assert to_pool.to == "@b" and (await bus.queue("@b")).waiting == 2


async def test_work_that_shall_be_done_once_is_done_once_in_a_pool() -> None:
    async with Bus("memory://", agent="dev", pools=["a"]) as bus:
        calls: list[str] = []

        @bus.on(once=True)
        async def pay(message: Message) -> str:
            calls.append(message.message_id)
            return "paid"

        async with running(bus):
            await bus.send("@a", "x", message_id="m-1", reply_to="pm")
            await until_state(bus, "m-1", "acknowledged")
            again = await bus.send("@a", "x", message_id="m-1", reply_to="pm")
            assert again.state == "duplicate"
        transport = await line()
        [found] = await transport.locate(["m-1"], ["@a"])
        assert found.outcome == b'"paid"' and calls == ["m-1"]


async def test_deliveries_of_pools_come_one_by_one_too() -> None:
    async with Bus("memory://", agent="dev", pools=["a"]) as bus:
        await bus.send("@a", "shared", priority="low")
        await bus.send("dev", "own")
        seen = []
        async for handed in bus.consume():
            seen.append(handed.message.content)
            assert await handed.ack() == "done"
            if len(seen) == 2:
                break
        assert seen == ["own", "shared"]


async def test_a_pool_that_cannot_be_made_or_opened_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: Any, **options: Any) -> str:
        raise Conflict("no")

    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", pools=["a"], plugins=[Serving(transport)]) as bus:
        monkeypatch.setattr("hivebus.consuming.join", never)
        with pytest.raises(Conflict):
            await bus.take()
        assert transport.readers[0]._closed
    another = FlakyTransport()
    with pytest.raises(Conflict):
        async with Bus("memory://", agent="dev", pools=["a"], plugins=[Serving(another)]):
            pass
    assert another.closed


async def test_a_policy_that_somebody_else_has_set_since_is_kept() -> None:
    directory = await line()
    async with Bus("memory://", agent="dev", pools=["a"], pool_policy="least_loaded") as bus:
        await join(directory, "a", policy="round_robin")
        assert await bus.take() is None
        assert (await directory.read("pools"))["a"].value == {"policy": "round_robin"}


def test_the_policies_are_those_of_the_transport_page() -> None:
    assert pools.POLICIES == ("round_robin", "least_loaded")
