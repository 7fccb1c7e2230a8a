"""What a reader is handed, in which order, and when a call returns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Delivery, Reader, Transport


@promise(Transport)
async def what_is_sent_arrives_byte_for_byte(h: Harness) -> None:
    """Any bytes arrive as they were sent, also such as are no text, and many."""
    inbox = h.inbox()
    text = "-- $(rm) ' \" %s \N{HONEYBEE} and\u2028lines\n"
    bodies = [b"\x00\xff\xfe\r\n\x1b[31m", text.encode(), b"x" * 100_000]
    limit = h.capabilities.max_body.value or 100_000
    sent = [h.message(inbox, data=body[:limit]) for body in bodies]
    await h.publish(*sent)
    found = await h.drain(await h.reader(inbox), len(sent))
    for item in sent:
        arrived = item.data in [each.data for each in found]
        expect(arrived, f"{item.data[:40]!r} ({len(item.data)} bytes) did not arrive")


@promise(Transport)
async def what_was_sent_before_the_first_open_is_handed_out(h: Harness) -> None:
    """An inbox that nobody has opened yet keeps what is sent to it."""
    item = h.message(h.inbox())
    await h.publish(item)
    delivery = await h.take_one(await h.reader(item.inbox, transport=await h.another()))
    expect(delivery.data == item.data, "another message was handed out than the one that waited")


@promise(Transport)
async def an_inbox_gets_its_own_messages_only(h: Harness) -> None:
    """A message for one inbox is not handed out in another."""
    item = h.message(h.inbox())
    reader, stranger = await h.reader(item.inbox), await h.reader(h.inbox())
    await h.publish(item)
    await h.nothing(stranger, seconds=h.lease / 2)
    await h.take_one(reader)


@promise(Transport)
async def a_message_goes_to_one_reader(h: Harness) -> None:
    """Of two consumers of an inbox, each message is handed to one."""
    items = h.messages(h.inbox(), 20)
    first, second = await h.reader(items[0].inbox), await h.reader(items[0].inbox, transport=await h.another())
    await h.publish(*items)
    found = [*await h.drain(first, 10), *await h.drain(second, 10)]
    expect({each.data for each in found} == {each.data for each in items}, "a message was handed to two consumers")
    await h.nothing(first, second, seconds=h.lease / 2)


@promise(Transport)
async def a_limit_is_kept(h: Harness) -> None:
    """A reader is handed at most as many as it asked for, whatever levels they wait in."""
    inbox = h.inbox()
    items = [h.message(inbox, priority=priority) for priority in (1, 2, 3, 4, 5)] + h.messages(inbox, 5)
    await h.publish(*items)
    reader = await h.reader(inbox)
    left = len(items)
    while left:
        found = await h.take(reader, limit=min(3, left))
        expect(len(found) <= min(3, left), f"{min(3, left)} were asked for and {len(found)} handed out")
        left -= len(found)


@promise(Transport, proves="order>=per_sender")
async def messages_of_one_level_arrive_in_order(h: Harness) -> None:
    """What one sender sends at one level is handed out in the order of sending."""
    items = h.messages(h.inbox(), 20)
    await h.publish(*items[:7])
    for item in items[7:12]:
        await h.publish(item)
    await h.publish(*items[12:])
    reader = await h.reader(items[0].inbox)
    found = await h.drain(reader, 3) + await h.drain(reader, 17)
    expect([each.data for each in found] == [each.data for each in items], "messages of one level changed their order")


@promise(Transport, proves="priority>=5")
async def the_highest_level_comes_first(h: Harness) -> None:
    """Five levels are handed out from the top, whatever the order of sending."""
    inbox = h.inbox()
    items = {priority: h.message(inbox, priority=priority) for priority in (2, 5, 1, 4, 3)}
    await h.publish(*items.values())
    found = await h.drain(await h.reader(inbox), 5)
    level = {item.data: priority for priority, item in items.items()}
    seen = [level[each.data] for each in found]
    expect(seen == [5, 4, 3, 2, 1], f"levels were handed out as {seen}")


@promise(Transport, proves="priority>=5")
async def ten_emergencies_overtake_five_hundred_low(h: Harness) -> None:
    """Emergencies behind a backlog that is being read are what is handed out next."""
    inbox = h.inbox()
    low = h.messages(inbox, 500, priority=1)
    for start in range(0, 500, 100):
        await h.publish(*low[start : start + 100])
    reader = await h.reader(inbox)
    await h.drain(reader, 20)
    emergencies = h.messages(inbox, 10, priority=5)
    await h.publish(*emergencies)
    found = await h.drain(reader, 10)
    expect([each.data for each in found] == [each.data for each in emergencies], "low messages came before emergencies")


@promise(Transport, proves="attempts>=exact")
async def a_first_delivery_is_attempt_one(h: Harness) -> None:
    """A message that was never handed out has no failures, no crashes, and runs beside others."""
    item = h.message(h.inbox())
    await h.publish(item)
    delivery = await h.take_one(await h.reader(item.inbox))
    facts = (delivery.attempt, delivery.failures, delivery.crashes, delivery.alone)
    expect(facts == (1, 0, 0, False), f"attempt, failures, crashes, alone of a first delivery are {facts}")


@promise(Transport)
async def an_empty_inbox_returns_after_the_wait(h: Harness) -> None:
    """When nothing comes, a call returns with nothing."""
    reader = await h.reader(h.inbox())
    for wait in (0, 0.2):
        try:
            async with asyncio.timeout(h.patience):
                found = await reader.receive(limit=1, start=0, wait=wait)
        except TimeoutError:
            expect(False, f"a receive that may wait {wait} s had not returned after {h.patience:g} s")
        expect(not found, "an empty inbox handed something out")


@promise(Transport)
async def a_message_reaches_a_reader_that_waits(h: Harness) -> None:
    """A waiting call returns when a message comes, not when its wait is over."""
    item = h.message(h.inbox())
    reader = await h.reader(item.inbox)
    waiting = _waiting(h, reader)
    await asyncio.sleep(0.1)
    await h.publish(item)
    found = await _returned(h, waiting, otherwise="a message came and the waiting receive did not return")
    expect([each.data for each in found] == [item.data], "the waiting receive returned something else")


@promise(Transport)
async def waking_ends_a_wait(h: Harness) -> None:
    """`wake` makes a waiting call return, so that a process can stop in time."""
    reader = await h.reader(h.inbox())
    waiting = _waiting(h, reader)
    await asyncio.sleep(0.1)
    reader.wake()
    found = await _returned(h, waiting, otherwise="wake was called and the waiting receive did not return")
    expect(not found, "a woken reader of an empty inbox was handed something")


def _waiting(h: Harness, reader: Reader) -> asyncio.Task[Sequence[Delivery]]:
    return asyncio.create_task(reader.receive(limit=1, start=0, wait=h.patience * 3))


async def _returned(h: Harness, task: asyncio.Task[Sequence[Delivery]], *, otherwise: str) -> Sequence[Delivery]:
    done, _ = await asyncio.wait([task], timeout=h.patience)
    if not done:
        task.cancel()
        await asyncio.wait([task], timeout=1)
    expect(bool(done), otherwise)
    return task.result()
