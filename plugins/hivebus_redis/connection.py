"""One server: its connections, and calls of the server-side functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import pack_command
from redis import exceptions
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hivebus.errors import ConfigError, HivebusError, Unavailable, Unsupported
from hivebus_redis import alarms
from hivebus_redis.address import Address
from hivebus_redis.errors import RAISED, is_demoted, translate, translated, while_away, while_starting
from hivebus_redis.library import read_prefix, read_source
from hivebus_redis.wire import Wire

CONNECT_TIMEOUT = 2.0
REPLY_TIMEOUT = 5.0
HEALED = (Unsupported, Unavailable)
"""What may be made possible again, and is tried once more then."""
Word = str | bytes | int
# The stubs of hiredis take one word only.
_pack = cast(Callable[[tuple[Word, ...]], bytes], pack_command)


class Channel:
    """One connection, made at first use and again when it was lost.

    Commands of several callers may be under way at once; they are carried out in the order of their calls.
    """

    def __init__(self, address: Address, *, reply_timeout: float = REPLY_TIMEOUT) -> None:
        self._where = address.where
        self._reply_timeout = reply_timeout
        self._connection = make_connection(address)
        self._wire: Wire | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def call(self, *words: Word) -> Any:
        """Send one command and return its reply, as RESP2 has it: bytes, int, list or None."""
        wire = self.wire or await self.connect()
        try:
            return await wire.begin(_pack(words), within=self._reply_timeout)
        except RAISED as error:
            raise translate(error, self._where) from error

    @property
    def wire(self) -> Wire | None:
        """The connection as long as it is whole; the next one is another."""
        return self._wire if self._wire is not None and self._wire.is_open else None

    async def call_all(self, *commands: Sequence[Word]) -> list[Any]:
        """Send commands behind each other on one and the same connection, and return all replies.

        Raises the first error among them; the others are carried out all the same.
        """
        replies = await self._ask_all(commands)
        error = next((each for each in replies if isinstance(each, Exception)), None)
        if error is not None:
            with translated(self._where):
                raise error
        return replies

    async def call_each(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send commands behind each other on one and the same connection; return the reply or the error of each."""
        return [self._judged(reply) for reply in await self._ask_all(commands)]

    def begin_all(
        self, commands: Sequence[Sequence[Word]], *, lasting: float, rings: Callable[[], None]
    ) -> asyncio.Future[list[Any]] | None:
        """Send commands now that may keep the server waiting for so many seconds; return what `Wire.begin_all` does.

        None when there is no connection that is whole.
        """
        wire = self.wire
        if wire is None:
            return None
        return wire.begin_all(_pack_all(commands), len(commands), within=lasting + self._reply_timeout, rings=rings)

    async def connect(self) -> Wire:
        """Return the connection, made anew when there is none; nothing is sent that could be stored."""
        async with self._connecting:
            if self.wire is not None:
                return self.wire
            with translated(self._where, connecting=True):
                await self._connection.disconnect(nowait=True)
                await self._connection.connect()  # type: ignore[no-untyped-call]
                if self._closed:
                    # Meanwhile: nobody would close it again.
                    await self._connection.disconnect(nowait=True)
                    raise exceptions.ConnectionError("closed by this side")
            self._wire = Wire(self._connection)
            return self._wire

    def drop(self) -> None:
        """Give the connection up; whoever waits for an answer is told, and the next call makes a new one."""
        if self._wire is not None:
            self._wire.break_off(exceptions.ConnectionError("closed by this side"))

    async def close(self) -> None:
        """Drop the connection for good; whoever waits for an answer is told."""
        self._closed = True
        self.drop()
        await self._connection.disconnect(nowait=True)

    async def _ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        wire = self.wire or await self.connect()
        with translated(self._where):
            return await wire.begin_all(_pack_all(commands), len(commands), within=self._reply_timeout)

    def _judged(self, answer: Any) -> Any:
        try:
            with translated(self._where):
                if isinstance(answer, BaseException):
                    raise answer
        except HivebusError as error:
            return error
        return answer


class Server:
    """The channels to one server; functions are loaded when the server does not have them.

    Args:
        address: where it is.

    Publishing, settling and asking have a channel each; every reader has its own two.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.where = address.where
        self._prefix = read_prefix()
        # Read now: an upgrade may put another text in its place while this process runs.
        self._source = read_source()
        self._channels: list[Channel] = []
        self.publishing = self.channel()
        self._asking = self.channel()
        self._is_known = False

    def channel(self, *, reply_timeout: float = REPLY_TIMEOUT) -> Channel:
        """Return a new channel, connected at first use and closed together with the server."""
        channel = Channel(self.address, reply_timeout=reply_timeout)
        self._channels.append(channel)
        return channel

    async def connect(self) -> None:
        """Connect, and make sure of the functions."""
        await while_starting(self._introduce)
        self._is_known = True

    async def publish(self, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """Call the ``publish`` function."""
        return await self.call("publish", keys, args, channel=self.publishing)

    async def publish_and_wait(
        self, keys: Sequence[str], args: Sequence[Word], *, copies: int, within_ms: int
    ) -> tuple[Any, int]:
        """Call the ``publish`` function; return its reply, and how many replicas had it in time."""
        both = self.words("publish", keys, args), ("WAIT", copies, within_ms)
        try:
            reply, confirmed = await self.publishing.call_all(*both)
        except HEALED as error:
            await self._heal(self.publishing, error)
            reply, confirmed = await self.publishing.call_all(*both)
        return reply, confirmed

    async def call(
        self,
        function: str,
        keys: Sequence[str],
        args: Sequence[Word],
        *,
        channel: Channel | None = None,
    ) -> Any:
        """Call one of the functions of our library, and return its reply."""
        asked = channel or self._asking
        words = self.words(function, keys, args)
        try:
            return await asked.call(*words)
        except HEALED as error:
            await self._heal(asked, error)
        return await asked.call(*words)

    async def ask(self, function: str, keys: Sequence[str], args: Sequence[Word]) -> Any:
        """Call a function that may be called twice: again while the server is away, for a bounded time."""
        return await while_away(lambda: self.call(function, keys, args), where=self.where)

    async def command(self, *words: Word) -> Any:
        """Run a plain command."""
        return await self._asking.call(*words)

    def words(self, function: str, keys: Sequence[str], args: Sequence[Word]) -> tuple[Word, ...]:
        """Return the command that calls one of the functions of our library."""
        return ("FCALL", self._prefix + function, len(keys), *keys, *args)

    async def forget(self, channel: Channel) -> None:
        """Close a channel that is no longer needed."""
        self._channels.remove(channel)
        await channel.close()

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            await channel.close()

    async def _introduce(self) -> None:
        await self.publishing.connect()
        # Asked first: a server that is out of memory, or that keeps loading to its operator, refuses to load them.
        await self.call("ping", (), (), channel=self.publishing)

    async def _heal(self, channel: Channel, error: HivebusError) -> None:
        """Make what failed possible, or raise *error*."""
        if is_demoted(error):
            # Its name may lead to the new primary, so the next attempt looks it up again.
            channel.drop()
            raise error
        if "Function not found" not in str(error):
            raise error
        # A flushed or replaced server: what it lost is loaded again.
        if self._is_known:
            alarms.functions_were_gone(self.where)
        await self._load(channel)

    async def _load(self, channel: Channel) -> None:
        try:
            await channel.call("FUNCTION", "LOAD", self._source)
        except Unsupported as error:
            if "already exists" not in str(error):
                raise


def _pack_all(commands: Sequence[Sequence[Word]]) -> bytes:
    return b"".join(_pack(tuple(words)) for words in commands)


def make_connection(address: Address) -> Connection:
    """Return a connection of redis-py, not yet connected, that tries nothing twice by itself."""
    try:
        pool = ConnectionPool.from_url(
            address.url,
            socket_timeout=CONNECT_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            # The client's own retry would store a message several times behind our back.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        return cast(Connection, pool.make_connection())  # type: ignore[no-untyped-call]
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"the URL {address.where} is not understood: {error}",
            hint="redis://HOST:PORT/DB, rediss://, unix:///PATH; options: max_messages, max_bytes and redis-py's own",
        ) from error
