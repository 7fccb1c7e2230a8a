"""One agent's inbox, and those of its pools, open: by a consumer with handlers, or by deliveries one by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from hivebus import registry, settings
from hivebus.codec import Codec, load_model
from hivebus.consumer import Consumer, Policy
from hivebus.errors import Unsupported
from hivebus.handlers import Handlers
from hivebus.handling import Handler, Handling
from hivebus.housekeeping import Housekeeper, Plan
from hivebus.inflow import Inflow
from hivebus.joined import JoinedReader
from hivebus.middleware import HandleMiddleware, around_handle
from hivebus.observing import Observing
from hivebus.opening import Opened
from hivebus.outcomes import Outcomes
from hivebus.pools import inbox_of, join
from hivebus.presence import Heart
from hivebus.signals import stop_on_signals
from hivebus.transport import Directory, Inbox, Inspectable, Listener, Outgoing, PoolPolicy, Reader, Transport

if TYPE_CHECKING:
    from hivebus.delivery import Handed
    from hivebus.message import Message
    from hivebus.sending import Sending

CANCEL_GRACE = 0.5
"""Seconds that running handlers get when `Bus.run` is cancelled."""


class Consuming:
    """The way in of one bus.

    Args:
        opened: the connected transport.
        agent: whose inbox.
        pools: whose inboxes beside it; pool_policy: how they are shared from now on.
        codec: turns bytes into messages.
        layers: the middleware around handlers.
        handlers: who takes what.
        observing: is told about deliveries and settlements.
        sending: the way of replies.
        lease: seconds without a sign of life after which this process counts as dead.
        max_crashes: how often a message may take its process down.
        namespace: which bus this is, as it was asked for.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        agent: str,
        pools: Sequence[str],
        pool_policy: PoolPolicy | None,
        codec: Codec,
        layers: Sequence[HandleMiddleware],
        handlers: Handlers,
        observing: Observing,
        sending: Sending,
        lease: float,
        max_crashes: int,
        namespace: str | None,
    ) -> None:
        self._transport = opened.transport
        self._capabilities = opened.capabilities
        self._url = opened.url
        self._limit = opened.limit
        self._max_hops = opened.max_hops
        self._max_batch = int(opened.capabilities.max_batch.value)
        self._agent = agent
        self._pools = pools
        self._pool_policy = pool_policy
        self._observing = observing
        self._codec = codec
        self._layers = layers
        self._handlers = handlers
        self._sending = sending
        self._lease = lease
        self._max_crashes = max_crashes
        self._namespace = namespace
        self._delivered = observing.delivered if observing.sees_received else None
        self._settled = observing.settled if observing.sees_received else None
        self._stop_with: float | None = None
        self.consumer: Consumer | None = None
        self.inflows: list[Inflow] = []

    async def make_pools(self) -> None:
        """Make the pools that do not exist yet, and set how they are shared."""
        for pool in self._pools:
            assert isinstance(self._transport, Directory)
            await join(self._transport, pool, policy=self._pool_policy)

    async def run(self, *, concurrency: int, grace: float, signals: bool) -> None:
        """Handle messages until a signal, `stop` or cancellation."""
        handling = self._handling()
        reader = await self._open()
        policy = Policy(
            concurrency=concurrency, lease=self._lease, max_crashes=self._max_crashes, max_batch=self._max_batch
        )
        consumer = Consumer(reader, handling=handling, policy=policy, delivered=self._delivered, settled=self._settled)
        self.consumer = consumer
        if self._stop_with is not None:
            # It was told to end while it was still opening the inbox.
            consumer.stop(grace=self._stop_with)
        keeper = self._keep_house()
        heart = self._show_life()
        running = asyncio.create_task(consumer.run())
        try:
            with stop_on_signals(lambda: consumer.stop(grace=grace)) if signals else nullcontext():
                await asyncio.shield(running)
        except asyncio.CancelledError:
            consumer.stop(grace=CANCEL_GRACE)
            await asyncio.wait([running])
            raise
        finally:
            self.consumer = self._stop_with = None
            await reader.close()
            await heart.close()
            await keeper.close()

    def stop(self, *, grace: float) -> None:
        """Make `run` end, also one that has not opened its inbox yet."""
        self._stop_with = grace
        if self.consumer is not None:
            self.consumer.stop(grace=grace)

    async def deliveries(self, types: Sequence[str] | None) -> AsyncGenerator[Handed]:
        """Yield deliveries one by one; the caller settles each."""
        inflow = await self._inflow(types)
        keeper = self._keep_house()
        heart = self._show_life()
        try:
            async for handed in inflow:
                yield handed
        finally:
            await self._end(inflow)
            await heart.close()
            await keeper.close()

    async def take(self, *, wait: float) -> Message | None:
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

    async def close(self) -> None:
        """Hand back what was fetched and not given out."""
        # A copy, because each takes itself from the list when it ends.
        for inflow in list(self.inflows):
            await inflow.close()

    def _handling(self) -> Handling:
        return Handling(
            codec=self._codec,
            handler=self._find_handler(),
            reply=self._reply,
            send=self._sending.put,
            outcomes=self._outcomes() if self._handlers.has_once else None,
            max_hops=self._max_hops,
        )

    def _find_handler(self) -> Callable[[Message], Handler]:
        if not self._layers:
            return self._handlers.find

        async def dispatch(message: Message) -> Any:
            return await self._handlers.find(message)(message)

        handle = around_handle(self._layers, dispatch)
        return lambda message: handle

    def _reply(self, message: Message, result: Any) -> Awaitable[Outgoing | None]:
        return self._sending.reply_in_ack(message, result, from_agent=self._agent)

    def _outcomes(self) -> Outcomes:
        if not self._capabilities.outcomes or not isinstance(self._transport, Inspectable):
            raise Unsupported(
                f"{self._url} lacks the capability outcomes, which handlers with once=True need",
                hint="hivebus transports describe",
            )
        inboxes = (self._agent, *map(inbox_of, self._pools))
        return Outcomes(self._transport, inboxes=inboxes, applies_to=self._handlers.is_once, limit=self._limit)

    async def _inflow(self, types: Sequence[str] | None) -> Inflow:
        inflow = Inflow(
            await self._open(),
            codec=self._codec,
            types=types,
            lease=self._lease,
            max_crashes=self._max_crashes,
            max_hops=self._max_hops,
            max_batch=self._max_batch,
            delivered=self._delivered,
            settled=self._settled,
        )
        self.inflows.append(inflow)
        return inflow

    async def _end(self, inflow: Inflow) -> None:
        self.inflows.remove(inflow)
        await inflow.close()

    async def _open(self) -> Reader:
        if isinstance(self._transport, Listener) and not isinstance(self._transport, Transport):
            raise Unsupported(
                f"{self._url} has no inboxes to read",
                cause="it is fire-and-forget: what is sent there is heard by who listens, or not at all",
                hint="async for message in bus.listen(...), or hivebus listen PATTERN",
            )
        if not isinstance(self._transport, Transport):
            raise Unsupported(f"{self._url} cannot be read, only written", hint="hivebus transports describe")
        load_model()
        if isinstance(self._transport, Directory):
            await registry.register(self._transport, self._agent, pools=self._pools)
        consumer = f"{self._agent}-{os.getpid()}-{os.urandom(4).hex()}"
        own = await self._transport.open(Inbox(self._agent), consumer=consumer, lease=self._lease)
        return await self._join(own, consumer) if self._pools else own

    async def _join(self, own: Reader, consumer: str) -> Reader:
        """Return the agent's inbox and those of its pools as one."""
        assert isinstance(self._transport, Transport) and isinstance(self._transport, Directory)
        readers = {self._agent: own}
        try:
            for pool in self._pools:
                # Once more: somebody may have set another policy since, and that one holds.
                policy = await join(self._transport, pool)
                inbox = Inbox(inbox_of(pool), policy=policy)
                readers[inbox.name] = await self._transport.open(inbox, consumer=consumer, lease=self._lease)
        except BaseException:
            await asyncio.gather(*(reader.close() for reader in readers.values()))
            raise
        joined = JoinedReader(readers, lease=self._lease)
        self._observing.inbox_of = joined.inbox_of
        return joined

    def _keep_house(self) -> Housekeeper:
        chosen = settings.load({"namespace": self._namespace})
        plan = Plan(keep=chosen.retention, max_bytes=chosen.retention_bytes)
        keeper = Housekeeper(self._transport, self._agent, plan=plan)
        keeper.start()
        return keeper

    def _show_life(self) -> Heart:
        heart = Heart(self._transport, self._agent, pools=self._pools)
        heart.start()
        return heart
