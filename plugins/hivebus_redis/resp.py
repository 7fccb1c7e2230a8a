"""A few commands over a blocking socket: for processes that live for one message and import little."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from hivebus.errors import BrokerFull, HivebusError, NotPermitted, Unavailable, Unknown, Unsupported

CONNECT_TIMEOUT = 2.0
REPLY_TIMEOUT = 5.0
Word = str | int | bytes
Reply = bytes | int | list["Reply"] | None


class ReplyError(Exception):
    """The server answered with an error; the text begins with its code."""


class Connection:
    """One connection to one server.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as `hivebus_redis.address` parsed it.
        where: the server as it may be shown.
        timeout: seconds that a reply may take, and connecting at most.

    Raises:
        Unavailable: nobody answers there.
    """

    def __init__(self, url: str, *, where: str, timeout: float = REPLY_TIMEOUT) -> None:
        self._where = where
        try:
            self._socket = _connect(url, within=min(CONNECT_TIMEOUT, timeout))
        except (OSError, UnicodeError) as error:
            raise _away(where, error) from error
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rb")
        try:
            self._introduce(url)
        except Unknown as error:
            self.close()
            raise _away(where, error.cause) from error
        except ReplyError as error:
            self.close()
            raise translate(error, where) from error
        except Unavailable:
            self.close()
            raise

    def call(self, *words: Word) -> Reply:
        """Send one command and return its reply.

        Raises:
            ReplyError: the server refused. Unknown: the connection was lost before the reply.
            Unavailable: what answers is no Redis.
        """
        try:
            self._socket.sendall(_encode(words))
            return self._read()
        except ValueError as error:
            raise Unavailable(
                f"{self._where} does not speak the protocol of Redis",
                cause=str(error),
                hint="check host and port in the URL",
            ) from error
        except OSError as error:
            raise Unknown(
                f"lost the connection to {self._where}",
                cause=str(error) or type(error).__name__,
                hint="send again with the same message_id: it is stored once",
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def _introduce(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.password:
            names = [unquote(parts.username)] if parts.username else []
            self.call("AUTH", *names, unquote(parts.password))
        options = dict(parse_qsl(parts.query))
        database = options.get("db") or ("" if parts.scheme == "unix" else parts.path.strip("/"))
        if database not in ("", "0"):
            self.call("SELECT", database)

    def _read(self) -> Reply:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._exactly(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise ValueError("the reply is not in the protocol of Redis")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size + 2)
        if len(data) != size + 2:
            raise OSError("the server closed the connection")
        return data[:-2]


def is_forbidden_inside(text: str) -> bool:
    """Tell whether an access rule refused a command inside of a function: servers say so without a code."""
    # Redis 7.0, then the later ones and Valkey.
    return "The user executing the script can't" in text or "ACL failure in script" in text


def translate(error: ReplyError, where: str) -> HivebusError:
    """Return the error of ours that says what a refusal means."""
    text = str(error)
    code = text.partition(" ")[0]
    if code in ("OOM", "MISCONF"):
        what = f"{where}: the server takes no new messages"
        return BrokerFull(what, cause=text, hint="free memory or disk there", passing=code == "MISCONF")
    # A long command before the password is "ERR Protocol error: unauthenticated ...".
    if code in ("NOAUTH", "WRONGPASS") or text.startswith("ERR AUTH") or "unauthenticated" in text:
        return NotPermitted(f"{where}: the server refused", cause=text, hint="check user and password in the URL")
    if code == "NOPERM" or is_forbidden_inside(text):
        what = f"{where}: an access rule of the server forbids it"
        return NotPermitted(what, cause=text, hint="ask the operator for the rights of an agent")
    if code in ("LOADING", "BUSY", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS"):
        return Unavailable(f"{where}: the server is not ready", cause=text, hint="try again in a moment")
    return Unsupported(f"{where}: the server refused a command", cause=text, hint="it must be Redis >= 7.0 or Valkey")


def _away(where: str, cause: object) -> Unavailable:
    hint = "start it, or check the URL: hivebus config show"
    return Unavailable(f"no server answers at {where}", cause=str(cause), hint=hint)


def _connect(url: str, *, within: float) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.settimeout(within)
        try:
            unix.connect(unquote(parts.path))
        except OSError:
            unix.close()
            raise
        return unix
    host = parts.hostname or "localhost"
    tcp = socket.create_connection((host, parts.port or 6379), timeout=within)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme != "rediss":
        return tcp
    # Imported here, because it is slow and most servers of agents are local.
    import ssl

    options = dict(parse_qsl(parts.query))
    return ssl.create_default_context(cafile=options.get("ssl_ca_certs")).wrap_socket(tcp, server_hostname=host)


def _encode(words: Sequence[Word]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
