"""What is peculiar to `memory://`: who shares it, what it refuses, and when it forgets."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from hivebus.errors import InvalidMessage, Unavailable, Unsupported
from hivebus.memory.inbox import MemoryInbox
from hivebus.memory.places import DEAD_LETTER_AGE, DEDUP_WINDOW
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import Ack, DeadLetter, Delivery, Endpoint, Inbox, Outgoing, Published, Retry


def message(message_id: str, *, priority: int = 2, ttl: float | None = None, data: bytes = b"{}") -> Outgoing:
    return Outgoing("pm-agent", message_id, "agent.pm-agent.question", priority, 0, ttl, data)


async def connected(url: str = "memory://", *, namespace: str = "hb", limit: int = 1000) -> MemoryTransport:
    transport = MemoryTransport(Endpoint(url=url, namespace=namespace, limit=limit))
    await transport.connect()
    return transport


# --- Who shares it -----------------------------------------------------------------------------------


async def test_what_one_transport_sends_another_of_the_same_url_receives() -> None:
    sender, receiver = await connected(), await connected()
    await sender.publish([message("a")])
    await sender.close()
    reader = await receiver.open(Inbox("pm-agent"), consumer="c", lease=15)
    assert [delivery.data for delivery in await reader.receive(limit=10, start=1, wait=0)] == [b"{}"]


async def test_namespaces_and_urls_are_buses_of_their_own() -> None:
    await (await connected()).publish([message("a")])
    assert await (await connected(namespace="other")).inboxes() == []
    assert await (await connected("memory://other")).inboxes() == []
    assert await (await connected()).inboxes() == ["pm-agent"]


def test_another_event_loop_is_another_bus_and_the_old_one_is_not_kept() -> None:
    async def send() -> weakref.ref[asyncio.AbstractEventLoop]:
        transport = await connected()
        await transport.publish([message("a")])
        reader = await transport.open(Inbox("pm-agent"), consumer="c", lease=15)
        await reader.receive(limit=1, start=0, wait=0)
        await reader.receive(limit=1, start=0, wait=0.01)
        return weakref.ref(asyncio.get_running_loop())

    async def look() -> list[str]:
        return list(await (await connected()).inboxes())

    loop = asyncio.run(send())
    assert asyncio.run(look()) == []
    gc.collect()
    assert loop() is None


# --- What it refuses ---------------------------------------------------------------------------------


async def test_a_message_over_the_limit_is_refused_and_its_neighbours_are_not() -> None:
    transport = await connected(limit=10)
    refused, stored = await transport.publish([message("a", data=b"x" * 11), message("b")])
    assert isinstance(refused, InvalidMessage)
    assert isinstance(stored, Published)
    (counts,) = await transport.counts(["pm-agent"])
    assert counts.waiting == 1


async def test_a_second_group_is_unsupported_and_says_so() -> None:
    with pytest.raises(Unsupported, match="one group per inbox"):
        await (await connected()).open(Inbox("pm-agent", group="audit"), consumer="c", lease=15)


async def test_a_transport_that_is_not_connected_is_unavailable() -> None:
    transport = await connected()
    await transport.close()
    with pytest.raises(Unavailable, match="not connected"):
        await transport.publish([message("a")])


async def test_asking_about_an_inbox_does_not_create_it() -> None:
    transport = await connected()
    assert await transport.requeue("pm-agent", ["a"]) == [False]
    assert await transport.purge("pm-agent", ["a"]) == [False]
    assert await transport.cancel("pm-agent", ["a"]) == [False]
    assert await transport.peek("pm-agent", limit=1) == []
    assert await transport.dead("pm-agent", limit=1) == []
    assert await transport.inboxes() == []


# --- The rules of an inbox, at times of our choice ---------------------------------------------------


def take(inbox: MemoryInbox, name: str, *, now: float, start: int = 0, lease: float = 10) -> list[Delivery]:
    return inbox.receive(inbox.consumer(name, lease=lease), limit=10, start=start, now=now)


def test_the_id_of_a_settled_message_is_forgotten_after_the_window() -> None:
    inbox = MemoryInbox("pm-agent")
    inbox.publish(message("a"), 0)
    (delivery,) = take(inbox, "c", now=0)
    inbox.settle(inbox.consumer("c", lease=10), Ack(delivery.token), 0)
    assert inbox.publish(message("a"), DEDUP_WINDOW - 1).state == "duplicate"
    assert inbox.publish(message("a"), DEDUP_WINDOW + 1).state == "stored"


def test_a_dead_letter_is_kept_for_thirty_days() -> None:
    inbox = MemoryInbox("pm-agent")
    inbox.publish(message("a"), 0)
    (delivery,) = take(inbox, "c", now=0)
    inbox.settle(inbox.consumer("c", lease=10), DeadLetter(delivery.token, "broken"), 0)
    assert len(inbox.dead(10, DEAD_LETTER_AGE - 1)) == 1
    assert inbox.dead(10, DEAD_LETTER_AGE + 1) == []
    assert inbox.locate("a", DEAD_LETTER_AGE + 1) is None


def test_a_requeued_message_is_not_forgotten_with_its_old_dead_letter() -> None:
    inbox = MemoryInbox("pm-agent")
    inbox.publish(message("a", ttl=5), 0)
    assert inbox.locate("a", 6).state == "expired"  # type: ignore[union-attr]
    assert inbox.requeue("a", 7)
    assert inbox.locate("a", 8).state == "queued"  # type: ignore[union-attr]
    assert take(inbox, "c", now=8)
    assert inbox.locate("a", DEAD_LETTER_AGE + 100) is not None


def test_a_message_that_expires_while_it_is_held_may_be_finished_but_not_retried() -> None:
    inbox = MemoryInbox("pm-agent")
    for name in ("a", "b"):
        inbox.publish(message(name, ttl=5), 0)
    first, second = take(inbox, "c", now=0)
    consumer = inbox.consumer("c", lease=10)
    assert inbox.settle(consumer, Ack(first.token), 6) == "done"
    assert inbox.settle(consumer, Retry(second.token, 0), 6) == "done"
    assert [inbox.locate(name, 6).state for name in ("a", "b")] == ["acknowledged", "expired"]  # type: ignore[union-attr]


def test_a_suspect_of_a_higher_level_comes_first() -> None:
    inbox = MemoryInbox("pm-agent")
    # Taken one by one, the low one first.
    for name, priority in (("low", 1), ("urgent", 4)):
        inbox.publish(message(name, priority=priority), 0)
        take(inbox, "c", now=0, start=1)
    (delivery,) = take(inbox, "heir", now=11)
    assert (delivery.alone, delivery.token.partition("#")[0]) == (True, "urgent")


def test_a_suspect_that_was_not_started_is_handed_back_as_a_suspect_and_uncounted() -> None:
    inbox = MemoryInbox("pm-agent")
    inbox.publish(message("a"), 0)
    take(inbox, "c", now=0, start=1)
    assert [delivery.alone for delivery in take(inbox, "heir", now=11)] == [True]
    (again,) = take(inbox, "third", now=22)
    assert (again.alone, again.crashes, again.attempt) == (True, 0, 3)


def test_a_consumer_that_was_late_keeps_what_nobody_took_over() -> None:
    inbox = MemoryInbox("pm-agent")
    inbox.publish(message("a"), 0)
    consumer = inbox.consumer("c", lease=10)
    (delivery,) = inbox.receive(consumer, limit=1, start=1, now=0)
    assert inbox.settle(consumer, Ack(delivery.token), 100) == "done"


def test_a_sender_is_told_when_the_inbox_was_read_last_and_by_how_many() -> None:
    inbox = MemoryInbox("pm-agent")
    first = inbox.publish(message("a"), 0)
    assert (first.idle, first.readers) == (None, 0)
    take(inbox, "c", now=5)
    second = inbox.publish(message("b"), 8)
    assert (second.idle, second.readers) == (3, 1)
    assert inbox.publish(message("c"), 20).readers == 0


async def test_a_late_reader_does_not_take_over_from_a_new_one_of_its_name() -> None:
    transport = await connected()
    await transport.publish([message("a")])
    late = await transport.open(Inbox("pm-agent"), consumer="command-line", lease=0.01)
    (lost,) = await late.receive(limit=1, start=0, wait=0)
    await asyncio.sleep(0.02)
    heir = await transport.open(Inbox("pm-agent"), consumer="heir", lease=0.05)
    assert len(await heir.receive(limit=1, start=0, wait=0)) == 1
    new = await transport.open(Inbox("pm-agent"), consumer="command-line", lease=30)
    await asyncio.sleep(0.1)
    (again,) = await new.receive(limit=1, start=0, wait=0)
    assert await late.settle([Ack(lost.token)]) == ["stale"]
    assert await new.settle([Ack(again.token)]) == ["done"]
