"""Codecs: bytes that keep the limits, and others around them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.codec import Codec, JsonCodec
from hivebus.errors import InvalidMessage
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import Endpoint, Outgoing

from .flaky import running, until_state

KEY = b"secret"


def message(**changes: Any) -> Message:
    return Message(**{"from_agent": "pm", "to_agent": "dev", "body": {"content": "hello"}, **changes})


class Signed(Codec):
    """Puts a signature before the bytes of another codec."""

    def __init__(self, inner: Codec) -> None:
        self._inner = inner

    def encode(self, message: Message) -> bytes:
        data = self._inner.encode(message)
        return self._signature(data) + data

    def decode(self, data: bytes) -> Message:
        if not hmac.compare_digest(data[:32], self._signature(data[32:])):
            raise InvalidMessage(field="signature", value=data[:32], rule="must be ours")
        return self._inner.decode(data[32:])

    def _signature(self, data: bytes) -> bytes:
        return hmac.digest(KEY, data, hashlib.sha256)


class Signing:
    @hookimpl
    def register_codecs(self, register: Callable[[Callable[[Codec], Codec]], None]) -> None:
        register(Signed)


def test_what_is_encoded_is_decoded() -> None:
    sent = message(ttl=60, body={"content": {"a": [1, 2.5, None]}, "context": {"b": True}})
    assert JsonCodec().decode(JsonCodec().encode(sent)) == sent


def test_a_message_over_the_limit_is_refused_in_both_directions() -> None:
    data = JsonCodec().encode(message())
    small = JsonCodec(limit=len(data) - 1)
    with pytest.raises(InvalidMessage) as sending:
        small.encode(message())
    with pytest.raises(InvalidMessage) as receiving:
        small.decode(data)
    assert sending.value.why == receiving.value.why == "too_large"
    assert JsonCodec(limit=len(data)).decode(data)


def test_a_body_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"body\.content\.a"):
        JsonCodec().encode(message(body={"content": {"a": float("nan")}}))


async def test_a_plugin_wraps_the_codec_of_a_bus() -> None:
    got: list[Any] = []
    async with Bus("memory://", agent="dev", plugins=[Signing()]) as bus, Bus("memory://", agent="pm") as unsigned:

        @bus.on()
        async def handle(message: Message) -> str:
            got.append(message.content)
            return "an answer is signed too"

        signed = await bus.send("dev", "signed", message_type="question", reply_to="pm")
        receipt = await unsigned.send("dev", "not signed")
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
            await until_state(bus, signed.message_id, "acknowledged")
        assert got == ["signed"]
        assert (await bus.status(receipt.message_id)).reason == "invalid:signature"
        assert (await bus.queue("pm")).waiting == 1
        assert await unsigned.take() is None
        assert (await bus.queue("pm")).dead == 1


async def test_a_signature_is_looked_at() -> None:
    """Saboteur: bytes that were changed on their way."""
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    data = bytearray(Signed(JsonCodec()).encode(message()))
    data[-20] ^= 1
    await transport.publish([Outgoing("dev", "changed", "agent.dev.x", 2, 0, None, bytes(data))])
    async with Bus("memory://", agent="dev", plugins=[Signing()]) as bus:
        assert await bus.take() is None
        assert (await bus.status("changed")).reason == "invalid:signature"
