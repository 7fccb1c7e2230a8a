"""Conversations: found from any of their messages, as far as they are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hivebus import threads
from hivebus.bus import Bus
from hivebus.codec import JsonCodec
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.threads import Threads, Turn
from hivebus.transport import DeadLetter, Endpoint, Inbox, Outgoing, Publisher

from .test_bus import Wall


async def server() -> MemoryTransport:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    return transport


async def say(
    transport: MemoryTransport, message_id: str, from_agent: str, to: str, *, after: str | None = None
) -> None:
    message = Message(
        message_id=message_id, from_agent=from_agent, to_agent=to, correlation_id=after, body={"content": message_id}
    )
    await transport.publish([Outgoing(to, message_id, f"agent.{to}.x", 2, 0, None, message.to_json())])


async def thread(transport: Publisher, message_id: str) -> list[Turn]:
    assert isinstance(transport, MemoryTransport)
    places = await transport.locate([message_id], await transport.inboxes())
    return await Threads(transport, read=JsonCodec().decode).of(places)


def shape(turns: list[Turn]) -> list[tuple[int, str]]:
    return [(turn.depth, turn.message.message_id) for turn in turns]


async def conversation() -> MemoryTransport:
    transport = await server()
    await say(transport, "other", "pm", "dev")
    await say(transport, "a", "pm", "dev")
    await say(transport, "b", "dev", "pm", after="a")
    await say(transport, "c", "dev", "ops", after="a")
    await say(transport, "d", "ops", "qa", after="c")
    await say(transport, "e", "pm", "dev", after="b")
    await say(transport, "stray", "pm", "dev", after="nobody-knows")
    return transport


@pytest.mark.parametrize("which", ["a", "b", "c", "d", "e"])
async def test_the_whole_tree_is_found_from_any_of_its_messages(which: str) -> None:
    assert shape(await thread(await conversation(), which)) == [(0, "a"), (1, "b"), (2, "e"), (1, "c"), (2, "d")]


async def test_what_answers_nothing_and_is_not_answered_stands_alone() -> None:
    transport = await conversation()
    assert shape(await thread(transport, "other")) == [(0, "other")]
    assert shape(await thread(transport, "stray")) == [(0, "stray")]


async def test_the_dead_of_a_conversation_are_shown_too() -> None:
    transport = await conversation()
    reader = await transport.open(Inbox("qa"), consumer="one", lease=60)
    (delivery,) = await reader.receive(limit=1, start=1, wait=0)
    await reader.settle([DeadLetter(delivery.token, "hop_limit")])
    turns = await thread(transport, "a")
    (dead,) = [turn for turn in turns if turn.message.message_id == "d"]
    assert [(place.inbox, place.state, place.reason) for place in dead.places] == [("qa", "dead_lettered", "hop_limit")]


async def test_one_message_to_several_is_one_turn_with_several_places() -> None:
    transport = await server()
    message = Message(message_id="m", from_agent="pm", to_agent=("dev", "ops"), body={"content": "x"})
    for to in ("dev", "ops"):
        await transport.publish([Outgoing(to, "m", "agent.dev,ops.x", 2, 0, None, message.to_json())])
    await say(transport, "n", "ops", "pm", after="m")
    turns = await thread(transport, "m")
    assert shape(turns) == [(0, "m"), (1, "n")]
    assert {place.inbox for place in turns[0].places} == {"dev", "ops"}


async def test_messages_that_answer_each_other_in_a_circle_are_shown_once() -> None:
    transport = await server()
    await say(transport, "a", "pm", "dev", after="b")
    await say(transport, "b", "dev", "pm", after="a")
    assert {message_id for _, message_id in shape(await thread(transport, "a"))} == {"a", "b"}


async def test_what_cannot_be_read_is_left_out() -> None:
    transport = await server()
    await say(transport, "a", "pm", "dev")
    await transport.publish([Outgoing("dev", "broken", "agent.dev.x", 2, 0, None, b"{")])
    assert shape(await thread(transport, "a")) == [(0, "a")]
    assert await thread(transport, "broken") == []


async def test_no_more_is_looked_at_than_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOKED_AT", 3)
    transport = await server()
    await say(transport, "a", "pm", "dev")
    for number in range(4):
        await say(transport, f"b-{number}", "dev", "pm", after="a")
    assert len(await thread(transport, "a")) == 4
    monkeypatch.setattr(threads, "LOOKED_AT_IN_ALL", 2)
    found = Threads(transport, read=JsonCodec().decode)
    assert len(await found.of(await transport.locate(["a"], ["dev"]))) == 2
    assert not found.is_complete


async def test_an_answer_that_was_waited_for_is_found_while_its_inbox_is_open_and_afterwards() -> None:
    async with Bus("memory://", agent="dev") as dev:
        transport: Any = dev._transport
        async with Bus("memory://", agent="pm") as pm:

            async def answer() -> None:
                question = await dev.take(wait=5)
                assert question is not None
                await dev.reply(question, "yes")

            answering = asyncio.create_task(answer())
            await pm.ask("dev", "?", timeout=5, message_id="q")
            await answering
            during = await thread(transport, "q")
        after = await thread(transport, "q")
    assert [turn.message.content for turn in during] == [turn.message.content for turn in after] == ["?", "yes"]


async def test_a_transport_that_keeps_nothing_shows_the_message_alone() -> None:
    transport = await conversation()
    places = await transport.locate(["b"], ["pm"])
    assert shape(await Threads(Wall(), read=JsonCodec().decode).of(places)) == [(0, "b")]
