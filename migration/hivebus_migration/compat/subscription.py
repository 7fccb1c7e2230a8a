"""One agent's mail, handed to a handler of before, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from hivebus import Bus, Message
from hivebus_migration.compat.message_protocol import AgentMessage
from hivebus_migration.compat.translation import from_message

Handler = Callable[[AgentMessage], Awaitable[object] | object]
_log = logging.getLogger(__name__)


class Subscription:
    """Handles one message after the other, as before: on the highest level first, and the next when this one is done.

    A handler that returns acknowledges its message, one that raises gets it again. What it returns is not looked at.

    Args:
        bus: an open bus of that agent.
        handler: async or not.
    """

    def __init__(self, bus: Bus, handler: Handler) -> None:
        self._bus = bus
        self._handler = handler
        self._in_hand: dict[str, asyncio.Task[object] | None] = {}
        self._acknowledged: set[str] = set()
        bus.on()(self._handle)
        # The program that holds this one is told to end by signals, and ends this one.
        self._running = asyncio.create_task(bus.run(concurrency=1, signals=False))
        self._running.add_done_callback(self._say_how_it_ended)

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

    async def close(self) -> None:
        """Let the handler that runs finish, hand back what none has seen, and take no more."""
        self._bus.stop()
        # A handler may say that it has had enough: it cannot be waited for by itself.
        if not self.is_calling:
            await asyncio.wait([self._running])

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
