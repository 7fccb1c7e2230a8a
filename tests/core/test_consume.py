"""`bus.consume` and `bus.take`: deliveries one by one, settled by who takes them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.delivery import Handed
from hivebus.facts import Delivered, SettledFact
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import Endpoint, Inbox, Outgoing, Retry

from .flaky import FlakyReader, FlakyTransport, Serving, until, until_state


async def first(bus: Bus, **options: Any) -> Handed:
    """Return the next delivery; the bus closes its inbox at the end of the test."""
    async with asyncio.timeout(10):
        return await anext(bus.consume(**options))


async def test_messages_come_one_by_one_in_the_order_of_their_levels() -> None:
    async with Bus("memory://", agent="dev") as bus:
        for priority in ("low", "emergency", "medium"):
            await bus.send("dev", priority, priority=priority)
        contents = []
        async with aclosing(bus.consume()) as deliveries:
            async for handed in deliveries:
                assert (handed.attempt, await handed.ack()) == (1, "done")
                contents.append(handed.message.content)
                if len(contents) == 3:
                    break
        assert contents == ["emergency", "medium", "low"]
        assert (await bus.queue("dev")).waiting == 0


async def test_what_becomes_of_a_delivery_is_up_to_who_has_it() -> None:
    async with Bus("memory://", agent="dev") as bus:
        ids = [(await bus.send("dev", each)).message_id for each in ("ack", "retry", "reject")]
        deliveries = bus.consume()
        handed = {each.message.content: each for each in [await anext(deliveries) for _ in ids]}
        assert await handed["ack"].extend() == "done"
        assert await handed["ack"].ack() == "done"
        assert await handed["ack"].ack() == "gone"
        assert await handed["retry"].retry(delay=60) == "done"
        assert await handed["retry"].extend() == "stale"
        assert await handed["reject"].reject("not\nfor us") == "done"
        statuses = [await bus.status(each) for each in ids]
        assert [status.state for status in statuses] == ["acknowledged", "retrying", "dead_lettered"]
        assert statuses[2].reason == "not for us"
        await deliveries.aclose()


async def test_a_retry_without_a_delay_waits_by_the_back_off_of_the_message() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:
        receipt = await bus.send("dev", "x", retry_delay=0.01)
        deliveries = bus.consume()
        for attempt in (1, 2):
            handed = await anext(deliveries)
            assert handed.attempt == attempt
            await handed.retry()
        await deliveries.aclose()
        assert (await bus.status(receipt.message_id)).attempts == 2
    delays = [each.delay for batch in transport.readers[0].settled for each in batch if isinstance(each, Retry)]
    assert 0.008 <= delays[0] <= 0.012 and 0.016 <= delays[1] <= 0.024


async def test_other_types_are_handed_back_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus.inflow.COME_AGAIN", 0.05)
    async with Bus("memory://", agent="dev") as bus:
        other = await bus.send("dev", "x", message_type="event", priority="high", max_retries=0)
        await bus.send("dev", "x", message_type="question")
        handed = await first(bus, types=["question"])
        assert handed.message.message_type == "question"
        again = await first(bus, types=["event"])
        assert again.message.message_id == other.message_id
        assert again.attempt > 1
        assert again._delivery.failures == 0


async def test_a_broken_message_is_a_dead_letter_and_the_next_one_comes() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    await transport.publish([Outgoing("dev", "broken", "agent.dev.x", 5, 0, None, b"no JSON")])
    async with Bus("memory://", agent="dev") as bus:
        await bus.send("dev", "fine")
        assert (await first(bus)).message.content == "fine"
        await until_state(bus, "broken", "dead_lettered")
        assert (await bus.status("broken")).reason == "invalid:json"


async def test_a_poisonous_message_is_a_dead_letter_and_the_next_one_comes() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    async with Bus("memory://", agent="dev", max_crashes=1) as bus:
        poison = await bus.send("dev", "poison")
        for number in range(2):
            reader = await transport.open(Inbox("dev"), consumer=f"dies-{number}", lease=0.02)
            assert await reader.receive(limit=1, start=1, wait=5)
            await asyncio.sleep(0.03)
        await bus.send("dev", "fine")
        assert (await first(bus)).message.content == "fine"
        assert (await bus.status(poison.message_id)).reason == "crash_loop"


async def test_what_was_fetched_and_not_given_out_is_handed_back_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # As with a fast caller, for whom a batch is fetched.
    monkeypatch.setattr("hivebus.pace.Pace.window", lambda pace: 10)
    async with Bus("memory://", agent="dev") as bus:
        for number in range(3):
            await bus.send("dev", number)
        async with aclosing(bus.consume()) as deliveries:
            handed = await anext(deliveries)
            assert (await bus.queue("dev")).in_flight == 3
        counts = await bus.queue("dev")
        # What the caller holds is left to its lease.
        assert (counts.waiting, counts.in_flight) == (2, 1)
        again = await first(bus)
        assert (again.message.content, again.attempt, again._delivery.failures) == (1, 2, 0)
        assert handed.message.content == 0


async def test_closing_the_bus_ends_every_loop_over_it() -> None:
    bus = Bus("memory://", agent="dev")
    ended: list[int] = []

    async def loop(number: int) -> None:
        async for handed in bus.consume():
            await handed.ack()
        ended.append(number)

    async with bus:
        loops = [asyncio.create_task(loop(number)) for number in range(4)]
        await until(lambda: len(bus._consuming.inflows) == 4)
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await asyncio.gather(*loops)
    assert sorted(ended) == [0, 1, 2, 3]


class AwayAtFirst(FlakyReader):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.away = 2


async def test_an_inbox_that_is_away_is_read_again() -> None:
    transport = FlakyTransport(reads=AwayAtFirst)
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:
        await bus.send("dev", "x")
        assert (await first(bus)).message.content == "x"
        assert transport.readers[0].away == 0


class Watching:
    def __init__(self) -> None:
        self.delivered: list[Delivered] = []
        self.settled: list[SettledFact] = []

    @hookimpl
    def messages_delivered(self, facts: Sequence[Delivered]) -> None:
        self.delivered += facts

    @hookimpl
    def messages_settled(self, facts: Sequence[SettledFact]) -> None:
        self.settled += facts


async def test_observers_are_told_of_what_is_consumed_too() -> None:
    watching = Watching()
    async with Bus("memory://", agent="dev", plugins=[watching]) as bus:
        receipt = await bus.send("dev", "x")
        await (await first(bus)).reject("no")
    assert [fact.message_id for fact in watching.delivered] == [receipt.message_id]
    assert watching.settled == [SettledFact(receipt.message_id, "dev", "dead", "done", "no")]


# --- take ------------------------------------------------------------------------------------------------


async def test_take_takes_one_and_acks_it() -> None:
    async with Bus("memory://", agent="dev") as bus:
        ids = [(await bus.send("dev", each)).message_id for each in ("first", "second")]
        message = await bus.take()
        assert message is not None and message.content == "first"
        assert [(await bus.status(each)).state for each in ids] == ["acknowledged", "queued"]


async def test_take_returns_none_when_nothing_comes() -> None:
    async with Bus("memory://", agent="dev") as bus:
        assert await bus.take() is None
        assert await bus.take(wait=0.05) is None


async def test_take_waits_for_what_comes_in_time() -> None:
    async with Bus("memory://", agent="dev") as bus:
        taking = asyncio.create_task(bus.take(wait=10))
        await until(lambda: bus._consuming.inflows)
        await bus.send("dev", "late")
        message = await taking
        assert message is not None and message.content == "late"


LOOKS_WHEN_AN_INBOX_IS_OPENED = """
import asyncio, sys
from contextlib import suppress
from hivebus import Bus, HivebusError
from hivebus.memory.transport import MemoryTransport

really_open = MemoryTransport.open

def tell(when):
    print(when, "hivebus.message" in sys.modules)

async def looking(self, *words, **options):
    tell("opened")
    return await really_open(self, *words, **options)

async def main():
    MemoryTransport.open = looking
    async with Bus("memory://", agent="dev") as bus:
        await bus.send("dev", "x")
        tell("sent")
        with suppress(HivebusError):
            await {opens}

asyncio.run(main())
"""


@pytest.mark.parametrize("opens", ["anext(bus.consume())", "bus.ask('dev', 'anybody?', timeout=0.1)"])
def test_what_messages_are_made_of_is_loaded_before_the_first_is_handed_out_and_not_for_who_only_sends(
    opens: str,
) -> None:
    words = [sys.executable, "-c", LOOKS_WHEN_AN_INBOX_IS_OPENED.format(opens=opens)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["sent False", "opened True"]
