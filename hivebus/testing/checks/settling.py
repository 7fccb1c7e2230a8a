"""What becomes of a message by ack, retry and dead letter, each against its present owner."""

from __future__ import annotations

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Ack, DeadLetter, Retry, Transport


@promise(Transport)
async def what_is_acked_never_comes_back(h: Harness) -> None:
    """After its ack a message is not handed out again, not even when its consumer is gone."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox, lease=h.lease)
    await h.ack(reader, await h.take_one(reader, start=True))
    await h.nothing(await h.reader(item.inbox), seconds=h.lease * 2)


@promise(Transport)
async def acking_twice_is_harmless(h: Harness) -> None:
    """The second ack is answered as such, and settles nothing else."""
    items = h.messages(h.inbox(), 2)
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    first, second = await h.drain(reader, 2)
    await h.ack(reader, first)
    (again,) = await h.settle(reader, Ack(first.token))
    expect(again in ("gone", "stale"), f"the second ack was answered {again}")
    await h.ack(reader, second)


@promise(Transport)
async def settlements_are_answered_in_order(h: Harness) -> None:
    """In a batch, each settlement has its own answer in its own place."""
    items = h.messages(h.inbox(), 3)
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    old, first, second = await h.drain(reader, 3)
    await h.ack(reader, old)
    answers = await h.settle(reader, Ack(old.token), Retry(first.token, h.later), Ack(old.token), Ack(second.token))
    done = [answer == "done" for answer in answers]
    expect(done == [False, True, False, True], f"settled, fresh, settled, fresh were answered {answers}")


@promise(Transport)
async def a_retry_waits_its_delay(h: Harness) -> None:
    """A retried message is handed out when its delay is over, not before."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader, start=True), delay=h.lease * 2)
    await h.nothing(reader, seconds=h.lease)
    again = await h.take_one(reader)
    expect(again.data == item.data, "another message came back than the retried one")


@promise(Transport)
async def a_retry_holds_nobody_back(h: Harness) -> None:
    """While one message waits for its retry, others of its level are handed out."""
    items = h.messages(h.inbox(), 2)
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    await h.retry(reader, await h.take_one(reader), delay=h.later)
    delivery = await h.take_one(reader)
    expect(delivery.data == items[1].data, "the message behind a retried one was not handed out")


@promise(Transport, proves="priority_survives_retry")
async def a_retry_keeps_its_level(h: Harness) -> None:
    """An urgent message that is retried comes before the low ones that wait."""
    inbox = h.inbox()
    urgent = h.message(inbox, priority=4)
    await h.publish(urgent)
    reader = await h.reader(inbox)
    delivery = await h.take_one(reader)
    await h.publish(*h.messages(inbox, 5, priority=1))
    await h.retry(reader, delivery, delay=0)
    await h.let_pass(h.lease / 4)
    again = await h.take_one(reader)
    expect(again.data == urgent.data, "a low message came before the retried urgent one")


@promise(Transport, proves="attempts>=exact")
async def a_retry_counts_as_a_failure(h: Harness) -> None:
    """A handler that failed is counted, and so is each handing-over."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    for attempt in (1, 2, 3):
        delivery = await h.take_one(reader, start=True)
        facts = (delivery.attempt, delivery.failures, delivery.crashes)
        expect(facts == (attempt, attempt - 1, 0), f"attempt, failures, crashes are {facts} at attempt {attempt}")
        await h.retry(reader, delivery, delay=0)


@promise(Transport, proves="attempts>=exact")
async def an_uncounted_retry_is_no_failure(h: Harness) -> None:
    """A message that is given back without having failed has no failure."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader), delay=0, counts=False)
    again = await h.take_one(reader)
    expect(again.failures == 0, f"a retry that does not count left {again.failures} failures")
    expect(again.attempt == 2, f"the second handing-over is attempt {again.attempt}")


@promise(Transport)
async def a_dead_letter_is_not_handed_out(h: Harness) -> None:
    """What was given up is handed to nobody, not even when its consumer is gone."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox, lease=h.lease)
    await h.done(reader, DeadLetter((await h.take_one(reader, start=True)).token, "broken"))
    await h.nothing(await h.reader(item.inbox), seconds=h.lease * 2)


@promise(Transport, proves="atomic_reply")
async def a_reply_is_sent_with_its_ack(h: Harness) -> None:
    """The reply that an ack carries arrives, and the message is settled."""
    item, reply = h.message(h.inbox()), h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.done(reader, Ack((await h.take_one(reader, start=True)).token, reply=reply))
    answer = await h.take_one(await h.reader(reply.inbox))
    expect(answer.data == reply.data, "another reply arrived than the one that the ack carried")


@promise(Transport, proves="atomic_reply")
async def a_refused_ack_sends_no_reply(h: Harness) -> None:
    """The reply of an ack that comes too late is not sent."""
    item, reply = h.message(h.inbox()), h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    delivery = await h.take_one(reader, start=True)
    await h.ack(reader, delivery)
    await h.settle(reader, Ack(delivery.token, reply=reply))
    await h.nothing(await h.reader(reply.inbox), seconds=h.lease / 2)
