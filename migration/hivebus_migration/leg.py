"""One of the two roads: its transport, whether it is there, and how it is written to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Hashable, Sequence
from contextlib import suppress
from hashlib import sha256

from hivebus.errors import ConfigError, HivebusError, InvalidMessage, Unavailable
from hivebus.transport import Capabilities, Outgoing, Published, Publisher, Rendering

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
CLOSE_WITHIN = 2.0
"""Seconds that a transport may take to close."""
_log = logging.getLogger(__name__)


class Leg:
    """A transport that may be away, also at the start: connecting goes on in the background until it is there.

    Attributes:
        name: of the road, such as ``redis``.
        publisher: its transport.
        driver: how it is written to, for comparisons.
        capabilities: what the server can do; None until it was reached.
        error: why it was not reached yet.
    """

    def __init__(self, name: str, publisher: Publisher) -> None:
        self.name = name
        self.publisher = publisher
        self.driver = publisher.driver if isinstance(publisher, Rendering) else "direct"
        self.capabilities: Capabilities | None = None
        self._most = 0
        self.error: HivebusError = Unavailable(f"the {name} leg is not connected", hint="await connect()")
        self._connecting: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    async def connect(self, *, within: float) -> bool:
        """Tell whether it is there; if not, go on trying in the background. Raises `ConfigError`."""
        self.error = Unavailable(f"the {self.name} leg did not answer within {within:g} s")
        self._connecting = asyncio.create_task(self._connect())
        tried = asyncio.create_task(self._tried.wait())
        await asyncio.wait({self._connecting, tried}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        tried.cancel()
        if self._connecting.done():
            # What is wrong with the configuration is no absence, and waiting would not mend it.
            self._connecting.result()
        return self.capabilities is not None

    def check(self) -> None:
        """Raise `Unavailable` while the leg is away."""
        if self.capabilities is None:
            raise self._away()

    def fingerprint(self, data: bytes) -> str:
        """Return the fingerprint that a reader at the far end will see when *data* arrives whole."""
        if isinstance(self.publisher, Rendering):
            try:
                return self.publisher.fingerprint(data)
            except InvalidMessage:
                # It cannot be rendered, so the leg will refuse it; the comparison still needs a word for it.
                return fingerprint(data)
        return fingerprint(data)

    def lane(self, item: Outgoing) -> Hashable:
        """Return what *item* queues behind on this leg."""
        return self.name, self.publisher.lane(item)

    def publish(self, batch: Sequence[Outgoing]) -> Awaitable[Sequence[Published | HivebusError]]:
        """Hand a batch over; return, once awaited, one result per item in order, or raise what became of them all."""
        if len(batch) > self._most:
            return self._publish_in_parts(batch)
        return self.publisher.publish(batch)

    async def close(self) -> None:
        """Stop trying, and release the transport; one that does not answer is left alone."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting], timeout=CLOSE_WITHIN)
        with suppress(TimeoutError, HivebusError):
            async with asyncio.timeout(CLOSE_WITHIN):
                await self.publisher.close()

    def _away(self) -> Unavailable:
        # A new one each time: an error that is raised again and again keeps every traceback.
        return Unavailable(
            f"the {self.name} leg is away: {self.error.what}", cause=self.error.cause, hint=self.error.hint
        )

    async def _publish_in_parts(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        if self.capabilities is None:
            raise self._away()
        results: list[Published | HivebusError] = []
        for at in range(0, len(batch), self._most):
            part = batch[at : at + self._most]
            try:
                results += await self.publisher.publish(part)
            except HivebusError as error:
                results += [error] * len(part)
        return results

    async def _connect(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                self.capabilities = await self.publisher.connect()
            except ConfigError:
                raise
            except HivebusError as error:
                if type(error) is not type(self.error):
                    _log.warning("a leg is away, trying again", extra={"leg": self.name, "error": str(error)})
                self.error = error
                self._tried.set()
            else:
                self._most = int(self.capabilities.max_batch.value)
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)


def fingerprint(data: bytes) -> str:
    """Return the fingerprint of an encoded message that is read as it was sent."""
    return sha256(data).hexdigest()[:16]
