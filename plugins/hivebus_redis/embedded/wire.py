"""Asks the server on a unix socket how it is, and tells it to end."""

from __future__ import annotations

from contextlib import closing
from typing import Literal
from urllib.parse import quote

from hivebus.errors import Unavailable, Unknown
from hivebus_redis.resp import Connection, Reply, ReplyError

TIMEOUT = 2.0
State = Literal["ready", "loading", "silent"]


def url_of(path: str) -> str:
    """Return the URL of the server whose socket is at *path*."""
    return f"unix://{quote(path)}"


def state(path: str) -> State:
    """Tell whether the server at *path* takes commands, still reads its data, or says nothing."""
    try:
        with closing(_connect(path)) as connection:
            connection.call("PING")
    except (Unavailable, Unknown):
        return "silent"
    except ReplyError:
        return "loading"
    return "ready"


def facts(path: str) -> dict[str, str] | None:
    """Return what the server at *path* says about itself, with its durability settings; None when not ready."""
    try:
        with closing(_connect(path)) as connection:
            connection.call("PING")
            found = _pairs(connection.call("INFO", "server"))
            for setting in ("appendonly", "appendfsync"):
                reply = connection.call("CONFIG", "GET", setting)
                found[setting] = _text(reply[1]) if isinstance(reply, list) and len(reply) > 1 else ""
    except (Unavailable, Unknown, ReplyError):
        return None
    return found


def shut_down(path: str) -> None:
    """Tell the server at *path* to end, and return when it has said nothing against it.

    Raises:
        ReplyError: it refused. Unavailable: nobody answers.
    """
    with closing(_connect(path)) as connection:
        try:
            connection.call("SHUTDOWN")
        except Unknown:
            return  # the only good answer to a shutdown is none


def _connect(path: str) -> Connection:
    return Connection(url_of(path), where=path, timeout=TIMEOUT)


def _pairs(reply: Reply) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(reply).splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _text(reply: Reply) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
