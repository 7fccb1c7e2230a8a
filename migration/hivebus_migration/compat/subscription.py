"""One agent's mail, handed to a handler of before, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from inspect import isawaitable
from typing import Self

from hivebus import Bus, Message
from hivebus_migration.compat.message_protocol import AgentMessage
from hivebus_migration.compat.translation import from_message

Handler = Callable[[AgentMessage], Awaitable[object] | object]
_log = logging.getLogger(__name__)


class Subscription:
    """Handles one message after the other, as before: on the highest level first, and the next when this one is done.

    A handler that returns acknowledges its message, one that raises gets it again. What it returns is not looked at.

    It is registered, so that what is for everybody reaches it. Made by `begin`, which connects.
    """

    def __init__(self, bus: Bus, handler: Handler) -> None:
        self._bus = bus
        self._handler = handler
        self._in_hand: dict[str, asyncio.Task[object] | None] = {}
        self._acknowledged: set[str] = set()
        bus.on()(self._handle)
        self.running = asyncio.create_task(self._run())
        self.running.add_done_callback(self._say_how_it_ended)

    @classmethod
    async def begin(cls, bus: Bus, handler: Handler) -> Self:
        """Connect, and hand mail to *handler*, async or not, from now on.

        Args:
            bus: of that agent, not open yet; it is closed with the subscription.
        """
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(bus)
            # To no topic: that registers it.
            await bus.subscribe()
            undo.pop_all()
        return cls(bus, handler)

    def acknowledge(self, message_id: str) -> bool:
        """Have what is being handled acknowledged, however its handler ends; False for anything else."""
        if message_id not in self._in_hand:
            return False
        self._acknowledged.add(message_id)
        return True

    @property
    def is_calling(self) -> bool:
        """Whether it is its own handler that asks."""
        return asyncio.current_task() in self._in_hand.values()

    def stop(self) -> None:
        """Let the handler that runs finish, hand back what none has seen, and take no more."""
        self._bus.stop()

    async def _run(self) -> None:
        try:
            # The program that holds this one is told by signals to end, and ends this one.
            await self._bus.run(concurrency=1, signals=False)
        finally:
            await self._bus.__aexit__(None, None, None)

    async def _handle(self, message: Message) -> None:
        self._in_hand[message.message_id] = asyncio.current_task()
        try:
            outcome = self._handler(from_message(message, agent=self._bus.agent))
            if isawaitable(outcome):
                await outcome
        except Exception:
            if message.message_id not in self._acknowledged:
                raise
            _log.exception("a handler failed with a message that it had acknowledged")
        finally:
            del self._in_hand[message.message_id]
            self._acknowledged.discard(message.message_id)

    def _say_how_it_ended(self, running: asyncio.Task[None]) -> None:
        if not running.cancelled() and (error := running.exception()):
            _log.error("the mail of %s is not handled any more: %s", self._bus.agent, error)


async def end(subscriptions: Collection[Subscription]) -> None:
    """Stop all of them, and return when they have ended, but for one whose own handler asks: it waits for us."""
    for each in subscriptions:
        each.stop()
    if others := [each.running for each in subscriptions if not each.is_calling]:
        await asyncio.wait(others)
