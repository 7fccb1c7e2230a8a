"""Where the server is, and what the URL asks of this transport. Light: the one-shot sender reads it too."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from hivebus.errors import ConfigError
from hivebus.transport import Endpoint

OPTIONS = ("max_messages", "max_bytes", "replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed URL.

    Attributes:
        url: what redis-py understands, without our own options.
        where: the server as it may be shown: no user, no password.
        max_messages: how many unsettled messages an inbox may hold.
        max_bytes: how many bytes they may have.
        replicas: how many copies make a message replicated, for who asks for that level.
    """

    url: str
    where: str
    max_messages: int
    max_bytes: int
    replicas: int = 1


def parse_endpoint(endpoint: Endpoint) -> Address:
    """Return the address in a ``redis://``, ``rediss://`` or ``unix://`` URL, with or without a ``+variant``."""
    parts, port = _split(endpoint.url)
    scheme = parts.scheme.partition("+")[0]
    options = dict(parse_qsl(parts.query))
    limits = {name: _whole(options.pop(name), name) for name in OPTIONS if name in options}
    query = f"?{urlencode(options)}" if options else ""
    return Address(
        url=f"{scheme}://{parts.netloc}{parts.path}{query}",
        where=f"{parts.scheme}://{parts.hostname or ''}{f':{port}' if port else ''}{parts.path}",
        max_messages=limits.get("max_messages", endpoint.max_messages),
        max_bytes=limits.get("max_bytes", endpoint.max_bytes),
        replicas=limits.get("replicas", 1),
    )


def _split(url: str) -> tuple[SplitResult, int | None]:
    # A password with a bare / ? or # ends up in other parts of the URL, so none of them is shown.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unreadable("the port is none, or a bracket is not closed") from None
    if parts.scheme.partition("+")[0] != "unix":
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise _unreadable("there is an @ behind the host")
        if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
            raise _unreadable("the database is no number")
    return parts, port


def _unreadable(why: str) -> ConfigError:
    return ConfigError(
        "the URL of the server cannot be read",
        cause=why,
        hint="redis://USER:PASSWORD@HOST:PORT/DB; in a password write / as %2F, ? as %3F and # as %23",
    )


def _whole(text: str, name: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigError(f"{name}={text} in the URL must be a whole number above 0", hint=f"{name}=100000")
