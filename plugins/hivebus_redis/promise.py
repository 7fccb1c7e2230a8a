"""What `send` returned means on the server in front of us, at this moment.

A configuration can change under a running bus, and a name can lead to another server. So the level is
looked at again on each new connection, and before the first batch of every second; never downgraded
silently. What is accepted within the second after a ``CONFIG SET`` may have had the lesser level. A bus
that asked for none looks while its messages travel; after a quiet time, its receipts wait for what it sees.
"""

from __future__ import annotations

import json
from time import monotonic

from hivebus.capabilities import is_as_durable
from hivebus.errors import NotPermitted, Unsupported
from hivebus_redis import alarms
from hivebus_redis.attestation import KIND, NAME, SECTIONS, read_attestation, why_stale
from hivebus_redis.connection import Server
from hivebus_redis.durability import NEEDED, Level, joined, judge, refusal
from hivebus_redis.layout import Layout
from hivebus_redis.server_facts import configuration, info
from hivebus_redis.wire import Wire

EVERY = 1.0
"""Seconds after which the configuration is looked at again."""
ATTEST = "let an operator run: hivebus doctor --attest"


class Promise:
    """The level of one server, as far as this process may know it.

    Args:
        server: its publishing connection is asked; what is true on it is true of what it stores.
        layout: where attestations stand.
        wanted: the level that was asked for; None takes what there is.
        copies: how many replicas confirm each message, where copies were asked for.

    Attributes:
        level: the strongest level that is known to be given; disk: what its configuration alone gives.
    """

    def __init__(self, server: Server, layout: Layout, *, wanted: str | None, copies: int) -> None:
        self.level = "memory"
        self.disk = "memory"
        self.wanted = wanted
        self.copies = copies
        self._server = server
        self._attestations = (layout.directory(KIND),)
        self._channel = server.publishing
        self._seen: Wire | None = None
        self._due_at = 0.0
        self._known: Level | None = None
        self._may_ask = True

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return self.is_unknown or self.is_old

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known about the server that the next message would go to."""
        return self._seen is None or self._channel.wire is not self._seen

    @property
    def is_in_doubt(self) -> bool:
        """Whether to look before anything is stored: the server may be another, or a level was asked for."""
        return self.is_unknown or (self.wanted is not None and self.is_old)

    @property
    def is_old(self) -> bool:
        """Whether what is known is older than it should be."""
        return monotonic() >= self._due_at

    @property
    def is_stale(self) -> bool:
        """Whether what is known is older than a receipt may name: that of the second before."""
        return monotonic() >= self._due_at + EVERY

    async def look(self) -> None:
        """Find out the level; raises `DurabilityUnavailable` when it is less than what was asked for."""
        wire = await self._channel.connect()
        if wire is not self._seen:
            self._may_ask = True
        found = await self._ask()
        before, self._known = self._known, found
        self.disk = found.name
        self.level = joined(found.name, replicated=self.copies > 0)
        if before is not None and is_as_durable(before.name, "fsync") and not is_as_durable(found.name, "fsync"):
            alarms.durability_was_lost(self._server.where, before=before.name, now=found.name, why=found.why)
        if self.wanted is not None and not is_as_durable(self.level, self.wanted):
            self._seen = None
            raise refusal(self._server.where, have=self.level, wanted=self.wanted, why=found.why, hint=found.hint)
        self._seen = wire
        self._due_at = monotonic() + EVERY

    async def _ask(self) -> Level:
        if self._may_ask:
            try:
                return judge(await configuration(self._channel.call, list(NEEDED)))
            except (NotPermitted, Unsupported):
                # Not asked again on this connection: every refusal is written down by the server.
                self._may_ask = False
        return await self._attested()

    async def _attested(self) -> Level:
        rows = await self._server.call("read", self._attestations, (), channel=self._channel)
        values = [json.loads(rows[at + 2]) for at in range(0, len(rows), 3) if rows[at] == NAME.encode()]
        attested = read_attestation(values[0]) if values else None
        if attested is None:
            return Level("memory", "this user may not read its configuration, and nobody attested it", ATTEST)
        try:
            seen = await info(self._channel.call, *SECTIONS)
        except NotPermitted:
            return Level("memory", "this user may read neither its configuration nor INFO", "grant agents +info")
        stale = why_stale(attested, seen)
        if stale:
            return Level("memory", f"its attestation is stale: {stale}", ATTEST)
        return Level(attested.level, f"attested by {attested.by}")
