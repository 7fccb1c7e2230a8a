"""The fire-and-forget road of one bus: opened when somebody first speaks on it or listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from hivebus.codec import Codec
from hivebus.listening import heard, tuned_in
from hivebus.middleware import SendMiddleware
from hivebus.observing import Observing
from hivebus.patterns import Patterns
from hivebus.sending import Sending

if TYPE_CHECKING:
    from hivebus.envelope import Envelope
    from hivebus.message import Message
    from hivebus.opening import Opened
    from hivebus.receipt import Receipt
    from hivebus.transport import Capabilities, Listener


class Notices:
    """What a bus says and hears besides the messages in inboxes.

    Args:
        opened: the connected transport, whose server has the road.
        agent: who speaks.
        codec: turns messages into bytes and back.
        layers: the middleware that a notification passes on its way out.
        observing: is told about every batch.
    """

    def __init__(
        self, opened: Opened, *, agent: str, codec: Codec, layers: Sequence[SendMiddleware], observing: Observing
    ) -> None:
        self._opened = opened
        self._agent = agent
        self._codec = codec
        self._layers = layers
        self._observing = observing
        self._opening = asyncio.Lock()
        self._speaking = AsyncExitStack()
        self._way_out: Sending | None = None
        self._ears: set[Listener] = set()

    async def send(self, envelope: Envelope) -> Receipt:
        """Say something to whoever listens now."""
        if self._way_out is None:
            async with self._opening:
                self._way_out = self._way_out or await self._speak()
        return await self._way_out.send(envelope)

    async def listen(self, patterns: str | Sequence[str]) -> AsyncGenerator[Message]:
        """Yield what is said, for as long as the caller wants."""
        wanted = Patterns(patterns)
        async with self._tuned_in() as (listener, _):
            self._ears.add(listener)
            try:
                async with aclosing(heard(listener, wanted, read=self._codec.decode)) as messages:
                    async for message in messages:
                        yield message
            finally:
                self._ears.discard(listener)

    async def close(self) -> None:
        """Return when everything that was said is answered, and disconnect."""
        if self._way_out is not None:
            await self._way_out.drain()
        await self._speaking.aclose()
        # A bus that is closed under its listeners closes their connections as well.
        for listener in list(self._ears):
            await listener.close()

    def _tuned_in(self) -> AbstractAsyncContextManager[tuple[Listener, Capabilities]]:
        return tuned_in(self._opened.transport, self._opened.capabilities, where=self._opened.url)

    async def _speak(self) -> Sending:
        listener, capabilities = await self._speaking.enter_async_context(self._tuned_in())
        return Sending(
            # A quota is about what is kept.
            replace(self._opened, transport=listener, capabilities=capabilities, quota=None),
            agent=self._agent,
            codec=self._codec,
            layers=self._layers,
            observing=self._observing,
            wait_when_full=False,
        )
