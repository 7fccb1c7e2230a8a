"""Notices that the server has forgotten everything: it was flushed, or another one stands in its place.

Nothing tells a client: its connections stay open, and every call works. So the bus has a birth, an entry in
the directory that nobody changes: who finds another one, or none, knows that all before it is gone. Only a
process that knew the old one can know that, so a loss between two short commands goes unnoticed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from time import monotonic

from hivebus.errors import HivebusError, NotPermitted
from hivebus_redis import alarms
from hivebus_redis.connection import Channel, Server
from hivebus_redis.layout import Layout

KIND = "born"
NAME = "bus"
LOST = "lost"
"""The entry that tells of the last time when everything was gone."""
EVERY = 1.0
"""Seconds between two looks of a process that is busy; one that waits for messages looks when it wakes."""


class Continuity:
    """The birth of one bus, as this process knows it.

    Attributes:
        sent: how many messages this process has stored since.
    """

    def __init__(self, server: Server, layout: Layout) -> None:
        self._server = server
        self._namespace = layout.namespace
        self._keys = (layout.directory(KIND),)
        self._born: int | None = None
        self._due_at = 0.0
        self._forbidden = False
        self.sent = 0

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return not self._forbidden and monotonic() >= self._due_at

    async def look(self, channel: Channel | None = None) -> None:
        """Compare the birth with the one that was known, and raise the alarm when it is another."""
        self._due_at = monotonic() + EVERY
        try:
            born = await self._read(channel) or await self._begin(channel)
        except NotPermitted:
            # Whoever may not read the directory relies on those who may.
            self._forbidden = True
            return
        before, self._born = self._born, born
        if before is not None and before != born:
            await self._report(before, born, channel)

    async def _report(self, before: int, born: int | None, channel: Channel | None) -> None:
        sent, self.sent = self.sent, 0
        alarms.everything_was_gone(self._server.where, namespace=self._namespace, since=before / 1000, sent=sent)
        # Left for `hivebus doctor`: the processes that knew better are gone when somebody asks.
        value = {"before": before, "born": born, "sent_by_witness": sent}
        with suppress(HivebusError):
            await self._server.call("write", self._keys, (LOST, "", "", json.dumps(value)), channel=channel)

    async def _read(self, channel: Channel | None) -> int | None:
        rows = await self._server.call("read", self._keys, (), channel=channel)
        return next((int(rows[at + 1]) for at in range(0, len(rows), 3) if rows[at] == NAME.encode()), None)

    async def _begin(self, channel: Channel | None) -> int | None:
        born: int = await self._server.call("write", self._keys, (NAME, 0, "", "{}"), channel=channel)
        # Somebody else was faster: theirs counts.
        return born if born > 0 else await self._read(channel)
