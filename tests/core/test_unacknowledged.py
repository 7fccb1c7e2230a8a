"""Messages that want no ack are settled when they are handed over."""

from __future__ import annotations

import asyncio

from hivebus.bus import Bus
from hivebus.message import Message
from hivebus.transport import Ack

from .flaky import FlakyTransport, Serving, running, settlements, until, until_state


async def test_it_is_settled_before_its_handler_ends() -> None:
    async with Bus("memory://", agent="dev") as bus:
        may_end = asyncio.Event()

        @bus.on()
        async def handle(message: Message) -> None:
            await may_end.wait()

        receipt = await bus.send("dev", "x", require_ack=False)
        asked = await bus.send("dev", "x")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
            await until_state(bus, asked.message_id, "delivered")
            may_end.set()
            await until_state(bus, asked.message_id, "acknowledged")


async def test_a_failing_handler_is_not_tried_again() -> None:
    runs = 0
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            nonlocal runs
            runs += 1
            raise RuntimeError("broken")

        await bus.send("dev", "x", require_ack=False, retry_delay=0)
        last = await bus.send("dev", "y", max_retries=0)
        async with running(bus):
            await until_state(bus, last.message_id, "dead_lettered")
        queue = await bus.queue("dev")
    assert runs == 2
    assert (queue.waiting, queue.retrying, queue.dead) == (0, 0, 1)
    assert sum(isinstance(each, Ack) for each in settlements(transport)) == 1


async def test_what_its_handler_returns_is_sent_all_the_same() -> None:
    async with Bus("memory://", agent="dev") as bus:

        @bus.on()
        async def handle(message: Message) -> str:
            return "pong"

        await bus.send("dev", "ping", require_ack=False, reply_to="pm")
        async with running(bus):
            await until(lambda: True)
            async with asyncio.timeout(10):
                while (await bus.queue("pm")).waiting != 1:
                    await asyncio.sleep(0.002)


async def test_one_that_is_consumed_is_settled_as_it_is_given_out() -> None:
    async with Bus("memory://", agent="dev") as bus:
        receipt = await bus.send("dev", "x", require_ack=False)
        deliveries = bus.consume()
        handed = await anext(deliveries)
        await until_state(bus, receipt.message_id, "acknowledged")
        assert await handed.ack() == "gone"
        await deliveries.aclose()
