"""Handlers that shall do their work once: what they return is kept with the ack."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import Unsupported
from hivebus.message import Message
from hivebus.transport import ABSENT, Ack, Settled, Settlement

from .flaky import FlakyReader, FlakyTransport, Serving, running, settlements, until, until_state


class LosesAcks(FlakyReader):
    """The first ack arrives, and then the consumer's lease ends before it is told: its message comes again."""

    lost = 0

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        if not LosesAcks.lost and any(isinstance(each, Ack) for each in batch):
            LosesAcks.lost += 1
            for stored in list(self._consumer.held.values()):
                stored.outcome = next(each.result for each in batch if each.token == stored.token)
                self._inbox._hand_back([stored], 0.0)
            self._server.ring()
            return ["stale"] * len(batch)
        return await super().settle(batch)


@pytest.fixture(autouse=True)
def nothing_lost() -> None:
    LosesAcks.lost = 0


async def handled_with(once: bool, runs: list[str], *, content: str = "pay") -> tuple[list[Settlement], int]:
    """Handle one message whose first ack is lost on its way; return the settlements and how many replies wait."""
    transport = FlakyTransport(reads=LosesAcks)
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on(once=once)
        async def handle(message: Message) -> dict[str, int]:
            runs.append(message.message_id)
            return {"run": len(runs)}

        receipt = await bus.send("dev", content, reply_to="pm", message_type="question")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
        return settlements(transport), (await bus.queue("pm")).waiting


async def test_a_redelivery_gets_the_kept_outcome_and_the_handler_does_not_run() -> None:
    runs: list[str] = []
    settled, replies = await handled_with(once=True, runs=runs)
    assert len(runs) == 1
    ack = settled[-1]
    assert isinstance(ack, Ack) and ack.result == b'{"run":1}'
    # The reply is made of what was kept, and leaves with the ack.
    assert ack.reply is not None and Message.from_json(ack.reply.data).content == {"run": 1}
    assert replies == 1


async def test_saboteur_without_once_the_handler_runs_again() -> None:
    runs: list[str] = []
    await handled_with(once=False, runs=runs)
    assert len(runs) == 2


async def test_a_handler_that_returns_nothing_leaves_an_outcome_too() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on("question", once=True)
        async def handle(message: Message) -> None: ...

        receipt = await bus.send("dev", "x", message_type="question")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
    (ack,) = settlements(transport)
    assert isinstance(ack, Ack) and (ack.result, ack.reply) == (b"null", None)


async def test_other_handlers_of_the_same_bus_keep_nothing() -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", plugins=[Serving(transport)]) as bus:

        @bus.on("question", once=True)
        async def answer(message: Message) -> None: ...

        @bus.on()
        async def rest(message: Message) -> None: ...

        receipt = await bus.send("dev", "x", message_type="event")
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
    (ack,) = settlements(transport)
    assert isinstance(ack, Ack) and ack.result is None


async def test_an_outcome_that_is_no_json_is_a_dead_letter_and_not_done_again() -> None:
    runs = 0
    async with Bus("memory://", agent="dev") as bus:

        @bus.on(once=True)
        async def handle(message: Message) -> object:
            nonlocal runs
            runs += 1
            return object()

        receipt = await bus.send("dev", "x")
        async with running(bus):
            await until_state(bus, receipt.message_id, "dead_lettered")
        reason = (await bus.status(receipt.message_id)).reason or ""
    assert runs == 1
    assert reason.startswith("invalid_outcome: must be a JSON value")


async def test_a_failing_handler_is_tried_again_as_ever() -> None:
    runs = 0
    async with Bus("memory://", agent="dev") as bus:

        @bus.on(once=True)
        async def handle(message: Message) -> None:
            nonlocal runs
            runs += 1
            if runs < 3:
                raise RuntimeError("not yet")

        receipt = await bus.send("dev", "x", retry_delay=0)
        async with running(bus):
            await until_state(bus, receipt.message_id, "acknowledged")
    assert runs == 3


async def test_a_transport_without_outcomes_refuses_the_handler_and_names_the_capability() -> None:
    def capable(capabilities: Any) -> Any:
        return replace(capabilities, outcomes=ABSENT)

    async with Bus("memory://", agent="dev", plugins=[Serving(FlakyTransport(capable=capable))]) as bus:

        @bus.on(once=True)
        async def handle(message: Message) -> None: ...

        with pytest.raises(Unsupported, match="lacks the capability outcomes"):
            await bus.run()


async def test_a_handler_whose_message_is_somebody_elses_is_cancelled_and_told_why() -> None:
    told: list[str] = []
    started = asyncio.Event()
    transport = FlakyTransport()
    async with Bus("memory://", agent="dev", lease=0.3, plugins=[Serving(transport)]) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            started.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError as why:
                told.append(str(why))
                raise

        await bus.send("dev", "x")
        async with running(bus):
            await started.wait()
            (reader,) = transport.readers
            stored = next(iter(reader._consumer.held.values()))
            stored.release()
            await until(lambda: told)
            bus.stop(grace=0)
    assert told == ["hivebus: the lease on this message is lost, and somebody else may be handling it"]
