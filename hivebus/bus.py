"""What an agent holds: sends, consumes, asks what became of a message.

Here it is made, opened and closed. Its verbs are in `hivebus.bus_sending`, `bus_handling`, `bus_notifying` and
`bus_looking`; nothing else publishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

from hivebus import limits, registry
from hivebus.asking import Asking
from hivebus.bus_handling import HandlingBus
from hivebus.bus_looking import LookingBus
from hivebus.bus_notifying import NotifyingBus
from hivebus.consuming import Consuming
from hivebus.handlers import Handlers
from hivebus.notices import Notices
from hivebus.observing import Observing
from hivebus.opening import connect
from hivebus.pools import check_policy, check_pools
from hivebus.sending import Sending
from hivebus.stamps import Stamps
from hivebus.transport import Directory, PoolPolicy

ASKING_LEASE = 60.0
"""Seconds without a sign of life after which the reply inbox of a bus may be dropped, at least."""


class Bus(LookingBus, HandlingBus, NotifyingBus):
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

    async def _announce(self) -> None:
        """Tell senders what they have to know of this agent, where there is something to know."""
        if self._subscriptions:
            await self.subscribe(*self._subscriptions)
        fallback, after = self._fallback
        if fallback is not None:
            await registry.set_fallback(self._offers(Directory, "directory"), self.agent, fallback, after=after)
