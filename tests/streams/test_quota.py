"""How much an agent may send: counted by the server, for all of its processes together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from hivebus import sync
from hivebus.bus import Bus
from hivebus.errors import HivebusError, QuotaExceeded, Refused, Unavailable
from hivebus.message import Message
from hivebus.receipt import Receipt

from .room import Room


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setenv("HIVEBUS_QUOTA", text)


def messages(count: int) -> list[Message]:
    return [Message(from_agent="pm", to_agent="dev", body={"content": number}) for number in range(count)]


def stored(results: list[Receipt | HivebusError]) -> int:
    return sum(isinstance(each, Receipt) for each in results)


@pytest.mark.parametrize("where", ["server", "memory"])
async def test_100_at_once_with_a_burst_of_20_are_20_and_the_rest_is_not_written(
    redis_room: Room, quota: Callable[[str], None], where: str
) -> None:
    quota("60/m burst 20")
    bus = redis_room.bus("pm") if where == "server" else Bus("memory://", agent="pm")
    async with bus:
        results = await bus.send_many(messages(100))
        # The first come first; and a second or two of the test may grant a further one.
        assert 20 <= stored(results) <= 25
        assert all(isinstance(each, Receipt) for each in results[:20])
        assert (await bus.queue("dev")).waiting == stored(results)
    refused = results[-1]
    assert isinstance(refused, QuotaExceeded) and isinstance(refused, Refused)
    assert (refused.sender, refused.limit) == ("pm", "60/m burst 20")
    assert 0 < refused.retry_after <= 1
    assert "send again in" in str(refused)


async def test_who_waits_as_long_as_it_says_may_send_again(redis_room: Room, quota: Callable[[str], None]) -> None:
    quota("5/s burst 1")
    async with redis_room.bus("pm") as bus:
        await bus.send("dev", 1)
        with pytest.raises(QuotaExceeded) as error:
            await bus.send("dev", 2)
        await asyncio.sleep(error.value.retry_after)
        await bus.send("dev", 2)


async def test_a_list_that_is_longer_than_the_burst_is_complete_when_it_was_sent_often_enough(
    redis_room: Room, quota: Callable[[str], None]
) -> None:
    quota("50/s burst 3")
    names = [f"agent-{number}" for number in range(8)]
    async with redis_room.bus("pm") as bus:
        for _ in range(4):
            with suppress(QuotaExceeded):
                await bus.send(names, "x", message_id="m-1")
            await asyncio.sleep(0.1)
        assert [len(redis_room.entries(name)) for name in names] == [1] * len(names)
        outcome = await bus.broadcast("y", agents=names, message_id="m-2")
        assert outcome.refused, "what is new costs as much as ever"


async def test_all_processes_of_an_agent_share_its_quota_and_no_other_agent_does(
    redis_room: Room, quota: Callable[[str], None]
) -> None:
    quota("1/m burst 10")
    async with redis_room.bus("pm") as one, redis_room.bus("pm") as two, redis_room.bus("ops") as other:
        results = await asyncio.gather(*(bus.send_many(messages(10)) for bus in (one, two, other)))
    assert stored(results[0]) + stored(results[1]) == 10
    assert stored(results[2]) == 10


async def test_a_quota_that_is_whole_again_leaves_no_key(redis_room: Room, quota: Callable[[str], None]) -> None:
    quota("100/s")
    keys = f"{redis_room.namespace}:*quota*"
    async with redis_room.bus("pm") as bus:
        await bus.send_many(messages(5))
        assert redis_room.redis.keys(keys) == [f"{redis_room.namespace}:{{@sys}}:quota:pm"]
        deadline = time.monotonic() + 10
        while redis_room.redis.keys(keys) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
    assert redis_room.redis.keys(keys) == []


async def test_without_a_quota_nothing_is_counted(redis_room: Room) -> None:
    async with redis_room.bus("pm") as bus:
        assert bus._sending._outbox._transport is bus._transport
        assert stored(await bus.send_many(messages(500))) == 500
    assert redis_room.redis.keys(f"{redis_room.namespace}:*quota*") == []


async def test_saboteur_without_the_meter_a_quota_would_mean_nothing(
    redis_room: Room, quota: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    quota("1/m burst 10")
    monkeypatch.setattr("hivebus.sending.metered", lambda opened, sender: opened.transport)
    async with redis_room.bus("pm") as bus:
        assert stored(await bus.send_many(messages(100))) == 100


def test_a_script_is_counted_too(redis_room: Room, quota: Callable[[str], None]) -> None:
    quota("1/m burst 1")
    where: Any = {"from_agent": "pm", "url": redis_room.url, "namespace": redis_room.namespace}
    sync.send("dev", 1, **where)
    with pytest.raises(QuotaExceeded, match="pm has used up its quota of 1/m burst 1"):
        sync.send("dev", 2, **where)


async def test_a_count_that_cannot_be_had_stops_nothing(
    redis_room: Room, quota: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    quota("1/m burst 1")

    async def away(*args: object) -> Any:
        raise Unavailable("away")

    async with redis_room.bus("pm") as bus:
        monkeypatch.setattr(bus._transport, "spend", away)
        assert stored(await bus.send_many(messages(5))) == 5
