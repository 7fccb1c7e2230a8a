"""Topics on real servers: a copy for every subscriber, from the moment in which its subscription is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import hivebus
from hivebus import registry
from hivebus.bus import Bus
from hivebus.errors import InvalidMessage, QueueFull, Unknown
from hivebus.guiding import Guiding
from hivebus.message import Message
from hivebus_redis.streams import RedisStreams

from .room import Room

ALERTS = "agent.*.system_alert"


async def heard(bus: Bus) -> list[Message]:
    """Take everything that waits in the inbox of a bus."""
    taken: list[Message] = []
    while (message := await bus.take()) is not None:
        taken.append(message)
    return taken


async def test_a_subscriber_gets_a_copy_that_says_to_whom_it_was_sent(room: Room) -> None:
    async with room.bus("pm") as pm, room.bus("audit", subscriptions=[ALERTS]) as audit, room.bus("dev") as dev:
        receipt = await pm.send("dev", "disk full", message_type="system_alert")
        await pm.send("dev", "hello")
        [copy] = await heard(audit)
        assert (copy.message_id, copy.to_agent, copy.from_agent) == (receipt.message_id, "dev", "pm")
        assert [each.content for each in await heard(dev)] == ["disk full", "hello"]
        assert set((await pm.status(receipt.message_id)).recipients) == {"audit", "dev"}


async def test_a_subscription_outlives_its_process_and_ends_with_unsubscribe(redis_room: Room) -> None:
    room = redis_room
    async with room.bus("audit") as audit:
        await audit.subscribe(ALERTS, "agent.pm.#")
    async with room.bus("pm") as pm, room.bus("audit") as audit:
        await pm.send("dev", 1, message_type="system_alert")
        await audit.unsubscribe(ALERTS)
        await audit.unsubscribe(ALERTS)
        # A sender that has not heard of the end yet hears of it with the answer to its next message.
        for number in (2, 3, 4):
            await pm.send("dev", number, message_type="system_alert")
        assert [each.content for each in await heard(audit)] in ([1], [1, 2])


async def test_who_is_addressed_and_has_subscribed_gets_it_once(redis_room: Room) -> None:
    async with redis_room.bus("pm") as pm, redis_room.bus("dev", subscriptions=["agent.#"]) as dev:
        await pm.send("dev", "once")
        await dev.send("qa", "of its own")
        assert [each.content for each in await heard(dev)] == ["once"]


async def test_5000_messages_of_8_senders_while_50_agents_subscribe_one_after_the_other_none_is_missed(
    redis_room: Room,
) -> None:
    """Each subscriber has everything that was sent after its `subscribe` returned: 0 missing of about 125,000."""
    room, sent = redis_room, list[str]()
    finished = asyncio.Event()

    async def work(bus: Bus) -> None:
        while not finished.is_set() and len(sent) < 5000:
            receipt = await bus.send("dev", len(sent), message_type="system_alert")
            sent.append(receipt.message_id)

    transport = await room.transport()
    async with room.bus("s1") as one, room.bus("s2") as two:
        working = [asyncio.create_task(work(bus)) for bus in (one, two) for _ in range(4)]
        since: dict[str, int] = {}
        under_way: dict[str, int] = {}
        for number in range(50):
            name = f"audit-{number}"
            await registry.register(transport, name)
            await registry.subscribe(transport, name, [ALERTS])
            # What had been stored before may be among those whose sender has not gone on yet.
            since[name], under_way[name] = len(sent), len(working)
            await asyncio.sleep(0.01)
        finished.set()
        await asyncio.gather(*working)
    missing = {
        name: lost
        for name, first in since.items()
        if (lost := set(sent[first + under_way[name] :]) - set(room.entries(name)))
    }
    assert missing == {}
    assert sum(len(room.entries(name)) for name in since) > len(sent)


async def test_saboteur_a_sender_that_ignores_the_count_misses_what_was_subscribed_to(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignore(self: Guiding, told: int | None) -> object:
        return self.routes

    monkeypatch.setattr(Guiding, "catch_up", ignore)
    async with redis_room.bus("pm") as pm, redis_room.bus("audit") as audit:
        await audit.subscribe(ALERTS)
        await pm.send("dev", "x", message_type="system_alert")
        assert await heard(audit) == []


async def test_a_thousand_agents_with_patterns_cost_a_sender_one_reading_and_two_searches(
    redis_room: Room,
) -> None:
    transport = await redis_room.transport()
    for number in range(0, 1000, 50):
        names = [f"a{each}" for each in range(number, number + 50)]
        await asyncio.gather(*(registry.subscribe(transport, name, [f"agent.{name}.event"]) for name in names))
    async with redis_room.bus("pm") as pm:
        for _ in range(20):
            await pm.send("dev", "x")
        guiding = pm._sending._guiding
        assert (guiding.reads, guiding.routes.subscriptions.asked) == (1, 2)
        await registry.subscribe(transport, "late", ["agent.dev.*"])
        receipt = await pm.send("dev", "x")
        assert set((await pm.status(receipt.message_id)).recipients) == {"dev", "late"}
        assert guiding.reads == 2


async def test_heartbeats_and_registrations_change_no_routes(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await registry.register(transport, "a")
    assert await transport.changes() == 0
    await registry.subscribe(transport, "a", ["agent.#"])
    await registry.subscribe(transport, "a", ["agent.#"])
    await registry.register(transport, "a")
    assert await transport.changes() == 1
    await registry.forget(transport, "a")
    assert await transport.changes() == 2


async def test_without_subscriptions_no_sender_reads_anything(redis_room: Room) -> None:
    async with redis_room.bus("pm") as pm, redis_room.bus("dev") as dev:
        await dev.take()
        for _ in range(5):
            await pm.send("dev", "x")
        assert pm._sending._guiding.reads == 0


async def test_a_reply_that_travels_in_an_ack_is_heard_by_subscribers_a_second_later_at_most(redis_room: Room) -> None:
    async with redis_room.bus("dev") as dev, redis_room.bus("audit") as audit, redis_room.bus("pm") as pm:

        @dev.on()
        async def answer(message: Message) -> str:
            return "yes"

        running = asyncio.create_task(dev.run())
        await audit.subscribe("agent.*.answer")
        async with asyncio.timeout(20):
            while not await heard(audit):
                await pm.send("dev", "well?", message_type="question")
                await asyncio.sleep(0.2)
        dev.stop()
        await running
        assert {each.content for each in await heard(pm)} == {"yes"}


async def test_an_answer_that_is_waited_for_is_heard_under_the_name_of_who_asked(room: Room) -> None:
    async with (
        room.bus("audit", subscriptions=["agent.pm.answer"]) as audit,
        room.bus("expert") as expert,
        room.bus("pm", subscriptions=["agent.#"]) as pm,
    ):

        @expert.on("question")
        async def answer(message: Message) -> str:
            return "a btree"

        running = asyncio.create_task(expert.run(signals=False))
        assert (await pm.ask("expert", "Which index?")).content == "a btree"
        heard = await audit.take(wait=5)
        assert heard is not None and (heard.content, heard.correlation_id is None) == ("a btree", False)
        assert await pm.take() is None, "who waited for it has it"
        expert.stop()
        await running


async def test_a_subscriber_that_is_full_keeps_no_handler_from_replying(redis_room: Room) -> None:
    small = f"{redis_room.url}?max_messages=1"
    async with (
        redis_room.bus("audit", subscriptions=["agent.*.answer"]),
        redis_room.bus("dev", small) as dev,
        redis_room.bus("pm") as pm,
    ):
        await pm.send("audit", "fills it")

        @dev.on()
        async def answer(message: Message) -> str:
            dev.stop()
            return "yes"

        await pm.send("dev", "well?", message_type="question")
        await dev.run()
        assert [each.content for each in await heard(pm)] == ["yes"]


async def test_a_full_subscriber_keeps_nobody_from_sending(redis_room: Room) -> None:
    small = f"{redis_room.url}?max_messages=2"
    async with redis_room.bus("pm", small) as pm, redis_room.bus("audit", subscriptions=["agent.#"]):
        for name in ("a", "b", "c"):
            receipt = await pm.send(name, "x")
        assert any("audit subscribed to this and got no copy" in note for note in receipt.notes)
        await pm.send("c", "x")
        with pytest.raises(QueueFull):
            await pm.send("c", "x")


async def test_a_sender_that_waits_for_room_waits_for_no_subscriber(redis_room: Room) -> None:
    small = f"{redis_room.url}?max_messages=1"
    async with redis_room.bus("pm", small, on_full="wait") as pm, redis_room.bus("audit", subscriptions=["agent.#"]):
        async with asyncio.timeout(20):
            for name in ("a", "b", "c"):
                await pm.send(name, "x")


async def test_routes_that_cannot_be_read_leave_the_outcome_unknown(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_room.bus("pm") as pm, redis_room.bus("audit", subscriptions=["agent.#"]) as audit:

        async def refuse(self: RedisStreams, kind: str) -> None:
            raise hivebus.HivebusError("no")

        with monkeypatch.context() as patch:
            patch.setattr(RedisStreams, "read", refuse)
            with pytest.raises(Unknown, match="who subscribed to it cannot be read"):
                await pm.send("dev", "x", message_id="m-1")
        assert (await pm.send("dev", "x", message_id="m-1")).state == "duplicate"
        assert [each.message_id for each in await heard(audit)] == ["m-1"]


@pytest.mark.parametrize("pattern", ["", "dev", "agent.dev", "agent.#.event", "agent.de*.event", "agent.dev.EVENT"])
def test_a_bad_pattern_is_refused_with_the_rule(pattern: str) -> None:
    with pytest.raises(InvalidMessage, match=r"agent\.NAME\.TYPE"):
        Bus("memory://", agent="audit", subscriptions=[pattern])


# --- A process per message ----------------------------------------------------------------------------


def send(room: Room, to: str | list[str], content: str, **options: object) -> hivebus.Receipt:
    return hivebus.send(to, content, from_agent="pm", url=room.url, namespace=room.namespace, **options)  # type: ignore[arg-type]


async def test_a_script_sends_to_subscribers_too(room: Room) -> None:
    async with room.bus("audit", subscriptions=[ALERTS]) as audit:
        alert = await asyncio.to_thread(send, room, "dev", "disk full", message_type="system_alert")
        await asyncio.to_thread(send, room, "dev", "hello")
        assert [each.message_id for each in await heard(audit)] == [alert.message_id]


async def test_a_script_is_told_of_a_full_subscriber(redis_room: Room) -> None:
    async with redis_room.bus("audit", subscriptions=["agent.#"]):
        small = f"{redis_room.url}?max_messages=1"
        options = {"from_agent": "pm", "url": small, "namespace": redis_room.namespace}
        await asyncio.to_thread(lambda: hivebus.send("a", "x", **options))  # type: ignore[arg-type]
        receipt = await asyncio.to_thread(lambda: hivebus.send("b", "x", **options))  # type: ignore[arg-type]
        assert any("audit subscribed to this and got no copy" in note for note in receipt.notes)


async def test_saboteur_a_counter_that_stands_still_is_noticed(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("redis.call('INCR', keys[2])", "redis.call('GET', keys[2])"))
    async with redis_room.bus("pm") as pm, redis_room.bus("audit", subscriptions=["agent.#"]) as audit:
        await pm.send("dev", "x")
        assert await heard(audit) == []
