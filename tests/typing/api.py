"""What type checkers know of the public API. Checked by `mypy --strict`, never run.

A line with a ``type: ignore`` is a mistake that must stay one: mypy complains when it no longer is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, assert_type

import hivebus
from hivebus import Bus, HivebusError, Message, MessageType, Priority, Receipt, Reject
from hivebus.broadcasting import Broadcast
from hivebus.codec import Codec
from hivebus.delivery import Handed
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message_status import Status
from hivebus.transport import (
    Ack,
    Capabilities,
    Counts,
    DeadLetter,
    Delivery,
    Endpoint,
    Extend,
    Feature,
    Inbox,
    Listener,
    OneShot,
    Outgoing,
    Published,
    Publisher,
    Reader,
    Retry,
    Settled,
    Settlement,
    Start,
    Transport,
    native,
)


async def sends(bus: Bus, message: Message) -> None:
    assert_type(await bus.send("pm-agent", {"any": ["JSON"]}), Receipt)
    assert_type(await bus.send(["pm-agent", "dev"], "x", priority=5, ttl=3600, delay=0.5, context={"a": 1}), Receipt)
    assert_type(await bus.send_message(message, delay=1), Receipt)
    assert_type(await bus.send_many([message]), list[Receipt | HivebusError])
    assert_type(await bus.reply(message, None, message_type=MessageType.ANSWER), Receipt)
    assert_type(await bus.notify(["dev", "qa"], {"n": 1}, message_type="build.done"), Receipt)
    async for heard in bus.listen(["agent.*.build.#"]):
        assert_type(heard, Message)

    outcome = await bus.broadcast("x", agents=["dev"], live_only=True, wait="acked", timeout=5, priority=5, ttl=60)
    assert_type(outcome, Broadcast)
    assert_type(outcome.receipts, Mapping[str, Receipt])
    assert_type(outcome.refused, Mapping[str, HivebusError])
    assert_type(outcome.silent, tuple[str, ...])
    assert_type(await bus.subscribe("agent.#", "agent.*.event"), None)

    await bus.broadcast("x", wait="read")  # type: ignore[arg-type]
    await bus.broadcast("x", prioritty="high")  # type: ignore[call-arg]
    await bus.send("pm-agent", "x", "question")  # type: ignore[call-arg]
    await bus.send("pm-agent")  # type: ignore[call-arg]
    await bus.send("pm-agent", "x", prioritty="high")  # type: ignore[call-arg]
    await bus.send(7, "x")  # type: ignore[arg-type]
    await bus.send_many(message)  # type: ignore[arg-type]


async def opens() -> None:
    async with Bus("redis://localhost", agent="dev", require=("fencing",), durability="fsync", on_full="wait") as bus:
        assert_type(bus, Bus)
        assert_type(bus.capabilities, Capabilities)
    Bus()  # type: ignore[call-arg]
    Bus("redis://localhost", "dev")  # type: ignore[call-arg]
    Bus(agent="dev", durability="very")  # type: ignore[arg-type]
    Bus(agent="dev", on_full="explode")  # type: ignore[arg-type]


async def handles(bus: Bus) -> None:
    @bus.on("task_assignment", MessageType.QUESTION)
    async def handle(message: Message) -> dict[str, int]:
        raise Reject("not mine")

    def not_async(message: Message) -> None:
        """A handler must be async."""

    async def of_something_else(message: int) -> None:
        """A handler gets a message."""

    bus.on()(not_async)  # type: ignore[arg-type]
    bus.on()(of_something_else)  # type: ignore[arg-type]
    await bus.run(concurrency=16, grace=5)
    bus.stop()


async def consumes(bus: Bus) -> None:
    async for handed in bus.consume(types=["question"]):
        assert_type(handed, Handed)
        assert_type(handed.message, Message)
        assert_type(handed.attempt, int)
        assert_type(await handed.ack(), Settled)
        assert_type(await handed.retry(delay=5), Settled)
        assert_type(await handed.reject("why"), Settled)
        assert_type(await handed.extend(), Settled)
        await handed.reject()  # type: ignore[call-arg]
    assert_type(await bus.take(wait=1), Message | None)


async def asks(bus: Bus) -> None:
    status = await bus.status("id", agent=None)
    assert_type(status, Status)
    assert_type(status.attempts, int)
    assert_type(status.reason, str | None)
    counts = await bus.queue("dev")
    assert_type(counts, Counts)
    assert_type(counts.oldest_waiting_seconds, float | None)


def scripts(message: Message) -> None:
    receipt = hivebus.send("pm-agent", "x", from_agent="dev")
    assert_type(receipt, Receipt)
    assert_type(receipt.message, Message)
    assert_type(receipt.message_id, str)
    assert_type(receipt.notes, tuple[str, ...])
    assert_type(hivebus.send_many([message]), list[Receipt | HivebusError])
    assert_type(hivebus.reply(message, "x", from_agent="dev"), Receipt)
    assert_type(hivebus.receive("dev", wait=1), Message | None)
    assert_type(hivebus.status("id"), Status)
    hivebus.send("pm-agent", "x")  # type: ignore[call-arg]


async def short_shape() -> None:
    assert_type(await hivebus.send_message({"from": "a", "to": "b", "payload": 1}), Receipt)
    assert_type(hivebus.stream_consume("dev"), AsyncGenerator[Message])


def messages(message: Message) -> None:
    assert_type(message.priority, Priority)
    assert_type(message.to_agent, str | tuple[str, ...])
    assert_type(message.content, Any)
    assert_type(Message.from_json(b"{}"), Message)
    assert_type(Message.from_short({}), Message)
    assert_type(message.to_json(), bytes)
    assert_type(message.to_short(), dict[str, Any])
    assert_type(message.replace(priority="high"), Message)


class Wall(Publisher):
    """The smallest transport that there can be."""

    async def connect(self) -> Capabilities:
        return Capabilities(ttl=native())

    async def close(self) -> None: ...

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        return [Published("stored") for _ in batch]


class HalfAReader(Reader):
    """A reader that forgot to settle cannot be made."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return []

    def wake(self) -> None: ...

    async def close(self) -> None: ...


class Signed(Codec):
    """A codec around another."""

    def __init__(self, inner: Codec) -> None:
        self.inner = inner

    def encode(self, message: Message) -> bytes:
        return self.inner.encode(message)

    def decode(self, data: bytes) -> Message:
        return self.inner.decode(data)


@hookimpl
def messages_sent(facts: Sequence[Any]) -> None:
    """An observer."""


async def transports(transport: Transport, publisher: Publisher, one_shot: OneShot, listener: Listener) -> None:
    HalfAReader()  # type: ignore[abstract]
    publisher = MemoryTransport(Endpoint(url="memory://"))
    capabilities = await publisher.connect()
    assert_type(capabilities.fencing, Feature)
    Capabilities(fenzing=native())  # type: ignore[call-arg]
    reader = await transport.open(Inbox("dev"), consumer="c", lease=15)
    deliveries = await reader.receive(limit=1, start=1, wait=0)
    token = deliveries[0].token
    settlements: list[Settlement] = [Ack(token), Retry(token, 0), DeadLetter(token, "why"), Extend(token), Start(token)]
    assert_type(await reader.settle(settlements), Sequence[Settled])
    assert_type(one_shot.publish_once([]), Sequence[Published | HivebusError])
    assert_type(await listener.listen(["*"], limit=1, wait=0), Sequence[bytes])
