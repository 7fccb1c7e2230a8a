"""The outbox: sends again what is unknown, with the same ids, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import pytest

from hivebus import outbox
from hivebus.bus import Bus
from hivebus.errors import BrokerFull, HivebusError, QueueFull, Unavailable, Unknown
from hivebus.facts import Sent
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.outbox import Outbox
from hivebus.transport import Endpoint, Outgoing, Published

from .flaky import FlakyTransport, Publish, Results, Serving, Trouble, loses_the_reply, loses_the_request


def item(name: str) -> Outgoing:
    return Outgoing("dev", name, "agent.dev.question", 2, 0, None, b"{}")


async def outbox_of(transport: FlakyTransport, *, wait_when_full: bool = False, limit: int = 100) -> Outbox:
    await transport.connect()
    return Outbox(transport, limit=limit, wait_when_full=wait_when_full, told=None)


async def stored(name: str) -> list[str]:
    """Return the ids that wait in an inbox."""
    looking = MemoryTransport(Endpoint(url="memory://"))
    await looking.connect()
    return [place.message_id for place in await looking.peek(name, limit=1000)]


def refusing(error: HivebusError) -> Trouble:
    async def refuse(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        return [error for _ in batch]

    return refuse


def losing(*names: str) -> Trouble:
    """Store everything, and lose the answers about some."""

    async def lose(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        results = await publish(batch)
        lost = Unknown("the connection was lost")
        return [lost if each.message_id in names else result for each, result in zip(batch, results, strict=True)]

    return lose


# --- Again, with the same ids ------------------------------------------------------------------------------


async def nothing_is_stored_twice_or_lost(trouble: Trouble, *, state: str) -> None:
    transport = FlakyTransport(troubles=[trouble])
    sending = await outbox_of(transport)
    published = await asyncio.gather(*(sending.send(item(name)) for name in "abc"))
    assert [each.state for each in published] == [state] * 3
    assert [[each.message_id for each in batch] for batch in transport.batches] == [["a", "b", "c"]] * 2
    assert await stored("dev") == ["a", "b", "c"]


async def test_when_the_reply_is_lost_the_same_ids_are_sent_again_and_stored_once() -> None:
    await nothing_is_stored_twice_or_lost(loses_the_reply, state="duplicate")


async def test_what_would_be_delivered_twice_is_not_sent_again() -> None:
    transport = FlakyTransport(troubles=[refusing(Unknown("the terminal hangs", repeatable=False))])
    sending = await outbox_of(transport)
    with pytest.raises(Unknown, match="the terminal hangs"):
        await sending.send(item("a"))
    assert len(transport.batches) == 1


async def test_when_the_request_is_lost_it_is_sent_again() -> None:
    await nothing_is_stored_twice_or_lost(loses_the_request, state="stored")


async def test_sending_again_with_new_ids_would_be_seen() -> None:
    """Saboteur: a transport that gives every attempt an id of its own."""

    class Renaming(FlakyTransport):
        async def publish(self, batch: Sequence[Outgoing]) -> Results:
            attempt = len(self.batches)
            return await super().publish([each._replace(message_id=f"{each.message_id}{attempt}") for each in batch])

    sending = await outbox_of(Renaming(troubles=[loses_the_reply]))
    await sending.send(item("a"))
    assert await stored("dev") == ["a0", "a1"]


async def test_only_what_is_unknown_is_sent_again() -> None:
    transport = FlakyTransport(troubles=[losing("b")])
    sending = await outbox_of(transport)
    published = await asyncio.gather(*(sending.send(item(name)) for name in "abc"))
    assert [[each.message_id for each in batch] for batch in transport.batches] == [["a", "b", "c"], ["b"]]
    assert [each.state for each in published] == ["stored", "duplicate", "stored"]


async def test_what_was_refused_is_not_sent_again() -> None:
    transport = FlakyTransport(troubles=[refusing(BrokerFull("no memory left"))])
    sending = await outbox_of(transport)
    with pytest.raises(BrokerFull, match="no memory left"):
        await sending.send(item("a"))
    assert len(transport.batches) == 1


@pytest.mark.parametrize("error", [Unknown("lost"), Unavailable("away")])
async def test_it_gives_up_after_its_bound_and_tells_the_sender(
    error: HivebusError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", 0.3)
    transport = FlakyTransport(troubles=[refusing(error)] * 1000)
    sending = await outbox_of(transport)
    with pytest.raises(type(error)):
        await sending.send(item("a"))
    # Pauses grow, so there are few attempts in that time; the first and another there are.
    assert 2 <= len(transport.batches) <= 100
    assert {each.message_id for batch in transport.batches for each in batch} == {"a"}
    transport._troubles = iter(())
    assert (await sending.send(item("b"))).state == "stored"


async def wait_behind_a_batch(monkeypatch: pytest.MonkeyPatch, *, late_attempt: float) -> tuple[float, float]:
    """Submit while a batch is in vain under way; return how long that one took, and how long the next."""

    async def hang(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        await asyncio.sleep(0.3)
        raise Unknown("no answer")

    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", 0.5)
    monkeypatch.setattr(outbox, "LATE_ATTEMPT", late_attempt)
    transport = FlakyTransport(troubles=[hang] * 1000)
    transport.abandonable = True
    sending = await outbox_of(transport)

    async def timed(name: str) -> float:
        began = monotonic()
        with pytest.raises(Unknown):
            await sending.send(item(name))
        return monotonic() - began

    first = asyncio.create_task(timed("a"))
    await asyncio.sleep(0.05)
    second = await timed("b")
    third = await timed("c")
    assert third >= 0.3, "who comes later is tried for as long as anybody"
    return await first, second


async def test_who_waits_behind_a_batch_that_is_given_up_does_not_wait_as_long_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = await wait_behind_a_batch(monkeypatch, late_attempt=0.1)
    assert first < 0.8 and second < 0.8


async def test_saboteur_whoever_waits_gets_a_whole_turn_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_take_late", lambda self, batch: 0)
    _, second = await wait_behind_a_batch(monkeypatch, late_attempt=0.1)
    assert second > 0.8


async def test_who_submits_meanwhile_waits_for_the_batch_that_is_sent_again() -> None:
    transport = FlakyTransport(troubles=[loses_the_request, loses_the_request])
    sending = await outbox_of(transport)
    first = asyncio.ensure_future(sending.send(item("a")))
    while not transport.batches:
        await asyncio.sleep(0)
    await asyncio.gather(first, sending.send(item("b")))
    assert [[each.message_id for each in batch] for batch in transport.batches] == [["a"]] * 3 + [["b"]]
    assert await stored("dev") == ["a", "b"]


async def test_a_transport_that_answers_too_little_leaves_no_sender_waiting() -> None:
    async def forget(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        return (await publish(batch))[:-1]

    sending = await outbox_of(FlakyTransport(troubles=[forget]))
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(sending.send(item("a")), sending.send(item("b")), return_exceptions=True)
    assert all(isinstance(outcome, Exception) for outcome in outcomes)


# --- A full inbox ------------------------------------------------------------------------------------------


async def test_a_full_inbox_raises_at_once() -> None:
    transport = FlakyTransport(troubles=[refusing(QueueFull("dev is full"))])
    with pytest.raises(QueueFull):
        await (await outbox_of(transport)).send(item("a"))
    assert len(transport.batches) == 1


async def test_a_full_inbox_makes_a_sender_wait_that_asked_to() -> None:
    transport = FlakyTransport(troubles=[refusing(QueueFull("dev is full"))] * 2)
    sending = await outbox_of(transport, wait_when_full=True)
    assert (await sending.send(item("a"))).state == "stored"
    assert len(transport.batches) == 3


async def test_a_sender_that_waits_for_room_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAIT_WHEN_FULL", 0.2)
    transport = FlakyTransport(troubles=[refusing(QueueFull("dev is full"))] * 1000)
    with pytest.raises(QueueFull):
        await (await outbox_of(transport, wait_when_full=True)).send(item("a"))
    assert 2 <= len(transport.batches) <= 10


async def test_a_bus_passes_on_whether_to_wait() -> None:
    full = refusing(QueueFull("dev is full"))
    patient, hasty = FlakyTransport(troubles=[full]), FlakyTransport(troubles=[full])
    async with Bus("memory://", agent="pm", on_full="wait", plugins=[Serving(patient)]) as bus:
        assert await bus.send("dev", "x")
    async with Bus("memory://", agent="pm", plugins=[Serving(hasty)]) as bus:
        with pytest.raises(QueueFull):
            await bus.send("dev", "x")


# --- Lanes and observers -----------------------------------------------------------------------------------


async def test_the_lanes_are_those_of_the_transport() -> None:
    class PerInbox(FlakyTransport):
        def lane(self, item: Outgoing) -> str:
            return item.inbox

    transport = PerInbox()
    sending = await outbox_of(transport)
    await asyncio.gather(
        *(sending.send(item("a")._replace(inbox=inbox, message_id=inbox)) for inbox in ("x", "y", "x2"))
    )
    assert sorted([each.inbox for each in batch] for batch in transport.batches) == [["x"], ["x2"], ["y"]]


class Watching:
    def __init__(self) -> None:
        self.batches: list[list[Sent]] = []

    @hookimpl
    def messages_sent(self, facts: Sequence[Sent]) -> None:
        self.batches.append(list(facts))


async def test_observers_are_told_once_per_batch_what_became_of_each() -> None:
    transport = FlakyTransport(troubles=[loses_the_reply, refusing(QueueFull("dev is full"))])
    watching = Watching()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport), watching]) as bus:
        message = Message(from_agent="pm", to_agent="dev", body={"content": "x"}, priority="high", message_type="event")
        results = await bus.send_many([message, message.replace(message_id="second")])
    assert [type(result) for result in results] == [QueueFull, QueueFull]
    ((first, second),) = watching.batches
    assert (first.message_id, first.inbox, first.message_type, first.priority) == (
        message.message_id,
        "dev",
        "event",
        3,
    )
    assert (first.state, second.message_id, second.state) == ("QueueFull", "second", "QueueFull")
    assert first.size == len(message.to_json())
    assert first.seconds >= 0


async def test_without_observers_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Callable[..., object] | None] = []
    original = Outbox.__init__

    def watch(self: Outbox, *args: object, **options: object) -> None:
        seen.append(options["told"])  # type: ignore[arg-type]
        original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Outbox, "__init__", watch)
    async with Bus("memory://", agent="pm") as bus:
        await bus.send("dev", "x")
    assert seen == [None]


async def test_a_published_item_is_what_the_transport_proved() -> None:
    assert isinstance(await (await outbox_of(FlakyTransport())).send(item("a")), Published)
