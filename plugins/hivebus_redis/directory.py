"""Shared facts in hashes, one per kind, with compare-and-set; mixed into the transport."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hivebus.errors import Conflict
from hivebus.transport import ROUTES, Directory, Entry
from hivebus_redis.connection import Server
from hivebus_redis.errors import while_away
from hivebus_redis.layout import Layout


class RedisDirectory(Directory):
    """Every entry has a version that only grows, and may end at a time of the server's clock."""

    _server: Server
    _layout: Layout

    async def read(self, kind: str) -> Mapping[str, Entry]:
        """Return the live entries of a kind."""
        rows = await self._server.ask("read", (self._layout.directory(kind),), ())
        return {rows[at].decode(): Entry(json.loads(rows[at + 2]), int(rows[at + 1])) for at in range(0, len(rows), 3)}

    async def write(
        self,
        kind: str,
        name: str,
        value: Mapping[str, Any] | None,
        *,
        expect: int | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write or delete one entry."""
        args = (
            name,
            "" if expect is None else expect,
            "" if ttl is None else int(ttl * 1000),
            "" if value is None else json.dumps(value),
        )
        # Whoever expects a version must not try twice: its own first attempt would be in the way.
        write = self._server.ask if expect is None else self._server.call
        counted = (self._layout.changes(),) if kind == ROUTES else ()
        version: int = await write("write", (self._layout.directory(kind), *counted), args)
        if version < 0:
            raise Conflict(
                f"{kind}/{name} has another version than {expect}",
                cause="somebody else wrote it meanwhile",
                hint="read it again and decide again",
            )
        return version

    async def changes(self) -> int:
        """Return how often the routes have changed."""
        return int(
            await while_away(lambda: self._server.command("GET", self._layout.changes()), where=self._server.where) or 0
        )
