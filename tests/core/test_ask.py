"""Questions that wait for their answers, without a server: what is accepted, what is late, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import HivebusError, InvalidMessage, NoAnswer, Unavailable, Unknown, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import Endpoint, Inbox, Outgoing

from .flaky import FlakyTransport, Serving, running, until
from .test_bus import Wall


def answering(bus: Bus, *, with_: Any = "yes") -> None:
    @bus.on()
    async def answer(message: Message) -> Any:
        return with_


def inboxes(bus: Bus) -> set[str]:
    """Return all inboxes of the server, temporary ones among them."""
    assert isinstance(bus._transport, MemoryTransport)
    return set(bus._transport._server.inboxes)


async def test_an_answer_is_what_asking_returns() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        answering(dev, with_={"index": "btree"})
        async with running(dev):
            answer = await pm.ask("dev", "Which index?", timeout=5, priority="high", context={"table": "orders"})
    assert (answer.from_agent, answer.content, answer.message_type) == ("dev", {"index": "btree"}, "answer")
    assert answer.priority == "high"


async def test_a_question_says_where_it_wants_its_answer_and_is_of_the_type_question() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        asking = asyncio.create_task(pm.ask("dev", "?", timeout=5, ttl=60, message_id="q-1", metadata={"a": 1}))
        question = await dev.take(wait=5)
        assert question is not None and question.reply_to is not None
        assert (question.message_id, question.message_type, question.ttl) == ("q-1", "question", 60)
        assert question.reply_to.startswith("pm~")
        await dev.reply(question, "!")
        assert (await asking).correlation_id == "q-1"


async def test_thousands_of_questions_share_one_inbox_and_one_reader() -> None:
    serving = Serving(transport := FlakyTransport())
    opened: list[str] = []
    open_ = transport.open

    async def noted(inbox: Inbox, **options: Any) -> Any:
        opened.append(inbox.name)
        return await open_(inbox, **options)

    transport.open = noted  # type: ignore[method-assign]
    async with Bus("memory://", agent="pm", plugins=[serving]) as bus:

        @bus.on()
        async def echo(message: Message) -> Any:
            return message.content

        async with running(bus):
            assert opened == ["pm"]
            answers = await asyncio.gather(*(bus.ask("pm", number, timeout=20) for number in range(2000)))
    assert [answer.content for answer in answers] == list(range(2000))
    assert len(opened) == 2 and opened[1].startswith("pm~")


async def test_no_answer_says_that_the_question_is_stored_and_where_to_look() -> None:
    async with Bus("memory://", agent="pm") as pm:
        with pytest.raises(NoAnswer, match=r"no answer from dev within 0\.05 s") as error:
            await pm.ask("dev", "?", timeout=0.05)
        asked = error.value.message_id
        assert (await pm.status(asked)).state == "queued"
    assert isinstance(error.value, Unknown) and not error.value.repeatable
    assert f"hivebus trace {asked}" in str(error.value) and "dev has never read its inbox" in str(error.value)


async def test_a_late_answer_goes_to_the_inbox_of_who_asked() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        with pytest.raises(NoAnswer) as error:
            await pm.ask("dev", "?", timeout=0)
        question = await dev.take()
        assert question is not None
        await dev.reply(question, "at last")
        late = await pm.take(wait=5)
    assert late is not None
    assert (late.content, late.correlation_id) == ("at last", error.value.message_id)


async def test_a_late_answer_finds_its_way_also_when_the_asker_is_gone() -> None:
    async with Bus("memory://", agent="dev") as dev:
        async with Bus("memory://", agent="pm") as pm:
            with pytest.raises(NoAnswer):
                await pm.ask("dev", "?", timeout=0)
        question = await dev.take()
        assert question is not None
        receipt = await dev.reply(question, "at last")
        assert receipt.notes == ("pm has never read its inbox; the message waits there",)
        assert not [inbox for inbox in inboxes(dev) if "~" in inbox]
        async with Bus("memory://", agent="pm") as pm:
            late = await pm.take()
    assert late is not None and late.content == "at last"


async def test_of_two_answers_the_first_is_accepted_and_the_other_is_late() -> None:
    async with (
        Bus("memory://", agent="pm") as pm,
        Bus("memory://", agent="dev") as dev,
        Bus("memory://", agent="ops") as ops,
    ):
        asking = asyncio.create_task(pm.ask("dev", "?", timeout=5))
        question = await dev.take(wait=5)
        assert question is not None
        await dev.reply(question, "first")
        await ops.reply(question, "second")
        assert (await asking).content == "first"
        late = await pm.take(wait=5)
    assert late is not None and (late.from_agent, late.content) == ("ops", "second")


async def test_answering_twice_is_a_duplicate_also_when_the_asker_is_gone() -> None:
    async with Bus("memory://", agent="dev") as dev:
        async with Bus("memory://", agent="pm") as pm:
            asking = asyncio.create_task(pm.ask("dev", "?", timeout=5))
            question = await dev.take(wait=5)
            assert question is not None
            assert (await dev.reply(question, "yes")).state == "stored"
            assert (await dev.reply(question, "no")).state == "duplicate"
            assert (await asking).content == "yes"
        assert (await dev.reply(question, "no")).state == "duplicate"


async def test_a_message_that_wanted_no_reply_can_be_answered_all_the_same() -> None:
    async with Bus("memory://", agent="dev") as dev:
        note = Message(from_agent="unknown", to_agent="dev", body={"content": "fyi"})
        receipt = await dev.reply(note, "noted")
    assert (receipt.state, receipt.message.to_agent) == ("stored", "unknown")


async def test_an_agent_can_ask_itself() -> None:
    async with Bus("memory://", agent="pm") as pm:
        answering(pm)
        async with running(pm):
            assert (await pm.ask("pm", "?", timeout=5)).content == "yes"


async def test_a_question_within_a_conversation_is_answered_by_what_its_handler_returns() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        answering(dev)
        async with running(dev):
            assert (await pm.ask("dev", "and?", timeout=5, correlation_id="before")).content == "yes"


@pytest.mark.parametrize("many", ["*", "broadcast", ["dev", "ops"]], ids=str)
async def test_asking_many_at_once_is_refused_before_anything_is_written(many: Any) -> None:
    async with Bus("memory://", agent="pm") as pm:
        with pytest.raises(InvalidMessage, match="one agent or one @pool") as error:
            await pm.ask(many, "?")
        assert error.value.field == "to_agent"
        assert inboxes(pm) == set()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", None, True], ids=str)
async def test_a_timeout_must_be_seconds(timeout: Any) -> None:
    async with Bus("memory://", agent="pm") as pm:
        with pytest.raises(InvalidMessage, match="timeout"):
            await pm.ask("dev", "?", timeout=timeout)


async def test_the_same_question_twice_at_once_is_refused() -> None:
    async with Bus("memory://", agent="pm") as pm:
        first = asyncio.create_task(pm.ask("dev", "?", timeout=5, message_id="q-1"))
        await until(lambda: pm._asking._waiting)
        with pytest.raises(InvalidMessage, match="is being asked by this bus already"):
            await pm.ask("dev", "?", message_id="q-1")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_asked_again_under_its_id_it_says_that_the_answer_goes_elsewhere() -> None:
    async with Bus("memory://", agent="pm") as pm:
        for _ in range(2):
            with pytest.raises(NoAnswer) as error:
                await pm.ask("dev", "?", timeout=0, message_id="q-1")
    assert "was sent before" in str(error.value)


async def test_cancelling_who_asks_leaves_nothing_behind_and_the_question_sent() -> None:
    async with Bus("memory://", agent="dev") as dev:
        async with Bus("memory://", agent="pm") as pm:
            asking = asyncio.create_task(pm.ask("dev", "?", timeout=60))
            question = await dev.take(wait=5)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert pm._asking._waiting == {}
        assert question is not None and inboxes(dev) == {"dev"}


async def test_closing_the_bus_ends_what_is_being_asked() -> None:
    async with Bus("memory://", agent="pm") as pm:
        asking = asyncio.create_task(pm.ask("dev", "?", timeout=60))
        await until(lambda: pm._asking._waiting)
    with pytest.raises(NoAnswer, match="before the bus was closed"):
        await asking
    with pytest.raises(Unsupported, match="this bus is closed"):
        await pm.ask("dev", "?")


async def test_what_nobody_took_from_a_temporary_inbox_goes_to_its_agent() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    reader = await transport.open(Inbox("pm~1"), consumer="one", lease=60)

    def item(message_id: str, **changes: Any) -> Outgoing:
        return Outgoing("pm~1", message_id, "agent.pm.answer", 2, 0, None, b"{}")._replace(**changes)

    await transport.publish([item("m-1"), item("m-2", delay=60), item("m-3", ttl=0.001)])
    await asyncio.sleep(0.01)
    assert await transport.inboxes() == []
    assert await transport.clear_away() == 0
    await reader.close()
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.scheduled, counts.dead) == (1, 1, 1)
    assert list(transport._server.inboxes) == ["pm"]


async def test_a_temporary_inbox_whose_reader_died_is_cleared_away() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await transport.open(Inbox("pm~1"), consumer="one", lease=0.01)
    await transport.publish([Outgoing("pm~1", "m-1", "agent.pm.answer", 2, 0, None, b"{}")])
    await asyncio.sleep(0.02)
    assert await transport.clear_away() == 1
    assert list(transport._server.inboxes) == ["pm"]


async def test_an_answer_that_cannot_be_read_is_a_dead_letter_of_its_agent() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        inbox = await pm._asking.open()
        await dev._transport.publish([Outgoing(inbox, "m-1", "agent.pm.answer", 2, 0, None, b"{")])
        await until(lambda: not pm._transport._server.inboxes[inbox].peek(1, 0))  # type: ignore[attr-defined]
        await pm._asking.close()
        assert [each.reason for each in await dev._transport.dead("pm", limit=9)] == ["invalid:json"]  # type: ignore[attr-defined]


async def test_a_codec_that_fails_with_one_answer_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        answering(dev)
        async with running(dev):
            decode = pm._codec.decode

            def broken(data: bytes) -> Message:
                monkeypatch.setattr(pm._codec, "decode", decode)
                raise ZeroDivisionError

            monkeypatch.setattr(pm._codec, "decode", broken)
            with pytest.raises(NoAnswer):
                await pm.ask("dev", "?", timeout=0.3)
            assert (await pm.ask("dev", "?", timeout=5)).content == "yes"
    async with Bus("memory://", agent="pm") as pm:
        assert await pm.take() is not None


async def test_answers_are_read_again_when_the_server_is_back() -> None:
    serving = Serving(transport := FlakyTransport())
    async with Bus("memory://", agent="pm", plugins=[serving]) as bus:
        asking = asyncio.create_task(bus.ask("pm", "?", timeout=20))
        await until(lambda: transport.readers)
        transport.readers[0].away = 3
        question = await bus.take(wait=5)
        assert question is not None
        await bus.reply(question, "yes")
        assert (await asking).content == "yes"
    assert transport.readers[0].away == 0


async def test_an_inbox_that_cannot_be_opened_is_tried_again_by_the_next_question() -> None:
    class Shut(MemoryTransport):
        error: HivebusError | None = Unavailable("away")

        async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Any:
            if self.error is not None:
                raise self.error
            return await super().open(inbox, consumer=consumer, lease=lease)

    shut = Shut(Endpoint(url="memory://"))
    async with Bus("memory://", agent="pm", plugins=[Serving(shut)]) as bus:
        with pytest.raises(Unavailable):
            await bus.ask("dev", "?")
        shut.error = None
        with pytest.raises(NoAnswer):
            await bus.ask("dev", "?", timeout=0)


async def test_a_transport_that_cannot_be_read_cannot_be_asked_on() -> None:
    async with Bus("memory://", agent="pm", plugins=[Serving(wall := Wall())]) as bus:
        with pytest.raises(Unsupported, match="cannot be read, so no answer would come"):
            await bus.ask("dev", "?")
    assert wall.written == []
