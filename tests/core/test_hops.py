"""How far a message is from the one that nobody caused, and where conversations end that nobody ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from hivebus import envelope
from hivebus.bus import Bus
from hivebus.errors import NoAnswer
from hivebus.hops import HOP_LIMIT
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message, message_of
from hivebus.replies import compose_reply

from .flaky import running, until


def message(**changes: Any) -> Message:
    return Message(**{"from_agent": "pm", "to_agent": "dev", "body": {"content": "x"}, **changes})


def letters(bus: Bus) -> dict[str, Counter[str | None]]:
    assert isinstance(bus._transport, MemoryTransport)
    inboxes = bus._transport._server.inboxes.items()
    return {name: Counter(each.reason for each in inbox.dead(99, 0)) for name, inbox in inboxes}


def test_a_message_that_nobody_caused_does_not_speak_of_hops() -> None:
    composed = envelope.compose(from_agent="pm", to_agent="dev", content="x")
    assert b"hops" not in envelope.encode(composed)
    assert b"hops" not in message().to_json()
    assert message().hops == 0


def test_a_reply_is_one_hop_further_and_says_so_behind_all_else() -> None:
    first = message_of(compose_reply(message(), "a", from_agent="dev"))
    second = message_of(compose_reply(first, "b", from_agent="pm"))
    assert (first.hops, second.hops) == (1, 2)
    assert second.to_json().endswith(b',"hops":2}')
    assert Message.from_json(second.to_json()) == second


@pytest.mark.parametrize("strange", ["3", -1, True, None, 2.5, [1]], ids=str)
def test_what_can_be_no_number_of_hops_counts_as_none(strange: Any) -> None:
    assert message(hops=strange).hops == 0


async def test_two_agents_that_answer_each_other_for_ever_end_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_MAX_HOPS", "10")
    handled: list[int] = []
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:
        for bus in (pm, dev):

            @bus.on()
            async def answer(message: Message, bus: Bus = bus) -> None:
                handled.append(message.hops)
                await bus.reply(message, "and you?")

        async with running(pm), running(dev):
            await pm.send("dev", "hello")
            await until(lambda: letters(pm).get("pm"))
            await asyncio.sleep(0.05)
            # Messages 0 to 10 were handled, and the eleventh answer was not.
            assert handled == list(range(11))
            assert letters(pm) == {"pm": Counter({HOP_LIMIT: 1}), "dev": Counter()}


async def test_saboteur_without_the_count_they_would_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_MAX_HOPS", "10")
    monkeypatch.setattr("hivebus.replies.hops_of", lambda message: -1)
    handled = 0
    async with Bus("memory://", agent="pm") as pm:

        @pm.on()
        async def answer(message: Message) -> None:
            nonlocal handled
            handled += 1
            if handled < 50:
                await pm.reply(message, "and you?")

        async with running(pm):
            await pm.send("pm", "hello")
            await until(lambda: handled == 50)


async def test_what_a_handler_sends_in_the_conversation_is_one_hop_further() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:

        @dev.on()
        async def work(message: Message) -> str:
            await dev.send("ops", "in the conversation", correlation_id=message.message_id)
            await dev.send("ops", "on its own")
            with pytest.raises(NoAnswer):
                await dev.ask("ops", "asked", timeout=0)
            return "returned"

        async with running(dev):
            await pm.send_message(message(hops=4))
            returned = await pm.take(wait=5)
        assert returned is not None and returned.hops == 5
        async with Bus("memory://", agent="ops") as ops:
            taken = [await ops.take() for _ in range(3)]
        assert [(each.content, each.hops) for each in taken if each] == [
            ("in the conversation", 5),
            ("on its own", 0),
            ("asked", 5),
        ]
        # Outside of a handler nothing is known of a cause.
        receipt = await pm.send("dev", "x", correlation_id="m-1")
        assert receipt.message.hops == 0


async def test_one_by_one_what_came_too_far_is_not_handed_over_either() -> None:
    async with Bus("memory://", agent="dev") as dev:
        await dev.send_message(message(hops=33, message_id="far"))
        await dev.send_message(message(hops=32, message_id="near"))
        taken = await dev.take(wait=5)
        assert taken is not None and taken.message_id == "near"
        await until(lambda: letters(dev)["dev"])
        assert letters(dev) == {"dev": Counter({HOP_LIMIT: 1})}


async def test_an_unacknowledged_message_knows_its_hops_too() -> None:
    async with Bus("memory://", agent="pm") as pm, Bus("memory://", agent="dev") as dev:

        @dev.on()
        async def work(message: Message) -> str:
            return "done"

        async with running(dev):
            await pm.send_message(message(hops=2, delivery_options={"require_ack": False}))
            answer = await pm.take(wait=5)
    assert answer is not None and answer.hops == 3
