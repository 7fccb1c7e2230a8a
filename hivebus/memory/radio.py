"""The fire-and-forget road of `memory://`: whoever listens in this process and event loop hears it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from hivebus import limits
from hivebus.errors import HivebusError, InvalidMessage, Unavailable
from hivebus.lacking import unkept
from hivebus.memory.server import MemoryServer, server_for
from hivebus.patterns import Patterns, key_of_copy
from hivebus.transport import Capabilities, Endpoint, Feature, Listener, Outgoing, Published, native

MOST_WAITING = 10_000
"""How many messages wait for who does not listen; then the oldest are forgotten."""
_log = logging.getLogger(__name__)


class MemoryEar:
    """What one listener has heard and not taken yet."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._waiting: deque[bytes] = deque()
        self._came = asyncio.Event()
        self._is_slow = False

    def hear(self, routing_key: str, data: bytes) -> bool:
        """Keep what matches, and tell whether it did."""
        if self._patterns.first(routing_key) is None:
            return False
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            if not self._is_slow:
                _log.warning("a listener is too slow, and misses messages", extra={"patterns": self._patterns.texts})
            self._is_slow = True
        self._waiting.append(data)
        self._came.set()
        return True

    async def take(self, *, limit: int, wait: float) -> list[bytes]:
        """Return what was heard, waiting for the first."""
        # Whoever asks again and again lets others speak.
        await asyncio.sleep(0)
        if not self._waiting and wait > 0:
            self._came.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), wait)
        self._is_slow = False
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]


class MemoryRadio(Listener):
    """Another client of the server that the inboxes of this URL and namespace are on."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connected: MemoryServer | None = None
        self._ears: dict[tuple[str, ...], MemoryEar] = {}

    async def connect(self) -> Capabilities:
        self._connected = server_for(self._endpoint)
        return Capabilities(
            evidence=native("accepted"),
            durability=Feature("absent", "none"),
            order=native("per_inbox"),
            max_body=native(self._endpoint.limit),
        )

    async def close(self) -> None:
        for ear in self._ears.values():
            self._server.ears.discard(ear)
        self._ears.clear()
        self._connected = None

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        return [self._publish(item) for item in batch]

    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        wanted = tuple(patterns)
        if wanted not in self._ears:
            self._ears[wanted] = MemoryEar(Patterns(wanted))
            self._server.ears.add(self._ears[wanted])
        return await self._ears[wanted].take(limit=limit, wait=wait)

    @property
    def _server(self) -> MemoryServer:
        if self._connected is None:
            raise Unavailable("the listener of memory:// is closed", hint="await connect()")
        return self._connected

    def _publish(self, item: Outgoing) -> Published | HivebusError:
        problem = unkept(item, where="memory:// without inboxes")
        if problem is not None:
            return problem
        try:
            limits.check_encoded(item.data, limit=self._endpoint.limit)
        except InvalidMessage as error:
            return error
        key = key_of_copy(item.routing_key, item.inbox)
        return Published("stored", heard=sum(ear.hear(key, item.data) for ear in list(self._server.ears)))
