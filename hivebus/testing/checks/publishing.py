"""What a publisher promises, and what becomes of a message's delay, time to live and id."""

from __future__ import annotations

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import LADDERS, Ack, Capabilities, Published, Publisher, Transport


@promise(Publisher)
async def connecting_tells_what_the_server_can_do(h: Harness) -> None:
    """`connect` returns capabilities whose words are those of the transport page."""
    expect(isinstance(h.capabilities, Capabilities), f"connect returned {type(h.capabilities).__name__}")
    for name, words in LADDERS.items():
        feature = getattr(h.capabilities, name)
        if feature:
            expect(feature.value in words, f"{name} is {feature.value!r} and must be one of {', '.join(words)}")


@promise(Publisher)
async def every_item_of_a_batch_is_answered(h: Harness) -> None:
    """Three items have three results, no items have none."""
    inbox = h.inbox()
    results = await h.subject.publish([*h.messages(inbox, 2), h.message(h.inbox())])
    expect(len(results) == 3, f"3 items were published and {len(results)} answered")
    expect(all(isinstance(result, Published) for result in results), f"plain messages were answered {results}")
    expect(len(await h.subject.publish([])) == 0, "an empty batch must be answered with nothing")


@promise(Publisher)
async def no_receipt_proves_more_than_is_declared(h: Harness) -> None:
    """The evidence of a result is at most the evidence that is declared."""
    (result,) = await h.publish(h.message(h.inbox()))
    words = LADDERS["evidence"]
    strongest = h.capabilities.evidence.value
    expect(result.evidence in words, f"evidence {result.evidence!r} is none of {', '.join(words)}")
    expect(
        words.index(result.evidence) <= words.index(strongest),
        f"a result says {result.evidence}, and {strongest} is declared",
    )


@promise(Publisher)
async def a_lane_is_always_the_same(h: Harness) -> None:
    """What has to queue behind one thing gets one lane, and a lane can be a key."""
    item = h.message(h.inbox())
    lane = h.subject.lane(item)
    hash(lane)
    expect(lane == h.subject.lane(item), "one item was given two lanes")


@promise(Publisher)
async def closing_twice_is_harmless(h: Harness) -> None:
    """`close` may be called twice, and without `connect`."""
    unconnected = await h.unconnected()
    connected = await h.another()
    for transport in (unconnected, connected, connected):
        await transport.close()


@promise(Transport, proves="dedup")
async def answers_come_in_the_order_of_the_batch(h: Harness) -> None:
    """The duplicate in the middle of a batch is the one that is answered as duplicate."""
    known, second, third = h.messages(h.inbox(), 3)
    await h.publish(known)
    results = await h.publish(second, known, third, second)
    states = [result.state for result in results]
    expect(states == ["stored", "duplicate", "stored", "duplicate"], f"the batch was answered {states}")


@promise(Transport, proves="dedup")
async def one_id_is_one_message(h: Harness) -> None:
    """A message that is sent again, also by another process, is handed out once."""
    item = h.message(h.inbox())
    await h.publish(item)
    (again,) = await h.publish(item, transport=await h.another())
    expect(again.state == "duplicate", f"the second sending was answered {again.state}")
    reader = await h.reader(item.inbox)
    await h.take_one(reader)
    await h.nothing(reader, seconds=h.lease / 2)


@promise(Transport, proves="dedup")
async def an_acked_id_is_still_known(h: Harness) -> None:
    """A message that is sent again after its ack is not handed out again."""
    item = h.message(h.inbox())
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.ack(reader, await h.take_one(reader))
    (again,) = await h.publish(item)
    expect(again.state == "duplicate", f"sending again after the ack was answered {again.state}")
    await h.nothing(reader, seconds=h.lease / 2)


@promise(Transport, proves="delay")
async def a_delayed_message_waits(h: Harness) -> None:
    """A delayed message is answered as scheduled, and handed out when its delay is over, not before."""
    delayed = h.message(h.inbox(), delay=h.lease * 2)
    (result,) = await h.publish(delayed)
    expect(result.state == "scheduled", f"a delayed message was answered {result.state}")
    reader = await h.reader(delayed.inbox)
    await h.nothing(reader, seconds=h.lease)
    delivery = await h.take_one(reader)
    expect(delivery.data == delayed.data, "another message came back than the delayed one")


@promise(Transport, proves="ttl")
async def an_expired_message_is_not_handed_out(h: Harness) -> None:
    """What nobody took within its time to live is passed over; what lives longer is not."""
    inbox = h.inbox()
    brief, lasting = h.message(inbox, ttl=h.lease), h.message(inbox, ttl=3600)
    await h.publish(brief, lasting)
    await h.let_pass(h.lease * 1.5)
    reader = await h.reader(inbox)
    found = [await h.take_one(reader)]
    expect(found[0].data == lasting.data, "an expired message was handed out")
    await h.nothing(reader, seconds=h.lease / 2)


@promise(Transport, proves="ttl")
async def a_retry_does_not_outlive_its_time_to_live(h: Harness) -> None:
    """A message that expires while it waits for its retry is not handed out again."""
    item = h.message(h.inbox(), ttl=h.lease * 2)
    await h.publish(item)
    reader = await h.reader(item.inbox)
    await h.retry(reader, await h.take_one(reader), delay=h.lease * 2.2)
    await h.nothing(reader, seconds=h.lease * 3)


@promise(Transport, proves="max_batch")
async def a_full_batch_arrives(h: Harness) -> None:
    """A batch of the declared size is taken and handed out."""
    items = h.messages(h.inbox(), min(h.capabilities.max_batch.value, 1000))
    await h.publish(*items)
    reader = await h.reader(items[0].inbox)
    found = await h.drain(reader, len(items))
    expect(_bodies(found) == _bodies(items), "a full batch did not arrive as it was sent")
    await reader.settle([Ack(each.token) for each in found])


@promise(Transport, proves="max_body")
async def a_message_of_full_size_arrives(h: Harness) -> None:
    """A message of the declared size is taken and handed out."""
    size = min(h.capabilities.max_body.value or 256 * 1024, 1024 * 1024)
    item = h.message(h.inbox(), data=b"x" * size)
    await h.publish(item)
    delivery = await h.take_one(await h.reader(item.inbox))
    expect(delivery.data == item.data, f"{size} bytes were sent and {len(delivery.data)} came back")


def _bodies(batch: object) -> set[bytes]:
    return {each.data for each in batch}  # type: ignore[attr-defined]
