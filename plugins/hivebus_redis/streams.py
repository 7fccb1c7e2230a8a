"""The durable transport: inboxes on Redis Streams, one stream per priority level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hivebus.errors import HivebusError
from hivebus.transport import Capabilities, Endpoint, Inbox, Outgoing, Published, Transport, native
from hivebus_redis.address import parse_endpoint
from hivebus_redis.connection import Server
from hivebus_redis.directory import RedisDirectory
from hivebus_redis.durability import durability_of
from hivebus_redis.inspection import RedisInspection
from hivebus_redis.layout import Layout
from hivebus_redis.publishing import publish_arguments, published
from hivebus_redis.reader import StreamReader

MAX_BATCH = 500


def open_streams(endpoint: Endpoint) -> RedisStreams:
    """Return the transport for ``redis://``, ``redis+streams://``, ``rediss://`` and ``unix://`` URLs."""
    return RedisStreams(Server(parse_endpoint(endpoint)), namespace=endpoint.namespace, limit=endpoint.limit)


def open_embedded(endpoint: Endpoint) -> RedisStreams:
    """Return the transport on the embedded server of the namespace, which is started if it is not up."""
    from hivebus_redis.embedded import ensure

    instance = ensure(endpoint.namespace)
    server = Server(parse_endpoint(replace(endpoint, url=instance.url)))
    return RedisStreams(server, namespace=endpoint.namespace, limit=endpoint.limit, durability=instance.durability)


class RedisStreams(RedisInspection, RedisDirectory, Transport):
    """Every inbox is five streams, a consumer group, and a few small keys, changed by server-side functions."""

    # One connection publishes, and a server carries out the commands of a connection in their order.
    under_way = 2

    def __init__(self, server: Server, *, namespace: str, limit: int, durability: str | None = None) -> None:
        self._server = server
        self._layout = Layout(namespace)
        self._limit = limit
        self._durability = durability

    async def connect(self) -> Capabilities:
        """Connect and say what this server does."""
        await self._server.connect()
        durability = self._durability or await durability_of(self._server)
        return Capabilities(
            evidence=native("acked"),
            durability=native(durability),
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
            inspect=native(),
            dead_letters=native(),
            retention_guard=native(),
            directory=native(),
            max_body=native(self._limit),
            max_batch=native(MAX_BATCH),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Store a batch: one call per inbox, so that a full or broken inbox fails alone."""
        results: list[Published | HivebusError | None] = [None] * len(batch)
        for inbox, indexes in _by_inbox(batch).items():
            try:
                answers = await self._store(inbox, [batch[index] for index in indexes])
            except HivebusError as error:
                answers = [error] * len(indexes)
            for index, answer in zip(indexes, answers, strict=True):
                results[index] = answer
        return [result for result in results if result is not None]

    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> StreamReader:
        """Open an inbox; the groups start at the first message ever sent, so nothing is skipped."""
        reader = StreamReader(self._server, self._layout, inbox, consumer=consumer, lease=lease)
        await reader.start()
        return reader

    async def _store(self, inbox: str, items: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        reply = await self._server.publish(
            (self._layout.meta(inbox), self._layout.index()),
            publish_arguments(inbox, items, self._server.address),
        )
        return published(inbox, reply, self._server.address)


def _by_inbox(batch: Sequence[Outgoing]) -> Mapping[str, list[int]]:
    indexes: dict[str, list[int]] = {}
    for index, item in enumerate(batch):
        indexes.setdefault(item.inbox, []).append(index)
    return indexes
