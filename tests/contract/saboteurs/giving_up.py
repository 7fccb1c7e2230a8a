"""Break what can be done with dead letters and with what was not handed out yet."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.transport import (
    Located,
)

from .honest import Honest, sabotages


@sabotages("a_dead_letter_is_listed_with_its_reason")
class ListsTheOldestFirst(Honest):
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        return list(reversed(await super().dead(inbox, limit=limit, before=before)))


@sabotages("an_expired_message_is_a_dead_letter")
class DropsWhatExpired(Honest):
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        letters = await super().dead(inbox, limit=limit, before=before)
        return [each for each in letters if each.reason != "expired"]


@sabotages("a_requeued_dead_letter_starts_anew")
class RemembersAtRequeue(Honest):
    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        answers = await super().requeue(inbox, ids)
        for stored in self._server.inbox(inbox)._known.values():
            stored.attempts = 1
        return answers


@sabotages("a_purged_dead_letter_is_gone")
class PurgesNothing(Honest):
    async def purge(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        dead = [each.message_id for each in await self.dead(inbox, limit=100)]
        return [each in dead for each in ids]


@sabotages("a_cancelled_message_is_not_handed_out", "a_cancelled_schedule_never_comes")
class CancelsNothing(Honest):
    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        found = {each.message_id: each.state for each in await self.locate(ids, [inbox])}
        return [found.get(each) in ("queued", "scheduled") for each in ids]
