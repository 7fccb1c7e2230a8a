"""The smallest transports that there can be: one that only writes, and one that only speaks and listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from hivebus.transport import Capabilities, Listener, Outgoing, Published, Publisher


class Wall(Publisher):
    """Writes messages where people may read them."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        pass

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        self.written += [item.data for item in batch]
        return [Published("stored") for _ in batch]


class Radio(Listener):
    """Broadcasts to whoever has tuned in: a call of `listen` keeps its patterns tuned in for the next one."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, ...], asyncio.Queue[bytes]] = {}

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        self._heard.clear()

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        for item in batch:
            for patterns, heard in self._heard.items():
                if any(self.matches(item.routing_key, pattern) for pattern in patterns):
                    heard.put_nowait(item.data)
        return [Published("stored") for _ in batch]

    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        heard = self._heard.setdefault(tuple(patterns), asyncio.Queue())
        if heard.empty():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    return [await heard.get()]
        return [heard.get_nowait() for _ in range(min(limit, heard.qsize()))]

    def matches(self, routing_key: str, pattern: str) -> bool:
        """Tell whether somebody with this pattern hears it."""
        return fnmatchcase(routing_key, pattern)
