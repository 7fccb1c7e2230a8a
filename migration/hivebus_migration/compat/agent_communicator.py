"""What an agent of before holds: it sends, hands over its mail, replies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from hivebus import Message, MessageType
from hivebus_migration.compat.broadcasting import broadcast
from hivebus_migration.compat.message_bus import MessageBus
from hivebus_migration.compat.message_protocol import (
    AgentMessage,
    DeliveryOptions,
    MessagePriority,
    answer_from,
    create_task_assignment,
)
from hivebus_migration.compat.send_receipt import SendReceipt
from hivebus_migration.compat.subscription import Handler
from hivebus_migration.compat.translation import from_message

_log = logging.getLogger(__name__)


class AgentCommunicator:
    """One agent on the bus.

    It reads its inbox from when it is started and has a handler; without one, nothing is taken.

    Args:
        agent_name: whose mail it is, and who sends.
        message_bus: shared with others, and shut down by whoever made it; without, it has one of its own.

    Attributes:
        running: whether it was started, and not stopped since.
    """

    def __init__(self, agent_name: str, message_bus: MessageBus | None = None) -> None:
        self.agent_name = agent_name
        self.message_bus = message_bus or MessageBus()
        self.message_handler: Handler | None = None
        self.running = False
        self._is_own_bus = message_bus is None
        self._reading: asyncio.Task[bool] | None = None

    async def start(self) -> None:
        """Connect, and begin to read if there is a handler; harmless when it is running.

        Raises:
            hivebus.HivebusError: no server answers, or no agent can be called so.
        """
        if self.running:
            return
        await self.message_bus.start()
        self._loop = asyncio.get_running_loop()
        self.running = True
        if self.message_handler is not None:
            self._begin_to_read()
            assert self._reading is not None
            try:
                await asyncio.shield(self._reading)
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Let the handler that runs finish, and read no more; harmless when it is not running."""
        self.running = False
        reading, self._reading = self._reading, None
        if reading is not None:
            await asyncio.wait([reading])
            if _is_subscribed(reading):
                await self.message_bus.unsubscribe_from_agent(self.agent_name)
        if self._is_own_bus:
            await self.message_bus.shutdown()

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[Self]:
        """Start for the length of a block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    def set_message_handler(self, handler: Handler) -> None:
        """Have messages handed to *handler*, async or not: the next one, if it is running already.

        Returning acknowledges a message. Raising has it handed out again, and in the end makes it a dead letter.
        """
        if not callable(handler):
            raise TypeError(f"the handler must be callable, and {handler!r} is not")
        self.message_handler = handler
        if self.running:
            # Old code may be in another thread by now, and cannot wait.
            self._loop.call_soon_threadsafe(self._begin_to_read)

    # --- sending -----------------------------------------------------------------------------

    async def send_message_to_agent(
        self,
        target_agent: str,
        message: str,
        message_type: MessageType = MessageType.INFORMATION_SHARE,
        priority: MessagePriority = MessagePriority.MEDIUM,
        context: dict[str, Any] | None = None,
    ) -> SendReceipt:
        """Send a message; it waits for an agent that is not there.

        Returns:
            True in all but name when the server has it, and what `reply_to_message` takes. Otherwise false, with
            the reason in ``error``, which is logged too.
        """
        body = {"content": message, "context": context or {}}
        return await self._publish(
            target_agent,
            lambda: AgentMessage(self.agent_name, target_agent, message_type, body, priority=priority),
        )

    async def send_task_assignment(
        self,
        target_agent: str,
        task_description: str,
        priority: MessagePriority = MessagePriority.MEDIUM,
        deadline: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> SendReceipt:
        """Send a task: its description is in ``body["task_description"]``, and in ``body["content"]``."""
        return await self._publish(
            target_agent,
            lambda: create_task_assignment(
                self.agent_name, target_agent, task_description, priority, deadline, context
            ),
        )

    async def broadcast_message(
        self,
        message: str,
        agents: Sequence[str] | None = None,
        message_type: MessageType = MessageType.NOTIFICATION,
        priority: MessagePriority = MessagePriority.MEDIUM,
    ) -> dict[str, SendReceipt]:
        """Send a message to many, but not to oneself; one that cannot be given it keeps nobody else from it.

        Args:
            agents: only these; None for everybody who is registered.

        Returns:
            What `send_message_to_agent` returns, by agent. All of them have one message id.

        Raises:
            ValueError: *agents* is no list.
            RuntimeError: the bus is not running.
            hivebus.HivebusError: it is not known who is registered, since no server answers.
        """
        draft = AgentMessage(
            self.agent_name,
            "broadcast",
            message_type,
            {"content": message, "context": {}},
            priority=priority,
            delivery_options=self._options(),
        )
        return await broadcast(self.message_bus, draft, agents=agents)

    async def reply_to_message(
        self,
        original_message: AgentMessage | SendReceipt | Message,
        reply_content: str,
        context: dict[str, Any] | None = None,
    ) -> SendReceipt:
        """Answer a message, in its conversation and on its level; more than one answer may be sent.

        Args:
            original_message: as a handler got it, or what `send_message_to_agent` returned to its sender.
        """

        def answer() -> AgentMessage:
            original = _original(original_message)
            return answer_from(original, agent=self.agent_name, content=reply_content, context=context)

        return await self._publish("whoever is replied to", answer)

    async def get_pending_messages_count(self) -> int:
        """Return how many messages this agent has before it: `MessageBus.get_agent_queue_size`."""
        return await self.message_bus.get_agent_queue_size(self.agent_name)

    # --- behind it ---------------------------------------------------------------------------

    async def _publish(self, target: str, make: Callable[[], AgentMessage]) -> SendReceipt:
        try:
            message = make()
            message.delivery_options = self._options()
            return await self.message_bus.publish_message(message)
        except (ValueError, RuntimeError) as error:
            _log.error("a message to %s was not sent: %s", target, error)
            return SendReceipt(None, error=error)

    def _options(self) -> DeliveryOptions:
        config = self.message_bus.config
        return DeliveryOptions(max_retries=config.retry_limit, ttl_seconds=config.message_ttl)

    def _begin_to_read(self) -> None:
        if self.running and self._reading is None:
            self._reading = asyncio.create_task(self.message_bus.subscribe_to_agent(self.agent_name, self._hand_over))
            self._reading.add_done_callback(self._say_if_it_failed)

    def _hand_over(self, message: AgentMessage) -> Awaitable[object] | object:
        # Asked for each time: it may be another one by now.
        assert self.message_handler is not None
        return self.message_handler(message)

    def _say_if_it_failed(self, reading: asyncio.Task[bool]) -> None:
        if not reading.cancelled() and (error := reading.exception()):
            _log.error("the mail of %s cannot be read: %s", self.agent_name, error)


def _is_subscribed(reading: asyncio.Task[bool]) -> bool:
    return not reading.cancelled() and not reading.exception() and reading.result()


def _original(given: AgentMessage | SendReceipt | Message) -> AgentMessage:
    if isinstance(given, Message):
        return from_message(given, agent=str(given.to_agent))
    original = given.message if isinstance(given, SendReceipt) else given
    if not isinstance(original, AgentMessage):
        raise ValueError(f"there is nothing to reply to: {given!r} is no message")
    return original
