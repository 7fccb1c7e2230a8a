"""Break what operators and senders may do to stored messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from hivebus.memory.inbox import MemoryInbox
from hivebus.transport import Counts, Located, Outgoing

from .honest import Honest, sabotages


class ChangesWhatIsRequeued(Honest):
    """Lets a saboteur change a message that was requeued."""

    def requeued(self, inbox: MemoryInbox, message_id: str) -> None:
        raise NotImplementedError

    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        answers = await super().requeue(inbox, ids)
        for each, done in zip(ids, answers, strict=True):
            if done:
                self.requeued(self._server.inbox(inbox), each)
        return answers


@sabotages("a_requeued_id_is_still_one_message")
class ForgetsTheIdAtRequeue(ChangesWhatIsRequeued):
    def requeued(self, inbox: MemoryInbox, message_id: str) -> None:
        del inbox._known[message_id]


@sabotages("a_requeued_dead_letter_keeps_its_level")
class RequeuesAtTheTop(ChangesWhatIsRequeued):
    def requeued(self, inbox: MemoryInbox, message_id: str) -> None:
        stored = inbox._known[message_id]
        inbox._levels[stored.item.priority].remove(stored)
        inbox._levels[5].appendleft(stored)


@sabotages("a_requeued_message_has_no_deadline_any_more")
class KeepsTheTimeToLive(ChangesWhatIsRequeued):
    def requeued(self, inbox: MemoryInbox, message_id: str) -> None:
        stored = inbox._known[message_id]
        stored.expires = stored.accepted + 0.01
        inbox._call_at(stored.expires, inbox._expire, stored)


@sabotages("how_often_it_was_requeued_is_told")
class ForgetsThatItWasRequeued(ChangesWhatIsRequeued):
    def requeued(self, inbox: MemoryInbox, message_id: str) -> None:
        inbox._known[message_id].requeued = 0


@sabotages("two_who_requeue_one_letter_queue_it_once")
class RequeuesForEverybody(Honest):
    async def requeue(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        await super().requeue(inbox, ids)
        return [True] * len(ids)


@sabotages("a_dead_letter_has_a_name_of_its_own")
class KnowsNoNamesOfLetters(Honest):
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        return [replace(each, letter="dead/1") for each in await super().dead(inbox, limit=limit, before=before)]


@sabotages("dead_letters_are_listed_page_by_page")
class BeginsAgainWithEachPage(Honest):
    async def dead(self, inbox: str, *, limit: int, before: str | None = None) -> Sequence[Located]:
        return await super().dead(inbox, limit=limit)


@sabotages("cancelling_twice_is_harmless", "a_message_that_was_handed_out_is_not_cancelled")
class CancelsWhateverItKnows(Honest):
    async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
        known = {each.message_id for each in await self.locate(ids, [inbox])}
        await super().cancel(inbox, ids)
        return [each in known for each in ids]


@sabotages("a_cancelled_message_does_not_wait")
class CountsWhatIsCancelled(Honest):
    async def counts(self, inboxes: Sequence[str]) -> Sequence[Counts]:
        counts = await super().counts(inboxes)
        return [replace(each, waiting=each.waiting + 1) for each in counts]


@sabotages("a_due_message_reaches_a_reader_that_waits")
class ComesLate(Honest):
    def outgoing(self, item: Outgoing) -> Outgoing:
        return item._replace(delay=item.delay + 1.2)


@sabotages("the_server_tells_its_time")
class TellsHowLongItRuns(Honest):
    async def now(self) -> float:
        return time.monotonic()
