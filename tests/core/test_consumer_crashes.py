"""The consumer and crashes: what is poison is given up, and what may be poison runs alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hivebus.bus import Bus
from hivebus.message import Message
from hivebus.transport import Delivery

from .flaky import FlakyReader, FlakyTransport, Serving, crash, running, settlements, until, until_state


async def a_poison_is_given_up(bus: Bus) -> None:
    handled: list[str] = []

    @bus.on()
    async def handle(message: Message) -> None:
        handled.append(message.message_id)

    await bus.send("dev", "poison", message_id="poison")
    # The first crash makes it a suspect; only those that it is alone with are counted.
    await crash(times=3)
    async with running(bus):
        await until_state(bus, "poison", "dead_lettered", patience=2)
    assert handled == []
    assert (await bus.status("poison")).reason == "crash_loop"


async def test_what_took_its_process_down_too_often_is_a_dead_letter() -> None:
    async with Bus("memory://", agent="dev", max_crashes=2) as bus:
        await a_poison_is_given_up(bus)


async def test_without_the_bound_it_would_be_handled_again() -> None:
    """Saboteur: a bus that minds no crashes."""
    async with Bus("memory://", agent="dev", max_crashes=10**9) as bus:
        with pytest.raises((AssertionError, TimeoutError)):
            await a_poison_is_given_up(bus)


async def test_crashes_below_the_bound_are_forgiven() -> None:
    async with Bus("memory://", agent="dev", max_crashes=3) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            """Return."""

        receipt = await bus.send("dev", "innocent")
        await crash(times=3)
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")


class SaysAlone(FlakyReader):
    """Calls the first delivery a suspect, and hands out more all the same: the consumer itself must wait."""

    says = True

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        found = [*(await super().receive(limit=1, start=1, wait=wait))]
        if found and self.says and found[0].attempt == 1 and b'"suspect"' in found[0].data:
            found[0] = found[0]._replace(alone=True)
        return found


class SaysNothing(SaysAlone):
    says = False


async def a_suspect_runs_with_nothing_beside_it(reads: type[FlakyReader]) -> None:
    transport = FlakyTransport(reads=reads)
    company: set[str] = set()
    now_running: set[str] = set()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            now_running.add(message.content)
            if "suspect" in now_running:
                company.update(now_running)
            if message.content == "suspect":
                await asyncio.sleep(0.1)
            now_running.remove(message.content)

        await bus.send("dev", "suspect", priority="emergency")
        for number in range(5):
            receipt = await bus.send("dev", str(number))
        async with running(bus, concurrency=4):
            await until_state(bus, receipt.message_id, "acknowledged")
            await until(lambda: company)
    assert company == {"suspect"}
    order = [each.token.partition("#")[0] for each in settlements(transport)]
    assert len(order) == 6
    # The next one was handed out after the suspect was settled.
    assert len(transport.readers[0].settled[0]) == 1


async def test_a_suspect_runs_with_nothing_beside_it() -> None:
    await a_suspect_runs_with_nothing_beside_it(SaysAlone)


async def test_what_is_no_suspect_has_company() -> None:
    """Saboteur: the suspect is not known as one."""
    with pytest.raises(AssertionError):
        await a_suspect_runs_with_nothing_beside_it(SaysNothing)


async def test_after_a_crash_the_suspect_comes_first_and_the_others_after_it() -> None:
    beside: dict[str, int] = {}
    at_once = 0
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal at_once
            at_once += 1
            beside[message.content] = at_once
            await asyncio.sleep(0.02)
            at_once -= 1

        await bus.send("dev", "suspect")
        await crash()
        for number in range(4):
            receipt = await bus.send("dev", str(number))
        async with running(bus, concurrency=4):
            await until_state(bus, receipt.message_id, "acknowledged")
            await until(lambda: len(beside) == 5)
    assert next(iter(beside)) == "suspect"
    assert beside["suspect"] == 1
    assert max(beside.values()) > 1
