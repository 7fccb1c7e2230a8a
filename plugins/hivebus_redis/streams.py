"""The durable transport: inboxes on Redis Streams, one stream per priority level."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hivebus.address import is_temporary
from hivebus.errors import HivebusError, Unavailable, Unknown
from hivebus.transport import Capabilities, Endpoint, Inbox, Notifying, Outgoing, Published, Transport, native
from hivebus_redis.address import parse_endpoint
from hivebus_redis.connection import Server
from hivebus_redis.continuity import Continuity
from hivebus_redis.directory import RedisDirectory
from hivebus_redis.inspection import RedisInspection
from hivebus_redis.layout import Layout
from hivebus_redis.promise import Promise
from hivebus_redis.publishing import publish_arguments, published
from hivebus_redis.quotas import RedisQuotas
from hivebus_redis.reader import StreamReader
from hivebus_redis.replication import PATIENCE_MS, judged, require_replicas
from hivebus_redis.retention import RedisRetention
from hivebus_redis.temporary import ReplyReader

if TYPE_CHECKING:
    from hivebus_redis.pubsub import RedisPubSub

MAX_BATCH = 500


def open_streams(endpoint: Endpoint) -> RedisStreams:
    """Return the transport for ``redis://``, ``redis+streams://``, ``rediss://`` and ``unix://`` URLs."""
    return RedisStreams(
        Server(parse_endpoint(endpoint)),
        namespace=endpoint.namespace,
        limit=endpoint.limit,
        durability=endpoint.durability,
    )


def open_embedded(endpoint: Endpoint) -> RedisStreams:
    """Return the transport on the embedded server of the namespace, which is started if it is not up."""
    from hivebus_redis.embedded import ensure

    return open_streams(replace(endpoint, url=ensure(endpoint.namespace).url))


class RedisStreams(RedisInspection, RedisRetention, RedisDirectory, RedisQuotas, Transport, Notifying):
    """Every inbox is five streams, a consumer group, and a few small keys, changed by server-side functions."""

    abandonable = True

    def __init__(self, server: Server, *, namespace: str, limit: int, durability: str | None = None) -> None:
        self._server = server
        self._layout = Layout(namespace)
        self._limit = limit
        self._copies = server.address.replicas if durability and "replicated" in durability else 0
        self._continuity = Continuity(server, self._layout)
        self._looking = asyncio.Lock()
        self._passing: asyncio.Task[None] | None = None
        self._promise = Promise(server, self._layout, wanted=durability, copies=self._copies)

    @property
    def server(self) -> Server:
        """The server, for who examines it."""
        return self._server

    @property
    def layout(self) -> Layout:
        """The names of its keys."""
        return self._layout

    async def connect(self) -> Capabilities:
        """Connect and say what this server does."""
        await self._server.connect()
        await self._look()
        if self._copies:
            await require_replicas(self._server, have=self._promise.disk, wanted=self._copies)
        return Capabilities(
            evidence=native("acked"),
            durability=native(self._promise.level),
            redelivery=native(),
            fencing=native(),
            priority=native(5),
            priority_survives_retry=native(),
            delay=native(365 * 86_400),
            ttl=native(),
            order=native("per_sender"),
            dedup=native(3600),
            attempts=native("exact"),
            atomic_reply=native(),
            outcomes=native(86_400),
            inspect=native(),
            dead_letters=native(),
            pools=native(),
            replay=native(86_400),
            retention_guard=native(),
            directory=native(),
            max_body=native(self._limit),
            max_batch=native(MAX_BATCH),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()
        if self._passing is not None:
            # Its connection is closed, so it ends.
            await asyncio.wait([self._passing])

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Store a batch: one call per inbox, so that a full or broken inbox fails alone."""
        results: list[Published | HivebusError | None] = [None] * len(batch)
        away: HivebusError | None = None
        for inbox, indexes in _by_inbox(batch).items():
            try:
                if away is not None:
                    raise away
                answers = await self._store(inbox, [batch[index] for index in indexes])
            except HivebusError as error:
                answers = [error] * len(indexes)
                # Each further inbox would wait for the same server, one after the other.
                away = error if isinstance(error, (Unavailable, Unknown)) else None
            for index, answer in zip(indexes, answers, strict=True):
                results[index] = answer
        return [result for result in results if result is not None]

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> StreamReader:
        """Open an inbox; the groups start at the first message ever sent, so nothing is skipped."""
        kind = ReplyReader if is_temporary(inbox.name) else StreamReader
        reader = kind(self._server, self._layout, inbox, consumer=consumer, lease=lease, continuity=self._continuity)
        await reader.start()
        return reader

    def listener(self) -> RedisPubSub:
        """Return a new listener of the same server, by Pub/Sub."""
        # Imported here: most processes never listen.
        from hivebus_redis.pubsub import RedisPubSub

        return RedisPubSub(self._server.address, namespace=self._layout.namespace, limit=self._limit)

    async def _store(self, inbox: str, items: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        # Once a second and on each new connection; no await in between, so that batches keep their order.
        if self._promise.is_in_doubt:
            await self._look()
        elif self._promise.is_old or self._continuity.is_due:
            self._look_meanwhile()
        is_stale = self._promise.is_stale
        server = self._server
        keys = self._layout.publishing(inbox)
        words = publish_arguments(inbox, items, server.address)
        self._continuity.sent += len(items)
        if not self._copies:
            reply = await server.publish(keys, words)
            if is_stale and self._passing is not None:
                # After a quiet time: the receipt names what is so now.
                await asyncio.wait([self._passing])
            return published(inbox, reply, server.address, durability=self._promise.level)
        reply, confirmed = await server.publish_and_wait(keys, words, copies=self._copies, within_ms=PATIENCE_MS)
        results = published(inbox, reply, server.address, durability=self._promise.level)
        return judged(results, where=server.where, confirmed=confirmed, wanted=self._copies)

    def _look_meanwhile(self) -> None:
        """Look while the message travels: what is found holds for those that come after it."""
        if self._passing is None or self._passing.done():
            self._passing = asyncio.create_task(self._look_quietly())

    async def _look_quietly(self) -> None:
        # What is wrong there, the next message meets itself.
        with suppress(HivebusError):
            await self._look()

    async def _look(self) -> None:
        """Find out whether this is still the server that it was, and what it promises now."""
        async with self._looking:
            if self._continuity.is_due or self._promise.is_unknown:
                await self._continuity.look(self._server.publishing)
            if self._promise.is_due:
                await self._promise.look()


def _by_inbox(batch: Sequence[Outgoing]) -> Mapping[str, list[int]]:
    indexes: dict[str, list[int]] = {}
    for index, item in enumerate(batch):
        indexes.setdefault(item.inbox, []).append(index)
    return indexes
