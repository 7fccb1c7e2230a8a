"""What happens to the messages of a consumer that is slow, stops, is paused or dies."""

from __future__ import annotations

import asyncio

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Ack, DeadLetter, Delivery, Extend, Inspectable, Outgoing, Reader, Retry, Start, Transport


@promise(Transport, proves="redelivery")
async def abandoned_work_is_taken_over(h: Harness) -> None:
    """When a consumer gives no sign of life for its lease, another gets what it held, and not before."""
    item = h.message(h.inbox())
    await h.publish(item)
    gone = await h.reader(item.inbox, lease=h.lease * 2)
    await h.take_one(gone)
    heir = await h.reader(item.inbox)
    await h.nothing(heir, seconds=h.lease)
    delivery = await h.take_one(heir)
    expect(delivery.data == item.data, "another message was handed over than the abandoned one")


@promise(Transport, proves="redelivery")
async def extending_keeps_a_slow_handlers_message(h: Harness) -> None:
    """A handler that takes many leases keeps its message as long as it extends it."""
    slow, delivery, rival = await _held(h)
    for _ in range(24):
        await h.done(slow, Extend(delivery.token))
        await h.nothing(rival, seconds=h.lease / 4)
    await h.ack(slow, delivery)


@promise(Transport, proves="redelivery")
async def receiving_renews_the_lease(h: Harness) -> None:
    """A consumer that goes on reading keeps what it holds."""
    busy, delivery, rival = await _held(h)
    for _ in range(24):
        await h.nothing(busy, rival, seconds=h.lease / 4)
    await h.ack(busy, delivery)


@promise(Transport, proves="redelivery")
async def a_reader_that_waits_is_alive(h: Harness) -> None:
    """A consumer that waits for more keeps what it holds, even if it waits longer than its lease."""
    idle, delivery, rival = await _held(h)
    waiting = asyncio.create_task(idle.receive(limit=1, start=0, wait=h.lease * 6))
    await h.nothing(rival, seconds=h.lease * 5)
    await waiting
    await h.ack(idle, delivery)


@promise(Transport, proves=("redelivery", "fencing"))
async def a_stale_owner_cannot_settle(h: Harness) -> None:
    """A consumer that comes back after its lease changes nothing for the one that has the message now."""
    items = h.messages(h.inbox(), 4)
    await h.publish(*items)
    paused = await h.reader(items[0].inbox, lease=h.lease)
    ack, retry, dead, start = await h.drain(paused, 4)
    heir = await h.reader(items[0].inbox)
    taken = await h.drain(heir, 4)
    late = (Ack(ack.token), Retry(retry.token, 0), DeadLetter(dead.token, "late"), Start(start.token))
    for settlement in late:
        (answer,) = await h.settle(paused, settlement)
        expect(answer == "stale", f"a late {type(settlement).__name__} was answered {answer}")
    await h.ack(heir, *taken)


@promise(Transport, proves=("redelivery", "fencing"))
async def a_stale_owner_does_not_claim_to_hold_it(h: Harness) -> None:
    """A reader says that it holds what it was handed, and no longer when another has it, whatever it read since."""
    item = h.message(h.inbox())
    await h.publish(item)
    paused = await h.reader(item.inbox, lease=h.lease)
    delivery = await h.take_one(paused)
    expect(paused.holds(delivery.token), "what was just handed over is not held")
    heir = await h.reader(item.inbox)
    taken = await h.take_one(heir)
    expect(not paused.holds(delivery.token), "what another has is held too")
    await h.nothing(paused, seconds=0)
    expect(not paused.holds(delivery.token), "what another has is held again")
    expect(heir.holds(taken.token), "the one that has it does not hold it")


@promise(Transport, proves=("redelivery", "fencing"))
async def a_stale_owner_cannot_extend(h: Harness) -> None:
    """A late extension is refused and does not take the message back."""
    item = h.message(h.inbox())
    await h.publish(item)
    paused = await h.reader(item.inbox, lease=h.lease)
    delivery = await h.take_one(paused)
    heir = await h.reader(item.inbox)
    taken = await h.take_one(heir)
    (answer,) = await h.settle(paused, Extend(delivery.token))
    expect(answer == "stale", f"a late Extend was answered {answer}")
    await h.ack(heir, taken)


@promise(Transport, proves="redelivery")
async def started_work_comes_back_alone(h: Harness) -> None:
    """What ran when its consumer died is handed out one by one, with nothing beside it."""
    items = h.messages(h.inbox(), 4)
    await h.publish(*items)
    dead = await h.reader(items[0].inbox, lease=h.lease)
    started = {each.data for each in (await h.drain(dead, 4, start=2))[:2]}
    heir = await h.reader(items[0].inbox)
    alone: set[bytes] = set()
    for found in await _one_after_another(h, heir, 4):
        if any(each.alone for each in found):
            expect(len(found) == 1, f"{len(found)} were handed out together, and one of them should be alone")
            alone.add(found[0].data)
    expect(alone == started, f"{len(started)} messages were started and {len(alone & started)} of them came back alone")


@promise(Transport, proves="redelivery")
async def a_mark_makes_a_message_started(h: Harness) -> None:
    """A message that was marked by `Start` after it was fetched comes back alone, its neighbour does not."""
    items = h.messages(h.inbox(), 2)
    await h.publish(*items)
    dead = await h.reader(items[0].inbox, lease=h.lease)
    _, second = await h.drain(dead, 2)
    await h.done(dead, Start(second.token))
    heir = await h.reader(items[0].inbox)
    found = [each for call in await _one_after_another(h, heir, 2) for each in call]
    alone = [each.data for each in found if each.alone]
    expect(alone == [second.data], f"1 of 2 messages was marked started and {len(alone)} came back alone")


@promise(Transport, proves="redelivery")
async def a_busy_reader_is_handed_no_suspect(h: Harness) -> None:
    """What must run alone waits until its reader has nothing started, and is handed out then."""
    items = h.messages(h.inbox(), 2)
    await h.publish(items[0])
    dead = await h.reader(items[0].inbox, lease=h.lease * 2)
    await h.take_one(dead, start=True)
    busy = await h.reader(items[0].inbox)
    await h.publish(items[1])
    working = await h.take_one(busy, start=True)
    await h.nothing(busy, seconds=h.lease * 3)
    await h.ack(busy, working)
    suspect = await h.take_one(busy, start=True)
    expect(suspect.alone and suspect.data == items[0].data, "the started message did not come back alone")


@promise(Transport, proves="redelivery")
async def a_retried_suspect_is_none_any_more(h: Harness) -> None:
    """When a handler got through with a suspect message, it runs beside others again."""
    item = h.message(h.inbox())
    await h.publish(item)
    dead = await h.reader(item.inbox, lease=h.lease)
    await h.take_one(dead, start=True)
    heir = await h.reader(item.inbox)
    await h.retry(heir, await h.take_one(heir, start=True), delay=0)
    again = await h.take_one(heir)
    expect(not again.alone, "a message whose handler failed properly is still handed out alone")


@promise(Transport, proves=("redelivery", "attempts>=exact"))
async def fetched_work_comes_back_in_bulk_and_uncounted(h: Harness) -> None:
    """What a dead consumer had only fetched comes back together; it is neither failure nor crash."""
    items = h.messages(h.inbox(), 5)
    await h.publish(*items)
    await h.drain(await h.reader(items[0].inbox, lease=h.lease), 5)
    for each in await h.drain(await h.reader(items[0].inbox), 5):
        facts = (each.attempt, each.failures, each.crashes, each.alone)
        expect(facts == (2, 0, 0, False), f"attempt, failures, crashes, alone of fetched work are {facts}")


@promise(Transport, proves=("redelivery", "attempts>=exact"))
async def a_crash_counts_only_for_what_ran_alone(h: Harness) -> None:
    """Of several that ran when a consumer died none is blamed; one that ran alone is."""
    items = h.messages(h.inbox(), 2)
    await h.publish(*items)
    await h.drain(await h.reader(items[0].inbox, lease=h.lease), 2, start=2)
    victim = await h.take_one(await h.reader(items[0].inbox, lease=h.lease), start=True)
    expect(victim.crashes == 0, f"{victim.crashes} crashes are counted for a message that ran beside others")
    heir = await h.reader(items[0].inbox)
    found = [each for call in await _one_after_another(h, heir, 2) for each in call]
    crashes = {each.data: each.crashes for each in found}
    blamed = crashes.pop(victim.data)
    expect(blamed == 1, f"{blamed} crashes are counted for a message that ran alone once")
    expect(set(crashes.values()) == {0}, "a crash is counted for a message that did not run")
    expect(all(each.failures == 0 for each in found), "a crash is counted as a failure")


@promise(Transport)
async def closing_hands_back_what_was_not_started(h: Harness) -> None:
    """A consumer that stops gives back at once what it had only fetched, long before its lease ends."""
    items = h.messages(h.inbox(), 3)
    await h.publish(*items)
    leaving = await h.reader(items[0].inbox, lease=h.patience * 10)
    await h.drain(leaving, 3)
    await leaving.close()
    await leaving.close()
    found = await h.drain(await h.reader(items[0].inbox), 3)
    expect({each.data for each in found} == {each.data for each in items}, "not all that was fetched came back")
    expect(not any(each.alone for each in found), "what was not started came back alone")


@promise(Transport, proves="redelivery")
async def closing_leaves_started_work_to_its_lease(h: Harness) -> None:
    """What was started is not handed out when its consumer stops, but when its lease is over."""
    item = h.message(h.inbox())
    await h.publish(item)
    leaving = await h.reader(item.inbox, lease=h.lease * 3)
    await h.take_one(leaving, start=True)
    await leaving.close()
    heir = await h.reader(item.inbox)
    await h.nothing(heir, seconds=h.lease)
    delivery = await h.take_one(heir)
    expect(delivery.alone, "what was started did not come back alone")


@promise(Transport, Inspectable, proves="inspect")
async def a_later_process_settles_in_the_name_of_a_consumer(h: Harness) -> None:
    """What one process fetched, another settles: by the consumer's name and the located token."""
    item = h.message(h.inbox())
    await h.publish(item)
    first = await h.another()
    await h.take_one(await h.reader(item.inbox, consumer="command-line", transport=first))
    await first.close()
    located = await h.located(item)
    expect(located.state == "delivered", f"closing a transport made a fetched message {located.state}")
    expect(located.token is not None, "a delivered message was located without a token")
    later = await h.reader(item.inbox, consumer="command-line")
    await h.done(later, Ack(located.token or ""))


async def _held(h: Harness) -> tuple[Reader, Delivery, Reader]:
    """Return a reader with twice the lease, what it holds started, and a rival who would take it over."""
    item: Outgoing = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox, lease=h.lease * 2)
    delivery = await h.take_one(reader, start=True)
    return reader, delivery, await h.reader(item.inbox)


async def _one_after_another(h: Harness, reader: Reader, count: int) -> list[list[Delivery]]:
    """Return what each call handed out, acking it before the next, until *count* came."""
    calls: list[list[Delivery]] = []
    while sum(map(len, calls)) < count:
        calls.append(await h.take(reader, limit=count, start=count))
        await h.ack(reader, *calls[-1])
    return calls
