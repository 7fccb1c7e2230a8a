"""How a transport is found: where it shall connect, and what a plugin registers for a URL scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hivebus.transport import OneShot, Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a transport shall connect.

    Attributes:
        url: as the user wrote it; options are in its query.
        namespace: separates buses that share a server.
        limit: the largest encoded message in bytes.
        max_messages: how many unsettled messages an inbox may hold.
        max_bytes: how many bytes they may have.
        legacy_url: the transport that is being left, while messages travel both; None otherwise.
        ledger: the file in which both are compared.
        durability: the level that every send must reach; None for what the server gives.
        legs: for a transport that joins others, those by the names of their legs: the one to move to first.
    """

    url: str
    namespace: str = "hb"
    limit: int = 256 * 1024
    max_messages: int = 1_000_000
    max_bytes: int = 512 * 1024 * 1024
    legacy_url: str | None = None
    ledger: str = ""
    durability: str | None = None
    legs: Mapping[str, Publisher] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What a plugin registers: URLs of *name* are served by *transport*.

    Attributes:
        name: the URL scheme, such as ``redis+streams``.
        transport: ``module:attribute`` of a callable that takes an `Endpoint` and returns a
            `Publisher`, or the callable itself; a path is imported at first use only.
        one_shot: likewise for a callable that returns a `OneShot`, or None for a URL that it cannot
            serve; optional.
        summary: one line for ``hivebus transports``.
        where: likewise for a callable that takes an `Endpoint` and says, without connecting, which
            server is meant; for schemes whose URL does not tell.
    """

    name: str
    transport: str | Callable[[Endpoint], Publisher]
    one_shot: str | Callable[[Endpoint], OneShot | None] | None = None
    summary: str = ""
    where: str | Callable[[Endpoint], str] | None = None
