"""Readers that sleep, and the long polls that they sleep in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hivebus.transport import Delivery
from hivebus_redis import continuity
from hivebus_redis.polls import Polls
from hivebus_redis.reader import StreamReader

from .room import LONG, PATIENCE, Room, asleep

Act = Callable[[], object]
SHORT = 0.3


class Begun:
    """The long polls that were begun while a test ran.

    Attributes:
        words: limit, start and how many run, of each.
        before, behind: done when an answer has come, before whoever waits for it is told and after that, in the same
            turn of the loop.
    """

    def __init__(self) -> None:
        self.words: list[tuple[int, int, int]] = []
        self.before: Act | None = None
        self.behind: Act | None = None

    def rings(self, ring: Act) -> None:
        """Tell whoever waits."""
        for act in (self.before, ring, self.behind):
            if act is not None:
                act()


def keep_book(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Note each long poll from now on."""
    kept, begin, rings = Begun(), Polls.begin, {}

    def noted(self: Polls, ids: Sequence[bytes], *, seconds: float, limit: int, start: int, running: int) -> bool:
        ring = rings.setdefault(self._long, self._long._rings)
        self._long._rings = lambda: kept.rings(ring)
        kept.words.append((limit, start, running))
        return begin(self, ids, seconds=seconds, limit=limit, start=start, running=running)

    monkeypatch.setattr(Polls, "begin", noted)
    # Looked at once, in `idle`.
    monkeypatch.setattr(continuity, "EVERY", 1e6)
    return kept


async def idle(room: Room, url: str | None = None, *, lease: float = LONG, consumer: str = "one") -> StreamReader:
    """Return a reader that has looked at its empty inbox once."""
    opened = await room.reader(await room.transport(url), lease=lease, consumer=consumer)
    assert await opened.receive(limit=1, start=1, wait=0) == []
    return opened


async def sleeping(room: Room, opened: StreamReader, *, limit: int = 5, start: int = 5) -> asyncio.Task[list[Delivery]]:
    """Let it wait in `receive`."""
    receiving = asyncio.ensure_future(opened.receive(limit=limit, start=start, wait=PATIENCE))
    await asleep(room)
    return receiving


async def bounded(receiving: asyncio.Future[Any]) -> Any:
    """Return what comes of it, which must not take long."""
    async with asyncio.timeout(PATIENCE):
        return await receiving
