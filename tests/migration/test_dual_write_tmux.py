"""Redis and a real tmux side by side: the agent's own window, its mirror, the bridge, and the report of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hivebus.bus import Bus
from hivebus.message import Message
from hivebus.transport import Endpoint
from hivebus_migration import stages
from hivebus_migration.bridge import Bridge
from hivebus_migration.bridge_lock import BridgeLock
from hivebus_migration.records import read_records
from hivebus_redis.streams import RedisStreams, open_streams

from ..tmux.ground import Ground
from .house import until


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    for name in ("TMUX", "TMUX_PANE"):
        monkeypatch.delenv(name, raising=False)
    with Ground(tmp_path) as ground:
        yield ground


@pytest.fixture
def two_roads(ground: Ground, redis_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Redis as the main road and a private tmux as the legacy one; returns how to connect to the first alone."""
    namespace = f"t{uuid4().hex[:12]}"
    monkeypatch.setenv("HIVEBUS_URL", redis_server.url)
    monkeypatch.setenv("HIVEBUS_NAMESPACE", namespace)
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", ground.url())
    monkeypatch.setenv("HIVEBUS_LEDGER", str(tmp_path / "ledger.db"))
    return lambda: open_streams(Endpoint(url=redis_server.url, namespace=namespace))


async def connected(make: Any) -> RedisStreams:
    transport: RedisStreams = make()
    await transport.connect()
    return transport


async def test_each_stage_writes_into_its_own_window_and_the_other_leg_never_into_it(
    ground: Ground, two_roads: Any, tmp_path: Path
) -> None:
    own, mirror = ground.open("dev"), ground.open("dev", mirror=True)
    redis = await connected(two_roads)
    async with Bus(agent="pm") as bus:
        first = await bus.send("dev", "off")
    assert first.legs == {"tmux": "accepted"}
    await stages.start(redis, "dev", by="a test")
    async with Bus(agent="pm") as bus:
        second = await bus.send("dev", "dualwrite")
    assert second.legs == {"tmux": "accepted", "redis": None} and second.durability is None
    await stages.promote(redis, "dev", "live", by="a test")
    async with Bus(agent="pm") as bus:
        third = await bus.send("dev", "live")
    assert third.legs == {"redis": "accepted", "tmux": None} and third.durability == "memory"
    await until(lambda: own.ids() == [first.message_id, second.message_id], what="the agent's window has two")
    await until(lambda: mirror.ids() == [third.message_id], what="the mirror has the third")
    assert [place.message_id for place in await redis.peek("dev~shadow", limit=9)] == [second.message_id]
    assert [place.message_id for place in await redis.peek("dev", limit=9)] == [third.message_id]
    records = read_records(tmp_path / "ledger.db")
    assert {each.outcome for each in records.attempts} == {"accepted"} and len(records.attempts) == 5
    # What was read from the terminal is what the sender said would be read there.
    prints = {read.message_id: read.fingerprint for window in (own, mirror) for read in window.messages()}
    assert prints == {intent.message_id: intent.legs["tmux"] for intent in records.intents}
    await redis.close()


async def test_the_bridge_writes_the_mirror_for_others(ground: Ground, two_roads: Any, tmp_path: Path) -> None:
    mirror = ground.open("dev", mirror=True)
    redis = await connected(two_roads)
    await stages.start(redis, "dev", by="a test")
    await stages.promote(redis, "dev", "live", by="a test")
    bridge = Bridge({"redis": two_roads(), "tmux": ground.transport()}, ledger=tmp_path / "ledger.db")
    stop, ready = asyncio.Event(), asyncio.Event()
    with BridgeLock(tmp_path / "ledger.db"):
        running = asyncio.create_task(bridge.run(stop, ready=ready.set))
        await ready.wait()
        async with Bus(agent="pm") as bus:
            sent = [(await bus.send("dev", f"number {number}")).message_id for number in range(30)]
        await until(lambda: mirror.ids() == sent, what="the mirror has them all, in order")
        stop.set()
        summary = await running
    assert (summary.written, summary.failed) == (30, 0)
    await redis.close()


async def test_with_no_tmux_and_no_bridge_a_live_agent_is_served_and_the_copy_is_that_legs_failure(
    two_roads: Any, tmp_path: Path
) -> None:
    redis = await connected(two_roads)
    await stages.start(redis, "dev", by="a test")
    await stages.promote(redis, "dev", "live", by="a test")
    async with Bus(agent="pm") as bus:
        assert (await bus.send("dev", "hello")).legs == {"redis": "accepted", "tmux": None}
    attempts = read_records(tmp_path / "ledger.db").attempts
    assert [(each.outcome, each.reason) for each in attempts if each.leg == "tmux"] == [("refused", "no_bridge")]
    await redis.close()


async def test_a_tmux_that_stands_still_is_the_other_legs_trouble_alone(
    ground: Ground, two_roads: Any, tmp_path: Path
) -> None:
    ground.open("dev", mirror=True)
    redis = await connected(two_roads)
    await stages.start(redis, "dev", by="a test")
    await stages.promote(redis, "dev", "live", by="a test")
    handled: list[str] = []
    agent = Bus(agent="dev")

    @agent.on()
    async def handle(message: Message) -> None:
        handled.append(message.message_id)

    async with Bus(agent="pm") as bus, agent:
        consuming = asyncio.create_task(agent.run())
        with ground.stopped():
            receipt = await bus.send("dev", "hello")
            await until(lambda: handled == [receipt.message_id], what="it is handled while tmux stands still")
            lanes = bus._transport._copies["tmux"]._lanes  # type: ignore[attr-defined]
            await until(lambda: lanes, what="its copy has set out")
            await until(lambda: not lanes, what="tmux was given up")
        agent.stop(grace=5)
        await consuming
    attempts = read_records(tmp_path / "ledger.db").attempts
    assert [(each.outcome, each.reason) for each in attempts if each.leg == "tmux"] == [("unknown", "timeout")]
    await redis.close()
