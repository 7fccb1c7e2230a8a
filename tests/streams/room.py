"""One namespace on one server: transports, readers and keys for a test, closed when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import redis

from hivebus import envelope
from hivebus.bus import Bus
from hivebus.errors import HivebusError
from hivebus.transport import Delivery, Endpoint, Inbox, Outgoing, Published, Settled, Settlement
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams, open_streams

INBOX = "pm"
LONG = 60.0
"""A lease that does not end within a test."""
PATIENCE = 20.0


class Room:
    """What a test needs on one server.

    Attributes:
        url: the server.
        namespace: of this test alone.
        redis: a plain client that sees all keys.
    """

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.url = url
        self.redis: Any = client
        self.namespace = f"t{uuid4().hex[:10]}"
        self._transports: list[RedisStreams] = []
        self._readers: list[StreamReader] = []

    async def transport(self, url: str | None = None, *, connected: bool = True, **limits: int) -> RedisStreams:
        """Return a transport of this namespace, as another process would have one."""
        endpoint = Endpoint(url=url or self.url, namespace=self.namespace, **limits)
        transport = open_streams(endpoint)
        self._transports.append(transport)
        if connected:
            await transport.connect()
        return transport

    async def reader(
        self, transport: RedisStreams, *, consumer: str = "one", lease: float = LONG, inbox: str = INBOX
    ) -> StreamReader:
        """Open an inbox."""
        reader = await transport.open(Inbox(inbox), consumer=consumer, lease=lease)
        self._readers.append(reader)
        return reader

    def bus(self, agent: str, url: str | None = None, **options: Any) -> Bus:
        """Return a bus of this namespace."""
        return Bus(url or self.url, agent=agent, namespace=self.namespace, **options)

    def key(self, name: str, inbox: str = INBOX) -> str:
        """Return the name of one key of an inbox."""
        return f"{self.namespace}:{{{inbox}}}:{name}"

    def entries(self, inbox: str = INBOX) -> list[str]:
        """Return the message ids of all stored entries of an inbox, level by level."""
        streams = (self.redis.xrange(self.key(f"q:{level}", inbox)) for level in (5, 4, 3, 2, 1))
        return [fields.get("i", "") for stream in streams for _, fields in stream]

    def calls(self, command: str) -> int:
        """Return how often the server has carried out one command, such as ``fcall``."""
        counts: Any = self.redis.info("commandstats")
        return int(counts.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    async def close(self) -> None:
        """Close what was opened."""
        for reader in self._readers:
            with suppress(HivebusError):
                await reader.close()
        for transport in self._transports:
            await transport.close()


def outgoing(
    message_id: str | None = None,
    *,
    inbox: str = INBOX,
    priority: int = 2,
    delay: float = 0,
    ttl: float | None = None,
    data: bytes | None = None,
) -> Outgoing:
    """Return a message that a handler can read."""
    composed = envelope.compose(from_agent="tester", to_agent=inbox, content="hello", message_id=message_id)
    return Outgoing(
        inbox=inbox,
        message_id=composed.message_id,
        routing_key=f"agent.{inbox}.information_share",
        priority=priority,
        delay=delay,
        ttl=ttl,
        data=envelope.encode(composed, limit=10_000) if data is None else data,
    )


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Return which messages were handed over."""
    return [each.token.split("/", 3)[3] for each in deliveries]


async def publish(transport: RedisStreams, *items: Outgoing) -> list[str]:
    """Publish and return the state of each, or the name of its error."""
    results = await transport.publish(items)
    return [each.state if isinstance(each, Published) else type(each).__name__ for each in results]


async def take(reader: StreamReader, count: int = 1, *, wait: float = PATIENCE) -> list[Delivery]:
    """Return as many deliveries, all of them started."""
    taken: list[Delivery] = []
    deadline = time.monotonic() + wait
    while len(taken) < count and time.monotonic() < deadline:
        left = max(0.0, deadline - time.monotonic())
        taken += await reader.receive(limit=count - len(taken), start=count, wait=left)
    return taken


async def settle(reader: StreamReader, settlement: Settlement) -> Settled:
    """Settle one and return the server's answer."""
    (answer,) = await reader.settle([settlement])
    return answer


async def until(condition: Any, *, patience: float = PATIENCE) -> None:
    """Return when *condition* holds; fail when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def asleep(room: Room) -> None:
    """Return when somebody sleeps in a blocking read."""
    async with asyncio.timeout(PATIENCE):
        while int(room.redis.info("clients")["blocked_clients"]) == 0:
            await asyncio.sleep(0.01)
