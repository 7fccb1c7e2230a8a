"""What became of the wish to take a message back, told in one word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from hivebus import Bus, sync
from hivebus.cancelling import Cancellation, cancel
from hivebus.delivery import Handed
from hivebus.memory.transport import MemoryTransport
from hivebus.message_status import Status
from hivebus.transport import Endpoint, Inbox

Act = Callable[[Handed], Awaitable[object]]


@pytest.mark.parametrize("delay", [0, 60], ids=["queued", "scheduled"])
async def test_what_nobody_was_handed_is_cancelled_and_says_so(delay: float) -> None:
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send("dev", "x", delay=delay)

        told = await bus.cancel(sent.message_id)

        assert told and (told.outcome, told.recipients) == ("cancelled", {"dev": "cancelled"})
        assert (await bus.status(sent.message_id)).state == "cancelled"
        assert (await bus.send("dev", "x", message_id=sent.message_id)).state == "duplicate"
        assert (await bus.cancel(sent.message_id)).outcome == "cancelled", "twice is harmless"


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (None, "delivered"),
        (lambda handed: handed.retry(delay=60), "retrying"),
        (lambda handed: handed.retry(delay=0), "queued"),
        (lambda handed: handed.ack(), "acknowledged"),
        (lambda handed: handed.reject("no"), "dead_lettered"),
    ],
    ids=["delivered", "retrying", "queued again", "acknowledged", "dead_lettered"],
)
async def test_what_was_handed_out_is_not_cancelled(act: Act | None, state: str) -> None:
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send("dev", "x")
        deliveries = bus.consume()
        handed = await anext(deliveries)
        if act is not None:
            await act(handed)
            await deliveries.aclose()

        told = await bus.cancel(sent.message_id, agent="dev")

        assert not told and (told.outcome, told.recipients) == ("handed_out", {"dev": state})
        await deliveries.aclose()


async def test_what_expired_was_not_cancelled_in_time() -> None:
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send("dev", "x", ttl=0.001)
        await asyncio.sleep(0.01)
        told = await bus.cancel(sent.message_id)
        assert told.outcome == "expired" and not told


async def test_what_nobody_knows_is_unknown() -> None:
    async with Bus("memory://", agent="dev") as bus:
        told = await bus.cancel("nobody-knows")
    assert (bool(told), told.outcome, told.recipients) == (False, "unknown", {})


async def test_of_several_recipients_the_one_that_was_faster_is_named() -> None:
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send(["dev", "ops", "qa"], "x")
        deliveries = bus.consume()
        await anext(deliveries)

        told = await bus.cancel(sent.message_id)

        assert (told.outcome, bool(told)) == ("handed_out", False)
        assert told.recipients == {"dev": "delivered", "ops": "cancelled", "qa": "cancelled"}
        await deliveries.aclose()


async def test_with_an_agent_only_its_inbox_is_asked() -> None:
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send(["dev", "ops"], "x")
        assert (await bus.cancel(sent.message_id, agent="ops")).recipients == {"ops": "cancelled"}
        status: Status = await bus.status(sent.message_id, agent="dev")
        assert status.state == "queued"


async def test_whoever_takes_it_between_the_look_and_the_wish_is_named() -> None:
    class Faster(MemoryTransport):
        """Hands the message out as soon as somebody wants it back."""

        async def cancel(self, inbox: str, ids: Sequence[str]) -> Sequence[bool]:
            reader = await self.open(Inbox(inbox), consumer="faster", lease=30)
            assert len(await reader.receive(limit=1, start=1, wait=0)) == 1
            return await super().cancel(inbox, ids)

    transport = Faster(Endpoint(url="memory://"))
    await transport.connect()
    async with Bus("memory://", agent="dev") as bus:
        sent = await bus.send("dev", "x")
        told = await cancel(sent.message_id, ["dev"], schedules=transport, inspectable=transport)
    assert told == Cancellation(message_id=sent.message_id, outcome="handed_out", recipients={"dev": "delivered"})


def test_a_script_can_take_a_message_back_too() -> None:
    assert sync.cancel("nobody-knows", url="memory://").outcome == "unknown"
