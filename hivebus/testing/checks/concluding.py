"""What a handler returned is kept with its ack, so that its work is not done again."""

from __future__ import annotations

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Ack, Delivery, Inspectable, Outgoing, Reader, Retry, Transport


@promise(Transport, Inspectable, proves="outcomes")
async def an_outcome_is_kept_with_its_ack(h: Harness) -> None:
    """What came with an ack can be found under the id of its message."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.done(reader, Ack((await h.take_one(reader, start=True)).token, result=b'{"sum":3}'))
    place = await h.located(item)
    expect(place.state == "acknowledged", f"the message is {place.state}")
    expect(place.outcome == b'{"sum":3}', f"{place.outcome!r} was kept with the ack")


@promise(Transport, Inspectable, proves="outcomes")
async def an_outcome_is_kept_after_the_lease_is_lost(h: Harness) -> None:
    """Work that was done settles its message, whoever was handed it meanwhile."""
    item, (slow, first), (other, second) = await _handed_over_twice(h)
    (answer,) = await h.settle(slow, Ack(first.token, result=b"1"))
    expect(answer == "done", f"an outcome that came late was answered {answer}")
    (answer,) = await h.settle(other, Ack(second.token, result=b"2"))
    expect(answer in ("gone", "stale"), f"the second outcome of one message was answered {answer}")
    place = await h.located(item)
    expect((place.state, place.outcome) == ("acknowledged", b"1"), f"it is {place.state} with {place.outcome!r}")


@promise(Transport, Inspectable, proves="outcomes")
async def an_outcome_reaches_a_message_that_waits(h: Harness) -> None:
    """A message whose work was done is not handed out again, wherever it waits for that."""
    _, (slow, first), (other, second) = await _handed_over_twice(h)
    await h.done(other, Retry(second.token, h.lease * 2))
    (answer,) = await h.settle(slow, Ack(first.token, result=b"1"))
    expect(answer == "done", f"an outcome that came late was answered {answer}")
    await h.nothing(other, slow, seconds=h.lease * 4)


@promise(Transport, Inspectable, proves="outcomes")
async def only_an_outcome_settles_what_was_lost(h: Harness) -> None:
    """Without an outcome, an ack that comes too late settles nothing."""
    _, (slow, first), (other, second) = await _handed_over_twice(h)
    (answer,) = await h.settle(slow, Ack(first.token))
    expect(answer != "done", "an ack without an outcome settled what is somebody else's")
    await h.ack(other, second)


async def _handed_over_twice(h: Harness) -> tuple[Outgoing, tuple[Reader, Delivery], tuple[Reader, Delivery]]:
    """Return a message, who had it until the lease was lost, and who has it now."""
    item = h.message(h.inbox())
    await h.publish(item)
    slow = await h.reader(item.inbox, lease=h.lease)
    first = await h.take_one(slow, start=True)
    other = await h.reader(item.inbox)
    return item, (slow, first), (other, await h.take_one(other, start=True))
