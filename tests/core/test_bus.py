"""The bus: what an agent holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import ConfigError, HivebusError, InvalidMessage, NotFound, QueueFull, Unsupported
from hivebus.hookspecs import RegisterMiddleware, hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.middleware import Send
from hivebus.receipt import Receipt
from hivebus.transport import Capabilities, Endpoint, Outgoing, Published, Publisher, native

from .flaky import FlakyTransport, Publish, Results, Serving, running, until, until_state


class Wall(Publisher):
    """Can be written to, and no more."""

    def __init__(self) -> None:
        self.written: list[Outgoing] = []

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        """Nothing is held."""

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        self.written += batch
        return [Published("stored") for _ in batch]


# --- Sending ---------------------------------------------------------------------------------------------


async def test_send_returns_a_receipt_when_the_server_has_the_message() -> None:
    async with Bus("memory://", agent="pm") as bus:
        receipt = await bus.send("dev", {"any": ["JSON"]}, message_type="task_assignment", priority="high", ttl=3600)
        assert (receipt.state, receipt.evidence, receipt.legs) == ("stored", "accepted", {"memory": "accepted"})
        assert (await bus.status(receipt.message_id)).state == "queued"
        message = receipt.message
    assert (message.from_agent, message.to_agent, message.content) == ("pm", "dev", {"any": ["JSON"]})
    assert (message.message_type, message.priority, message.ttl) == ("task_assignment", "high", 3600)


async def test_every_option_travels() -> None:
    options: dict[str, Any] = {
        "message_type": "question",
        "priority": 5,
        "ttl": 60,
        "correlation_id": "c-1",
        "reply_to": "ops",
        "traceparent": "00-1-2-01",
        "message_id": "m-1",
    }
    async with Bus("memory://", agent="pm") as bus, Bus("memory://", agent="dev") as dev:
        await bus.send(
            "dev",
            "x",
            context={"a": 1},
            metadata={"b": 2},
            require_ack=False,
            max_retries=7,
            retry_delay=0.5,
            **options,
        )
        got = await dev.take()
    assert got is not None
    assert {name: getattr(got, name) for name in options} == {**options, "priority": "emergency"}
    assert (got.body.context, got.body.metadata) == ({"a": 1}, {"b": 2})
    assert (got.delivery_options.require_ack, got.delivery_options.max_retries) == (False, 7)
    assert got.delivery_options.retry_delay == 0.5


async def test_two_sends_of_one_id_are_one_message() -> None:
    async with Bus("memory://", agent="pm") as bus:
        states = [(await bus.send("dev", "x", message_id="same")).state for _ in range(2)]
        assert states == ["stored", "duplicate"]
        assert (await bus.queue("dev")).waiting == 1


async def test_a_delayed_message_is_scheduled() -> None:
    async with Bus("memory://", agent="pm") as bus:
        receipt = await bus.send("dev", "x", delay=60)
        assert receipt.state == "scheduled"
        assert (await bus.status(receipt.message_id)).state == "scheduled"
        assert (await bus.queue("dev")).scheduled == 1


async def test_a_message_that_expires_is_not_handed_out() -> None:
    async with Bus("memory://", agent="dev") as bus:
        receipt = await bus.send("dev", "x", ttl=0.01)
        await until_state(bus, receipt.message_id, "expired")
        assert await bus.take() is None


async def test_every_agent_of_a_list_gets_the_message_under_one_id() -> None:
    async with Bus("memory://", agent="pm") as bus:
        receipt = await bus.send(["dev", "ops", "dev"], "x")
        assert receipt.message.to_agent == ("dev", "ops", "dev")
        status = await bus.status(receipt.message_id)
        assert sorted(status.recipients) == ["dev", "ops"]
        assert (await bus.send(["dev", "qa"], "x", message_id=receipt.message_id)).state == "duplicate"
        assert [(await bus.queue(name)).waiting for name in ("dev", "ops", "qa")] == [1, 1, 1]


@pytest.mark.parametrize(("to_agent", "says"), [("@architects", "no pool"), ("*", "nobody"), ("broadcast", "nobody")])
async def test_an_address_that_means_nobody_is_not_found_and_nothing_is_written(to_agent: str, says: str) -> None:
    async with Bus("memory://", agent="pm") as bus:
        with pytest.raises(NotFound, match=says):
            await bus.send(to_agent, "x")


async def test_a_receipt_says_when_nobody_reads() -> None:
    async with Bus("memory://", agent="pm") as bus:
        assert (await bus.send("dev", "x")).notes == ("dev has never read its inbox; the message waits there",)


async def test_many_senders_share_batches_and_each_gets_its_own_receipt() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        receipts = await asyncio.gather(*(bus.send("dev", number) for number in range(100)))
    assert [receipt.message.content for receipt in receipts] == list(range(100))
    assert [len(batch) for batch in transport.batches] == [100]


async def test_no_batch_is_larger_than_the_server_takes() -> None:
    transport = FlakyTransport(capable=lambda capabilities: replace(capabilities, max_batch=native(30)))
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        await asyncio.gather(*(bus.send("dev", number) for number in range(100)))
    assert [len(batch) for batch in transport.batches] == [30, 30, 30, 10]


# --- send_many -------------------------------------------------------------------------------------------


async def test_send_many_returns_a_receipt_or_an_error_per_message_in_order() -> None:
    async def full_for_ops(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        results: list[Published | HivebusError] = [*(await publish([item for item in batch if item.inbox != "ops"]))]
        return [QueueFull("ops is full") if item.inbox == "ops" else results.pop(0) for item in batch]

    transport = FlakyTransport(troubles=[full_for_ops])
    good = Message(from_agent="pm", to_agent="dev", body={"content": "x"})
    messages = [
        good,
        good.replace(message_id="too-large", body={"content": "x" * 300_000}),
        good.replace(message_id="no-json", body={"content": {1, 2}}),
        good.replace(message_id="no-room", to_agent="ops"),
        good.replace(message_id="no-route", to_agent="*"),
        good.replace(message_id="last"),
    ]
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        results = await bus.send_many(messages)
        assert await bus.send_many([]) == []
    assert [type(result) for result in results] == [
        Receipt,
        InvalidMessage,
        InvalidMessage,
        QueueFull,
        NotFound,
        Receipt,
    ]
    assert [result.message_id for result in results if isinstance(result, Receipt)] == [good.message_id, "last"]
    assert [[item.inbox for item in batch] for batch in transport.batches] == [["dev", "ops", "dev"]]


async def test_what_is_no_error_of_ours_is_raised() -> None:
    class Layer:
        @hookimpl
        def register_middleware(self, register: RegisterMiddleware) -> None:
            register(send=self.send)

        async def send(self, message: Message, forward: Send) -> Receipt:
            raise ZeroDivisionError

    async with Bus("memory://", agent="pm", plugins=[Layer()]) as bus:
        with pytest.raises(ZeroDivisionError):
            await bus.send_many([Message(from_agent="pm", to_agent="dev", body={"content": "x"})])


# --- Replying --------------------------------------------------------------------------------------------


async def test_a_reply_goes_back_once() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        await pm.send("dev", "?", message_type="question")
        question = await dev.take()
        assert question is not None
        assert (await dev.reply(question, "Yes.")).state == "stored"
        assert (await dev.reply(question, "Yes!")).state == "duplicate"
        answer = await pm.take()
    assert answer is not None
    assert (answer.content, answer.message_type, answer.correlation_id) == ("Yes.", "answer", question.message_id)


# --- Handlers --------------------------------------------------------------------------------------------


async def test_a_handler_must_be_async() -> None:
    bus = Bus("memory://", agent="dev")
    with pytest.raises(ConfigError, match="must be an async function"):
        bus.on()(lambda message: None)  # type: ignore[arg-type, return-value]


async def test_a_handler_is_for_proper_types() -> None:
    with pytest.raises(InvalidMessage, match="message_type"):
        Bus("memory://", agent="dev").on("No Type")


async def test_a_handler_stays_what_it_is() -> None:
    async def handle(message: Message) -> None:
        """Return."""

    assert Bus("memory://", agent="dev").on()(handle) is handle


# --- Asking ----------------------------------------------------------------------------------------------


async def test_the_status_is_right_at_each_step_and_from_another_bus() -> None:
    async with Bus("memory://", agent="dev") as dev, Bus("memory://", agent="ops") as ops:
        receipt = await dev.send("dev", "x", max_retries=1, retry_delay=0.2)
        steps = [(await ops.status(receipt.message_id)).state]
        deliveries = dev.consume()
        handed = await anext(deliveries)
        status = await ops.status(receipt.message_id, agent="dev")
        steps.append(status.state)
        assert status.attempts == 1 and status.consumer is not None and status.consumer.startswith("dev-")
        await handed.retry(delay=0.1)
        steps.append((await ops.status(receipt.message_id)).state)
        again = await anext(deliveries)
        await again.ack()
        steps.append((await ops.status(receipt.message_id)).state)
        await deliveries.aclose()
        assert steps == ["queued", "delivered", "retrying", "acknowledged"]
        assert (await ops.status(receipt.message_id, agent="ops")).state == "unknown"
        assert (await ops.status("no-such-id")).state == "unknown"


async def test_the_counts_of_a_queue_are_those_of_the_server() -> None:
    async with Bus("memory://", agent="dev") as bus:
        empty = await bus.queue("dev")
        assert (empty.waiting, empty.oldest_waiting_seconds, empty.consumers) == (0, None, 0)
        for number in range(3):
            await bus.send("dev", number)
        deliveries = bus.consume()
        await (await anext(deliveries)).retry(delay=60)
        await (await anext(deliveries)).reject("no")
        counts = await bus.queue("dev")
        await deliveries.aclose()
    assert (counts.waiting + counts.in_flight, counts.retrying, counts.dead, counts.consumers) == (1, 1, 1, 1)


async def test_a_transport_that_only_writes_says_what_it_cannot_do() -> None:
    wall = Wall()
    async with Bus("memory://", agent="pm", plugins=[Serving(wall)]) as bus:
        assert await bus.send("dev", "x")
        for call in (bus.run(), bus.take(), anext(bus.consume())):
            with pytest.raises(Unsupported, match="cannot be read, only written"):
                await call
        for asking in (bus.status("id"), bus.queue("dev")):
            with pytest.raises(Unsupported, match="lacks the capability inspect"):
                await asking
    assert [item.inbox for item in wall.written] == ["dev"]


async def test_who_reads_is_in_the_directory() -> None:
    async with Bus("memory://", agent="dev") as bus:
        await bus.take()
        looking = MemoryTransport(Endpoint(url="memory://"))
        await looking.connect()
        assert list(await looking.read("agents")) == ["dev"]


# --- Closing ---------------------------------------------------------------------------------------------


async def test_closing_waits_for_what_is_being_sent() -> None:
    async def slowly(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        await asyncio.sleep(0.1)
        return await publish(batch)

    transport = FlakyTransport(troubles=[slowly])
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        sending = asyncio.create_task(bus.send("dev", "x"))
        await until(lambda: transport.batches)
    assert (await sending).state == "stored"
    assert transport.closed == 1


async def test_several_processes_may_run_one_agent_and_each_message_is_handled_once() -> None:
    handled: list[tuple[int, int]] = []

    def handler(who: int) -> Callable[[Message], Any]:
        async def handle(message: Message) -> None:
            await asyncio.sleep(0.001)
            handled.append((who, message.content))

        return handle

    async with Bus("memory://", agent="dev") as one, Bus("memory://", agent="dev") as two:
        one.on()(handler(1))
        two.on()(handler(2))
        async with running(one, concurrency=2), running(two, concurrency=2):
            for number in range(50):
                await one.send("dev", number)
            await until(lambda: len(handled) >= 50)
    assert sorted(content for _, content in handled) == list(range(50))
    assert {who for who, _ in handled} == {1, 2}
