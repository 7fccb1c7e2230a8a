"""What is kept: history that can be read again, and what is forgotten; mixed into the transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from heapq import heappop, heappush
from typing import Any, Literal, cast

from hivebus.address import is_temporary
from hivebus.tidying import Blocker, Holding, Shed, Tidied, Tidying
from hivebus.transport import Located, Replayable
from hivebus_redis.connection import Server
from hivebus_redis.inspection import located
from hivebus_redis.layout import LEVELS, Layout
from hivebus_redis.temporary import answers, drop_forsaken

STEP = 200
"""How many entries of a stream one call of `tidy` looks at: about a millisecond of the server's time."""
PAGE = 100
"""How many messages of a level are read at once."""


class RedisRetention(Replayable, Tidying):
    """Every step is one call for one inbox, so nobody waits for long behind it."""

    _server: Server
    _layout: Layout

    async def history(self, inbox: str, *, since: float, limit: int, until: float = 0) -> AsyncIterator[Located]:
        """Yield what was accepted, oldest first, over all levels."""
        now = int(await self._server.call("now", (), ()))
        oldest, youngest = max(0, now - int(since * 1000)), max(0, now - int(until * 1000))
        if is_temporary(inbox):
            for found in (await self._remembered(inbox, oldest, youngest))[:limit]:
                yield found
                limit -= 1
        first, last = f"{oldest}-0", str(youngest)
        levels = [_Level(self, inbox, level, first, last) for level in LEVELS]
        waiting: list[tuple[float, int, Located]] = []
        for number, level in enumerate(levels):
            await _add_next(waiting, level, number)
        while waiting and limit > 0:
            _, number, found = heappop(waiting)
            yield found
            limit -= 1
            await _add_next(waiting, levels[number], number)

    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        """Do a bounded part of what has to happen although nobody reads."""
        expired, trimmed, lost, removed, more = await self._at(inbox, "tidy", int(keep * 1000), STEP)
        return Tidied(expired=expired, trimmed=trimmed, lost=lost, removed=removed, more=bool(more))

    async def holding(self, inboxes: Sequence[str]) -> Sequence[Holding]:
        """Return what each inbox holds: all of its messages by ``MEMORY USAGE``, without ids and dead letters."""
        return [_holding(*await self._at(inbox, "holding")) for inbox in inboxes]

    async def shed(
        self,
        inbox: str,
        *,
        older_than: float,
        limit: int,
        want: int | None = None,
        dry_run: bool = False,
        behind: str = "",
    ) -> Shed:
        """Forget the oldest settled messages of the level where they are oldest."""
        count, size, first, last, oldest, *cursors = await self._at(
            inbox,
            "shed",
            int(older_than * 1000),
            limit,
            "" if want is None else max(1, want),
            int(dry_run),
            *(behind.split() if behind else [""] * 5),
        )
        return Shed(
            messages=count,
            bytes=size,
            first=_seconds(first),
            last=_seconds(last),
            oldest=_seconds(oldest),
            behind=" ".join(cursor.decode() or NOTHING for cursor in cursors) if dry_run else "",
        )

    async def clear_away(self) -> int:
        """Drop temporary inboxes whose readers died."""
        return await drop_forsaken(self._server, self._layout)

    async def _remembered(self, inbox: str, oldest: int, youngest: int) -> list[Located]:
        return await answers(self._server, self._layout, inbox, first_ms=oldest, last_ms=youngest)

    async def page(self, inbox: str, level: int, first: str, last: str) -> tuple[str, list[Located]]:
        """Return messages of one level, and the last entry that was looked at or nothing at the end."""
        reached, *rows = await self._at(inbox, "history", "main", level, first, last, PAGE)
        return reached.decode(), [located(inbox, row) for row in rows]

    async def _at(self, inbox: str, function: str, *words: str | int) -> list[Any]:
        return cast(list[Any], await self._server.call(function, (self._layout.meta(inbox),), words))


NOTHING = "0-0"


class _Level:
    """One level of a history, read page by page."""

    def __init__(self, source: RedisRetention, inbox: str, level: int, first: str, last: str) -> None:
        self._source = source
        self._where = (inbox, level)
        self._first = first
        self._last = last
        self._page: list[Located] = []
        self._ended = False

    async def next(self) -> Located | None:
        """Return the next message, or None at the end."""
        while not self._page and not self._ended:
            reached, page = await self._source.page(*self._where, self._first, self._last)
            self._ended = not reached
            self._first = f"({reached}"
            self._page = page[::-1]
        return self._page.pop() if self._page else None


async def _add_next(waiting: list[tuple[float, int, Located]], level: _Level, number: int) -> None:
    found = await level.next()
    if found is not None:
        heappush(waiting, (found.at or 0.0, number, found))


def _holding(size: int, oldest: bytes, now: int, lost: int, removed: int, blockers: Sequence[Any]) -> Holding:
    return Holding(
        bytes=size,
        oldest=_seconds(oldest),
        lost=lost,
        removed=removed,
        blockers=tuple(_blocker(*row) for row in blockers),
    )


def _blocker(
    kind: bytes, level: int, group: bytes, consumer: bytes, message_id: bytes, at: int, held: int, count: int
) -> Blocker:
    return Blocker(
        kind=cast(Literal["held", "retrying", "unread"], kind.decode()),
        priority=level,
        group=group.decode(errors="replace"),
        consumer=consumer.decode(errors="replace") or None,
        message_id=message_id.decode(),
        at=at / 1000,
        held_seconds=held / 1000,
        count=count,
    )


def _seconds(ms: bytes) -> float | None:
    return int(ms) / 1000 if ms else None
