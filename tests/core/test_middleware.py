"""Middleware: around sending and handling, to change or refuse a message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import NotPermitted, Reject
from hivebus.hookspecs import RegisterMiddleware, hookimpl
from hivebus.message import Message
from hivebus.middleware import Handle, HandleMiddleware, Send, SendMiddleware, around_handle
from hivebus.receipt import Receipt

from .flaky import FlakyTransport, Serving, running, until_state


class Layers:
    """A plugin that registers these layers, in order."""

    def __init__(
        self, *, send: list[SendMiddleware] | None = None, handle: list[HandleMiddleware] | None = None
    ) -> None:
        self._send = send or []
        self._handle = handle or []

    @hookimpl
    def register_middleware(self, register: RegisterMiddleware) -> None:
        for send in self._send:
            register(send=send)
        for handle in self._handle:
            register(handle=handle)


def noting(name: str, notes: list[str]) -> HandleMiddleware:
    async def layer(message: Message, forward: Handle) -> Any:
        notes.append(f"{name} before")
        result = await forward(message)
        notes.append(f"{name} after")
        return result

    return layer


def noting_send(name: str, notes: list[str]) -> SendMiddleware:
    async def layer(message: Message, forward: Send) -> Receipt:
        notes.append(f"{name} before")
        receipt = await forward(message)
        notes.append(f"{name} after")
        return receipt

    return layer


async def test_the_first_layer_is_outermost() -> None:
    notes: list[str] = []

    async def innermost(message: Message) -> str:
        notes.append("handler")
        return "result"

    handle = around_handle([noting("first", notes), noting("second", notes)], innermost)
    message = Message(from_agent="pm", to_agent="dev", body={"content": "x"})
    assert await handle(message) == "result"
    assert notes == ["first before", "second before", "handler", "second after", "first after"]


async def test_sending_passes_every_layer_and_comes_back_the_same_way() -> None:
    notes: list[str] = []
    layers = Layers(send=[noting_send("first", notes), noting_send("second", notes)])
    async with Bus("memory://", agent="pm", plugins=[layers]) as bus:
        receipt = await bus.send("dev", "x")
    assert receipt.state == "stored"
    assert notes == ["first before", "second before", "second after", "first after"]


async def test_a_layer_changes_what_is_sent_by_every_road() -> None:
    async def stamp(message: Message, forward: Send) -> Receipt:
        return await forward(message.replace(body=message.body.model_copy(update={"metadata": {"stamped": True}})))

    transport = FlakyTransport()
    async with Bus("memory://", agent="pm", plugins=[Layers(send=[stamp]), Serving(transport)]) as bus:
        receipt = await bus.send("dev", "send")
        await bus.send_message(receipt.message.replace(message_id="again"))
        await bus.reply(receipt.message, "reply")
    stored = [json.loads(item.data)["body"]["metadata"] for batch in transport.batches for item in batch]
    assert stored == [{"stamped": True}] * 3
    assert receipt.message.body.metadata == {"stamped": True}


async def test_a_layer_refuses_before_anything_is_written() -> None:
    async def nobody_wakes_ops(message: Message, forward: Send) -> Receipt:
        if message.to_agent == "ops":
            raise NotPermitted("ops sleeps")
        return await forward(message)

    transport = FlakyTransport()
    async with Bus("memory://", agent="pm", plugins=[Layers(send=[nobody_wakes_ops]), Serving(transport)]) as bus:
        with pytest.raises(NotPermitted, match="ops sleeps"):
            await bus.send("ops", "x")
        assert transport.batches == []
        assert await bus.send("dev", "x")


async def test_a_layer_around_handling_sees_the_message_and_the_result() -> None:
    seen: list[Any] = []

    async def watch(message: Message, forward: Handle) -> Any:
        result = await forward(message.replace(body={"content": message.content.upper()}))
        seen.append((message.content, result))
        return f"{result}!"

    async with Bus("memory://", agent="dev", plugins=[Layers(handle=[watch])]) as bus:

        @bus.on("question")
        async def handle(message: Message) -> str:
            return f"handled {message.content}"

        await bus.send("dev", "hello", message_type="question", reply_to="pm")
        async with running(bus), Bus("memory://", agent="pm") as pm:
            answer = await pm.take(wait=5)
    assert seen == [("hello", "handled HELLO")]
    assert answer is not None and answer.content == "handled HELLO!"


async def test_a_layer_may_reject_or_fail_a_message_in_place_of_its_handler() -> None:
    handled: list[Any] = []

    async def guard(message: Message, forward: Handle) -> Any:
        if message.content == "reject":
            raise Reject("not for us")
        if message.content == "fail":
            raise OSError("the guard fell asleep")
        return await forward(message)

    async with Bus("memory://", agent="dev", plugins=[Layers(handle=[guard])]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            handled.append(message.content)

        ids = [(await bus.send("dev", each, max_retries=0)).message_id for each in ("reject", "fail", "pass")]
        async with running(bus):
            await until_state(bus, ids[2], "acknowledged")
            for each in ids[:2]:
                await until_state(bus, each, "dead_lettered")
        reasons = [(await bus.status(each)).reason for each in ids]
    assert handled == ["pass"]
    assert reasons == ["not for us", "max_retries: OSError: the guard fell asleep", None]


async def test_layers_of_two_plugins_stand_around_each_other_and_the_last_registered_is_outermost() -> None:
    notes: list[str] = []
    plugins = [Layers(send=[noting_send("first", notes)]), Layers(send=[noting_send("last", notes)])]
    async with Bus("memory://", agent="pm", plugins=plugins) as bus:
        await bus.send("dev", "x")
    assert notes == ["last before", "first before", "first after", "last after"]


async def test_without_a_handler_the_layers_are_asked_all_the_same() -> None:
    notes: list[str] = []
    async with Bus("memory://", agent="dev", plugins=[Layers(handle=[noting("layer", notes)])]) as bus:
        receipt = await bus.send("dev", "x")
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        assert (await bus.status(receipt.message_id)).reason == "no_handler"
    assert notes == ["layer before"]
