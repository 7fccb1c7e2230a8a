"""Sends from a process that lives for one message: one socket, one call, no client library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from hivebus.errors import HivebusError, Unavailable
from hivebus.transport import Endpoint, OneShot, Outgoing, Published
from hivebus_redis.address import Address, parse_endpoint
from hivebus_redis.layout import Layout
from hivebus_redis.library import read_prefix, read_source
from hivebus_redis.publishing import publish_arguments, published
from hivebus_redis.resp import Connection, Reply, ReplyError, translate

UNDERSTOOD = {"db", "ssl_ca_certs"}


def redis_one_shot(endpoint: Endpoint) -> RedisOneShot | None:
    """Return a one-shot sender, or None when the URL has options that only the full client understands."""
    address = parse_endpoint(endpoint)
    if dict(parse_qsl(urlsplit(address.url).query)).keys() - UNDERSTOOD:
        return None
    return RedisOneShot(address, namespace=endpoint.namespace)


def embedded_one_shot(endpoint: Endpoint) -> OneShot:
    """Return a one-shot sender to the embedded server of the namespace, which is started if it is not up."""
    return EmbeddedOneShot(endpoint)


class RedisOneShot(OneShot):
    """Calls the same server-side function as the full transport."""

    def __init__(self, address: Address, *, namespace: str, durability: str | None = None) -> None:
        self._address = address
        self._layout = Layout(namespace)
        self.durability = durability

    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Connect, store, disconnect."""
        connection = Connection(self._address.url, where=self._address.where)
        try:
            return [self._store(connection, item) for item in batch]
        finally:
            connection.close()

    def _store(self, connection: Connection, item: Outgoing) -> Published | HivebusError:
        keys = (self._layout.meta(item.inbox), self._layout.index())
        words = publish_arguments(item.inbox, [item], self._address)
        try:
            reply = self._call(connection, "FCALL", read_prefix() + "publish", len(keys), *keys, *words)
        except ReplyError as error:
            return translate(error, self._address.where)
        assert isinstance(reply, list)
        return published(item.inbox, [part for part in reply if isinstance(part, bytes)], self._address)[0]

    def _call(self, connection: Connection, *words: str | int | bytes) -> Reply:
        try:
            return connection.call(*words)
        except ReplyError as error:
            if "Function not found" not in str(error):
                raise
        try:
            connection.call("FUNCTION", "LOAD", read_source())
        except ReplyError as error:
            if "already exists" not in str(error):
                raise
        return connection.call(*words)


class EmbeddedOneShot(OneShot):
    """Attaches to the embedded server; only a server that is away costs the import of what starts it."""

    durability = "fsync"

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Connect, store, disconnect; starts the server first when it is away."""
        from hivebus_redis.embedded import ensure, find

        instance = find(self._endpoint.namespace) or ensure(self._endpoint.namespace)
        try:
            return self._sender(instance.url).publish_once(batch)
        except Unavailable:
            return self._sender(ensure(self._endpoint.namespace).url).publish_once(batch)

    def _sender(self, url: str) -> RedisOneShot:
        return RedisOneShot(parse_endpoint(replace(self._endpoint, url=url)), namespace=self._endpoint.namespace)
