"""The short-shape SDK, on the same core."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

import hivebus
from hivebus.bus import Bus
from hivebus.errors import InvalidMessage, Unsupported

SHORT: dict[str, Any] = {
    "id": "task-1",
    "from": "pm",
    "to": "dev",
    "type": "task_request",
    "payload": {"task": "build"},
    "timestamp": 1699999999,
}


async def test_a_short_message_is_sent_and_arrives_as_it_was() -> None:
    receipt = await hivebus.send_message(SHORT, url="memory://")
    assert (receipt.message_id, receipt.state) == ("task-1", "stored")
    async with asyncio.timeout(10), aclosing(hivebus.stream_consume("dev", url="memory://")) as messages:
        message = await anext(messages)
        assert message.to_short() == SHORT


async def test_the_same_short_message_twice_is_stored_once() -> None:
    states = [(await hivebus.send_message(SHORT, url="memory://")).state for _ in range(2)]
    assert states == ["stored", "duplicate"]


async def test_a_broken_short_message_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="to_agent"):
        await hivebus.send_message({**SHORT, "to": "No Name"}, url="memory://")


async def test_a_message_is_acked_when_the_loop_body_ends() -> None:
    async with Bus("memory://", agent="pm") as bus:
        ids = [(await bus.send("dev", number)).message_id for number in range(3)]
        seen = []
        async with asyncio.timeout(10), aclosing(hivebus.stream_consume("dev", url="memory://")) as messages:
            async for message in messages:
                seen.append(message.content)
                if len(seen) == 3:
                    break
        states = [(await bus.status(each)).state for each in ids]
    assert seen == [0, 1, 2]
    # The body of the last one was left by a break: it did not end.
    assert states == ["acknowledged", "acknowledged", "retrying"]


async def test_a_message_comes_again_when_the_loop_body_raises() -> None:
    async with Bus("memory://", agent="pm") as bus:
        receipt = await bus.send("dev", "x", retry_delay=0.01)

        async def fail() -> None:
            async with asyncio.timeout(10), aclosing(hivebus.stream_consume("dev", url="memory://")) as messages:
                async for _ in messages:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with asyncio.timeout(10), aclosing(hivebus.stream_consume("dev", url="memory://")) as messages:
            assert (await anext(messages)).message_id == receipt.message_id
        assert (await bus.status(receipt.message_id)).attempts == 2


async def test_another_group_is_unsupported_and_no_no_op() -> None:
    with pytest.raises(Unsupported, match="consumer groups"):
        await anext(hivebus.stream_consume("dev", group="audit", url="memory://"))
