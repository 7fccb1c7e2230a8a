"""What is kept of the past, what may be forgotten, and what has to happen although nobody reads."""

from __future__ import annotations

from typing import cast

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.tidying import Shed, Tidied, Tidying
from hivebus.transport import DeadLetter, DeadLetters, Inspectable, Outgoing, Replayable, Transport

LONG_AGO = 86_400.0


@promise(Transport, Replayable, proves="replay")
async def what_was_handled_is_history(h: Harness) -> None:
    """What was acked can be read again, as it was sent and oldest first; dead letters are no history."""
    items = h.messages(h.inbox(), 4)
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    one, two, dead, three = await h.drain(reader, 4)
    await h.ack(reader, one, two, three)
    await h.done(reader, DeadLetter(dead.token, "broken"))
    kept = [item.data for item in items if item.data != dead.data]
    found = [each async for each in _source(h).history(items[0].inbox, since=LONG_AGO, limit=10)]
    expect([each.data for each in found] == kept, f"of 3 handled messages and a dead letter, history shows {found}")
    expect({each.state for each in found} == {"acknowledged"}, f"handled messages are shown as {found}")


@promise(Transport, Replayable, proves="replay")
async def history_is_read_and_nothing_is_taken(h: Harness) -> None:
    """Reading the past of an inbox hands nothing out, and what waits is shown as waiting."""
    item = h.message(h.inbox())
    await h.publish(item)
    for _ in range(2):
        found = [each async for each in _source(h).history(item.inbox, since=LONG_AGO, limit=10)]
        expect([each.state for each in found] == ["queued"], f"a waiting message is shown as {found}")
    delivery = await h.take_one(await h.reader(item.inbox))
    expect(delivery.attempt == 1, "reading the past was counted as handing over")


@promise(Transport, Replayable, proves="replay")
async def history_keeps_to_its_bounds(h: Harness) -> None:
    """No more than the limit is shown, and nothing that is older or younger than asked for."""
    early = h.messages(h.inbox(), 3)
    await h.publish(*early)
    await h.let_pass(h.lease)
    late = h.message(early[0].inbox)
    await h.publish(late)
    source, inbox, between = _source(h), late.inbox, h.lease / 2
    young = [each.data async for each in source.history(inbox, since=between, limit=10)]
    expect(young == [late.data], f"of 1 young message, {len(young)} were shown")
    old = [each.data async for each in source.history(inbox, since=LONG_AGO, until=between, limit=10)]
    expect(old == [item.data for item in early], f"of 3 old messages, {len(old)} were shown")
    few = [each.data async for each in source.history(inbox, since=LONG_AGO, limit=2)]
    expect(few == [item.data for item in early[:2]], f"with a limit of 2, {len(few)} were shown")


@promise(Transport, Tidying, Inspectable, proves="retention_guard")
async def only_what_is_settled_is_forgotten(h: Harness) -> None:
    """Trimming takes what is settled, and spares what is in flight, between two attempts or unread."""
    items = h.messages(h.inbox(), 6)
    await h.publish(*items)
    inbox = items[0].inbox
    reader = await h.reader(inbox)
    one, two, held, retried, three = await h.drain(reader, 5)
    await h.ack(reader, one, two, three)
    await h.retry(reader, retried, delay=0.05)
    shed = await _shed_all(h, inbox)
    expect(shed.messages >= 2, f"of 2 settled messages in front of all others, {shed.messages} were forgotten")
    (counts,) = await h.inspectable.counts([inbox])
    expect(counts.waiting + counts.in_flight + counts.retrying == 3, f"of 3 unsettled messages, there are {counts}")
    await h.ack(reader, held)
    back = {each.data for each in await h.drain(reader, 2)}
    expect(back == {retried.data, items[5].data}, "what was not settled did not come any more")


@promise(Transport, Tidying, Replayable, proves=("retention_guard", "replay"))
async def what_is_forgotten_is_gone_and_a_dry_run_forgets_nothing(h: Harness) -> None:
    """A dry run counts what would go; after trimming, that is no history any more."""
    items = h.messages(h.inbox(), 3)
    await h.publish(*items)
    inbox = items[0].inbox
    reader = await h.reader(inbox)
    await h.ack(reader, *await h.drain(reader, 3))
    would = await _tidying(h).shed(inbox, older_than=0, limit=10, dry_run=True)
    kept = [each async for each in _source(h).history(inbox, since=LONG_AGO, limit=10)]
    expect((would.messages, len(kept)) == (3, 3), f"a dry run counted {would.messages} of 3 and left {len(kept)}")
    await _shed_all(h, inbox)
    left = [each async for each in _source(h).history(inbox, since=LONG_AGO, limit=10)]
    expect(not left, f"{len(left)} forgotten messages are still history")


@promise(Transport, Tidying, DeadLetters, Inspectable, proves=("ttl", "dead_letters"))
async def what_nobody_reads_expires_all_the_same(h: Harness) -> None:
    """Without any reader, a message becomes a dead letter ``expired`` when its time is over; others wait on."""
    inbox = h.inbox()
    early, late = h.message(inbox, ttl=h.lease / 4), h.message(inbox)
    await h.publish(early, late)
    await h.let_pass(h.lease / 2)
    await _has_expired(h, early)
    (counts,) = await h.inspectable.counts([inbox])
    expect((counts.waiting, counts.dead) == (1, 1), f"of 1 waiting and 1 expired message, there are {counts}")


@promise(Transport, Tidying, DeadLetters, proves=("ttl", "dead_letters"))
async def what_waits_for_its_retry_expires_all_the_same(h: Harness) -> None:
    """A message whose time is over between two attempts becomes a dead letter before the next one is due."""
    item = h.message(h.inbox(), ttl=h.lease)
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader), delay=h.later * 20)
    await h.let_pass(h.lease * 1.2)
    await _has_expired(h, item)


async def _has_expired(h: Harness, item: Outgoing) -> None:
    async def tidied() -> list[Tidied]:
        done = await _tidying(h).tidy(item.inbox, keep=LONG_AGO)
        return [done] if done.expired else []

    (done,) = await h.eventually(tidied, "tidying let nothing expire")
    expect(done.expired == 1, f"1 message expired and tidying told of {done.expired}")
    found = [(each.message_id, each.reason) for each in await h.dead_letters.dead(item.inbox, limit=10)]
    expect(found == [(item.message_id, "expired")], f"an expired message is among the dead letters as {found}")


async def _shed_all(h: Harness, inbox: str) -> Shed:
    messages = 0
    while True:
        step = await _tidying(h).shed(inbox, older_than=0, limit=100)
        messages += step.messages
        if step.oldest is None or not step.messages:
            return Shed(messages=messages)


def _source(h: Harness) -> Replayable:
    return cast(Replayable, h.subject)


def _tidying(h: Harness) -> Tidying:
    return cast(Tidying, h.subject)
