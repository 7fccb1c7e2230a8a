"""The registry on real servers: who is here, who was, who gets whose mail, and that nothing piles up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import hivebus
from hivebus import registry, spreading
from hivebus.bus import Bus
from hivebus.errors import InvalidMessage
from hivebus.presence import Heart
from hivebus.transport import ROUTES, Counts

from .room import Room, until


async def test_who_reads_is_registered_and_stays_so(room: Room) -> None:
    async with room.bus("dev") as dev:
        await dev.take()
    transport = await room.transport()
    known = await registry.read(transport)
    agent = known.agents["dev"]
    assert (agent.kind, agent.presence(Counts(), now=known.now)) == ("process", "live")
    assert agent.presence(Counts(), now=known.now + registry.LIVE_FOR + 1) == "idle"
    assert agent.presence(Counts(), now=known.now + registry.IDLE_FOR + 1) == "gone"
    assert agent.presence(Counts(consumers=1), now=known.now + registry.IDLE_FOR + 1) == "live"


async def test_who_only_sends_is_not_registered(redis_room: Room) -> None:
    async with redis_room.bus("pm") as pm:
        await pm.send("dev", "x")
        assert (await registry.read(pm._transport)).agents == {}  # type: ignore[arg-type]


async def test_a_process_gives_signs_of_life(redis_room: Room) -> None:
    transport = await redis_room.transport()
    heart = Heart(transport, "dev", every=0.02)
    heart.start()
    try:
        key = f"{redis_room.namespace}:{{@sys}}:agents"
        await until(lambda: redis_room.redis.hget(key, "dev"))
        first = redis_room.redis.hget(key, "dev")
        await until(lambda: redis_room.redis.hget(key, "dev") != first)
    finally:
        await heart.close()


async def test_what_is_over_is_deleted_by_those_who_write(room: Room) -> None:
    transport = await room.transport()
    for number in range(50):
        await transport.write(registry.AGENTS, f"old-{number}", {}, ttl=0.001)
    for _ in range(200):
        await registry.register(transport, "dev")
    assert room.redis.hlen(f"{room.namespace}:{{@sys}}:agents") < 10


async def test_subscriptions_go_with_the_agent_that_nobody_has_seen(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.register(transport, "here")
    for name in ("here", "gone"):
        await registry.subscribe(transport, name, ["agent.#"])
    await registry.set_fallback(transport, "planned", "here", after=60)
    assert await registry.prune(transport) == ["gone"]
    assert sorted(await transport.read(ROUTES)) == ["here", "planned"]


async def test_of_two_who_change_an_agent_at_once_both_succeed(redis_room: Room) -> None:
    transport = await redis_room.transport()
    patterns = [f"agent.a{number}.event" for number in range(5)]
    await asyncio.gather(*(registry.subscribe(transport, "audit", [each]) for each in patterns))
    await registry.register(transport, "audit")
    assert sorted((await registry.read(transport)).agents["audit"].subscriptions) == patterns


async def test_an_agent_has_a_bounded_number_of_patterns(redis_room: Room) -> None:
    transport = await redis_room.transport()
    with pytest.raises(InvalidMessage, match="100 patterns"):
        await registry.subscribe(transport, "audit", [f"agent.a{number}.event" for number in range(101)])


# --- Renaming -----------------------------------------------------------------------------------------


async def test_mail_for_the_old_name_reaches_the_new_one(room: Room) -> None:
    async with room.bus("pm") as pm, room.bus("old", subscriptions=["agent.qa.#"]) as old:
        await old.take()
        await registry.rename(await room.transport(), "old", "new")
        for name in ("old", "qa", "old"):
            receipt = await pm.send(name, "x")
        assert receipt.notes[-1] == "old was renamed: it went to new"
        script = await asyncio.to_thread(
            lambda: hivebus.send("old", "x", from_agent="pm", url=room.url, namespace=room.namespace)
        )
        assert script.notes[-1] == "old was renamed: it went to new"
        # What was put there before its sender knew better was taken back.
        assert ((await pm.queue("old")).waiting, (await pm.queue("new")).waiting) == (0, 4)
        known = await registry.read(await room.transport())
        assert (list(known.agents), known.moved) == (["new"], {"old": "new"})


async def test_a_rename_that_was_interrupted_is_repeated(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.register(transport, "old")
    await registry.subscribe(transport, "old", ["agent.#"])
    for _ in range(2):
        await registry.rename(transport, "old", "new")
    known = await registry.read(transport)
    assert list(known.agents["new"].subscriptions) == ["agent.#"]
    await registry.rename(transport, "new", "old")
    known = await registry.read(transport)
    assert (list(known.agents), known.moved) == (["old"], {"new": "old"})


@pytest.mark.parametrize("crashed_at", [1, 2, 3, 4])
async def test_a_rename_that_crashed_anywhere_can_be_repeated(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch, crashed_at: int
) -> None:
    transport = await redis_room.transport()
    await registry.register(transport, "old")
    await registry.subscribe(transport, "old", ["agent.#"])
    write, writes = type(transport).write, 0

    async def crash(self: Any, *args: Any, **options: Any) -> int:
        nonlocal writes
        writes += 1
        if writes == crashed_at:
            raise RuntimeError("a crash")
        return await write(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(transport), "write", crash)
        with pytest.raises(RuntimeError):
            await registry.rename(transport, "old", "new")
    known = await registry.read(transport)
    assert "new" not in known.agents or known.moved == {"old": "new"}, "or it would be taken for somebody else's name"
    await registry.prune(transport)
    await registry.rename(transport, "old", "new")
    known = await registry.read(transport)
    assert (list(known.agents), known.moved) == (["new"], {"old": "new"})
    assert list(known.agents["new"].subscriptions) == ["agent.#"]


# --- Fallback -----------------------------------------------------------------------------------------


async def test_mail_for_who_is_gone_is_rerouted_marked_and_once(room: Room) -> None:
    """30 messages for an agent that is gone: 30 at its fallback, 0 left behind, none passed on to the next."""
    transport = await room.transport()
    await registry.set_fallback(transport, "gone", "deputy", after=1)
    await registry.set_fallback(transport, "deputy", "nobody", after=1)
    async with room.bus("pm") as pm, room.bus("deputy") as deputy:
        receipts = [await pm.send("gone", number) for number in range(30)]
        assert receipts[0].notes == (
            "deputy has never read its inbox; the message waits there",
            "gone has never read its inbox: rerouted to deputy",
        )
        taken = [await deputy.take() for _ in range(30)]
        assert {each.rerouted_from for each in taken if each} == {"gone"}
        assert {each.to_agent for each in taken if each} == {"gone"}
        assert (await pm.queue("gone")).waiting == (await pm.queue("nobody")).waiting == 0
        again = await pm.send_message(receipts[0].message)
        assert again.state == "duplicate"
        assert await deputy.take() is None
        assert taken[0] is not None
        # What was rerouted once is not rerouted again, when somebody passes it on.
        await pm.send_message(taken[0].replace(message_id="passed-on", to_agent="gone"))
        assert (await pm.queue("gone")).waiting == 1


async def test_mail_for_who_is_there_stays_its_own(redis_room: Room) -> None:
    async with redis_room.bus("dev", fallback="deputy", fallback_after=1) as dev, redis_room.bus("pm") as pm:
        reader = asyncio.create_task(anext(dev.consume()))
        await until(lambda: redis_room.redis.zcard(redis_room.key("lease", "dev")))
        await pm.send("dev", "x")
        handed = await reader
        assert handed.message.content == "x"
        assert redis_room.entries("deputy") == []


async def test_who_was_seen_lately_is_not_gone(redis_room: Room) -> None:
    async with redis_room.bus("dev", fallback="deputy", fallback_after=3600) as dev, redis_room.bus("pm") as pm:
        await dev.take()
        await pm.send("dev", "x")
        assert len(redis_room.entries("dev")) == 1


async def test_a_fallback_that_is_not_there_leaves_the_mail_where_it_is(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.set_fallback(transport, "gone", "@nobody", after=1)
    async with redis_room.bus("pm") as pm:
        receipt = await pm.send("gone", "x")
        assert any("its fallback @nobody is not there" in note for note in receipt.notes)
        await transport.write("pools", "nobody", {})
        await pm.send("gone", "y", message_id="second")
        await pm.send("gone", "later", delay=60)
    assert len(redis_room.entries("gone")) == 2, "one was taken back, and its entry is passed over"
    assert redis_room.entries("@nobody") == ["second"]


async def test_a_script_reroutes_too(redis_room: Room) -> None:
    await registry.set_fallback(await redis_room.transport(), "gone", "deputy", after=1)
    options = {"from_agent": "pm", "url": redis_room.url, "namespace": redis_room.namespace}
    receipt = await asyncio.to_thread(lambda: hivebus.send("gone", "x", **options))  # type: ignore[arg-type]
    assert "rerouted to deputy" in receipt.notes[-1]
    assert redis_room.entries("deputy") == [receipt.message_id]


async def test_a_script_that_sends_for_the_first_time_is_not_told_of_a_duplicate(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.set_fallback(transport, "dev", "deputy", after=3600)
    await registry.set_fallback(transport, "later", "deputy", after=1)
    await registry.register(transport, "old")
    await registry.rename(transport, "old", "new")
    options = {"from_agent": "pm", "url": redis_room.url, "namespace": redis_room.namespace}
    async with redis_room.bus("dev") as dev:
        await dev.take()

    def send(to: str, delay: float = 0) -> str:
        return hivebus.send(to, "x", delay=delay, **options).state  # type: ignore[arg-type]

    states = [await asyncio.to_thread(send, *each) for each in (("dev",), ("old",), ("later", 60))]
    assert states == ["stored", "stored", "scheduled"]
    assert [len(redis_room.entries(inbox)) for inbox in ("dev", "new", "deputy")] == [1, 1, 0]


async def test_a_fallback_that_was_renamed_to_its_agent_loses_nothing(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.set_fallback(transport, "dev", "ops", after=1)
    await registry.register(transport, "ops")
    await registry.rename(transport, "ops", "dev")
    async with redis_room.bus("pm") as pm:
        receipt = await pm.send("dev", "x")
        assert (receipt.state, (await pm.queue("dev")).waiting) == ("stored", 1)


async def test_a_crash_between_taking_back_and_rerouting_is_healed_by_sending_again(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.set_fallback(await redis_room.transport(), "gone", "deputy", after=1)
    async with redis_room.bus("pm") as pm:
        take_back = spreading.cancel

        async def crash(*args: object, **options: object) -> None:
            await take_back(*args, **options)  # type: ignore[arg-type]
            raise RuntimeError("a crash")

        with monkeypatch.context() as patch:
            patch.setattr(spreading, "cancel", crash)
            with pytest.raises(RuntimeError):
                await pm.send("gone", "x", message_id="m-1")
        assert redis_room.entries("deputy") == []
        await pm.send("gone", "x", message_id="m-1")
        assert redis_room.entries("deputy") == ["m-1"]


@pytest.mark.parametrize("bad", [{"fallback": "dev"}, {"fallback": "*"}, {"fallback": "@"}, {"fallback_after": 0}])
def test_a_bad_fallback_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage, match="fallback"):
        Bus("memory://", agent="dev", **{"fallback": "qa", **bad})  # type: ignore[arg-type]
