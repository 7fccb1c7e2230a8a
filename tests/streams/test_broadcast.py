"""Broadcast on real servers: one message to many, a receipt and an acknowledgement for each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import hivebus
from hivebus import broadcasting, registry
from hivebus.bus import Bus
from hivebus.errors import InvalidMessage, NotFound, QueueFull, Reject, Unavailable, Unsupported
from hivebus.hookspecs import RegisterMiddleware, hookimpl
from hivebus.message import Message
from hivebus.transport import Located
from hivebus_redis.streams import RedisStreams

from .own_server import DURABLE, OwnServer
from .room import Room, until

NAMES = [f"agent-{number:02}" for number in range(50)]
PROGRAM = Path(__file__).with_name("sending_to_all.py")


async def registered(room: Room, *names: str) -> None:
    transport = await room.transport()
    for name in names:
        await registry.register(transport, name)


def run(room: Room, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(PROGRAM), room.url, room.namespace, *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)


async def test_50_agents_the_sender_killed_in_the_middle_and_run_again_each_has_it_once(room: Room) -> None:
    await registered(room, *NAMES, "orchestrator")

    killed = await asyncio.to_thread(run, room, "stop-1", "20")
    assert (killed.returncode, killed.stdout) == (-9, "")
    assert sum(len(room.entries(name)) for name in NAMES) == 20

    again = await asyncio.to_thread(run, room, "stop-1", "")
    assert (again.returncode, again.stdout.split()) == (0, ["50", "20"]), again.stderr
    assert [room.entries(name) for name in NAMES] == [["stop-1"]] * 50
    assert room.entries("orchestrator") == []


async def test_50_agents_of_whom_45_ack_2_fail_and_3_are_silent_are_told_apart(redis_room: Room) -> None:
    room = redis_room
    silent, failing = NAMES[:3], NAMES[3:5]
    await registered(room, *silent)
    handled: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        boss = await stack.enter_async_context(room.bus("boss"))
        for name in NAMES[3:]:
            await listening(stack, room, name, handled, fails=name in failing)
        await until(lambda: all(room.redis.zcard(room.key("lease", name)) for name in NAMES[3:]))
        outcome = await boss.broadcast("stop", message_type="workflow_command", wait="acked", timeout=5)
    assert (sorted(outcome.acked), outcome.recipients) == (NAMES[5:], tuple(NAMES))
    assert (sorted(outcome.silent), sorted(outcome.failed)) == (silent, failing)
    assert sorted(outcome.not_listening) == silent
    assert not outcome
    assert handled == Counter(NAMES[3:])
    async with room.bus("somebody") as other:
        later = (await other.status(outcome.message_id)).recipients
    assert {name: place.state for name, place in later.items()} == outcome.states
    assert later[failing[0]].reason == "no"


async def listening(stack: AsyncExitStack, room: Room, name: str, handled: Counter[str], *, fails: bool = False) -> Bus:
    """Let an agent handle what it gets until the stack is left."""
    bus = await stack.enter_async_context(room.bus(name))

    @bus.on()
    async def handle(message: Message) -> None:
        handled[name] += 1
        if fails:
            raise Reject("no")

    running = asyncio.create_task(bus.run())

    async def end() -> None:
        bus.stop()
        await running

    stack.push_async_callback(end)
    return bus


async def test_waiting_ends_with_the_last_acknowledgement(redis_room: Room) -> None:
    await registered(redis_room, "a", "b")
    async with redis_room.bus("boss") as boss, redis_room.bus("a") as a, redis_room.bus("b") as b:
        waiting = asyncio.create_task(boss.broadcast("x", wait="acked", timeout=3600))
        for bus in (a, b):
            assert await bus.take(wait=20)
        outcome = await waiting
        assert (outcome.acked, outcome.silent, bool(outcome)) == (("a", "b"), (), True)


async def test_waiting_asks_ever_less_often_and_only_for_those_who_are_silent(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    locate = RedisStreams.locate

    async def counting(self: RedisStreams, ids: Any, inboxes: Any) -> Any:
        asked.append(len(inboxes))
        return await locate(self, ids, inboxes)

    monkeypatch.setattr(RedisStreams, "locate", counting)
    await registered(redis_room, *NAMES)
    async with redis_room.bus("boss") as boss, redis_room.bus(NAMES[0]) as first:
        waiting = asyncio.create_task(boss.broadcast("x", wait="acked", timeout=2))
        assert await first.take(wait=20)
        outcome = await waiting
    assert len(outcome.silent) == 49
    assert asked[-1] == 49
    assert len(asked) < 15, "2 s of growing pauses"


async def test_a_sender_does_not_hear_itself_unless_it_is_named(redis_room: Room) -> None:
    await registered(redis_room, "boss", "dev")
    async with redis_room.bus("boss") as boss:
        assert (await boss.broadcast("x")).recipients == ("dev",)
        assert (await boss.broadcast("x", agents=["boss", "dev", "dev"])).recipients == ("boss", "dev")
        await boss.send("*", "to everybody")
        await boss.send("boss", "to myself")
        assert len(redis_room.entries("dev")) == 3
        assert len(redis_room.entries("boss")) == 2


async def test_a_broadcast_to_nobody_is_false_and_sending_to_nobody_is_an_error(redis_room: Room) -> None:
    async with redis_room.bus("boss") as boss:
        await boss.take()
        outcome = await boss.broadcast("x", wait="acked")
        assert (bool(outcome), outcome.recipients, outcome.receipts) == (False, (), {})
        with pytest.raises(NotFound, match="nobody is registered"):
            await boss.send("*", "x")


async def test_names_that_nobody_registered_are_stored_and_the_receipt_says_so(redis_room: Room) -> None:
    async with redis_room.bus("boss") as boss:
        outcome = await boss.broadcast("x", agents=["nobody"])
        assert outcome
        assert outcome.receipts["nobody"].notes == ("nobody has never read its inbox; the message waits there",)
        assert outcome.not_listening == ("nobody",)
        receipt = await boss.send(["nobody", "no-one"], "x")
        assert [note.split()[0] for note in receipt.notes] == ["nobody", "no-one"]


@pytest.mark.parametrize("agents", [5, "dev", [], iter(["dev"])])
async def test_whom_a_broadcast_is_for_is_a_list_or_the_error_says_so(redis_room: Room, agents: Any) -> None:
    async with redis_room.bus("boss") as boss:
        with pytest.raises(InvalidMessage, match="must be a list of agents"):
            await boss.broadcast("x", agents=agents)


async def test_one_full_inbox_keeps_nobody_else_from_it(redis_room: Room) -> None:
    await registered(redis_room, "a", "b", "c")
    async with redis_room.bus("boss", f"{redis_room.url}?max_messages=1") as boss:
        await boss.send("b", "first")
        outcome = await boss.broadcast("x")
        assert (sorted(outcome.receipts), list(outcome.refused), outcome.failed) == (["a", "c"], ["b"], ("b",))
        assert isinstance(outcome.refused["b"], QueueFull)
        assert not outcome
        with pytest.raises(QueueFull):
            await boss.broadcast("x", agents=["b"])


async def test_live_only_leaves_out_who_does_not_read(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await transport.write(registry.AGENTS, "away", {"seen": 0})
    async with AsyncExitStack() as stack:
        boss = await stack.enter_async_context(redis_room.bus("boss"))
        await listening(stack, redis_room, "here", Counter())
        await until(lambda: redis_room.redis.zcard(redis_room.key("lease", "here")))
        outcome = await boss.broadcast("x", live_only=True)
        assert (outcome.recipients, outcome.left_out) == (("here",), ("away",))
        nobody = await boss.broadcast("x", agents=["away"], live_only=True)
        assert (bool(nobody), nobody.left_out) == (False, ("away",))
    assert redis_room.entries("away") == []


async def test_a_copy_says_that_it_went_to_everybody(redis_room: Room) -> None:
    await registered(redis_room, "dev")
    async with redis_room.bus("boss") as boss, redis_room.bus("dev") as dev:
        await boss.broadcast({"cmd": "stop"}, message_type="workflow_command", priority="emergency", ttl=60)
        message = await dev.take()
        assert message is not None
        assert (message.to_agent, message.message_type, message.priority) == ("*", "workflow_command", "emergency")


async def test_a_broadcast_passes_the_middleware_once(redis_room: Room) -> None:
    class Shouting:
        @hookimpl
        def register_middleware(self, register: RegisterMiddleware) -> None:
            async def shout(message: Message, send: Any) -> Any:
                return await send(message.replace(body={"content": message.content.upper()}))

            register(send=shout)

    await registered(redis_room, "a", "b")
    async with redis_room.bus("boss", plugins=[Shouting()]) as boss, redis_room.bus("a") as a:
        assert (await boss.broadcast("stop", delay=0)).recipients == ("a", "b")
        message = await a.take()
        assert message is not None and message.content == "STOP"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"agents": []}, "agents"),
        ({"agents": "dev"}, "agents"),
        ({"agents": ["@pool"]}, "to_agent"),
        ({"agents": ["Dev"]}, "to_agent"),
        ({"wait": "read"}, "wait"),
        ({"timeout": 5}, "timeout"),
        ({"wait": "acked", "timeout": -1}, "timeout"),
        ({"wait": "acked", "timeout": float("nan")}, "timeout"),
        ({"wait": "acked", "timeout": float("inf")}, "timeout"),
        ({"wait": "acked", "timeout": True}, "timeout"),
        ({"priority": "loud"}, "priority"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_written(options: dict[str, Any], field: str) -> None:
    async with Bus("memory://", agent="boss") as boss:
        with pytest.raises(InvalidMessage) as refused:
            await boss.broadcast("x", **options)
        assert refused.value.field == field
        assert await boss._transport.inboxes() == []  # type: ignore[attr-defined]


async def test_where_nothing_is_kept_a_broadcast_that_wants_acks_is_refused(redis_room: Room) -> None:
    async with redis_room.bus("boss", redis_room.url.replace("://", "+pubsub://", 1)) as boss:
        with pytest.raises(Unsupported):
            await boss.broadcast("x", agents=["dev"])
        assert await boss.broadcast("x", agents=["dev"], require_ack=False)


async def test_a_server_that_is_away_is_an_error_and_no_empty_outcome(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(redis_room, "dev")
    async with redis_room.bus("boss") as boss:

        async def away(self: RedisStreams, batch: Any) -> Any:
            return [NotFound("away")] * len(batch)

        monkeypatch.setattr(RedisStreams, "publish", away)
        with pytest.raises(NotFound, match="away"):
            await boss.broadcast("x")


async def test_who_waits_while_the_server_is_away_is_told_who_has_it_all_the_same(
    make_server: Callable[..., OwnServer],
) -> None:
    server = make_server(*DURABLE)
    async with Bus(server.url, agent="boss") as boss:
        waiting = asyncio.create_task(boss.broadcast("x", agents=["dev", "qa"], wait="acked", timeout=4))
        with server.client() as client:
            await until(lambda: client.exists("hb:{dev}:q:2", "hb:{qa}:q:2") == 2)
        server.kill()
        outcome = await waiting
        assert (outcome.recipients, outcome.silent) == (("dev", "qa"), ("dev", "qa"))
        server.start()
        assert set((await boss.status(outcome.message_id)).recipients) == {"dev", "qa"}


async def test_who_waits_over_a_restart_is_told_who_has_handled_it(make_server: Callable[..., OwnServer]) -> None:
    server = make_server(*DURABLE)
    async with Bus(server.url, agent="boss") as boss, Bus(server.url, agent="dev") as dev:
        waiting = asyncio.create_task(boss.broadcast("x", agents=["dev"], wait="acked", timeout=30))
        with server.client() as client:
            await until(lambda: client.exists("hb:{dev}:q:2"))
        server.kill()
        await asyncio.sleep(0.5)
        server.start()
        assert await dev.take(wait=10)
        assert (await waiting).acked == ("dev",)


async def test_saboteur_an_acknowledgement_that_is_believed_unseen_is_noticed(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def believing(*args: Any, **options: Any) -> dict[str, str]:
        return dict.fromkeys(args[2], "acknowledged")

    monkeypatch.setattr(broadcasting, "_await_all", believing)
    await registered(redis_room, "dev")
    async with redis_room.bus("boss") as boss:
        outcome = await boss.broadcast("x", wait="acked", timeout=1)
        known = (await boss.status(outcome.message_id)).recipients
    assert {name: place.state for name, place in known.items()} != outcome.states


async def test_a_script_broadcasts(redis_room: Room) -> None:
    await registered(redis_room, "dev", "qa")
    options: dict[str, Any] = {"from_agent": "boss", "url": redis_room.url, "namespace": redis_room.namespace}
    outcome = await asyncio.to_thread(lambda: hivebus.broadcast("x", priority="high", **options))
    assert outcome.recipients == ("dev", "qa")
    receipt = await asyncio.to_thread(lambda: hivebus.send("*", "x", **options))
    assert receipt.state == "stored"
    async with redis_room.bus("dev") as dev:
        assert isinstance((await dev.status(receipt.message_id)).recipients["qa"], Located)
    with pytest.raises(Unavailable):
        await asyncio.to_thread(lambda: hivebus.broadcast("x", **{**options, "url": "unix:///no/such.sock"}))
