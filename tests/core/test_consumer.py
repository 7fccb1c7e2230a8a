"""The consumer: what becomes of a message by what its handler does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import Reject
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import ABSENT, Ack, Capabilities, DeadLetter, Endpoint, Outgoing, Retry, native

from .flaky import FlakyTransport, Serving, line, running, settlements, until, until_state

# --- Returning, and replies --------------------------------------------------------------------------------


async def test_returning_acks_the_message() -> None:
    async with Bus("memory://", agent="dev") as bus:
        seen: list[Message] = []

        @bus.on("question")
        async def handle(message: Message) -> None:
            seen.append(message)

        receipt = await bus.send("dev", "hello", message_type="question")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
    assert [message.content for message in seen] == ["hello"]
    assert seen == [receipt.message]


async def test_a_value_is_the_reply_and_travels_in_the_ack() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> dict[str, int]:
            return {"answer": 42}

        receipt = await bus.send("dev", "?", message_type="question", reply_to="pm")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
        assert (await bus.queue("pm")).waiting == 1
    (ack,) = settlements(transport)
    assert isinstance(ack, Ack) and ack.reply is not None
    assert (ack.reply.inbox, ack.reply.routing_key) == ("pm", "agent.pm.answer")
    reply = Message.from_json(ack.reply.data)
    assert (reply.content, reply.correlation_id) == ({"answer": 42}, receipt.message_id)
    # The question was published, the reply was not: it went with the ack.
    assert [[item.inbox for item in batch] for batch in transport.batches] == [["dev"]]


async def test_what_the_handler_of_a_reply_returns_is_not_sent() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> str:
            return "thank you"

        receipt = await bus.send("dev", "an answer", correlation_id="question-1", reply_to="pm")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
    (ack,) = settlements(transport)
    assert ack == Ack(ack.token)


async def two_handlings_make_one_reply(bus: Bus) -> None:
    line_ = await line()
    question = Message(from_agent="pm", to_agent="dev", body={"content": "?"}, message_id="question-1")

    @bus.on()
    async def handle(message: Message) -> str:
        return "an answer"

    # As after a crash between the reply and the ack: the same message again, to another consumer.
    for attempt in ("1", "2"):
        item = Outgoing("dev", f"copy-{attempt}", "agent.dev.x", 2, 0, None, question.to_json())
        await line_.publish([item])
    async with running(bus):
        await until_state(bus, "copy-1", "acknowledged")
        await until_state(bus, "copy-2", "acknowledged")
    assert (await bus.queue("pm")).waiting == 1


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_handler_that_runs_twice_replies_once(atomic: bool) -> None:
    def capable(capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, atomic_reply=native() if atomic else ABSENT)

    transport = FlakyTransport(capable=capable)
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:
        await two_handlings_make_one_reply(bus)
    # Where the two cannot happen together, the reply is published before the ack.
    assert len([item for batch in transport.batches for item in batch]) == (0 if atomic else 2)
    assert all((ack.reply is not None) == atomic for ack in settlements(transport) if isinstance(ack, Ack))


async def test_replies_with_random_ids_would_be_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: the id of a reply does not follow from the question."""
    from uuid import uuid4

    monkeypatch.setattr("hivebus.replies.uuid5", lambda namespace, name: uuid4())
    async with Bus("memory://", agent="dev") as bus:
        with pytest.raises(AssertionError):
            await two_handlings_make_one_reply(bus)


async def test_the_handler_of_the_type_is_taken_and_else_the_one_for_the_rest() -> None:
    seen: list[tuple[str, str]] = []
    async with Bus("memory://", agent="dev") as bus:

        @bus.on("question", "task_request")
        async def some(message: Message) -> None:
            seen.append(("some", message.message_type))

        @bus.on()
        async def rest(message: Message) -> None:
            seen.append(("rest", message.message_type))

        for each in ("question", "event", "task_request"):
            receipt = await bus.send("dev", "x", message_type=each)
        async with running(bus, concurrency=1):
            await until_state(bus, receipt.message_id, "acknowledged")
    assert seen == [("some", "question"), ("rest", "event"), ("some", "task_request")]


# --- Failing -----------------------------------------------------------------------------------------------


async def test_raising_retries_with_back_off_and_in_the_end_it_is_a_dead_letter() -> None:
    transport = FlakyTransport()
    attempts = 0
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal attempts
            attempts += 1
            raise ValueError("no\nluck")

        receipt = await bus.send("dev", "x", max_retries=3, retry_delay=0.01)
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        status = await bus.status(receipt.message_id)
    assert attempts == status.attempts == 4
    assert status.reason == "max_retries: ValueError: no luck"
    first, second, third, last = settlements(transport)
    for retry, base in ((first, 0.01), (second, 0.02), (third, 0.04)):
        assert isinstance(retry, Retry) and retry.counts
        assert base * 0.8 <= retry.delay <= base * 1.2
    assert isinstance(last, DeadLetter)


async def test_a_message_without_retries_is_a_dead_letter_at_once() -> None:
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            raise ValueError

        receipt = await bus.send("dev", "x", max_retries=0)
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        assert (await bus.status(receipt.message_id)).reason == "max_retries: ValueError"


async def test_a_failure_holds_nobody_back() -> None:
    handled: list[str] = []
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            if message.content == "fails":
                raise ValueError
            handled.append(message.content)

        failing = await bus.send("dev", "fails", retry_delay=60)
        for number in range(3):
            receipt = await bus.send("dev", str(number))
        async with running(bus, concurrency=1):
            await until_state(bus, receipt.message_id, "acknowledged")
        assert handled == ["0", "1", "2"]
        assert (await bus.status(failing.message_id)).state == "retrying"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Reject("not for us"), "not for us"),
        (Reject(), "rejected"),
        (Reject("a\nlong " + "word " * 100), ("a long " + "word " * 100)[:199] + "…"),
        (Reject("a \udcff file"), "a \\udcff file"),
        (Reject(ValueError("no text")), "no text"),  # type: ignore[arg-type]
    ],
    ids=["a reason", "none", "a long one", "one that cannot be written", "no text"],
)
async def test_reject_makes_a_dead_letter_now(verdict: Reject, reason: str) -> None:
    attempts = 0
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal attempts
            attempts += 1
            raise verdict

        receipt = await bus.send("dev", "x")
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        assert (await bus.status(receipt.message_id)).reason == reason
    assert attempts == 1


async def test_without_a_handler_it_is_a_dead_letter() -> None:
    async with Bus("memory://", agent="dev") as bus:

        @bus.on("question")
        async def handle(message: Message) -> None:
            """Never called."""

        receipt = await bus.send("dev", "x", message_type="event")
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        assert (await bus.status(receipt.message_id)).reason == "no_handler"


async def test_a_handler_that_raises_a_cancellation_by_itself_has_failed() -> None:
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            if message.content == "cancelled":
                raise asyncio.CancelledError

        failed = await bus.send("dev", "cancelled", max_retries=0)
        after = await bus.send("dev", "after")
        async with running(bus, concurrency=1):
            await until_state(bus, after.message_id, "acknowledged")
            await until_state(bus, failed.message_id, "dead_lettered")
        assert (await bus.status(failed.message_id)).reason == "max_retries: CancelledError"


async def test_a_reply_that_cannot_be_written_is_a_failure_of_the_handler() -> None:
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> set[int]:
            return {1}

        receipt = await bus.send("dev", "x", max_retries=0)
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        reason = (await bus.status(receipt.message_id)).reason
    assert reason is not None and reason.startswith("max_retries: InvalidMessage: invalid message: body.content = {1}")


# --- Broken messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe", "invalid:json"),
        (b"[1]", "invalid:message"),
        (b'{"from_agent":"a","to_agent":"b"}', "invalid:body"),
        (b'{"from_agent":"a","to_agent":"b","body":{"content":1},"schema_version":2}', "invalid:schema_version"),
        (b'{"from_agent":"a","to_agent":"b","body":{"content":' + b"[" * 40 + b"]" * 40 + b"}}", "invalid:too_deep"),
        (b'"' + b"x" * 300_000 + b'"', "invalid:too_large"),
        (b'{"from":"A","to":"b","payload":1}', "invalid:from_agent"),
        (b'{"from":"a","to":"b","payload":{"\\u001b[2J\\n":NaN}}', "invalid:body.content.\\x1b[2J\\n"),
    ],
)
async def test_a_broken_message_is_a_dead_letter_and_the_consumer_goes_on(data: bytes, reason: str) -> None:
    # A line without a limit, as another sender may have one.
    transport = MemoryTransport(Endpoint(url="memory://", limit=10**9))
    await transport.connect()
    await transport.publish([Outgoing("dev", "broken", "agent.dev.x", 5, 0, None, data)])
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            """Return."""

        after = await bus.send("dev", "after")
        async with running(bus, concurrency=1):
            await until_state(bus, after.message_id, "acknowledged")
        status = await bus.status("broken")
    assert (status.state, status.reason) == ("dead_lettered", reason)


# --- A server that is away ---------------------------------------------------------------------------------


async def test_an_inbox_that_cannot_be_read_for_a_while_is_read_afterwards() -> None:
    transport = FlakyTransport()
    handled: list[Any] = []
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            handled.append(message.content)

        async with running(bus):
            transport.readers[0].away = 4
            for number in range(3):
                await bus.send("dev", number)
            await until(lambda: len(handled) == 3)
            assert (await bus.queue("dev")).waiting == 0
