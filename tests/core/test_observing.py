"""Observers: told in batches what moved, in the past tense."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.bus import Bus
from hivebus.facts import Delivered, Sent, SettledFact
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import Endpoint, Outgoing

from .flaky import running, until, until_state


class Watching:
    """Notes every fact."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.delivered: list[Delivered] = []
        self.settled: list[SettledFact] = []

    @hookimpl
    def messages_sent(self, facts: Sequence[Sent]) -> None:
        self.sent += facts

    @hookimpl
    def messages_delivered(self, facts: Sequence[Delivered]) -> None:
        self.delivered += facts

    @hookimpl
    def messages_settled(self, facts: Sequence[SettledFact]) -> None:
        self.settled += facts


class Failing:
    """Raises whatever it is told."""

    @hookimpl
    def messages_sent(self) -> None:
        raise RuntimeError

    @hookimpl
    def messages_delivered(self) -> None:
        raise RuntimeError

    @hookimpl
    def messages_settled(self) -> None:
        raise RuntimeError


async def run_three(*plugins: object) -> list[str]:
    """Handle one message, fail another and reject a third; return their ids."""
    async with Bus("memory://", agent="dev", plugins=plugins) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            if message.content == "fail":
                raise ValueError("no luck")

        ids = [(await bus.send("dev", each, retry_delay=0.01, max_retries=1)).message_id for each in ("pass", "fail")]
        async with running(bus):
            await until_state(bus, ids[0], "acknowledged")
            await until_state(bus, ids[1], "dead_lettered")
    return ids


async def test_each_message_is_told_when_it_was_sent_handed_over_and_settled() -> None:
    watching = Watching()
    passed, failed = await run_three(watching)
    assert [(fact.message_id, fact.inbox, fact.state, fact.message_type) for fact in watching.sent] == [
        (passed, "dev", "stored", "information_share"),
        (failed, "dev", "stored", "information_share"),
    ]
    told = sorted((fact.message_id, fact.from_agent, fact.attempt, fact.failures) for fact in watching.delivered)
    assert told == sorted([(passed, "dev", 1, 0), (failed, "dev", 1, 0), (failed, "dev", 2, 1)])
    assert SettledFact(passed, "dev", "ack", "done", None) in watching.settled
    assert [fact for fact in watching.settled if fact.message_id == failed] == [
        SettledFact(failed, "dev", "retry", "done", None),
        SettledFact(failed, "dev", "dead", "done", "max_retries: ValueError: no luck"),
    ]


async def test_a_type_is_told_with_all_its_parts() -> None:
    watching = Watching()
    async with Bus("memory://", agent="ci", plugins=[watching]) as bus:
        await bus.send(["dev", "qa"], "x", message_type="build.failed")
    assert {fact.message_type for fact in watching.sent} == {"build.failed"}


async def test_observers_that_raise_harm_no_delivery_and_those_after_them_are_told() -> None:
    watching, later = Watching(), Watching()
    ids = await run_three(watching, Failing(), later)
    for seen in (watching, later):
        assert {fact.message_id for fact in seen.sent} == set(ids)
        assert {fact.message_id for fact in seen.delivered} == set(ids)
        assert {fact.message_id for fact in seen.settled} == set(ids)


async def test_a_lease_that_was_renewed_is_no_news() -> None:
    watching = Watching()
    async with Bus("memory://", agent="dev", plugins=[watching]) as bus:
        await bus.send("dev", "x")
        deliveries = bus.consume()
        handed = await anext(deliveries)
        await handed.extend()
        assert watching.settled == []
        await handed.ack()
        await deliveries.aclose()
    assert [fact.verb for fact in watching.settled] == ["ack"]


async def test_who_only_watches_what_is_settled_is_told_the_ids() -> None:
    class Settled:
        def __init__(self) -> None:
            self.ids: list[str] = []

        @hookimpl
        def messages_settled(self, facts: Sequence[SettledFact]) -> None:
            self.ids += [fact.message_id for fact in facts]

    settled = Settled()
    ids = await run_three(settled)
    assert set(settled.ids) == set(ids)


async def test_handlers_run_after_their_message_was_told() -> None:
    watching = Watching()
    known: list[bool] = []
    async with Bus("memory://", agent="dev", plugins=[watching]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            known.append(message.message_id in {fact.message_id for fact in watching.delivered})

        await bus.send("dev", "x")
        async with running(bus):
            await until(lambda: known)
    assert known == [True]


async def test_a_broken_message_is_told_as_a_dead_letter_without_an_id() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await transport.publish([Outgoing("dev", "broken", "agent.dev.x", 2, 0, None, b"no JSON")])
    watching = Watching()
    async with Bus("memory://", agent="dev", plugins=[watching]) as bus, running(bus):
        await until_state(bus, "broken", "dead_lettered")
    assert watching.settled == [SettledFact("", "dev", "dead", "done", "invalid:json")]
    assert watching.delivered == []
