"""Answers about inboxes, and what operators may change in them; mixed into the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from hivebus.address import is_temporary
from hivebus.transport import Clock, Counts, DeadLetters, Inspectable, Located, Schedules, State
from hivebus_redis.connection import Server, Word
from hivebus_redis.errors import while_away
from hivebus_redis.layout import Layout

PAGE = 100
"""How many inboxes are asked at once."""


class RedisInspection(Inspectable, DeadLetters, Schedules, Clock):
    """Derives every answer from the queue itself, in one call per inbox."""

    _server: Server
    _layout: Layout

    async def inboxes(self) -> Sequence[str]:
        """Return the names of all inboxes that ever held or awaited a message, without temporary ones."""
        return sorted(name for name in await all_inboxes(self._server, self._layout) if not is_temporary(name))

    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        """Return one count per inbox."""
        rows: list[Sequence[object]] = []
        for page in (inboxes[at : at + PAGE] for at in range(0, len(inboxes), PAGE)):
            rows += await asyncio.gather(*(self._call("counts", inbox, ["main"]) for inbox in page))
        return [_counts(row) for row in rows]

    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        """Return where each id is known."""
        # All are under way at once, in pages: a broadcast asks for many.
        found: list[Located] = []
        for page in (inboxes[at : at + PAGE] for at in range(0, len(inboxes), PAGE)):
            answers = await asyncio.gather(*(self._call("locate", inbox, ["main", *ids]) for inbox in page))
            found += [located(inbox, row) for inbox, rows in zip(page, answers, strict=True) for row in rows]
        return found

    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return what is handed out and what waits, highest level first."""
        return [located(inbox, row) for row in await self._call("peek", inbox, ["main", limit])]

    async def held(self, inbox: str, *, limit: int) -> Sequence[Located]:
        """Return what is handed out; the server looks at nothing else."""
        return [located(inbox, row) for row in await self._call("peek", inbox, ["main", limit, "held"])]

    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        """Return dead letters, newest first."""
        return [located(inbox, row) for row in await self._call("dead", inbox, [limit, before or ""])]

    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Queue dead letters again, under their ids, counts reset and without a deadline."""
        return await self._flags("requeue", inbox, ids)

    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Delete dead letters for good."""
        return await self._flags("purge", inbox, ids)

    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        """Cancel what nobody was handed yet."""
        return await self._flags("cancel", inbox, ids)

    async def now(self) -> float:
        """Return the time of the server, by which everything falls due."""
        return int(await self._server.call("now", (), ())) / 1000

    async def _flags(self, function: str, inbox: str, ids: Sequence[str]) -> list[bool]:
        flags = await self._server.call(function, (self._layout.meta(inbox),), ids)
        return [flag == 1 for flag in flags]

    async def _call(self, function: str, inbox: str, args: Sequence[Word]) -> list[list[bytes]]:
        return cast(list[list[bytes]], await self._server.ask(function, (self._layout.meta(inbox),), args))


async def all_inboxes(server: Server, layout: Layout) -> Sequence[str]:
    """Return the names of all inboxes, temporary ones among them."""
    names = await while_away(lambda: server.command("SMEMBERS", layout.index()), where=server.where)
    return [name.decode() for name in names]


def _counts(row: Sequence[object]) -> Counts:
    waiting, in_flight, retrying, scheduled, dead, oldest, consumers = (cast(int, value) for value in row)
    return Counts(
        waiting=waiting,
        in_flight=in_flight,
        retrying=retrying,
        scheduled=scheduled,
        dead=dead,
        oldest_waiting_seconds=None if oldest < 0 else oldest / 1000,
        consumers=consumers,
    )


def located(inbox: str, row: Sequence[bytes]) -> Located:
    """Return where a message is, from the row in which a function tells it."""
    message_id, state, attempts, consumer, reason, lease, due, at, level, entry, epoch, data, requeued, outcome = row
    token = None
    if consumer:
        token = f"{level.decode()}/{entry.decode()}/{epoch.decode()}/{message_id.decode()}"
    return Located(
        message_id=message_id.decode(),
        inbox=inbox,
        state=cast(State, state.decode()),
        attempts=int(attempts),
        consumer=consumer.decode() or None,
        reason=reason.decode() or None,
        token=token,
        lease_seconds=int(float(lease)) / 1000 if lease else None,
        due_seconds=int(float(due)) / 1000 if due else None,
        at=int(at) / 1000 if at else None,
        priority=int(level) if level else None,
        data=data or None,
        requeued=int(requeued),
        outcome=outcome or None,
        letter=f"dead/{entry.decode()}" if state == b"dead_lettered" or reason else None,
    )
