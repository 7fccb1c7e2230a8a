"""Sends from a process that lives for one message: one socket, one call, no client library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hivebus.capabilities import is_as_durable
from hivebus.errors import DurabilityUnavailable, HivebusError, Unavailable
from hivebus.transport import Endpoint, OneShot, Outgoing, Published
from hivebus_redis.address import Address, parse_endpoint
from hivebus_redis.durability import NEEDED, Level, judge, refusal
from hivebus_redis.layout import Layout
from hivebus_redis.library import read_prefix, read_source
from hivebus_redis.publishing import publish_arguments, published
from hivebus_redis.resp import REPLY_TIMEOUT, Connection, Reply, ReplyError, translate
from hivebus_redis.server_facts import pairs_in

UNDERSTOOD = {"db", "ssl_ca_certs"}


def redis_one_shot(endpoint: Endpoint) -> RedisOneShot | None:
    """Return a one-shot sender, or None when the URL has options that only the full client understands."""
    address = parse_endpoint(endpoint)
    if dict(parse_qsl(urlsplit(address.url).query)).keys() - UNDERSTOOD:
        return None
    # What else may be asked for is found out by the full client.
    level = "memory" if endpoint.durability == "memory" else None
    return RedisOneShot(address, namespace=endpoint.namespace, durability=level)


def embedded_one_shot(endpoint: Endpoint) -> OneShot:
    """Return a one-shot sender to the embedded server of the namespace, which is started if it is not up."""
    return EmbeddedOneShot(endpoint)


class RedisOneShot(OneShot):
    """Calls the same server-side function as the full transport.

    Args:
        address: where the server is.
        namespace: the bus.
        durability: what is known of it without asking.
        asks: whether to ask the server what it gives, before anything is stored.
        wanted: what it must give then.
    """

    def __init__(
        self,
        address: Address,
        *,
        namespace: str,
        durability: str | None = None,
        asks: bool = False,
        wanted: str | None = None,
    ) -> None:
        self._address = address
        self._layout = Layout(namespace)
        self.durability = durability
        self._asks = asks
        self._wanted = wanted

    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Connect, store, disconnect."""
        timeout = min(REPLY_TIMEOUT, self.patience)
        connection = Connection(self._address.url, where=self._address.where, timeout=timeout)
        try:
            if self._asks:
                self.durability = self._level(connection)
            return [self._store(connection, item) for item in batch]
        except DurabilityUnavailable as error:
            return [error] * len(batch)
        finally:
            connection.close()

    def now(self) -> float | None:
        """Return the time of the server, by which everything falls due."""
        connection = Connection(self._address.url, where=self._address.where)
        try:
            reply = self._call(connection, "FCALL", read_prefix() + "now", 0)
        except ReplyError as error:
            raise translate(error, self._address.where) from error
        finally:
            connection.close()
        assert isinstance(reply, bytes)
        return int(reply) / 1000

    def read(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the facts of a kind."""
        # Only who finds out that there are any needs it.
        import json

        connection = Connection(self._address.url, where=self._address.where, timeout=min(REPLY_TIMEOUT, self.patience))
        try:
            reply = self._call(connection, "FCALL", read_prefix() + "read", 1, self._layout.directory(kind))
        except ReplyError as error:
            raise translate(error, self._address.where) from error
        finally:
            connection.close()
        assert isinstance(reply, list)
        rows = [part for part in reply if isinstance(part, bytes)]
        return {rows[at].decode(): json.loads(rows[at + 2]) for at in range(0, len(rows), 3)}

    def _store(self, connection: Connection, item: Outgoing) -> Published | HivebusError:
        keys = self._layout.publishing(item.inbox)
        words = publish_arguments(item.inbox, [item], self._address)
        try:
            reply = self._call(connection, "FCALL", read_prefix() + "publish", len(keys), *keys, *words)
        except ReplyError as error:
            return translate(error, self._address.where)
        assert isinstance(reply, list)
        parts = [part for part in reply if isinstance(part, bytes)]
        return published(item.inbox, parts, self._address, durability=self.durability)[0]

    def _level(self, connection: Connection) -> str:
        try:
            found = judge(pairs_in(connection.call("CONFIG", "GET", *NEEDED)))
        except ReplyError as error:
            found = Level("memory", f"its configuration cannot be read: {error}")
        if self._wanted is not None and not is_as_durable(found.name, self._wanted):
            raise refusal(self._address.where, have=found.name, wanted=self._wanted, why=found.why, hint=found.hint)
        return found.name

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

    def read(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the facts of a kind; the server is up, since something was published before, or is started."""
        from hivebus_redis.embedded import ensure, find

        instance = find(self._endpoint.namespace) or ensure(self._endpoint.namespace)
        return self._sender(instance.url).read(kind)

    def _sender(self, url: str) -> RedisOneShot:
        address = parse_endpoint(replace(self._endpoint, url=url))
        # Somebody may have changed what it was started with; asking costs nothing on a socket.
        sender = RedisOneShot(address, namespace=self._endpoint.namespace, asks=True, wanted=self._endpoint.durability)
        sender.patience = self.patience
        return sender
