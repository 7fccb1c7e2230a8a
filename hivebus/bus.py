"""What an agent holds: sends, consumes, asks what became of a message. The only place that publishes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from hivebus import envelope as envelopes
from hivebus import limits
from hivebus.choosing import Choosing
from hivebus.codec import Codec, JsonCodec
from hivebus.consumer import Consumer, Policy
from hivebus.errors import ConfigError, HivebusError, Reject, Unsupported
from hivebus.inflow import Inflow
from hivebus.message_status import Status, status_of
from hivebus.middleware import around_handle, around_send
from hivebus.observing import Observing
from hivebus.opening import connect
from hivebus.outbox import Outbox
from hivebus.receipt import Receipt
from hivebus.replies import compose_reply, is_reply
from hivebus.routing import route
from hivebus.signals import stop_on_signals
from hivebus.stamps import Stamps
from hivebus.transport import Counts, Directory, Inbox, Inspectable, Outgoing, Published, Reader, Transport

if TYPE_CHECKING:
    from hivebus.delivery import Handed
    from hivebus.message import Message

T = TypeVar("T")
Handler = Callable[["Message"], Awaitable[Any]]
GRACE = 25.0
CANCEL_GRACE = 0.5
"""Seconds that running handlers get when `Bus.run` is cancelled."""


class Bus:
    """One agent's connection to the bus; use it as an async context manager.

    Args:
        url: the server; None asks the settings, and without any starts the embedded server.
        agent: who sends, and whose inbox is read.
        namespace: separates buses that share a server; None asks the settings.
        lease: seconds without a sign of life after which this process counts as dead.
        durability: the level that the server must give: memory, fsync or replicated; None takes what it gives.
        require: capabilities to insist on, such as ``"fencing"`` or ``"evidence>=acked"``.
        plugins: plugin objects besides the installed ones.
        on_full: whether a full inbox raises `QueueFull` at once or makes the sender wait a bounded time.
        max_crashes: how often a message may take its process down before it is a dead letter.

    Raises:
        Unavailable: by ``async with``, when no server answers.
        Unsupported, DurabilityUnavailable: by ``async with``, when the server cannot do what was asked for.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        agent: str,
        pools: Sequence[str] = (),
        subscriptions: Sequence[str] = (),
        namespace: str | None = None,
        lease: float = 15.0,
        durability: Literal["memory", "fsync", "replicated"] | None = None,
        require: Sequence[str] = (),
        plugins: Sequence[object] | None = None,
        on_full: Literal["error", "wait"] = "error",
        max_crashes: int = 10,
    ) -> None:
        if pools or subscriptions:
            raise Unsupported(
                "pools and subscriptions are not offered by this release", hint="read the inbox of one agent"
            )
        self.agent = limits.check_name(agent, field="agent")
        self._wanted = (url, namespace, durability, tuple(require), tuple(plugins or ()))
        self._wait_when_full = on_full == "wait"
        self._lease = lease
        self._max_crashes = max_crashes
        self._handlers: dict[str, Handler] = {}
        self._otherwise: Handler | None = None
        self._consumer: Consumer | None = None
        self._inflows: list[Inflow] = []

    async def __aenter__(self) -> Self:
        url, namespace, durability, require, plugins = self._wanted
        opened = await connect(url, namespace=namespace, durability=durability, require=require, plugins=plugins)
        self._transport = opened.transport
        # Made here: processes forked from one that made a bus would all give the same ids.
        self._stamps = Stamps()
        self.capabilities = opened.capabilities
        self.url = opened.url
        self._leg = opened.leg
        self._limit = opened.limit
        self._codec: Codec = opened.plugins.codec(limit=opened.limit)
        self._send_layers, self._handle_layers = opened.plugins.middleware()
        # Without anybody who wants to see a message on its way out, none is built.
        self._plain = type(self._codec) is JsonCodec and not self._send_layers
        self._choosing = Choosing(opened.plugins, legs=self._transport.legs)
        self._observing = Observing(opened.plugins, inbox=self.agent)
        self._outbox = Outbox(
            self._transport,
            limit=int(self.capabilities.max_batch.value),
            wait_when_full=self._wait_when_full,
            told=self._observing.sent if self._observing.sees_sent else None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A copy, because each takes itself from the list when it ends.
        for inflow in list(self._inflows):
            await inflow.close()
        await self._outbox.drain()
        await self._transport.close()

    # --- sending -----------------------------------------------------------------------------

    async def send(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        message_type: str = envelopes.DEFAULT_TYPE,
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        ttl: float | None = None,
        delay: float = 0,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
        require_ack: bool = True,
        max_retries: int = envelopes.DEFAULT_MAX_RETRIES,
        retry_delay: float = envelopes.DEFAULT_RETRY_DELAY,
        traceparent: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Send one message; return once the server has it.

        Args:
            to_agent: an agent, or a list of agents, each of which gets the message under the same id.
            content: text or any JSON value.
            ttl: seconds until it expires unread; delay: seconds before it is queued.
            message_id: send again with the id of a send whose outcome is unknown; it is stored once.

        Raises:
            InvalidMessage: a limit is broken, nothing was written.
            Refused: the server said no, nothing was written.
            Unknown, Unavailable: after ten seconds of trying; safe to send again with the same id.
        """
        envelope = envelopes.compose(
            from_agent=self.agent,
            to_agent=to_agent,
            content=content,
            message_type=message_type,
            priority=priority,
            ttl=ttl,
            context=context,
            metadata=metadata,
            require_ack=require_ack,
            max_retries=max_retries,
            retry_delay=retry_delay,
            correlation_id=correlation_id,
            reply_to=reply_to,
            traceparent=traceparent,
            message_id=self._stamps.message_id() if message_id is None else message_id,
            timestamp=self._stamps.now(),
        )
        if not self._plain:
            from hivebus.message import message_of

            return await self.send_message(message_of(envelope), delay=delay)
        return await self._deliver(envelope, envelopes.encode(envelope, limit=self._limit), delay)

    async def send_message(self, message: Message, *, delay: float = 0) -> Receipt:
        """Send a message that was made before; the same object twice is stored once."""

        async def innermost(message: Message) -> Receipt:
            return await self._deliver(message, self._codec.encode(message), delay)

        return await around_send(self._send_layers, innermost)(message)

    async def send_many(self, messages: Sequence[Message]) -> list[Receipt | HivebusError]:
        """Send messages; return one receipt or one error per message, in order."""
        outcomes = await asyncio.gather(*(self.send_message(message) for message in messages), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, HivebusError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, (Receipt, HivebusError))]

    async def reply(self, message: Message, content: Any, *, message_type: str | None = None) -> Receipt:
        """Answer a message: to its ``reply_to``, in the same conversation; a second reply is a duplicate."""
        envelope = compose_reply(message, content, from_agent=self.agent, message_type=message_type)
        if not self._plain:
            from hivebus.message import message_of

            return await self.send_message(message_of(envelope))
        return await self._deliver(envelope, envelopes.encode(envelope, limit=self._limit), 0)

    # --- consuming ---------------------------------------------------------------------------

    def on(self, *types: str) -> Callable[[Handler], Handler]:
        """Register an async handler for these types; without types, for all that no other handler takes.

        Returning acks the message, and a value is sent as the reply unless the message is itself a
        reply; raising retries it and in the end makes it a dead letter; raising `Reject` does so now.
        """
        for each in types:
            limits.check_message_type(each)

        def register(handler: Handler) -> Handler:
            if not iscoroutinefunction(handler):
                raise ConfigError(f"the handler {handler!r} must be an async function", hint="async def")
            if types:
                self._handlers.update(dict.fromkeys(types, handler))
            else:
                self._otherwise = handler
            return handler

        return register

    async def run(self, *, concurrency: int = 16, grace: float = GRACE) -> None:
        """Handle messages until SIGTERM, SIGINT, `stop` or cancellation.

        Then reading stops, running handlers finish (for *grace* seconds at most, half a second when
        cancelled), and what was not handled is handed back.
        """
        reader = await self._open()
        consumer = Consumer(
            reader,
            codec=self._codec,
            handler=self._handler(),
            reply=self._reply_of,
            policy=Policy(
                concurrency=concurrency,
                lease=self._lease,
                max_crashes=self._max_crashes,
                max_batch=int(self.capabilities.max_batch.value),
            ),
            delivered=self._observing.delivered if self._observing.sees_received else None,
            settled=self._observing.settled if self._observing.sees_received else None,
        )
        self._consumer = consumer
        running = asyncio.create_task(consumer.run())
        try:
            with stop_on_signals(lambda: consumer.stop(grace=grace)):
                await asyncio.shield(running)
        except asyncio.CancelledError:
            consumer.stop(grace=CANCEL_GRACE)
            await asyncio.wait([running])
            raise
        finally:
            self._consumer = None
            await reader.close()

    def stop(self, *, grace: float = GRACE) -> None:
        """Make `run` end as after SIGTERM."""
        if self._consumer is not None:
            self._consumer.stop(grace=grace)

    async def consume(self, types: Sequence[str] | None = None) -> AsyncGenerator[Handed]:
        """Yield deliveries one by one; the caller settles each.

        Args:
            types: only these; others are handed back uncounted, to come again a second later.
        """
        inflow = await self._inflow(types)
        try:
            async for handed in inflow:
                yield handed
        finally:
            await self._end(inflow)

    async def take(self, *, wait: float = 0.0) -> Message | None:
        """Take the next message and ack it at once; None when nothing came within *wait* seconds."""
        inflow = await self._inflow(None)
        try:
            handed = await inflow.first(within=wait)
            if handed is None:
                return None
            await handed.ack()
            return handed.message
        finally:
            await self._end(inflow)

    # --- asking ------------------------------------------------------------------------------

    async def status(self, message_id: str, *, agent: str | None = None) -> Status:
        """Return what became of a message, from any process; without *agent* every inbox is asked."""
        inspectable = self._offers(Inspectable, "inspect")
        inboxes = [agent] if agent else await inspectable.inboxes()
        return status_of(message_id, await inspectable.locate([message_id], inboxes))

    async def queue(self, agent: str) -> Counts:
        """Return the counts of one inbox at this moment."""
        return (await self._offers(Inspectable, "inspect").counts([agent]))[0]

    # --- inside ------------------------------------------------------------------------------

    async def _deliver(self, sent: envelopes.Envelope | Message, data: bytes, delay: float) -> Receipt:
        if delay != 0:
            limits.check_delay(delay)
        items = self._route(sent, data, delay)
        if self._choosing.is_needed:
            legs = self._choosing.legs_for(sent)
            items = [item._replace(legs=legs) for item in items]
        published = await self._outbox.send(items[0])
        for item in items[1:]:
            published = _weaker(published, await self._outbox.send(item))
        # On the road that is being left, a level would be claimed that only the other one gives.
        durability = self.capabilities.durability.value if published.leg in (None, self._leg) else None
        return Receipt(sent, published, leg=self._leg, durability=durability)

    def _route(self, sent: envelopes.Envelope | Message, data: bytes, delay: float) -> list[Outgoing]:
        return route(
            to_agent=sent.to_agent,
            message_id=sent.message_id,
            message_type=sent.message_type,
            priority=sent.priority,
            ttl=sent.ttl,
            delay=delay,
            data=data,
        )

    def _handler(self) -> Callable[[Message], Handler]:
        if not self._handle_layers:
            return self._registered

        async def dispatch(message: Message) -> Any:
            return await self._registered(message)(message)

        handle = around_handle(self._handle_layers, dispatch)
        return lambda message: handle

    def _registered(self, message: Message) -> Handler:
        handler = self._handlers.get(message.message_type, self._otherwise)
        if handler is None:
            raise Reject("no_handler")
        return handler

    async def _reply_of(self, message: Message, result: Any) -> Outgoing | None:
        if is_reply(message):
            return None
        envelope = compose_reply(message, result, from_agent=self.agent)
        if self._plain:
            data = envelopes.encode(envelope, limit=self._limit)
        else:
            from hivebus.message import message_of

            data = self._codec.encode(message_of(envelope))
        (item,) = self._route(envelope, data, 0)
        if self.capabilities.atomic_reply:
            return item
        # Sent first: a crash before the ack runs the handler again, and its reply has the same id.
        await self._outbox.send(item)
        return None

    async def _inflow(self, types: Sequence[str] | None) -> Inflow:
        inflow = Inflow(
            await self._open(),
            codec=self._codec,
            types=types,
            lease=self._lease,
            max_crashes=self._max_crashes,
            max_batch=int(self.capabilities.max_batch.value),
            delivered=self._observing.delivered if self._observing.sees_received else None,
            settled=self._observing.settled if self._observing.sees_received else None,
        )
        self._inflows.append(inflow)
        return inflow

    async def _end(self, inflow: Inflow) -> None:
        self._inflows.remove(inflow)
        await inflow.close()

    async def _open(self) -> Reader:
        if not isinstance(self._transport, Transport):
            raise Unsupported(f"{self.url} cannot be read, only written", hint="hivebus transports describe")
        if isinstance(self._transport, Directory):
            await self._transport.write("agents", self.agent, {"host": socket.gethostname()})
        consumer = f"{self.agent}-{os.getpid()}-{os.urandom(4).hex()}"
        return await self._transport.open(Inbox(self.agent), consumer=consumer, lease=self._lease)

    def _offers(self, kind: type[T], capability: str) -> T:
        if isinstance(self._transport, kind):
            return self._transport
        raise Unsupported(f"{self.url} lacks the capability {capability}", hint="hivebus transports describe")


def _weaker(one: Published, other: Published) -> Published:
    return one if one.state == "duplicate" else other
