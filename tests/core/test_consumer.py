"""The consumer: what becomes of a message by what its handler does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.consumer import Consumer
from hivebus.errors import Reject
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.settler import Settler
from hivebus.transport import (
    ABSENT,
    Ack,
    Capabilities,
    DeadLetter,
    Delivery,
    Endpoint,
    Extend,
    Inbox,
    Outgoing,
    Retry,
    Settlement,
    native,
)

from .flaky import FlakyReader, FlakyTransport, Serving, running, until, until_state


async def line() -> MemoryTransport:
    """Return another client of the same server."""
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    return transport


async def crash(*, times: int = 1) -> None:
    """Let a consumer of ``dev`` take a message, start it and die, that many times."""
    transport = await line()
    for number in range(times):
        reader = await transport.open(Inbox("dev"), consumer=f"dies-{number}", lease=0.02)
        assert await reader.receive(limit=1, start=1, wait=5)
        await asyncio.sleep(0.03)


def settlements(transport: FlakyTransport) -> list[Settlement]:
    """Return what the first reader settled, without what only kept a lease alive."""
    return [each for batch in transport.readers[0].settled for each in batch if not isinstance(each, Extend)]


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


# --- Crashes -----------------------------------------------------------------------------------------------


async def a_poison_is_given_up(bus: Bus) -> None:
    handled: list[str] = []

    @bus.on()
    async def handle(message: Message) -> None:
        handled.append(message.message_id)

    await bus.send("dev", "poison", message_id="poison")
    # The first crash makes it a suspect; only those that it is alone with are counted.
    await crash(times=3)
    async with running(bus):
        await until_state(bus, "poison", "dead_lettered", patience=2)
    assert handled == []
    assert (await bus.status("poison")).reason == "crash_loop"


async def test_what_took_its_process_down_too_often_is_a_dead_letter() -> None:
    async with Bus("memory://", agent="dev", max_crashes=2) as bus:
        await a_poison_is_given_up(bus)


async def test_without_the_bound_it_would_be_handled_again() -> None:
    """Saboteur: a bus that minds no crashes."""
    async with Bus("memory://", agent="dev", max_crashes=10**9) as bus:
        with pytest.raises((AssertionError, TimeoutError)):
            await a_poison_is_given_up(bus)


async def test_crashes_below_the_bound_are_forgiven() -> None:
    async with Bus("memory://", agent="dev", max_crashes=3) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            """Return."""

        receipt = await bus.send("dev", "innocent")
        await crash(times=3)
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")


class SaysAlone(FlakyReader):
    """Calls the first delivery a suspect, and hands out more all the same: the consumer itself must wait."""

    says = True

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        found = [*(await super().receive(limit=1, start=1, wait=wait))]
        if found and self.says and found[0].attempt == 1 and b'"suspect"' in found[0].data:
            found[0] = found[0]._replace(alone=True)
        return found


class SaysNothing(SaysAlone):
    says = False


async def a_suspect_runs_with_nothing_beside_it(reads: type[FlakyReader]) -> None:
    transport = FlakyTransport(reads=reads)
    company: set[str] = set()
    now_running: set[str] = set()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            now_running.add(message.content)
            if "suspect" in now_running:
                company.update(now_running)
            if message.content == "suspect":
                await asyncio.sleep(0.1)
            now_running.remove(message.content)

        await bus.send("dev", "suspect", priority="emergency")
        for number in range(5):
            receipt = await bus.send("dev", str(number))
        async with running(bus, concurrency=4):
            await until_state(bus, receipt.message_id, "acknowledged")
            await until(lambda: company)
    assert company == {"suspect"}
    order = [each.token.partition("#")[0] for each in settlements(transport)]
    assert len(order) == 6
    # The next one was handed out after the suspect was settled.
    assert len(transport.readers[0].settled[0]) == 1


async def test_a_suspect_runs_with_nothing_beside_it() -> None:
    await a_suspect_runs_with_nothing_beside_it(SaysAlone)


async def test_what_is_no_suspect_has_company() -> None:
    """Saboteur: the suspect is not known as one."""
    with pytest.raises(AssertionError):
        await a_suspect_runs_with_nothing_beside_it(SaysNothing)


async def test_after_a_crash_the_suspect_comes_first_and_the_others_after_it() -> None:
    beside: dict[str, int] = {}
    at_once = 0
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal at_once
            at_once += 1
            beside[message.content] = at_once
            await asyncio.sleep(0.02)
            at_once -= 1

        await bus.send("dev", "suspect")
        await crash()
        for number in range(4):
            receipt = await bus.send("dev", str(number))
        async with running(bus, concurrency=4):
            await until_state(bus, receipt.message_id, "acknowledged")
            await until(lambda: len(beside) == 5)
    assert next(iter(beside)) == "suspect"
    assert beside["suspect"] == 1
    assert max(beside.values()) > 1


# --- How many at once, and in which order ------------------------------------------------------------------


async def never_more_at_once(bus: Bus, *, allowed: int) -> None:
    at_once = most = handled = 0

    @bus.on()
    async def handle(message: Message) -> None:
        nonlocal at_once, most, handled
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        handled += 1

    for number in range(30):
        await bus.send("dev", number)
    async with running(bus, concurrency=allowed):
        await until(lambda: handled == 30)
    assert most == allowed


@pytest.mark.parametrize("allowed", [1, 3, 16])
async def test_as_many_handlers_run_at_once_as_were_asked_for_and_never_more(allowed: int) -> None:
    async with Bus("memory://", agent="dev") as bus:
        await never_more_at_once(bus, allowed=allowed)


async def test_another_worker_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a consumer that adds two workers for one."""
    add = Consumer._add_worker

    def add_two(consumer: Consumer) -> None:
        add(consumer)
        add(consumer)

    monkeypatch.setattr(Consumer, "_add_worker", add_two)
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: 100)
    async with Bus("memory://", agent="dev") as bus:
        with pytest.raises(AssertionError):
            await never_more_at_once(bus, allowed=3)


async def handled_in_order(transport: FlakyTransport, *, concurrency: int) -> list[str]:
    handled: list[str] = []
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            handled.append(message.priority.value)

        for priority in ("low", "medium", "high", "urgent", "emergency"):
            for number in range(10):
                await bus.send("dev", number, priority=priority)
        async with running(bus, concurrency=concurrency):
            await until(lambda: len(handled) == 50)
    return handled


async def test_an_emergency_is_handled_before_what_is_low_in_a_backlog() -> None:
    levels = ["emergency", "urgent", "high", "medium", "low"]
    expected = [level for level in levels for _ in range(10)]
    assert await handled_in_order(FlakyTransport(), concurrency=1) == expected
    assert await handled_in_order(FlakyTransport(), concurrency=8) == expected


class Backwards(FlakyReader):
    """Hands out everything at once, the lowest level first."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return [*reversed(await super().receive(limit=1000, start=1000, wait=wait))]


async def test_what_was_fetched_and_not_started_is_sorted_by_level_too() -> None:
    levels = ["emergency", "urgent", "high", "medium", "low"]
    handled = await handled_in_order(FlakyTransport(reads=Backwards), concurrency=1)
    assert handled == [level for level in levels for _ in range(10)]


class Levelless(Backwards):
    """Tells of no level."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return [each._replace(priority=1) for each in await super().receive(limit=limit, start=start, wait=wait)]


async def test_without_their_levels_the_order_would_be_that_of_the_hand_out() -> None:
    """Saboteur: one queue for all levels."""
    handled = await handled_in_order(FlakyTransport(reads=Levelless), concurrency=1)
    assert handled[0] == "low"


# --- Leases ------------------------------------------------------------------------------------------------


async def a_slow_handler_is_kept_alive() -> None:
    handled: list[str] = []

    async def handle(message: Message) -> None:
        handled.append(message.content)
        await asyncio.sleep(1.0)

    async with (
        Bus("memory://", agent="dev", lease=0.3) as slow,
        Bus("memory://", agent="dev", lease=30) as other,
    ):
        slow.on()(handle)
        other.on()(handle)
        receipt = await slow.send("dev", "x")
        # With one handler at once, nothing is read meanwhile that would renew the lease besides.
        async with running(slow, concurrency=1):
            await until(lambda: handled)
            async with running(other):
                await until_state(slow, receipt.message_id, "acknowledged")
        assert (await slow.status(receipt.message_id)).attempts == 1
    assert handled == ["x"]


async def test_a_handler_that_takes_longer_than_its_lease_is_kept_alive() -> None:
    await a_slow_handler_is_kept_alive()


async def test_without_a_heart_somebody_else_would_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nothing extends the lease."""
    monkeypatch.setattr(Settler, "start", lambda settler: None)
    with pytest.raises(AssertionError):
        await a_slow_handler_is_kept_alive()


async def who_lost_the_lease_stops() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()
    taken_over: list[str] = []
    transport = FlakyTransport()
    async with (
        Bus("memory://", agent="dev", lease=0.15, plugins=[Serving(transport)]) as cut_off,
        Bus("memory://", agent="dev", lease=30) as heir,
    ):

        @cut_off.on()
        async def works_on(message: Message) -> None:
            started.set()
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        @heir.on()
        async def takes_over(message: Message) -> None:
            taken_over.append(message.content)

        receipt = await heir.send("dev", "x")
        async with running(cut_off, concurrency=1):
            await started.wait()
            transport.readers[0].away = 10**9
            async with running(heir):
                await until_state(heir, receipt.message_id, "acknowledged")
            transport.readers[0].away = 0
            async with asyncio.timeout(2):
                await cancelled.wait()
        assert taken_over == ["x"]
        assert (await heir.status(receipt.message_id)).state == "acknowledged"


async def test_a_handler_that_lost_its_lease_is_cancelled() -> None:
    await who_lost_the_lease_stops()


async def test_a_handler_that_is_not_told_would_work_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: nobody tells the handler."""
    monkeypatch.setattr(Consumer, "_fence", lambda consumer, token: None)
    with pytest.raises(TimeoutError):
        await who_lost_the_lease_stops()


async def test_what_was_fetched_and_lost_is_not_started() -> None:
    """Two are in hand, one is running: the other is lost with it and never starts."""
    transport = FlakyTransport(reads=Backwards)
    started: list[str] = []
    ended = asyncio.Event()
    async with Bus("memory://", agent="dev", lease=0.15, plugins=[Serving(transport)]) as cut_off:

        @cut_off.on()
        async def works_on(message: Message) -> None:
            started.append(message.content)
            try:
                await asyncio.sleep(5)
            finally:
                ended.set()

        for content in ("first", "second"):
            await cut_off.send("dev", content, priority="high" if content == "first" else "low")
        async with running(cut_off, concurrency=1):
            await until(lambda: started)
            transport.readers[0].away = 10**9
            heir = await (await line()).open(Inbox("dev"), consumer="heir", lease=30)
            taken: list[Delivery] = []
            while len(taken) < 2:
                found = await heir.receive(limit=10, start=10, wait=5)
                taken += found
                await heir.settle([Ack(delivery.token) for delivery in found])
            transport.readers[0].away = 0
            async with asyncio.timeout(3):
                await ended.wait()
            await asyncio.sleep(0.05)
    assert started == ["first"]


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
