"""What operators and senders may do to stored messages, and that it harms no other one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

from hivebus.testing.harness import LONG, Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import (
    Clock,
    DeadLetter,
    DeadLetters,
    Inspectable,
    Located,
    Outgoing,
    Reader,
    Schedules,
    Transport,
)

ON_TIME = 1.0
"""Seconds after its time within which a due message reaches a reader that waits."""


@promise(Transport, DeadLetters, proves=("dead_letters", "dedup"))
async def a_requeued_id_is_still_one_message(h: Harness) -> None:
    """A requeued message is not swallowed as a duplicate of itself, and a second sending of it still is."""
    item = h.message(h.inbox())
    reader = await h.reader(item.inbox)
    await _bury(h, reader, item)
    await h.dead_letters.requeue(item.inbox, [item.message_id])
    (again,) = await h.publish(item)
    expect(again.state == "duplicate", f"sending a requeued message again was answered {again.state}")
    await h.ack(reader, await h.take_one(reader))
    await h.nothing(reader, seconds=h.lease / 2)


@promise(Transport, DeadLetters, proves=("dead_letters", "priority>=5"))
async def a_requeued_dead_letter_keeps_its_level(h: Harness) -> None:
    """A requeued message comes before what waits on lower levels, and after what waits on higher ones."""
    inbox = h.inbox()
    low, urgent, top = (h.message(inbox, priority=priority) for priority in (1, 4, 5))
    reader = await h.reader(inbox)
    await _bury(h, reader, urgent)
    await h.publish(low, top)
    await h.dead_letters.requeue(inbox, [urgent.message_id])
    found = [each.data for each in await h.drain(reader, 3)]
    expect(found == [top.data, urgent.data, low.data], "a requeued message was not handed out at its level")


@promise(Transport, DeadLetters, proves=("dead_letters", "ttl"))
async def a_requeued_message_has_no_deadline_any_more(h: Harness) -> None:
    """What expired and is queued again is handed out, however long it waits this time."""
    item = h.message(h.inbox(), ttl=h.lease / 4)
    await h.publish(item)
    await h.let_pass(h.lease / 2)
    reader = await h.reader(item.inbox)
    await h.nothing(reader, seconds=0)
    answers = list(await h.dead_letters.requeue(item.inbox, [item.message_id]))
    expect(answers == [True], f"requeueing an expired message was answered {answers}")
    await h.let_pass(h.lease / 2)
    found = await h.take_one(reader)
    expect(found.data == item.data, "another message came back than the expired one")


@promise(Transport, DeadLetters, proves="dead_letters")
async def how_often_it_was_requeued_is_told(h: Harness) -> None:
    """A dead letter tells how often it was requeued before, also after its next death."""
    item = h.message(h.inbox())
    reader = await h.reader(item.inbox)
    await h.publish(item)
    for times in range(3):
        letter = await _die(h, reader, item)
        expect(letter.requeued == times, f"after {times} requeues a dead letter tells of {letter.requeued}")
        await h.dead_letters.requeue(item.inbox, [item.message_id])


@promise(Transport, DeadLetters, proves="dead_letters")
async def two_who_requeue_one_letter_queue_it_once(h: Harness) -> None:
    """Of two who requeue one dead letter at the same moment, one does, and it is handed out once."""
    item = h.message(h.inbox())
    reader = await h.reader(item.inbox)
    await _bury(h, reader, item)
    operators = [h.dead_letters, cast(DeadLetters, await h.another())]
    answers = await asyncio.gather(*(each.requeue(item.inbox, [item.message_id]) for each in operators))
    done = sorted(each[0] for each in answers)
    expect(done == [False, True], f"requeueing one dead letter twice at once was answered {answers}")
    await h.take_one(reader)
    await h.nothing(reader, seconds=h.lease / 2)


@promise(Transport, DeadLetters, proves="dead_letters")
async def a_dead_letter_has_a_name_of_its_own(h: Harness) -> None:
    """A dead letter can be requeued and purged by its name too, which a message without an id needs."""
    items = h.messages(h.inbox(), 3)
    reader = await h.reader(items[0].inbox)
    for item in items:
        await _bury(h, reader, item)
    names = [each.letter or "" for each in await h.dead_letters.dead(items[0].inbox, limit=10)]
    expect(len(set(names) - {""}) == 3, f"3 dead letters are named {names}")
    answers = [
        *await h.dead_letters.requeue(items[0].inbox, [names[0]]),
        *await h.dead_letters.purge(items[0].inbox, [names[1]]),
        *await h.dead_letters.purge(items[0].inbox, names[:2]),
    ]
    expect(answers == [True, True, False, False], f"requeueing and purging by name was answered {answers}")
    left = [each.message_id for each in await h.dead_letters.dead(items[0].inbox, limit=10)]
    expect(left == [items[0].message_id], f"of 3 dead letters, 2 were taken by name and {len(left)} are left")
    expect((await h.take_one(reader)).data == items[2].data, "another letter was requeued than the one that was named")


@promise(Transport, DeadLetters, proves="dead_letters")
async def dead_letters_are_listed_page_by_page(h: Harness) -> None:
    """Behind a letter that is known, the next older ones are listed, until there are none."""
    items = h.messages(h.inbox(), 5)
    reader = await h.reader(items[0].inbox)
    for item in items:
        await _bury(h, reader, item)
    listed: list[Located] = []
    while page := await h.dead_letters.dead(items[0].inbox, limit=2, before=listed[-1].letter if listed else None):
        listed += page
        if len(listed) > len(items):
            break
    expected = [item.message_id for item in reversed(items)]
    expect([each.message_id for each in listed] == expected, f"5 dead letters in pages of 2 were {len(listed)}")


@promise(Transport, Schedules)
async def cancelling_twice_is_harmless(h: Harness) -> None:
    """A message that was cancelled before is not there to be cancelled, and its neighbour is handed out."""
    item, neighbour = h.messages(h.inbox(), 2)
    await h.publish(item, neighbour)
    answers = [list(await h.schedules.cancel(item.inbox, [item.message_id])) for _ in range(2)]
    expect(answers == [[True], [False]], f"cancelling twice was answered {answers}")
    found = await h.take_one(await h.reader(item.inbox))
    expect(found.data == neighbour.data, "the neighbour of a cancelled message was not handed out")


@promise(Transport, Schedules)
async def a_message_that_was_handed_out_is_not_cancelled(h: Harness) -> None:
    """What waits for its retry was handed out before: it is not cancelled, and comes again."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader, start=True), delay=h.lease / 2)
    answers = list(await h.schedules.cancel(item.inbox, [item.message_id]))
    expect(answers == [False], f"cancelling a message that waits for its retry was answered {answers}")
    await h.ack(reader, await h.take_one(reader))
    answers = list(await h.schedules.cancel(item.inbox, [item.message_id]))
    expect(answers == [False], f"cancelling a message that was acked was answered {answers}")


@promise(Transport, Inspectable, Schedules, proves="inspect")
async def a_cancelled_message_does_not_wait(h: Harness) -> None:
    """A cancelled message is neither counted nor shown as waiting, though nobody has passed it over yet."""
    first, second = h.messages(h.inbox(), 2)
    await h.publish(first, second)
    await h.schedules.cancel(first.inbox, [first.message_id])
    (counts,) = await h.inspectable.counts([first.inbox])
    expect(counts.waiting == 1, f"of 2 messages 1 was cancelled, and {counts.waiting} wait")
    seen = [each.message_id for each in await h.inspectable.peek(first.inbox, limit=1)]
    expect(seen == [second.message_id], "a cancelled message is shown as waiting")


@promise(Transport, proves="delay")
async def a_due_message_reaches_a_reader_that_waits(h: Harness) -> None:
    """A reader that fell asleep before the message was sent gets it within a second after its time."""
    item = h.message(h.inbox(), delay=h.lease)
    reader = await h.reader(item.inbox, lease=LONG)
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(reader.receive(limit=1, start=0, wait=h.lease + ON_TIME * 5))
    await asyncio.sleep(0.05)
    await h.publish(item)
    due = loop.time() + h.lease
    found = await waiting
    late = loop.time() - due
    expect([each.data for each in found] == [item.data], f"{len(found)} were handed out when 1 was due")
    expect(late <= ON_TIME, f"a message came {late:.1f} s after its time")


@promise(Transport, Clock)
async def the_server_tells_its_time(h: Harness) -> None:
    """The time of the server is one that people share, and goes on."""
    clock = cast(Clock, h.subject)
    first = await clock.now()
    await h.let_pass(0.05)
    second = await clock.now()
    told = datetime.fromtimestamp(first, UTC)
    expect(told.year >= 2025, f"the server tells {first} s, which is {told:%Y-%m-%d}")
    expect(0.03 < second - first < h.patience, f"within 0.05 s the server's time went on by {second - first:.3f} s")


async def _bury(h: Harness, reader: Reader, item: Outgoing) -> None:
    await h.publish(item)
    await _die(h, reader, item)


async def _die(h: Harness, reader: Reader, item: Outgoing) -> Located:
    await h.done(reader, DeadLetter((await h.take_one(reader)).token, "broken"))
    (letter,) = await h.dead_letters.dead(item.inbox, limit=1)
    return letter
