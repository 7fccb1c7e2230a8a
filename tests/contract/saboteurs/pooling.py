"""Break what a process that reads several inboxes needs, and how those that read one share it."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.memory import sharing
from hivebus.memory.entry import Consumer
from hivebus.transport import Inbox, Reader

from .honest import Honest, HonestReader, sabotages


@sabotages("a_glance_takes_nothing")
class TakesAtAGlance(Honest):
    class Reads(HonestReader):
        async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
            seen = await self.inner.glance(limit=limit, wait=wait)
            await self.inner.receive(limit=1, start=0, wait=0)
            return seen


@sabotages("a_glance_waits_for_the_first")
class DoesNotLinger(Honest):
    class Reads(HonestReader):
        async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
            return await self.inner.glance(limit=limit, wait=0)


@sabotages("members_that_wait_get_even_shares")
class FirstComeFirstServed(Honest):
    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        self._server.inbox(inbox.name).sharing = None
        return await super().open(inbox, consumer=consumer, lease=lease)


class _Patient(sharing.Sharing):
    """Waits for whoever wants something until that one asks again."""

    def share(self, consumer: Consumer, *, limit: int, waiting: int, now: float) -> int:
        self._member(consumer).held = None
        return super().share(consumer, limit=limit, waiting=waiting, now=now)


@sabotages("nothing_waits_for_a_member_that_does_not_come")
class WaitsForTheSilent(Honest):
    async def open(self, inbox: Inbox, *, consumer: str, lease: float) -> Reader:
        pool = self._server.inbox(inbox.name)
        if not isinstance(pool.sharing, _Patient):
            pool.sharing = _Patient()
        return await super().open(inbox, consumer=consumer, lease=lease)
