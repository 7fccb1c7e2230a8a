"""The short-shape SDK, on the same core: ``send_message`` and ``stream_consume``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hivebus.bus import Bus
from hivebus.errors import Unsupported
from hivebus.message import Message
from hivebus.receipt import Receipt


async def send_message(short: Mapping[str, Any], *, url: str | None = None) -> Receipt:
    """Send ``{"id", "from", "to", "type", "payload", "timestamp"}``; return once the server has it."""
    message = Message.from_short(short)
    async with Bus(url, agent=message.from_agent) as bus:
        return await bus.send_message(message)


async def stream_consume(agent: str, *, group: str | None = None, url: str | None = None) -> AsyncGenerator[Message]:
    """Yield the messages of an agent; each is acked when the loop body ends without raising.

    When it raises, the message is handed back and comes again by its own back-off.
    """
    if group is not None:
        raise Unsupported("consumer groups besides an agent's own are not offered by this release")
    async with Bus(url, agent=agent) as bus:
        async for handed in bus.consume():
            try:
                yield handed.message
            except BaseException:
                await handed.retry()
                raise
            await handed.ack()
