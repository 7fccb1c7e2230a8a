"""Agents of before: what they send, get, answer and broadcast, with every name and keyword that they use."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import hivebus
from hivebus.settings import load
from hivebus_migration.compat import (
    AgentCommunicator,
    AgentMessage,
    MessageBus,
    MessageBusConfig,
    MessagePriority,
    MessageType,
    SendReceipt,
    SimpleAgentCommunicator,
)
from hivebus_migration.compat.single_messages import send_to_agent
from hivebus_migration.compat.subscription import Handler

pytestmark = pytest.mark.usefixtures("one_road")


class Inbox:
    """A handler that keeps what it gets."""

    def __init__(self, expected: int = 1) -> None:
        self.messages: list[AgentMessage] = []
        self._expected = expected
        self._complete = asyncio.Event()

    async def handle(self, message: AgentMessage) -> None:
        self.messages.append(message)
        if len(self.messages) >= self._expected:
            self._complete.set()

    async def wait(self) -> list[AgentMessage]:
        await asyncio.wait_for(self._complete.wait(), 30)
        return self.messages

    @property
    def contents(self) -> list[Any]:
        return [each.body["content"] for each in self.messages]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def status_of(message_id: str | None) -> str | None:
    """Ask as somebody who has nothing to do with the message."""
    assert message_id
    async with MessageBus().lifespan() as bus:
        status = await bus.get_message_status(message_id)
        return status.status if status else None


async def read(name: str, expected: int = 1) -> list[AgentMessage]:
    """Be an agent until so many messages have come."""
    inbox = Inbox(expected)
    communicator = AgentCommunicator(name)
    communicator.set_message_handler(inbox.handle)
    async with communicator.lifespan():
        return await inbox.wait()


# --- What the predecessor lost --------------------------------------------------------------------------


async def test_mail_to_an_agent_that_is_not_there_waits_for_it() -> None:
    async with AgentCommunicator("frontend-agent").lifespan() as comm:
        sent = await comm.send_message_to_agent(
            target_agent="pm-agent",
            message="The login page is done",
            message_type=MessageType.STATUS_UPDATE,
            priority=MessagePriority.HIGH,
            context={"sprint": 12},
        )
    assert sent
    assert await status_of(sent.message_id) == "pending"

    (message,) = await read("pm-agent")

    assert (message.from_agent, message.to_agent, message.message_id) == ("frontend-agent", "pm-agent", sent.message_id)
    assert message.body == {"content": "The login page is done", "context": {"sprint": 12}}
    assert (message.message_type, message.priority) == (MessageType.STATUS_UPDATE, MessagePriority.HIGH)
    assert await status_of(sent.message_id) == "acknowledged"


async def test_a_queue_becomes_shorter_when_it_is_read() -> None:
    async with MessageBus().lifespan() as bus, AgentCommunicator("sender", bus).lifespan() as comm:
        for number in range(3):
            await comm.send_message_to_agent("pm-agent", f"{number}")
        reader = AgentCommunicator("pm-agent", bus)
        assert await bus.get_agent_queue_size("pm-agent") == 3
        assert await reader.get_pending_messages_count() == 3
        inbox = Inbox(3)
        reader.set_message_handler(inbox.handle)
        async with reader.lifespan():
            await inbox.wait()
        assert await bus.get_agent_queue_size("pm-agent") == 0
    assert inbox.contents == ["0", "1", "2"]


async def test_an_emergency_overtakes() -> None:
    async with AgentCommunicator("ops-agent").lifespan() as comm:
        for number in range(3):
            await comm.send_message_to_agent("pm-agent", f"{number}", priority=MessagePriority.MEDIUM)
        await comm.send_message_to_agent("pm-agent", "low", priority=MessagePriority.LOW)
        await comm.send_message_to_agent(
            target_agent="pm-agent",
            message="PRODUCTION OUTAGE - All hands!",
            priority=MessagePriority.EMERGENCY,
        )
    messages = await read("pm-agent", 5)
    assert [each.body["content"] for each in messages] == ["PRODUCTION OUTAGE - All hands!", "0", "1", "2", "low"]


async def test_what_fails_comes_again_and_is_given_up_in_the_end() -> None:
    tries: list[str] = []

    def fail(message: AgentMessage) -> None:
        tries.append(message.message_id)
        raise ValueError("not today")

    bus = MessageBus(MessageBusConfig(retry_limit=0))
    async with bus.lifespan():
        communicator = AgentCommunicator("pm-agent", bus)
        communicator.set_message_handler(fail)
        async with communicator.lifespan():
            sent = await communicator.send_message_to_agent("pm-agent", "x")
            await until(lambda: tries)
            async with asyncio.timeout(30):
                while (status := await bus.get_message_status(str(sent.message_id))) and status.status != "failed":
                    await asyncio.sleep(0.02)
    assert status
    assert (status.status, status.attempts) == ("failed", 1)
    assert status.error_message == "max_retries: ValueError: not today"
    assert tries == [sent.message_id]


async def test_between_two_tries_a_message_counts_as_delivered_and_is_still_in_the_queue() -> None:
    async with MessageBus().lifespan() as bus:
        failed = asyncio.Event()

        async def fail(message: AgentMessage) -> None:
            failed.set()
            raise ValueError

        message = AgentMessage("ops-agent", "pm-agent", MessageType.QUESTION, {"content": "x"})
        assert await bus.publish_message(message)
        await bus.subscribe_to_agent("pm-agent", fail)
        await asyncio.wait_for(failed.wait(), 30)
        await bus.unsubscribe_from_agent("pm-agent")
        status = await bus.get_message_status(message.message_id)
        assert status
        assert (status.status, status.attempts) == ("delivered", 1)
        assert await bus.get_agent_queue_size("pm-agent") == 1


async def test_who_only_sends_takes_nobodys_mail() -> None:
    await send_to_agent("frontend-agent", "for you", "pm-agent")
    async with AgentCommunicator("frontend-agent").lifespan() as comm:
        await comm.send_message_to_agent("pm-agent", "for pm-agent")
        assert await comm.get_pending_messages_count() == 1
    await SimpleAgentCommunicator.send_message("frontend-agent", "pm-agent", "x")
    assert [each.body["content"] for each in await read("frontend-agent")] == ["for you"]


async def test_saboteur_a_sender_that_reads_is_noticed() -> None:
    await send_to_agent("frontend-agent", "for you", "pm-agent")
    comm = AgentCommunicator("frontend-agent")
    # As before, when sending subscribed as the sender.
    comm.set_message_handler(lambda message: None)
    async with comm.lifespan(), asyncio.timeout(30):
        while await comm.get_pending_messages_count():
            await asyncio.sleep(0.02)


async def test_two_agents_of_one_process_get_their_own_mail() -> None:
    inboxes = {name: Inbox(20) for name in ("pm-agent", "frontend-agent")}
    async with MessageBus().lifespan() as bus:
        communicators = [AgentCommunicator(name, bus) for name in inboxes]
        for each in communicators:
            each.set_message_handler(inboxes[each.agent_name].handle)
        # At the same moment: the bus is opened once.
        await asyncio.gather(*(each.start() for each in communicators))
        await asyncio.gather(
            *(communicators[0].send_message_to_agent(name, name) for name in inboxes for _ in range(20))
        )
        for name, inbox in inboxes.items():
            assert {each.to_agent for each in await inbox.wait()} == {name}
        await asyncio.gather(*(each.stop() for each in communicators))


async def test_a_simple_message_travels_on_its_level(caplog: pytest.LogCaptureFixture) -> None:
    await SimpleAgentCommunicator.send_message("a", "pm-agent", "first", priority="low")
    await SimpleAgentCommunicator.send_message(from_agent="a", to_agent="pm-agent", message="2nd", priority="URGENT")
    with caplog.at_level(logging.WARNING):
        await SimpleAgentCommunicator.send_message("a", "pm-agent", "third", priority="critical")
    assert "there is no priority 'critical'" in caplog.text
    assert await SimpleAgentCommunicator.send_task("a", "pm-agent", "build", deadline="2026-12-01")
    messages = await read("pm-agent", 4)
    assert [each.priority.name for each in messages] == ["URGENT", "MEDIUM", "MEDIUM", "LOW"]
    assert messages[2].body["deadline"] == "2026-12-01"


# --- Replies ----------------------------------------------------------------------------------------------


async def test_what_a_send_returned_can_be_replied_to() -> None:
    async with (
        MessageBus().lifespan() as bus,
        AgentCommunicator("a-agent", bus).lifespan() as comm_a,
        AgentCommunicator("expert-agent", bus).lifespan() as comm_b,
    ):
        question = await comm_a.send_message_to_agent(
            target_agent="expert-agent",
            message="What's the best approach for X?",
            message_type=MessageType.QUESTION,
        )
        assert await comm_b.reply_to_message(
            original_message=question,
            reply_content="I recommend approach Y because...",
        )
    (answer,) = await read("a-agent")
    assert answer.message_type == MessageType.ANSWER
    assert (answer.from_agent, answer.correlation_id) == ("expert-agent", question.message_id)
    assert answer.reply_to == question.message_id
    assert answer.body["content"] == "I recommend approach Y because..."


async def test_a_handler_replies_twice_and_both_arrive() -> None:
    async with MessageBus().lifespan() as bus, AgentCommunicator("a-agent", bus).lifespan() as asking:
        expert = AgentCommunicator("expert-agent", bus)

        async def answer(message: AgentMessage) -> None:
            await expert.reply_to_message(message, "I look into it")
            await expert.reply_to_message(message, "Approach Y", context={"sure": True})

        expert.set_message_handler(answer)
        async with expert.lifespan():
            question = await asking.send_message_to_agent("expert-agent", "X?", priority=MessagePriority.URGENT)
            answers = await read("a-agent", 2)
    assert [each.body["content"] for each in answers] == ["I look into it", "Approach Y"]
    assert answers[1].body["context"] == {"sure": True}
    assert {(each.priority, each.correlation_id) for each in answers} == {(MessagePriority.URGENT, question.message_id)}


async def test_a_reply_to_a_reply_goes_back_to_who_replied() -> None:
    async with MessageBus().lifespan() as bus:
        a, b = AgentCommunicator("a-agent", bus), AgentCommunicator("b-agent", bus)
        question = await a.send_message_to_agent("b-agent", "X?")
        await b.reply_to_message(question, "Y?")
        (first,) = await read("a-agent")
        await a.reply_to_message(first, "yes")
        messages = await read("b-agent", 2)
    assert [each.body["content"] for each in messages] == ["X?", "yes"]


async def test_old_agents_answer_new_ones_and_the_other_way_round() -> None:
    async with hivebus.Bus(agent="new-agent") as bus, AgentCommunicator("old-agent").lifespan() as old:
        asked = await bus.send("old-agent", "X?", message_type="question", reply_to="secretary-agent")
        (question,) = await read("old-agent")
        assert question.message_id == asked.message_id
        assert await old.reply_to_message(question, "Y")
        assert await old.reply_to_message(asked.message, "Y, said once more")
        answers = await read("secretary-agent", 2)
        assert [each.correlation_id for each in answers] == [asked.message_id] * 2
        told = await old.send_message_to_agent("new-agent", "Z?", message_type=MessageType.QUESTION)
        message = await bus.take(wait=10)
        assert message
        assert (message.message_id, message.message_type, message.content) == (told.message_id, "question", "Z?")
        await bus.reply(message, "of course")
        (answer,) = await read("old-agent")
        assert (answer.message_type, answer.correlation_id) == (MessageType.ANSWER, told.message_id)


async def test_an_old_agent_answers_one_that_waits_for_it() -> None:
    expert = AgentCommunicator("expert-agent")

    async def answer(message: AgentMessage) -> None:
        await expert.reply_to_message(message, "Y")

    expert.set_message_handler(answer)
    async with expert.lifespan(), hivebus.Bus(agent="new-agent") as bus:
        assert (await bus.ask("expert-agent", "X?", timeout=30)).content == "Y"


async def test_two_old_agents_do_not_answer_each_other_for_ever() -> None:
    async with MessageBus().lifespan() as bus:
        agents = [AgentCommunicator(name, bus) for name in ("a-agent", "b-agent")]
        turns: list[str] = []

        def politely(own: AgentCommunicator) -> Handler:
            async def answer(message: AgentMessage) -> None:
                turns.append(message.message_id)
                await own.reply_to_message(message, "thank you")

            return answer

        for each in agents:
            each.set_message_handler(politely(each))
            await each.start()
        await agents[0].send_message_to_agent("b-agent", "hello")
        async with asyncio.timeout(60), hivebus.Bus(agent="somebody") as watching:
            while not any([(await watching.queue(each.agent_name)).dead for each in agents]):
                await asyncio.sleep(0.05)
    assert len(turns) == load().max_hops + 1


async def test_a_reply_to_nothing_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with AgentCommunicator("a-agent").lifespan() as comm:
        unsent = await comm.send_message_to_agent("", "x")
        for nothing in (unsent, True, None):
            answer = await comm.reply_to_message(nothing, "y")  # type: ignore[arg-type]
            assert not answer
            assert "there is nothing to reply to" in str(answer.error)
    assert "there is nothing to reply to" in caplog.text


# --- Broadcasts ------------------------------------------------------------------------------------------


async def test_a_broadcast_gives_a_result_by_agent() -> None:
    async with AgentCommunicator("ops-agent").lifespan() as communicator:
        results = await communicator.broadcast_message(
            message="System maintenance in 10 minutes",
            agents=["pm-agent", "frontend-agent", "ops-agent", "pm-agent"],
            priority=MessagePriority.URGENT,
        )
    assert set(results) == {"pm-agent", "frontend-agent"}
    assert all(results.values())
    assert sum(results.values()) == 2
    assert len({each.message_id for each in results.values()}) == 1
    for name in results:
        (message,) = await read(name)
        assert message.message_id == results[name].message_id
        assert (message.to_agent, message.priority) == (name, MessagePriority.URGENT)
        assert message.message_type == MessageType.NOTIFICATION


async def test_a_broadcast_to_nobody_in_particular_reaches_all_that_are_registered() -> None:
    inboxes = {name: Inbox() for name in ("pm-agent", "frontend-agent", "ops-agent")}
    async with MessageBus().lifespan() as bus:
        ops = AgentCommunicator("ops-agent", bus)
        assert await ops.broadcast_message("nobody is there") == {}
        for name, inbox in inboxes.items():
            await bus.subscribe_to_agent(name, inbox.handle)
        results = await ops.broadcast_message("all hands")
        assert set(results) == {"pm-agent", "frontend-agent"}
        for name in results:
            (message,) = await inboxes[name].wait()
            assert (message.to_agent, message.body["content"]) == ("broadcast", "all hands")
            # A reply is from who replies, and not from everybody.
            assert await AgentCommunicator(name, bus).reply_to_message(message, f"{name} is here")
        await until(lambda: len(inboxes["ops-agent"].messages) == 2)
        assert sorted(each.from_agent for each in inboxes["ops-agent"].messages) == ["frontend-agent", "pm-agent"]


async def test_an_alert_reaches_everybody() -> None:
    from hivebus_migration.compat import create_emergency_alert

    inbox = Inbox()
    async with MessageBus().lifespan() as bus:
        assert not await bus.publish_message(create_emergency_alert("ops-agent", "nobody is there"))
        await bus.subscribe_to_agent("pm-agent", inbox.handle)
        alert = create_emergency_alert("ops-agent", "disk full", affected_systems=["db"])
        assert await bus.publish_message(alert)
        (message,) = await inbox.wait()
    assert message.body["alert_message"] == message.body["content"] == "disk full"
    assert message.body["affected_systems"] == ["db"]
    assert (message.priority, message.message_type) == (MessagePriority.EMERGENCY, MessageType.EMERGENCY)


async def test_a_name_that_nobody_can_have_keeps_nobody_else_from_a_broadcast() -> None:
    async with AgentCommunicator("ops-agent").lifespan() as communicator:
        results = await communicator.broadcast_message("x", agents=["No Name", "pm-agent"])
        assert {name: bool(each) for name, each in results.items()} == {"No Name": False, "pm-agent": True}
        assert "must match" in str(results["No Name"].error)
        assert await communicator.broadcast_message("x", agents=["ops-agent"]) == {}
        assert await communicator.broadcast_message("x", agents=[]) == {}
        with pytest.raises(ValueError, match="agents must be a list of names, and not 'pm-agent'"):
            await communicator.broadcast_message("x", agents="pm-agent")
        too_much = await communicator.broadcast_message("x" * 300_000, agents=["pm-agent"])
        assert not too_much["pm-agent"]


# --- Handlers and what is sent ----------------------------------------------------------------------------


async def test_a_handler_may_be_set_and_changed_while_it_runs() -> None:
    first, second = Inbox(), Inbox()
    async with AgentCommunicator("pm-agent").lifespan() as comm:
        await comm.send_message_to_agent("pm-agent", "1")
        assert await comm.get_pending_messages_count() == 1
        comm.set_message_handler(first.handle)
        await first.wait()
        # From another thread, as code does that has one for the terminal.
        thread = threading.Thread(target=comm.set_message_handler, args=[second.handle])
        thread.start()
        await asyncio.to_thread(thread.join)
        await comm.send_message_to_agent("pm-agent", "2")
        await second.wait()
        with pytest.raises(TypeError, match="must be callable"):
            comm.set_message_handler(None)  # type: ignore[arg-type]
    assert (first.contents, second.contents) == (["1"], ["2"])


async def test_messages_are_handled_one_after_the_other() -> None:
    at_once = [0]
    seen = []

    async def handle(message: AgentMessage) -> None:
        at_once.append(at_once[-1] + 1)
        await asyncio.sleep(0.01)
        at_once.append(at_once[-1] - 1)
        seen.append(message.body["content"])

    comm = AgentCommunicator("pm-agent")
    comm.set_message_handler(handle)
    async with comm.lifespan():
        for number in range(10):
            await comm.send_message_to_agent("pm-agent", f"{number}")
        await until(lambda: len(seen) == 10)
    assert max(at_once) == 1
    assert seen == [f"{number}" for number in range(10)]


async def test_a_task_says_what_it_is_about_under_both_names() -> None:
    async with AgentCommunicator("pm-agent").lifespan() as comm:
        assert await comm.send_task_assignment(
            target_agent="frontend-agent",
            task_description="build the login page",
            priority=MessagePriority.HIGH,
            deadline="2026-12-01",
            context={"sprint": 12},
        )
    (task,) = await read("frontend-agent")
    assert task.message_type == MessageType.TASK_ASSIGNMENT
    assert task.body["task_description"] == task.body["content"] == "build the login page"
    assert (task.body["deadline"], task.body["context"]) == ("2026-12-01", {"sprint": 12})


async def test_a_handler_may_stop_its_own_agent() -> None:
    handled = asyncio.Event()
    comm = AgentCommunicator("pm-agent")

    async def handle(message: AgentMessage) -> None:
        await comm.stop()
        handled.set()

    comm.set_message_handler(handle)
    async with asyncio.timeout(20), comm.lifespan():
        sent = await comm.send_message_to_agent("pm-agent", "stop")
        await handled.wait()
    assert await status_of(sent.message_id) == "acknowledged"


@pytest.mark.parametrize(
    ("target", "message", "told"),
    [
        ("", "x", "to_agent cannot be empty"),
        ("No Name", "x", "must match"),
        ("pm-agent", "x" * 300_000, "262144"),
        ("pm-agent", object(), "JSON"),
    ],
)
async def test_what_cannot_be_sent_is_false_and_says_why(
    target: str, message: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with AgentCommunicator("pm-agent").lifespan() as comm:
        sent = await comm.send_message_to_agent(target, message)
    assert (bool(sent), sent == False, sent.receipt) == (False, True, None)  # noqa: E712
    assert not copy.deepcopy(sent) and not pickle.loads(pickle.dumps(sent)), "a copy is no better"
    assert told in str(sent.error)
    assert told in caplog.text
    assert told in repr(sent)


async def test_a_receipt_is_as_good_as_the_bool_that_it_replaces() -> None:
    async with AgentCommunicator("pm-agent").lifespan() as comm:
        sent = await comm.send_message_to_agent("pm-agent", "x")
        same = await comm.message_bus.publish_message(sent.message or pytest.fail("it has its message"))
    assert sent and sent == True and sum([sent, sent]) == 2  # noqa: E712
    assert isinstance(sent, SendReceipt)
    assert sent.receipt and sent.receipt.state == "stored"
    assert same.receipt and same.receipt.state == "duplicate"
    assert str(sent.message_id) in repr(sent)


async def test_who_is_not_started_sends_nothing() -> None:
    comm = AgentCommunicator("pm-agent")
    sent = await comm.send_message_to_agent("pm-agent", "x")
    assert not sent
    assert str(sent.error) == "Message bus not running"
    await comm.stop()
    with pytest.raises(RuntimeError, match="Message bus not running"):
        await comm.broadcast_message("x", agents=["a"])


async def test_a_name_that_nobody_can_have_cannot_be_started() -> None:
    comm = AgentCommunicator("No Name")
    comm.set_message_handler(Inbox().handle)
    with pytest.raises(hivebus.HivebusError, match="must match"):
        await comm.start()
    assert (comm.running, comm.message_bus.running) == (False, False)


async def test_a_handler_that_cannot_be_served_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    async with AgentCommunicator("No Name").lifespan() as comm:
        comm.set_message_handler(Inbox().handle)
        await until(lambda: "the mail of No Name cannot be read" in caplog.text)


async def test_legacy_names_are_resolved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".hivebus.toml").write_text('[aliases]\n"Project Manager" = "pm-agent"\n')
    monkeypatch.chdir(tmp_path)
    async with MessageBus().lifespan() as bus, AgentCommunicator("Project Manager", bus).lifespan() as comm:
        assert await comm.send_message_to_agent("Project Manager", "x")
        results = await comm.broadcast_message("y", agents=["Project Manager", "dev"])
        assert list(results) == ["dev"]
        assert await bus.get_agent_queue_size("Project Manager") == await bus.get_agent_queue_size("pm-agent") == 1
    (message,) = await read("pm-agent")
    assert message.from_agent == "pm-agent"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_the_program_keeps_its_signals(tmp_path: Any) -> None:
    script = tmp_path / "agent.py"
    script.write_text(
        "import asyncio\nfrom hivebus_migration.compat import AgentCommunicator\n"
        "async def main():\n"
        "    comm = AgentCommunicator('pm-agent')\n"
        "    comm.set_message_handler(lambda message: print('got it', flush=True))\n"
        "    async with comm.lifespan():\n"
        "        await comm.send_message_to_agent('pm-agent', 'x')\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"got it\n"
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 30) == -15
