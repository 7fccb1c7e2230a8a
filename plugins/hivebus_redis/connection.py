"""One server: its address, its connections, and calls of the server-side functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hivebus.errors import ConfigError
from hivebus_redis.address import Address
from hivebus_redis.errors import translated
from hivebus_redis.library import read_prefix, read_source

CONNECT_TIMEOUT = 2.0
REPLY_TIMEOUT = 5.0
MAX_CONNECTIONS = 32


class Server:
    """Connections to one server; functions are loaded when the server does not have them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.where = address.where
        self._prefix = read_prefix()
        self._client = self._make(reply_timeout=REPLY_TIMEOUT, connections=MAX_CONNECTIONS)

    async def connect(self) -> dict[str, Any]:
        """Connect, make sure of the functions, and return what ``INFO server`` says."""
        with translated(self.where, connecting=True):
            info: dict[str, Any] = await self._client.info("server")
            await self._load()
        return info

    async def call(self, function: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Call one of the functions of our library and return its reply."""
        with translated(self.where):
            try:
                return await self._client.execute_command(
                    "FCALL", self._prefix + function, len(keys), *keys, *args
                )
            except exceptions.ResponseError as error:
                if "Function not found" not in str(error):
                    raise
            # A flushed or replaced server: what it lost is loaded again.
            await self._load()
            return await self._client.execute_command("FCALL", self._prefix + function, len(keys), *keys, *args)

    async def command(self, *words: Any) -> Any:
        """Run a plain command."""
        with translated(self.where):
            return await self._client.execute_command(*words)

    async def listener(self, *, wait: float) -> Redis:
        """Return a client of one connection for commands that block up to *wait* seconds."""
        return self._make(reply_timeout=wait + 2.0, connections=1)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose(close_connection_pool=True)

    async def _load(self) -> None:
        try:
            await self._client.execute_command("FUNCTION", "LOAD", read_source())
        except exceptions.ResponseError as error:
            if "already exists" not in str(error):
                raise

    def _make(self, *, reply_timeout: float, connections: int) -> Redis:
        try:
            pool = BlockingConnectionPool.from_url(
                self.address.url,
                max_connections=connections,
                timeout=reply_timeout,
                socket_timeout=reply_timeout,
                socket_connect_timeout=CONNECT_TIMEOUT,
                # The client's own retry would store a message several times behind our back.
                retry=Retry(NoBackoff(), 0),
                legacy_responses=False,
            )
            return Redis(connection_pool=pool)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the URL {self.where} is not understood: {error}",
                hint="redis://HOST:PORT/DB, rediss://, unix:///PATH; options: max_messages, max_bytes and redis-py's own",
            ) from error

