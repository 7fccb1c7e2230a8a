"""What an agent holds: sends, consumes, asks what became of a message. The only place that publishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from hivebus import envelope as envelopes
from hivebus import limits, registry, replaying
from hivebus.asking import Asking, check_asked
from hivebus.broadcasting import Broadcast, SendOptions, broadcast, check_wait, chosen
from hivebus.cancelling import Cancellation, cancel
from hivebus.consuming import Consuming
from hivebus.errors import HivebusError, Unsupported
from hivebus.handlers import Handlers
from hivebus.handling import Handler
from hivebus.hops import hops_from_here
from hivebus.message_status import Status, status_of
from hivebus.notices import Notices
from hivebus.observing import Observing
from hivebus.opening import connect
from hivebus.pools import check_policy, check_pools
from hivebus.receipt import Receipt
from hivebus.replies import compose_reply
from hivebus.sending import Sending
from hivebus.stamps import Stamps
from hivebus.transport import Counts, Directory, Inspectable, PoolPolicy, Replayable, Schedules

if TYPE_CHECKING:
    from datetime import datetime

    from hivebus.delivery import Handed
    from hivebus.message import Message

T = TypeVar("T")
GRACE = 25.0
"""Seconds that running handlers get when `Bus.run` shall end."""
ASKING_LEASE = 60.0
"""Seconds without a sign of life after which the reply inbox of a bus may be dropped, at least."""
QUESTION = "question"


class Bus:
    """One agent's connection to the bus; use it as an async context manager.

    Args:
        url: the server; None asks the settings, and without any starts the embedded server.
        agent: who sends, and whose inbox is read.
        pools: whose inboxes are read beside it, shared with their other members. One that does not exist is made
            by ``async with``.
        pool_policy: how these pools are shared from now on, by all members: round_robin, as many messages for each,
            or least_loaded, the next one for who has the fewest in hand. None leaves them as they are.
        subscriptions: patterns of routing keys, as for `subscribe`; they are added to those the agent has already.
        fallback: another agent, or a ``@pool``, that gets the mail of this agent while it is gone; it stays set
            when this process ends. None leaves what is set.
        fallback_after: seconds since it last read its inbox after which it is gone.
        namespace: separates buses that share a server; None asks the settings.
        lease: seconds without a sign of life after which this process counts as dead.
        durability: the level that the server must give, now and later: memory, fsync, replicated or
            fsync+replicated; None takes what it gives.
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
        pool_policy: PoolPolicy | None = None,
        subscriptions: Sequence[str] = (),
        fallback: str | None = None,
        fallback_after: float = registry.FALLBACK_AFTER,
        namespace: str | None = None,
        lease: float = 15.0,
        durability: Literal["memory", "fsync", "replicated", "fsync+replicated"] | None = None,
        require: Sequence[str] = (),
        plugins: Sequence[object] | None = None,
        on_full: Literal["error", "wait"] = "error",
        max_crashes: int = 10,
    ) -> None:
        self.agent = limits.check_name(agent, field="agent")
        self.pools = check_pools(pools)
        self._pool_policy = check_policy(pool_policy)
        self._subscriptions = registry.check_patterns(subscriptions)
        self._fallback = (fallback, fallback_after)
        if fallback is not None:
            registry.check_fallback(self.agent, fallback, after=fallback_after)
        self._wanted = (url, namespace, durability, tuple(require), tuple(plugins or ()))
        self._wait_when_full = on_full == "wait"
        self._lease = lease
        self._max_crashes = max_crashes
        self._handlers = Handlers()

    async def __aenter__(self) -> Self:
        url, namespace, durability, require, plugins = self._wanted
        if self.pools:
            require = ("pools", "directory", *require)
        opened = await connect(url, namespace=namespace, durability=durability, require=require, plugins=plugins)
        self._transport = opened.transport
        self.capabilities = opened.capabilities
        self.url = opened.url
        # Made here: processes forked from one that made a bus would all give the same ids.
        self._stamps = Stamps()
        self._codec = opened.plugins.codec(limit=opened.limit)
        send_layers, handle_layers = opened.plugins.middleware()
        observing = Observing(opened.plugins, inbox=self.agent)
        self._sending = Sending(
            opened,
            agent=self.agent,
            codec=self._codec,
            layers=send_layers,
            observing=observing,
            wait_when_full=self._wait_when_full,
        )
        self._notices = Notices(opened, agent=self.agent, codec=self._codec, layers=send_layers, observing=observing)
        self._consuming = Consuming(
            opened,
            agent=self.agent,
            pools=self.pools,
            pool_policy=self._pool_policy,
            codec=self._codec,
            layers=handle_layers,
            handlers=self._handlers,
            observing=observing,
            sending=self._sending,
            lease=self._lease,
            max_crashes=self._max_crashes,
            namespace=namespace,
        )
        self._asking = Asking(
            opened, agent=self.agent, codec=self._codec, sending=self._sending, lease=max(self._lease, ASKING_LEASE)
        )
        try:
            await self._consuming.make_pools()
            await self._announce()
        except BaseException:
            await self._transport.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consuming.close()
        await self._asking.close()
        await self._sending.drain()
        await self._notices.close()
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
        at: datetime | None = None,
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
            at: when it is queued instead, with a time zone; what is past is now. It is counted from the server's
                clock, or from the clock of this machine where the transport does not tell the time. Sending
                that has to wait or to be repeated makes it later by as much.
            message_id: send again with the id of a send whose outcome is unknown; it is stored once.

        Raises:
            InvalidMessage: a limit is broken, nothing was written.
            Refused: the server said no, nothing was written.
            Unknown, Unavailable: after ten seconds of trying; safe to send again with the same id.
        """
        envelope = envelopes.compose(
            self.agent,
            to_agent,
            content,
            message_type,
            priority,
            ttl,
            context,
            metadata,
            require_ack,
            max_retries,
            retry_delay,
            correlation_id,
            reply_to,
            traceparent,
            message_id,
            self._stamps,
            0 if correlation_id is None else hops_from_here(),
        )
        return await self._sending.send(envelope, delay=delay, at=at)

    async def send_message(self, message: Message, *, delay: float = 0, at: datetime | None = None) -> Receipt:
        """Send a message that was made before; the same object twice is stored once."""
        return await self._sending.send_message(message, delay=delay, at=at)

    async def send_many(self, messages: Sequence[Message]) -> list[Receipt | HivebusError]:
        """Send messages; return one receipt or one error per message, in order."""
        outcomes = await asyncio.gather(*(self.send_message(message) for message in messages), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, HivebusError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, (Receipt, HivebusError))]

    async def ask(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        timeout: float = 30.0,
        message_type: str = QUESTION,
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        ttl: float | None = None,
        correlation_id: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
        require_ack: bool = True,
        max_retries: int = envelopes.DEFAULT_MAX_RETRIES,
        retry_delay: float = envelopes.DEFAULT_RETRY_DELAY,
        traceparent: str | None = None,
        message_id: str | None = None,
    ) -> Message:
        """Send a question to one agent, or to one member of a ``@pool``, and return the answer.

        The first answer is accepted. One that comes later, or after *timeout*, goes to the inbox of this agent with
        the id of the question as its ``correlation_id``. Being cancelled stops the waiting; the question stays sent.

        Args:
            timeout: seconds to wait for the answer, from now. The question waits for longer unless it has a *ttl*.

        Raises:
            NoAnswer: the question is stored, and no answer came so far.
            InvalidMessage, Refused, Unknown, Unavailable: as by `send`; no answer is waited for.
        """
        check_asked(to_agent)
        limits.check_timeout(timeout)
        question = envelopes.compose(
            self.agent,
            to_agent,
            content,
            message_type,
            priority,
            ttl,
            context,
            metadata,
            require_ack,
            max_retries,
            retry_delay,
            correlation_id,
            await self._asking.open(),
            traceparent,
            message_id,
            self._stamps,
            hops_from_here(),
        )
        return await self._asking.ask(question, timeout=timeout)

    async def reply(self, message: Message, content: Any, *, message_type: str | None = None) -> Receipt:
        """Answer a message: to its ``reply_to``, in the same conversation; a second reply is a duplicate."""
        envelope = compose_reply(message, content, from_agent=self.agent, message_type=message_type)
        return await self._sending.send(envelope)

    async def broadcast(
        self,
        content: Any,
        *,
        agents: Sequence[str] | None = None,
        live_only: bool = False,
        wait: Literal["acked"] | None = None,
        timeout: float | None = None,
        **options: Unpack[SendOptions],
    ) -> Broadcast:
        """Send one message to many, each of whom gets it in its own inbox under the same id.

        Everybody who is registered gets it, but for this agent itself; it gets its own broadcast only where it is
        named. Who is offline gets it later, unless *live_only* leaves it out. One recipient that cannot be given
        it, because its inbox is full, keeps nobody else from it.

        Args:
            content: text or any JSON value.
            agents: only these; names that nobody has registered are stored too, and their receipts say so.
            live_only: leave out who does not read its inbox at this moment.
            wait: ``"acked"`` waits until every recipient has acknowledged it, given it up or let time pass.
            timeout: seconds to wait for that; None is 30.
            options: those of `send`. With the ``message_id`` of a broadcast that was interrupted, it goes to
                those who do not have it yet.

        Returns:
            True when somebody has it and nobody is missing; it names who has it, who handled it, who failed, who
            is silent and who was not listening. `status` tells the same at any later time.

        Raises:
            InvalidMessage: a limit is broken, nothing was written.
            Refused, Unknown, Unavailable: nobody has got it; safe to send again with the same id.
        """
        check_wait(self._transport, wait=wait, timeout=timeout)
        to = "*" if agents is None else list(agents)
        names, left_out = await chosen(
            self._transport, self._sending, agents=agents, live_only=live_only, sender=self.agent
        )
        delay, at = options.get("delay", 0), options.get("at")
        said: Any = {name: value for name, value in options.items() if name not in ("delay", "at")}
        return await broadcast(
            envelopes.compose(self.agent, to, content, **said, stamps=self._stamps),
            names=names,
            left_out=left_out,
            transport=self._transport,
            sending=self._sending,
            wait=wait,
            timeout=timeout,
            delay=delay,
            at=at,
        )

    # --- topics ------------------------------------------------------------------------------

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

    async def cancel(self, message_id: str, *, agent: str | None = None) -> Cancellation:
        """Take back what was not handed out yet, and say what happened; without *agent*, from every inbox.

        Returns:
            True when nobody will be handed the message: its status is then ``cancelled``. Otherwise its
            `outcome` says why not: ``handed_out``, ``expired`` or ``unknown``. Cancelling twice is harmless.
        """
        inspectable = self._offers(Inspectable, "inspect")
        schedules = self._offers(Schedules, "cancel")
        inboxes = [agent] if agent else await inspectable.inboxes()
        return await cancel(message_id, inboxes, schedules=schedules, inspectable=inspectable)

    # --- consuming ---------------------------------------------------------------------------

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

    # --- fire and forget ------------------------------------------------------------------------

    async def notify(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        message_type: str = "notification",
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        correlation_id: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
    ) -> Receipt:
        """Say something to whoever listens at this moment, and to nobody else: it goes into no inbox.

        It wants no ack, and there is none. What nobody hears is gone, and `Receipt.heard` is 0 then.

        Raises:
            InvalidMessage: a limit is broken, nobody heard it.
            Unsupported: the transport has no such road.
            Unknown: the connection was lost on the way; it was heard or not, and is not said again.
            Unavailable: the server is away; nobody heard it.
        """
        envelope = envelopes.compose(
            from_agent=self.agent,
            to_agent=to_agent,
            content=content,
            message_type=message_type,
            priority=priority,
            context=context,
            metadata=metadata,
            require_ack=False,
            correlation_id=correlation_id,
            stamps=self._stamps,
        )
        return await self._notices.send(envelope)

    async def listen(self, patterns: str | Sequence[str]) -> AsyncGenerator[Message]:
        """Yield what is said by `notify`, from the moment that somebody iterates; there is nothing to settle.

        What is no message is skipped, with a warning in the log. When the connection is lost it is made again,
        and the log says that something may have been missed.

        Args:
            patterns: of routing keys ``agent.<to_agent>.<message_type>``: ``*`` is one part, ``#`` at the end is
                all the rest, such as ``agent.pm-agent.#`` or ``agent.*.system_alert``.

        Raises:
            InvalidMessage: a pattern is none. Unsupported: nobody can be listened to there.
            Unavailable: the server was away for ten seconds.
        """
        async with aclosing(self._notices.listen(patterns)) as messages:
            async for message in messages:
                yield message

    # --- asking ------------------------------------------------------------------------------

    async def status(self, message_id: str, *, agent: str | None = None) -> Status:
        """Return what became of a message, from any process; without *agent* every inbox is asked."""
        inspectable = self._offers(Inspectable, "inspect")
        inboxes = [agent] if agent else await inspectable.inboxes()
        return status_of(message_id, await inspectable.locate([message_id], inboxes))

    async def queue(self, agent: str) -> Counts:
        """Return the counts of one inbox at this moment."""
        return (await self._offers(Inspectable, "inspect").counts([agent]))[0]

    # --- the past ----------------------------------------------------------------------------

    async def history(
        self, agent: str, *, since: str | float = "24h", limit: int | None = None
    ) -> AsyncGenerator[Message]:
        """Yield what an agent was sent within that time, oldest first; reads, and changes nothing.

        Dead letters and cancelled messages are no history. What is settled is kept for a day unless the settings say
        otherwise, and less long where it would take too much room.
        """
        source = self._offers(Replayable, "replay")
        oldest = replaying.age(since, field="since")
        async for message in replaying.messages_of(source, agent, since=oldest, limit=limit, read=self._codec.decode):
            yield message

    async def replay(
        self,
        agent: str,
        *,
        since: str | float,
        until: str | float | None = None,
        ids: Collection[str] | None = None,
        types: Collection[str] | None = None,
        to: str | None = None,
        rate: float | None = None,
        label: str | None = None,
        dry_run: bool = False,
    ) -> replaying.ReplayReport:
        """Send a part of an agent's history again, oldest first: to the same agent, or to another one.

        Each is a new message with the old id as its ``replay_of``, a new timestamp, and its time to live from now.
        What still waits in the inbox that it would go to is left out, and counted.

        Args:
            agent: whose history.
            since: the oldest age, such as ``"1h"`` or seconds; until: the youngest.
            ids: only these; types: only of these types.
            to: who gets them instead.
            rate: messages a second; None is as fast as it goes.
            label: names the run. Repeated with the same label, it stores nothing twice, so that one that was
                interrupted can go on; None makes up a new one.
            dry_run: send nothing, only say what would be sent.

        Raises:
            InvalidMessage: an argument is wrong.
            Refused, Unknown, Unavailable: a message could not be sent; the hint says how to go on.
        """
        wanted = replaying.wish(agent, since=since, until=until, ids=ids, types=types, to=to, rate=rate, label=label)
        source = self._offers(Replayable, "replay")
        send = None if dry_run else self.send_many
        return await replaying.replay(source, wanted, read=self._codec.decode, send=send)

    async def _announce(self) -> None:
        """Tell senders what they have to know of this agent, where there is something to know."""
        if self._subscriptions:
            await self.subscribe(*self._subscriptions)
        fallback, after = self._fallback
        if fallback is not None:
            await registry.set_fallback(self._offers(Directory, "directory"), self.agent, fallback, after=after)

    def _offers(self, kind: type[T], capability: str) -> T:
        if isinstance(self._transport, kind):
            return self._transport
        raise Unsupported(f"{self.url} lacks the capability {capability}", hint="hivebus transports describe")
