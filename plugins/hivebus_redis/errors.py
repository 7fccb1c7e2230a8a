"""The border: no redis exception gets past this file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from redis import exceptions

from hivebus.errors import BrokerFull, HivebusError, NotPermitted, Unavailable, Unknown, Unsupported, is_passing
from hivebus_redis.resp import is_forbidden_inside

PATIENCE = 10.0
"""Seconds for which a server that is starting is waited for."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# Not all of redis-py's exceptions are a RedisError. A host name that cannot be looked up is a UnicodeError.
RAISED = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    exceptions.IncorrectPolicyType,
    OSError,
    UnicodeError,
)
"""All that a call of redis-py may raise because of a server or of the way to it."""
T = TypeVar("T")
_CLUSTER = (
    Unsupported,
    "the server is a node of a cluster, which spreads keys over several",
    "point url at a server with cluster-enabled no; hivebus doctor tells which it is",
)
_REPLIES: Mapping[str, tuple[type[HivebusError], str, str]] = {
    "OOM": (BrokerFull, "the server is out of memory", "let consumers drain it, or raise its maxmemory"),
    "MISCONF": (BrokerFull, "the server cannot write to its disk", "free disk space; it goes on by itself"),
    "LOADING": (Unavailable, "the server is still loading its data", "try again in a moment"),
    "READONLY": (Unavailable, "the server is a read-only replica", "connect to the primary"),
    "CLUSTERDOWN": (Unavailable, "the cluster is down", "try again in a moment"),
    "TRYAGAIN": (Unavailable, "the cluster is moving the inbox", "try again in a moment"),
    "MASTERDOWN": (Unavailable, "the primary is down", "try again in a moment"),
    "NOREPLICAS": (Unavailable, "the server has fewer replicas than its min-replicas-to-write", "start its replicas"),
    "BUSY": (Unavailable, "the server is busy with a script", "try again in a moment"),
    "UNBLOCKED": (Unavailable, "the server is no longer in charge of the inbox", "try again in a moment"),
    "CROSSSLOT": _CLUSTER,
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "NOPERM": (NotPermitted, "an access rule of the server forbids it", "ask the operator for the rights of an agent"),
    "NOAUTH": (NotPermitted, "the server wants a password", "put it into the URL: redis://user:password@host"),
    "WRONGPASS": (NotPermitted, "the server refused user or password", "check the URL"),
}


@contextmanager
def translated(where: str, *, connecting: bool = False) -> Iterator[None]:
    """Raise what redis-py raises as one of ours.

    Args:
        where: the server, as a user may see it: no password.
        connecting: nothing can have been written yet, so that a lost connection is `Unavailable`.
    """
    try:
        yield
    except RAISED as error:
        raise translate(error, where, connecting=connecting) from error


def translate(error: Exception, where: str, *, connecting: bool = False) -> HivebusError:
    """Return the error of ours that says what *error* means for a message."""
    error = _answered(error) or error
    text = str(error)
    if isinstance(error, exceptions.InvalidResponse) and connecting:
        return Unavailable(
            f"{where} does not speak the protocol of Redis", cause=text, hint="check host and port in the URL"
        )
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return NotPermitted(
            f"{where}: the server refused user or password", cause=text, hint="check user and password in the URL"
        )
    if isinstance(error, _ANSWERS):
        return _reply(error, text, where)
    if isinstance(error, _LOST):
        if connecting or _refused(error):
            return Unavailable(
                f"no server answers at {where}",
                cause=text or type(error).__name__,
                hint="start it, or check the URL: hivebus config show",
            )
        return Unknown(
            f"lost the connection to {where}",
            cause=text or type(error).__name__,
            hint="send again with the same message_id: it is stored once",
        )
    return _reply(error, text, where)


async def while_starting(work: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """Do *work* again while the server says that it is about to take commands, for *patience* seconds."""
    return await _again(work, lambda error: _said(error, "LOADING", "BUSY"), patience)


async def while_away(work: Callable[[], Awaitable[T]], *, where: str, patience: float = PATIENCE) -> T:
    """Do *work*, which may be done twice, again while the server is away; for *patience* seconds altogether."""
    try:
        async with asyncio.timeout(patience):
            return await _again(work, is_passing, patience)
    except TimeoutError:
        raise Unavailable(
            f"{where} did not answer within {patience:g} s",
            cause="it is paused or overloaded, or the line to it is dead",
            hint="look at the server: hivebus doctor",
        ) from None


async def _again(work: Callable[[], Awaitable[T]], is_over_soon: Callable[[HivebusError], bool], patience: float) -> T:
    deadline = monotonic() + patience
    pause = FIRST_PAUSE
    while True:
        try:
            return await work()
        except HivebusError as error:
            if not is_over_soon(error) or monotonic() + pause > deadline:
                raise
        # Full jitter: clients that wait for the same server do not come back together.
        await asyncio.sleep(random.uniform(0, pause))
        pause = min(LONGEST_PAUSE, pause * 2)


def is_demoted(error: HivebusError) -> bool:
    """Tell whether the server is not, or no longer, the one to write to."""
    return _said(error, "READONLY", "MASTERDOWN")


def _said(error: HivebusError, *codes: str) -> bool:
    answer = _answered(error.__cause__)
    return answer is not None and _code(answer) in codes


def _answered(error: BaseException | None) -> Exception | None:
    """Return the server's own words; redis-py hides what it hears while connecting behind a ConnectionError."""
    while error is not None:
        if isinstance(error, _ANSWERS):
            return error
        error = error.__cause__
    return None


def _refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reply(error: Exception, text: str, where: str) -> HivebusError:
    known = _REPLIES.get("NOPERM" if is_forbidden_inside(text) else _code(error))
    if known:
        kind, what, hint = known
        made: HivebusError = kind(f"{where}: {what}", cause=text, hint=hint)
        if isinstance(made, BrokerFull):
            made.passing = _code(error) == "MISCONF"
        return made
    if "Function not found" in text:
        # Flushed again before it could be asked: the next attempt loads them once more.
        return Unavailable(f"{where}: the server has lost its functions", cause=text, hint="try again in a moment")
    return Unsupported(
        f"{where}: the server refused a command: {text}",
        cause="it may be older than Redis 7.0, or not a Redis at all",
        hint="hivebus transports describe",
    )


def _code(error: Exception) -> str:
    # redis-py drops the code of replies that it knows, so its classes are asked as well.
    text = str(error)
    if "OOM" in text.split(" ", 3)[:2] or "-OOM" in text:
        return "OOM"
    return _CODES.get(type(error)) or text.partition(" ")[0].lstrip("-")


_LOST = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    exceptions.ChildDeadlockedError,
    OSError,
    UnicodeError,
)
_ANSWERS = (
    exceptions.ResponseError,
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
)
_CODES: dict[type[Exception], str] = {
    exceptions.OutOfMemoryError: "OOM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.AuthenticationError: "NOAUTH",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.MasterDownError: "MASTERDOWN",
}
