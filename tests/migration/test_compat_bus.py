"""The bus of before: start and end, subscribe, acknowledge, ask, and what it does when something is wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

import hivebus
from hivebus_migration.compat import (
    AgentCommunicator,
    AgentMessage,
    DeliveryOptions,
    MessageBus,
    MessageBusConfig,
    MessageType,
)
from hivebus_migration.compat import subscription as subscriptions


@pytest.fixture(autouse=True)
def road(one_road: dict[str, str]) -> dict[str, str]:
    """All of it on a bus of its own."""
    return one_road


def message(content: Any = "x", **options: Any) -> AgentMessage:
    body = {"content": content}
    return AgentMessage("ops", "dev", MessageType.QUESTION, body, delivery_options=DeliveryOptions(**options))


async def status(bus: MessageBus, message_id: str) -> str | None:
    found = await bus.get_message_status(message_id)
    return found.status if found else None


async def until_status(bus: MessageBus, message_id: str, wanted: str) -> None:
    async with asyncio.timeout(30):
        while await status(bus, message_id) != wanted:
            await asyncio.sleep(0.02)


async def test_the_words_of_before_for_what_becomes_of_a_message() -> None:
    async with MessageBus().lifespan() as bus, hivebus.Bus(agent="ops") as other:
        first, late, taken_back = message(), message(ttl_seconds=1), message()
        for each in (first, taken_back):
            assert await bus.publish_message(each)
        assert await status(bus, first.message_id) == "pending"
        scheduled = await other.send("dev", "later", delay=3600)
        assert await status(bus, scheduled.message_id) == "pending"
        await other.cancel(taken_back.message_id)
        assert await bus.get_message_status(taken_back.message_id)
        gone = await bus.get_message_status(taken_back.message_id)
        assert gone and (gone.status, gone.error_message) == ("failed", "cancelled")
        assert await bus.get_message_status("never-sent") is None

        working, done = asyncio.Event(), asyncio.Event()

        async def work(received: AgentMessage) -> None:
            working.set()
            await done.wait()
            if received.body["content"] == "bad":
                raise hivebus.Reject("not mine")

        await bus.subscribe_to_agent("dev", work)
        await asyncio.wait_for(working.wait(), 30)
        assert await status(bus, first.message_id) == "delivered"
        assert await bus.get_agent_queue_size("dev") == 1
        await bus.publish_message(late)
        await asyncio.sleep(1.1)
        done.set()
        await until_status(bus, first.message_id, "acknowledged")
        await until_status(bus, late.message_id, "expired")
        bad = message("bad")
        await bus.publish_message(bad)
        await until_status(bus, bad.message_id, "failed")
        failed = await bus.get_message_status(bad.message_id)
        assert failed and (failed.error_message, failed.attempts) == ("not mine", 1)
        assert await bus.get_agent_queue_size("dev") == 0


async def test_status_and_queue_are_known_in_another_process(road: dict[str, str]) -> None:
    sent = message()
    async with MessageBus().lifespan() as bus:
        await bus.publish_message(sent)
    program = (
        "import asyncio, sys\nfrom hivebus_migration.compat import MessageBus\n"
        "async def main():\n"
        "    async with MessageBus().lifespan() as bus:\n"
        "        status = await bus.get_message_status(sys.argv[1])\n"
        "        print(status.status, await bus.get_agent_queue_size('dev'))\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, sent.message_id]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "pending 1\n"


async def test_a_handler_that_acknowledged_may_fail_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[bool] = []
    async with MessageBus().lifespan() as bus:

        async def handle(received: AgentMessage) -> None:
            tries.append(await bus.acknowledge_message(received.message_id))
            raise ValueError("too late")

        sent = message(retry_delay_seconds=0)
        await bus.publish_message(sent)
        assert await bus.acknowledge_message(sent.message_id) is False
        await bus.subscribe_to_agent("dev", handle)
        await until_status(bus, sent.message_id, "acknowledged")
        assert await bus.acknowledge_message(sent.message_id) is False
    assert tries == [True]
    assert "a handler failed with a message that it had acknowledged" in caplog.text


async def test_each_of_two_agents_acknowledges_its_own_copy() -> None:
    tries: dict[str, int] = {"dev": 0, "qa": 0}
    async with MessageBus().lifespan() as bus:

        async def acknowledge(received: AgentMessage) -> None:
            tries["dev"] += 1
            await asyncio.sleep(0.1)
            assert await bus.acknowledge_message(received.message_id)

        async def fail_once(received: AgentMessage) -> None:
            tries["qa"] += 1
            await asyncio.sleep(0.3)
            if tries["qa"] == 1:
                raise ValueError

        await bus.subscribe_to_agent("dev", acknowledge)
        await bus.subscribe_to_agent("qa", fail_once)
        sender = AgentCommunicator("ops", bus)
        sender._options = lambda: DeliveryOptions(retry_delay_seconds=0)  # type: ignore[method-assign]
        results = await sender.broadcast_message("x", agents=["dev", "qa"])
        await until_status(bus, str(results["dev"].message_id), "acknowledged")
    assert tries == {"dev": 1, "qa": 2}


async def test_a_second_handler_for_one_agent_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    got: list[str] = []
    async with MessageBus().lifespan() as bus:
        assert await bus.subscribe_to_agent("dev", lambda received: got.append("first"))
        assert await bus.subscribe_to_agent("dev", lambda received: got.append("second")) is False
        assert "the mail of dev is handled already" in caplog.text
        # Another communicator for it does not end what is not its own.
        second = AgentCommunicator("dev", bus)
        second.set_message_handler(lambda received: got.append("third"))
        await second.start()
        await second.stop()
        sent = message()
        await bus.publish_message(sent)
        await until_status(bus, sent.message_id, "acknowledged")
        await bus.unsubscribe_from_agent("dev")
        await bus.unsubscribe_from_agent("dev")
        assert await bus.subscribe_to_agent("dev", lambda received: got.append("fourth"))
        sent = message()
        await bus.publish_message(sent)
        await until_status(bus, sent.message_id, "acknowledged")
    assert got == ["first", "fourth"]


async def test_starting_and_ending_twice_is_harmless() -> None:
    bus = MessageBus(MessageBusConfig(max_connections=5, batch_size=10, monitor_interval=1))
    await bus.shutdown()
    await bus.unsubscribe_from_agent("dev")
    for _ in range(2):
        await bus.start()
        await bus.start()
        assert bus.running
        assert await bus.publish_message(message())
        await bus.shutdown()
        await bus.shutdown()
        assert not bus.running
    comm = AgentCommunicator("dev", bus)
    await comm.start()
    await comm.start()
    await comm.stop()
    # It was given the bus, and does not end it.
    assert bus.running
    await bus.shutdown()


async def test_a_bus_that_is_not_running_says_so() -> None:
    bus = MessageBus()
    for call in (
        lambda: bus.publish_message(message()),
        lambda: bus.subscribe_to_agent("dev", print),
        lambda: bus.get_message_status("x"),
        lambda: bus.get_agent_queue_size("dev"),
        lambda: bus.bus_of("dev"),
    ):
        with pytest.raises(RuntimeError, match="^Message bus not running$"):
            await call()
    assert await bus.acknowledge_message("x") is False


async def test_no_server_is_an_error_at_the_start(short_path: Any) -> None:
    bus = MessageBus(MessageBusConfig(redis_url=f"unix://{short_path}/nothing.sock"))
    with pytest.raises(hivebus.HivebusError, match="nothing.sock"):
        await bus.start()
    assert not bus.running
    with pytest.raises(hivebus.HivebusError, match="nothing.sock"):
        await AgentCommunicator("dev", bus).start()


async def test_what_was_being_handled_at_the_end_is_finished_and_the_rest_waits() -> None:
    handled: list[str] = []
    working = asyncio.Event()

    async def work(received: AgentMessage) -> None:
        working.set()
        await asyncio.sleep(0.2)
        handled.append(received.body["content"])

    async with MessageBus().lifespan() as bus:
        for number in range(3):
            await bus.publish_message(message(f"{number}"))
        await bus.subscribe_to_agent("dev", work)
        await asyncio.wait_for(working.wait(), 30)
    assert handled == ["0"]
    async with MessageBus().lifespan() as bus:
        assert await bus.get_agent_queue_size("dev") == 2


async def test_a_handler_may_end_the_bus() -> None:
    bus = MessageBus()
    ended = asyncio.Event()

    async def handle(received: AgentMessage) -> None:
        await bus.shutdown()
        ended.set()

    sent = message()
    async with asyncio.timeout(20), bus.lifespan():
        await bus.publish_message(sent)
        await bus.subscribe_to_agent("dev", handle)
        await ended.wait()
    async with bus.lifespan():
        assert await status(bus, sent.message_id) == "acknowledged"


async def test_saboteur_a_handler_that_waits_for_itself_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions.Subscription, "is_calling", False)
    bus = MessageBus()
    cut_short = asyncio.Event()

    async def handle(received: AgentMessage) -> None:
        try:
            async with asyncio.timeout(1):
                await bus.shutdown()
        except TimeoutError:
            cut_short.set()

    async with asyncio.timeout(40), bus.lifespan():
        await bus.publish_message(message())
        await bus.subscribe_to_agent("dev", handle)
        await cut_short.wait()


async def test_a_subscription_that_ends_by_itself_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bus = hivebus.Bus("memory://", agent="dev")

    async def fail(**options: Any) -> None:
        raise hivebus.HivebusError("the inbox is gone")

    bus.run = fail  # type: ignore[method-assign]
    made = await subscriptions.Subscription.begin(bus, print)
    await asyncio.wait([made.running])
    await asyncio.sleep(0)
    assert "the mail of dev is not handled any more: the inbox is gone" in caplog.text


async def test_a_message_that_is_not_taken_is_false_and_leaves_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    async with MessageBus().lifespan() as bus:
        sent = await bus.publish_message(message(ttl_seconds=-1))
    assert not sent
    assert "ttl" in str(sent.error)
    assert "was not sent" in caplog.text
