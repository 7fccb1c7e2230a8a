"""The bus of before: publish, subscribe, ask what became of a message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from hivebus import Bus, HivebusError
from hivebus.settings import Settings, load
from hivebus_migration.compat.message_protocol import AgentMessage, MessageDeliveryStatus
from hivebus_migration.compat.send_receipt import SendReceipt
from hivebus_migration.compat.subscription import Handler, Subscription, end
from hivebus_migration.compat.translation import STATUS_WORDS, to_message

OWN_NAME = "message-bus"
"""Who asks, where no agent does: it sends nothing and reads nothing."""
_log = logging.getLogger(__name__)


@dataclass
class MessageBusConfig:
    """Which server, and what an `AgentCommunicator` sends with.

    Attributes:
        redis_url: the server; None asks the settings of hivebus, and without any starts the embedded server.
        message_ttl: seconds after which a message that a communicator sends expires unread; 0 for never.
        retry_limit: how often a handler that raises gets such a message again.
        max_connections, batch_size, monitor_interval: taken as before, and without effect: hivebus needs few
            connections, finds its own batches, and does not poll.

    Raises:
        ValueError: a number makes no sense.
    """

    redis_url: str | None = None
    max_connections: int = 10
    message_ttl: float = 3600
    retry_limit: int = 3
    batch_size: int = 100
    monitor_interval: float = 30

    def __post_init__(self) -> None:
        for name, least in (
            ("max_connections", 1),
            ("message_ttl", 0),
            ("retry_limit", 0),
            ("batch_size", 1),
            ("monitor_interval", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
                raise ValueError(f"{name} cannot be {value!r}: it must be a number of at least {least}")


class MessageBus:
    """All that the agents of one process send and receive.

    Attributes:
        config: as it was given.
        running: whether it was started, and not shut down since.
    """

    def __init__(self, config: MessageBusConfig | None = None) -> None:
        self.config = config or MessageBusConfig()
        self.running = False
        self._changing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()
        self._subscriptions: dict[str, Subscription] = {}
        self._ending: set[Subscription] = set()

    async def start(self) -> None:
        """Connect; harmless when it is running.

        Raises:
            hivebus.HivebusError: no server answers, or a setting is wrong.
        """
        async with self._changing:
            if self.running:
                return
            self._settings = await asyncio.to_thread(load)
            self._buses: dict[str, Bus] = {}
            await self._bus_of(OWN_NAME)
            self.running = True

    async def shutdown(self) -> None:
        """Let running handlers finish and disconnect; what was not handled waits for the next start."""
        async with self._changing:
            self.running = False
            self._ending.update(self._subscriptions.values())
            self._subscriptions.clear()
            still_open, self._open = self._open, AsyncExitStack()
        # Last, since handlers that finish may have something to say.
        async with still_open:
            await end(self._ending)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[Self]:
        """Start for the length of a block."""
        await self.start()
        try:
            yield self
        finally:
            await self.shutdown()

    # --- sending -----------------------------------------------------------------------------

    async def publish_message(self, message: AgentMessage) -> SendReceipt:
        """Send a message; return once the server has it, or with the reason why it was not sent, which is logged.

        Published again, the same message is stored once.

        Raises:
            RuntimeError: the bus is not running.
        """
        bus = self._running_bus()
        try:
            receipt = await bus.send_message(to_message(message, name_of=self.name_of))
        except HivebusError as error:
            _log.error("message %s to %s was not sent: %s", message.message_id, message.to_agent, error)
            return SendReceipt(message, error=error)
        return SendReceipt(message, receipt)

    # --- receiving ---------------------------------------------------------------------------

    async def subscribe_to_agent(self, agent_name: str, message_handler: Handler) -> bool:
        """Hand an agent's mail to *message_handler*, also what came while nobody read it.

        Returns:
            False when the mail of this agent is handed to somebody already, who keeps it.

        Raises:
            RuntimeError: the bus is not running.
            hivebus.InvalidMessage: no agent can be called so.
        """
        self._running_bus()
        async with self._changing:
            name = self.name_of(agent_name)
            if name in self._subscriptions:
                _log.warning("the mail of %s is handled already, by another handler of this bus", agent_name)
                return False
            subscription = await Subscription.begin(Bus(self.config.redis_url, agent=name), message_handler)
            self._subscriptions[name] = subscription
            subscription.running.add_done_callback(lambda _: self._ending.discard(subscription))
            return True

    async def unsubscribe_from_agent(self, agent_name: str) -> None:
        """Let the handler that runs finish, and read no more; what comes from now on waits."""
        async with self._changing:
            subscription = self._subscriptions.pop(self.name_of(agent_name), None) if self.running else None
            if subscription is None:
                return
            self._ending.add(subscription)
        await end([subscription])

    async def acknowledge_message(self, message_id: str) -> bool:
        """Acknowledge what one of this bus's handlers is working on, also if that handler fails afterwards.

        Returning from a handler acknowledges anyway. False for a message that is not being handled here.
        """
        handlers = [*self._subscriptions.values()]
        # Two agents of one process may have copies of one message in hand: a handler speaks of its own.
        handlers = [each for each in handlers if each.is_calling] or handlers
        return any([each.acknowledge(message_id) for each in handlers])  # noqa: C419 - all of them

    # --- asking ------------------------------------------------------------------------------

    async def get_message_status(self, message_id: str) -> MessageDeliveryStatus | None:
        """Return what became of a message, whoever sent it; None when no inbox knows it (any more).

        Raises:
            RuntimeError: the bus is not running.
        """
        status = await self._running_bus().status(message_id)
        if status.state not in STATUS_WORDS:
            return None
        reason = status.reason or ("cancelled" if status.state == "cancelled" else None)
        return MessageDeliveryStatus(
            message_id, STATUS_WORDS[status.state], attempts=status.attempts, error_message=reason
        )

    async def get_agent_queue_size(self, agent_name: str) -> int:
        """Return how many messages an agent has before it: waiting, in hand, and waiting for another try.

        Raises:
            RuntimeError: the bus is not running.
        """
        counts = await self._running_bus().queue(self.name_of(agent_name))
        return counts.waiting + counts.in_flight + counts.retrying

    # --- for communicators -------------------------------------------------------------------

    async def bus_of(self, agent: str) -> Bus:
        """Return the bus of an agent of this process, opened when it is first needed.

        Raises:
            RuntimeError: the bus is not running.
        """
        self._running_bus()
        return await self._bus_of(self.name_of(agent))

    def name_of(self, name: str) -> str:
        """Return an agent's name for a legacy name: see ``aliases`` in the settings of hivebus."""
        settings: Settings = self._settings
        return settings.name_of(name)

    def _running_bus(self) -> Bus:
        if not self.running:
            raise RuntimeError("Message bus not running")
        return self._buses[OWN_NAME]

    async def _bus_of(self, agent: str) -> Bus:
        async with self._opening:
            if agent not in self._buses:
                bus = Bus(self.config.redis_url, agent=agent)
                self._buses[agent] = await self._open.enter_async_context(bus)
            return self._buses[agent]
