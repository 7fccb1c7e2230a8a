"""What can be asked about messages and inboxes, and that asking takes nothing."""

from __future__ import annotations

from hivebus import envelope
from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Counts, DeadLetter, DeadLetters, Inspectable, Schedules, Transport

ROUNDED = 0.01
"""Seconds by which a transport may round a delay up; rounded down, it would end too early."""


@promise(Transport, Inspectable, proves="inspect")
async def a_waiting_message_is_queued(h: Harness) -> None:
    """A message that nobody took is found in its inbox as queued, with what it is."""
    item = h.message(h.inbox(), priority=4)
    await h.publish(item)
    found = await h.located(item)
    facts = (found.message_id, found.inbox, found.state, found.attempts, found.priority, found.data)
    expect(
        facts == (item.message_id, item.inbox, "queued", 0, 4, item.data), f"a waiting message was located as {found}"
    )


@promise(Transport, Inspectable, proves="inspect")
async def a_held_message_is_delivered(h: Harness) -> None:
    """A message that was handed out is found with its consumer, its lease and its attempts."""
    item = h.message(h.inbox())
    await h.publish(item)
    await h.take_one(await h.reader(item.inbox, consumer="worker-1"))
    found = await h.located(item)
    facts = (found.state, found.consumer, found.attempts)
    expect(facts == ("delivered", "worker-1", 1), f"a message that worker-1 holds was located as {found}")
    expect((found.lease_seconds or 0) > 0, f"a living consumer has a lease of {found.lease_seconds} s")


@promise(Transport, Inspectable, proves="inspect")
async def a_message_between_two_attempts_is_retrying(h: Harness) -> None:
    """A message that waits for its retry is found so, with the time that is left."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader), delay=h.later)
    found = await h.located(item)
    expect((found.state, found.attempts) == ("retrying", 1), f"a retrying message was located as {found}")
    expect(
        0 < (found.due_seconds or 0) <= h.later + ROUNDED, f"a retry in {h.later:g} s is due in {found.due_seconds} s"
    )


@promise(Transport, Inspectable, proves=("inspect", "delay"))
async def a_delayed_message_is_scheduled(h: Harness) -> None:
    """A message that waits for its delay is found so, with the time that is left, and then as queued."""
    later, soon = h.message(h.inbox(), delay=h.later), h.message(h.inbox(), delay=0.05)
    await h.publish(later, soon)
    found = await h.located(later)
    expect(found.state == "scheduled", f"a delayed message was located as {found}")
    expect(
        0 < (found.due_seconds or 0) <= h.later + ROUNDED, f"a delay of {h.later:g} s is due in {found.due_seconds} s"
    )
    await h.take_one(await h.reader(soon.inbox))
    expect(
        (await h.located(soon)).state == "delivered", "a message that was handed out after its delay is not delivered"
    )


@promise(Transport, Inspectable, proves="inspect")
async def an_acked_message_is_acknowledged(h: Harness) -> None:
    """A message that was handled is still found, by any process."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox, transport=await h.another())
    await h.ack(reader, await h.take_one(reader))
    state = (await h.located(item)).state
    expect(state == "acknowledged", f"an acked message is {state}")


@promise(Transport, Inspectable, proves="inspect")
async def a_message_that_was_given_up_is_dead_lettered(h: Harness) -> None:
    """A dead letter is found as such, with its reason."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.done(reader, DeadLetter((await h.take_one(reader)).token, "no_handler"))
    found = await h.located(item)
    expect((found.state, found.reason) == ("dead_lettered", "no_handler"), f"a dead letter was located as {found}")


@promise(Transport, Inspectable, proves=("inspect", "ttl"))
async def a_message_that_nobody_took_in_time_is_expired(h: Harness) -> None:
    """A message whose time to live is over is found as expired once a reader has passed it over."""
    item = h.message(h.inbox(), ttl=h.lease / 4)
    await h.publish(item)
    await h.let_pass(h.lease / 2)
    await h.nothing(await h.reader(item.inbox), seconds=0)
    state = (await h.located(item)).state
    expect(state == "expired", f"an expired message is {state}")


@promise(Transport, Inspectable, Schedules, proves="inspect")
async def a_message_that_was_taken_back_is_cancelled(h: Harness) -> None:
    """A cancelled message is found as such."""
    item = h.message(h.inbox())
    await h.publish(item)
    await h.schedules.cancel(item.inbox, [item.message_id])
    state = (await h.located(item)).state
    expect(state == "cancelled", f"a cancelled message is {state}")


@promise(Transport, Inspectable, proves="inspect")
async def an_unknown_id_is_found_nowhere(h: Harness) -> None:
    """Asking for several ids and inboxes returns those places where one is known, and no others."""
    first, second = h.message(h.inbox()), h.message(h.inbox())
    await h.publish(first, second)
    ids = [envelope.new_message_id(), first.message_id, second.message_id]
    found = await h.inspectable.locate(ids, [first.inbox, second.inbox, h.inbox()])
    places = sorted((each.message_id, each.inbox) for each in found)
    expect(
        places == sorted((item.message_id, item.inbox) for item in (first, second)),
        f"2 messages in 3 inboxes were found in {len(places)} places",
    )


@promise(Transport, Inspectable, proves="inspect")
async def counts_add_up(h: Harness) -> None:
    """Waiting, in flight and retrying are counted apart, inbox by inbox; an unknown inbox counts zero."""
    items = h.messages(h.inbox(), 6)
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    first, *_ = await h.drain(reader, 3)
    await h.retry(reader, first, delay=h.later)
    unknown, counts = await h.inspectable.counts([h.inbox(), items[0].inbox])
    expect(unknown == Counts(), f"an unknown inbox counts {unknown}")
    seen = (counts.waiting, counts.in_flight, counts.retrying, counts.scheduled, counts.dead, counts.consumers)
    expect(seen == (3, 2, 1, 0, 0, 1), f"waiting, in flight, retrying, scheduled, dead, consumers are {seen}")
    expect(counts.oldest_waiting_seconds is not None, "messages wait and the oldest has no age")


@promise(Transport, Inspectable, proves=("inspect", "delay"))
async def delayed_messages_are_counted_apart(h: Harness) -> None:
    """A delayed message is scheduled, not waiting."""
    item = h.message(h.inbox(), delay=h.later)
    await h.publish(item)
    (counts,) = await h.inspectable.counts([item.inbox])
    expect((counts.waiting, counts.scheduled) == (0, 1), f"waiting, scheduled of 1 delayed message: {counts}")


@promise(Transport, Inspectable, DeadLetters, proves="inspect")
async def dead_letters_are_counted_apart(h: Harness) -> None:
    """A dead letter is counted as dead and nowhere else."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.done(reader, DeadLetter((await h.take_one(reader)).token, "broken"))
    (counts,) = await h.inspectable.counts([item.inbox])
    expect((counts.waiting, counts.in_flight, counts.dead) == (0, 0, 1), f"1 dead letter is counted as {counts}")


@promise(Transport, Inspectable, proves="inspect")
async def peeking_takes_nothing(h: Harness) -> None:
    """What was looked at is still handed out, for the first time, and to whoever asks."""
    items = h.messages(h.inbox(), 3)
    await h.publish(*items)
    for _ in range(2):
        seen = await h.inspectable.peek(items[0].inbox, limit=10)
        expect([each.data for each in seen] == [each.data for each in items], f"{len(seen)} of 3 messages were seen")
    expect(len(await h.inspectable.peek(items[0].inbox, limit=2)) == 2, "peeking with limit 2 did not return 2")
    found = await h.drain(await h.reader(items[0].inbox), 3)
    expect([each.attempt for each in found] == [1, 1, 1], "looking at messages was counted as handing them over")


@promise(Transport, Inspectable, proves=("inspect", "priority>=5"))
async def peeking_shows_the_order_of_hand_out(h: Harness) -> None:
    """Higher levels are shown first."""
    inbox = h.inbox()
    await h.publish(*[h.message(inbox, priority=priority) for priority in (1, 5, 3)])
    levels = [each.priority for each in await h.inspectable.peek(inbox, limit=10)]
    expect(levels == [5, 3, 1], f"levels were shown as {levels}")


@promise(Transport, Inspectable, proves="inspect")
async def inboxes_are_listed(h: Harness) -> None:
    """Whatever was sent to or opened exists; a name that was only asked for does not."""
    sent, opened, asked = h.inbox(), h.inbox(), h.inbox()
    await h.publish(h.message(sent))
    await h.reader(opened)
    await h.inspectable.counts([asked])
    names = list(await h.inspectable.inboxes())
    expect(sent in names, "an inbox that was sent to is not listed")
    expect(opened in names, "an inbox that was opened is not listed")
    expect(asked not in names, "an inbox that was only asked for is listed")
    expect(names == sorted(names), "inboxes are not listed in order")
