"""The smallest transports that there can be: one that only writes, and one that only speaks and listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from hivebus.errors import HivebusError
from hivebus.lacking import unkept
from hivebus.patterns import Patterns, key_of_copy
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


class Air:
    """What radios that belong together share."""

    def __init__(self) -> None:
        self.ears: list[tuple[Patterns, asyncio.Queue[bytes]]] = []
        self.said: list[Outgoing] = []


class Radio(Listener):
    """Broadcasts to whoever has tuned in: a call of `listen` keeps its patterns tuned in for the next one."""

    def __init__(self, air: Air | None = None) -> None:
        self.air = air or Air()
        self._heard: dict[tuple[str, ...], asyncio.Queue[bytes]] = {}

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        self._heard.clear()

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        return [unkept(item, where="radio://") or self._say(item) for item in batch]

    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        wanted = Patterns(patterns)
        if wanted.texts not in self._heard:
            self._heard[wanted.texts] = asyncio.Queue()
            self.air.ears.append((wanted, self._heard[wanted.texts]))
        heard = self._heard[wanted.texts]
        if heard.empty():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    return [await heard.get()]
        return [heard.get_nowait() for _ in range(min(limit, heard.qsize()))]

    def key(self, item: Outgoing) -> str:
        """Return under which key it is said."""
        return key_of_copy(item.routing_key, item.inbox)

    def matches(self, routing_key: str, patterns: Patterns) -> int:
        """Tell how often somebody with these patterns hears it."""
        return int(patterns.first(routing_key) is not None)

    def _say(self, item: Outgoing) -> Published:
        for patterns, heard in self.air.ears:
            for _ in range(self.matches(self.key(item), patterns)):
                heard.put_nowait(item.data)
        return Published("stored")
