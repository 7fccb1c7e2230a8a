"""Read this first: what hivebus does, in seven short tests, from top to bottom.

``memory://`` is a bus inside this process; with ``redis://localhost`` the same lines work across machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import hivebus
from hivebus.errors import NotPermitted
from hivebus.facts import SettledFact
from hivebus.hookspecs import RegisterMiddleware, hookimpl
from hivebus.message import Message
from hivebus.middleware import Send
from hivebus.receipt import Receipt


async def test_a_message_waits_until_it_is_taken_and_acked() -> None:
    async with hivebus.Bus("memory://", agent="pm-agent") as pm, hivebus.Bus("memory://", agent="dev-agent") as dev:
        receipt = await pm.send("dev-agent", "Please fix the login page", message_type="task_assignment")
        assert receipt.state == "stored"

        async for delivery in dev.consume():
            assert delivery.message.content == "Please fix the login page"
            assert delivery.message.from_agent == "pm-agent"
            await delivery.ack()
            break

        assert (await pm.status(receipt.message_id)).state == "acknowledged"


async def test_a_handler_gets_each_message_and_returning_acks_it() -> None:
    async with hivebus.Bus("memory://", agent="dev-agent") as dev:
        done: list[str] = []

        @dev.on("task_assignment")
        async def work(message: Message) -> None:
            done.append(message.content)
            if len(done) == 3:
                dev.stop()

        for task in ("design", "build", "test"):
            await dev.send("dev-agent", task, message_type="task_assignment")
        await dev.run(concurrency=1)

        assert done == ["design", "build", "test"]
        assert (await dev.queue("dev-agent")).waiting == 0


async def test_a_failing_handler_gets_its_message_again_and_in_the_end_it_is_a_dead_letter() -> None:
    async with hivebus.Bus("memory://", agent="dev-agent") as dev:
        attempts: list[Message] = []

        @dev.on()
        async def work(message: Message) -> None:
            attempts.append(message)
            if len(attempts) == 3:
                dev.stop()
            raise OSError("the disk is full")

        receipt = await dev.send("dev-agent", "build", max_retries=2, retry_delay=0.01)
        await dev.run()

        status = await dev.status(receipt.message_id)
        assert (status.state, status.attempts) == ("dead_lettered", 3)
        assert status.reason == "max_retries: OSError: the disk is full"


async def test_what_is_urgent_overtakes_what_is_not() -> None:
    async with hivebus.Bus("memory://", agent="dev-agent") as dev:
        for priority in ("low", "medium", "emergency", "high"):
            await dev.send("dev-agent", f"this is {priority}", priority=priority)

        taken = [await dev.take() for _ in range(4)]

        assert [message.priority for message in taken if message] == ["emergency", "high", "medium", "low"]


async def test_what_a_handler_returns_is_the_reply() -> None:
    async with hivebus.Bus("memory://", agent="pm-agent") as pm, hivebus.Bus("memory://", agent="guru-agent") as guru:

        @guru.on("question")
        async def answer(message: Message) -> str:
            return f"{message.content} 42."

        question = await pm.send("guru-agent", "How many?", message_type="question")
        working = asyncio.create_task(guru.run())
        reply = await pm.take(wait=10)
        guru.stop()
        await working

        assert reply is not None
        assert (reply.content, reply.message_type) == ("How many? 42.", "answer")
        assert reply.correlation_id == question.message_id


async def test_a_plugin_watches_what_becomes_of_messages() -> None:
    class Scoreboard:
        def __init__(self) -> None:
            self.verdicts: list[str] = []

        @hookimpl
        def messages_settled(self, facts: Sequence[SettledFact]) -> None:
            self.verdicts += [fact.verb for fact in facts]

    board = Scoreboard()
    async with hivebus.Bus("memory://", agent="dev-agent", plugins=[board]) as dev:
        for _ in range(2):
            await dev.send("dev-agent", "a task")
        deliveries = dev.consume()
        await (await anext(deliveries)).ack()
        await (await anext(deliveries)).reject("not my job")
        await deliveries.aclose()

    assert board.verdicts == ["ack", "dead"]


async def test_a_middleware_refuses_what_must_not_be_sent() -> None:
    class NightWatch:
        @hookimpl
        def register_middleware(self, register: RegisterMiddleware) -> None:
            register(send=self.send)

        async def send(self, message: Message, forward: Send) -> Receipt:
            if message.to_agent == "ops-agent" and message.priority != "emergency":
                raise NotPermitted("ops-agent sleeps", hint="send it as an emergency, or tomorrow")
            return await forward(message)

    async with hivebus.Bus("memory://", agent="dev-agent", plugins=[NightWatch()]) as dev:
        with pytest.raises(NotPermitted, match="ops-agent sleeps"):
            await dev.send("ops-agent", "Coffee?")
        assert (await dev.queue("ops-agent")).waiting == 0

        assert await dev.send("ops-agent", "The server burns", priority="emergency")
        assert (await dev.queue("ops-agent")).waiting == 1
