"""The verbs of a bus that get messages in: subscribe to them, handle them, take them one by one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from hivebus import limits, registry
from hivebus.bus_open import OpenBus
from hivebus.handling import Handler
from hivebus.transport import Directory

if TYPE_CHECKING:
    from hivebus.delivery import Handed
    from hivebus.message import Message

GRACE = 25.0
"""Seconds that running handlers get when `Bus.run` shall end."""


class HandlingBus(OpenBus):
    """Reads the inboxes of its agent, and settles what comes."""

    async def subscribe(self, *patterns: str) -> None:
        """Get a copy of every message whose routing key ``agent.<to_agent>.<message_type>`` matches a pattern.

        ``*`` stands for one part, and ``#``, at the end, for all the rest: ``agent.*.system_alert``,
        ``agent.pm-agent.#``. The copy comes into the inbox of this agent, and says to whom it was sent. Whoever
        sends after this has returned sends to this agent too. A subscription outlives the process: it ends with
        `unsubscribe`, or when the agent is forgotten. No copy is made of what this agent sends itself, nor of what
        is addressed to it anyway.
        """
        directory = self._offers(Directory, "directory")
        checked = registry.check_patterns(patterns)
        await registry.register(directory, self.agent)
        await registry.subscribe(directory, self.agent, checked)

    async def unsubscribe(self, *patterns: str) -> None:
        """Take subscriptions back, by the patterns as they were given; what was sent before stays in the inbox."""
        directory = self._offers(Directory, "directory")
        await registry.unsubscribe(directory, self.agent, registry.check_patterns(patterns))

    def on(self, *types: str, once: bool = False) -> Callable[[Handler], Handler]:
        """Register an async handler for these types; without types, for all that no other handler takes.

        Returning acks the message, and a value is sent as the reply unless the message is itself a
        reply; raising retries it and in the end makes it a dead letter; raising `Reject` does so now.
        A message sent with ``require_ack=False`` is settled when it is handed over, and never tried again.

        Args:
            once: keep what the handler returns (any JSON value) with the ack, for a day. Handed out again,
                because somebody else had it meanwhile, the message is acked and replied to with what was
                kept, and the handler does not run. A process that dies inside the handler leaves nothing
                to keep: only then it runs again.
        """
        for each in types:
            limits.check_message_type(each)

        def register(handler: Handler) -> Handler:
            self._handlers.add(handler, types=types, once=once)
            return handler

        return register

    async def run(self, *, concurrency: int = 16, grace: float = GRACE, signals: bool = True) -> None:
        """Handle messages until SIGTERM, SIGINT, `stop` or cancellation.

        Then reading stops, running handlers finish (for *grace* seconds at most, half a second when
        cancelled), and what was not handled is handed back.

        Args:
            signals: False leaves both signals to the program, which then ends it itself.
        """
        await self._consuming.run(concurrency=concurrency, grace=grace, signals=signals)

    def stop(self, *, grace: float = GRACE) -> None:
        """Make `run` end as after SIGTERM."""
        self._consuming.stop(grace=grace)

    async def consume(self, types: Sequence[str] | None = None) -> AsyncGenerator[Handed]:
        """Yield deliveries one by one; the caller settles each.

        Args:
            types: only these; others are handed back uncounted, to come again a second later.
        """
        async with aclosing(self._consuming.deliveries(types)) as deliveries:
            async for handed in deliveries:
                yield handed

    async def take(self, *, wait: float = 0.0) -> Message | None:
        """Take the next message and ack it at once; None when nothing came within *wait* seconds."""
        return await self._consuming.take(wait=wait)
