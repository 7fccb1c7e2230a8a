"""Break what can be asked, and that asking takes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hivebus.transport import (
    Counts,
    Inbox,
    Located,
)

from .honest import Honest, sabotages


def misplaces(check: str, where: str, /, **changes: Any) -> type[Honest]:
    """Return a transport that tells something wrong of messages in one state."""

    @sabotages(check)
    class Misplaces(Honest):
        async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
            found = await super().locate(ids, inboxes)
            return [replace(each, **changes) if each.state == where else each for each in found]

    return Misplaces


def miscounts(check: str, change: Callable[[Counts], Counts]) -> type[Honest]:
    """Return a transport that counts wrongly."""

    @sabotages(check)
    class Miscounts(Honest):
        async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
            return [change(each) for each in await super().counts(inboxes)]

    return Miscounts


MisplacesQueued = misplaces("a_waiting_message_is_queued", "queued", data=None)
MisplacesDelivered = misplaces("a_held_message_is_delivered", "delivered", consumer=None)
MisplacesRetrying = misplaces("a_message_between_two_attempts_is_retrying", "retrying", state="queued")
MisplacesScheduled = misplaces("a_delayed_message_is_scheduled", "scheduled", state="queued")
MisplacesAcknowledged = misplaces("an_acked_message_is_acknowledged", "acknowledged", state="unknown")
MisplacesDeadLettered = misplaces("a_message_that_was_given_up_is_dead_lettered", "dead_lettered", reason=None)
MisplacesExpired = misplaces("a_message_that_nobody_took_in_time_is_expired", "expired", state="dead_lettered")
MisplacesCancelled = misplaces("a_message_that_was_taken_back_is_cancelled", "cancelled", state="queued")
CountsTwice = miscounts("counts_add_up", lambda counts: replace(counts, waiting=counts.waiting + counts.in_flight))
CountsDelayedAsWaiting = miscounts(
    "delayed_messages_are_counted_apart", lambda counts: replace(counts, waiting=counts.scheduled)
)
CountsNoDeadLetters = miscounts("dead_letters_are_counted_apart", lambda counts: replace(counts, dead=0))


@sabotages("an_unknown_id_is_found_nowhere")
class FindsEverything(Honest):
    async def locate(self, ids: Sequence[str], inboxes: Sequence[str]) -> Sequence[Located]:
        return [Located(message_id=each, inbox=inbox, state="unknown") for each in ids for inbox in inboxes]


@sabotages("peeking_takes_nothing")
class TakesALook(Honest):
    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        seen = await super().peek(inbox, limit=limit)
        reader = await self.open(Inbox(inbox), consumer="peeker", lease=30)
        await reader.receive(limit=limit, start=0, wait=0)
        await reader.close()
        return seen


@sabotages("peeking_shows_the_order_of_hand_out")
class ShowsTheOldestFirst(Honest):
    async def peek(self, inbox: str, *, limit: int) -> Sequence[Located]:
        return sorted(await super().peek(inbox, limit=limit), key=lambda located: located.at or 0)


@sabotages("inboxes_are_listed")
class ListsWhatIsFull(Honest):
    async def inboxes(self) -> Sequence[str]:
        names = await super().inboxes()
        return [name for name, counts in zip(names, await self.counts(names), strict=True) if counts.waiting]
