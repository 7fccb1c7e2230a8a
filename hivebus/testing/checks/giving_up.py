"""What can be done with dead letters, and with messages that were not handed out yet."""

from __future__ import annotations

from hivebus import envelope
from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import DeadLetter, DeadLetters, Outgoing, Reader, Schedules, Transport


@promise(Transport, DeadLetters, proves="dead_letters")
async def a_dead_letter_is_listed_with_its_reason(h: Harness) -> None:
    """What was given up is listed, newest first, as it was sent and with what happened to it."""
    items = h.messages(h.inbox(), 2)
    reader = await h.reader(items[0].inbox)
    for item in items:
        await _bury(h, reader, item, reason=f"broken:{item.message_id}")
    found = await h.dead_letters.dead(items[0].inbox, limit=10)
    expected = [(item.message_id, f"broken:{item.message_id}", item.data, 1) for item in reversed(items)]
    seen = [(each.message_id, each.reason, each.data, each.attempts) for each in found]
    expect(seen == expected, f"2 dead letters were listed as {found}")


@promise(Transport, DeadLetters, proves=("dead_letters", "ttl"))
async def an_expired_message_is_a_dead_letter(h: Harness) -> None:
    """What nobody took in time is listed with the reason ``expired``."""
    item = h.message(h.inbox(), ttl=h.lease / 4)
    await h.publish(item)
    await h.let_pass(h.lease / 2)
    await h.nothing(await h.reader(item.inbox), seconds=0)
    found = await h.dead_letters.dead(item.inbox, limit=10)
    seen = [(each.message_id, each.reason) for each in found]
    expect(seen == [(item.message_id, "expired")], f"an expired message is among the dead letters as {seen}")


@promise(Transport, DeadLetters, proves="dead_letters")
async def a_requeued_dead_letter_starts_anew(h: Harness) -> None:
    """A dead letter that is queued again is handed out under its id, with nothing counted against it."""
    item = h.message(h.inbox())
    reader = await h.reader(item.inbox)
    await _bury(h, reader, item, reason="broken")
    answers = list(await h.dead_letters.requeue(item.inbox, [envelope.new_message_id(), item.message_id]))
    expect(answers == [False, True], f"requeueing an unknown id and a dead letter was answered {answers}")
    again = await h.take_one(reader)
    facts = (again.data, again.attempt, again.failures, again.crashes)
    expect(facts == (item.data, 1, 0, 0), f"attempt, failures, crashes after requeueing are {facts[1:]}")
    expect(not await h.dead_letters.dead(item.inbox, limit=10), "a requeued message is still among the dead letters")


@promise(Transport, DeadLetters, proves="dead_letters")
async def a_purged_dead_letter_is_gone(h: Harness) -> None:
    """A dead letter that is purged is neither listed nor handed out, and its neighbour stays."""
    items = h.messages(h.inbox(), 2)
    reader = await h.reader(items[0].inbox)
    for item in items:
        await _bury(h, reader, item, reason="broken")
    answers = list(await h.dead_letters.purge(items[0].inbox, [envelope.new_message_id(), items[0].message_id]))
    expect(answers == [False, True], f"purging an unknown id and a dead letter was answered {answers}")
    left = [each.message_id for each in await h.dead_letters.dead(items[0].inbox, limit=10)]
    expect(left == [items[1].message_id], f"1 of 2 dead letters was purged and {len(left)} are left")
    expect(list(await h.dead_letters.requeue(items[0].inbox, [items[0].message_id])) == [False], "it can be requeued")


@promise(Transport, Schedules)
async def a_cancelled_message_is_not_handed_out(h: Harness) -> None:
    """A waiting message that is taken back is passed over; one that was handed out cannot be taken back."""
    taken, waiting, last = h.messages(h.inbox(), 3)
    await h.publish(taken, waiting, last)
    reader = await h.reader(taken.inbox)
    delivery = await h.take_one(reader)
    ids = [taken.message_id, waiting.message_id, envelope.new_message_id()]
    answers = list(await h.schedules.cancel(taken.inbox, ids))
    expect(answers == [False, True, False], f"cancelling a taken, a waiting and an unknown id was answered {answers}")
    await h.ack(reader, delivery)
    found = await h.take_one(reader)
    expect(found.data == last.data, "a cancelled message was handed out")


@promise(Transport, Schedules, proves="delay")
async def a_cancelled_schedule_never_comes(h: Harness) -> None:
    """A delayed message that is taken back is not handed out when its delay is over."""
    item = h.message(h.inbox(), delay=h.lease)
    await h.publish(item)
    answers = list(await h.schedules.cancel(item.inbox, [item.message_id]))
    expect(answers == [True], f"cancelling a delayed message was answered {answers}")
    await h.nothing(await h.reader(item.inbox), seconds=h.lease * 1.5)


async def _bury(h: Harness, reader: Reader, item: Outgoing, *, reason: str) -> None:
    await h.publish(item)
    await h.done(reader, DeadLetter((await h.take_one(reader)).token, reason))
