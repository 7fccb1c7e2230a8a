"""Stopping: reading ends, running handlers finish, the rest is handed back, and it does not take for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest

from hivebus.bus import Bus
from hivebus.consumer import Consumer
from hivebus.consuming import CANCEL_GRACE
from hivebus.message import Message
from hivebus.signals import stop_on_signals
from hivebus.transport import Delivery

from .flaky import FlakyReader, FlakyTransport, Serving, until


class Greedy(FlakyReader):
    """Takes everything at once, as with fast handlers."""

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        return await super().receive(limit=1000, start=1000, wait=wait)


class Work:
    """A bus whose handler runs until it is let go, with three more messages in hand behind it."""

    def __init__(self) -> None:
        self.transport = FlakyTransport(reads=Greedy)
        self.bus = Bus("memory://", agent="dev", plugins=[Serving(self.transport)])
        self.started: list[int] = []
        self.finished: list[int] = []
        self.go = asyncio.Event()
        self.ids: list[str] = []

    async def begin(self) -> asyncio.Task[None]:
        self.bus.on()(self.handle)
        for number in range(4):
            self.ids.append((await self.bus.send("dev", number)).message_id)
        task = asyncio.create_task(self.bus.run(concurrency=1))
        await until(lambda: self.started)
        return task

    async def handle(self, message: Message) -> None:
        self.started.append(message.content)
        await self.go.wait()
        self.finished.append(message.content)

    async def states(self) -> list[tuple[str, int]]:
        return [(status.state, status.attempts) for status in [await self.bus.status(each) for each in self.ids]]


BACK = ("queued", 1)


async def unhandled_work_is_handed_back() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        work.bus.stop(grace=30)
        await asyncio.sleep(0.02)
        assert not task.done()
        late = await work.bus.send("dev", "late")
        work.go.set()
        async with asyncio.timeout(10):
            await task
        assert work.finished == [0]
        assert await work.states() == [("acknowledged", 1), BACK, BACK, BACK]
        assert (await work.bus.status(late.message_id)).attempts == 0
        # Handed back uncounted, and to the next one at once.
        assert await work.bus.take() is not None


async def test_after_stop_running_handlers_finish_and_what_was_not_handled_is_handed_back() -> None:
    await unhandled_work_is_handed_back()


async def test_without_handing_back_it_would_stay_with_the_one_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: what was fetched is just forgotten."""
    dismiss = Consumer._dismiss

    def forget(consumer: Consumer) -> None:
        for level in consumer._levels:
            level.clear()
        dismiss(consumer)

    monkeypatch.setattr(Consumer, "_dismiss", forget)
    with pytest.raises(AssertionError):
        await unhandled_work_is_handed_back()


async def test_a_handler_that_does_not_finish_in_time_is_cancelled_and_its_message_handed_back() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        work.bus.stop(grace=0.05)
        async with asyncio.timeout(10):
            await task
        assert work.finished == []
        assert await work.states() == [BACK] * 4
    assert not task.cancelled()


async def test_a_second_stop_with_less_grace_hurries_the_first() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        work.bus.stop(grace=1000)
        work.bus.stop(grace=0.05)
        work.bus.stop(grace=1000)
        async with asyncio.timeout(10):
            await task
        assert await work.states() == [BACK] * 4


async def test_cancelling_run_means_the_same_and_ends_within_its_grace() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        task.cancel()
        # A handler that never ends is given half a second, not the usual 25.
        async with asyncio.timeout(CANCEL_GRACE + 5):
            await asyncio.wait([task])
        assert task.cancelled()
        assert await work.states() == [BACK] * 4
        assert (await work.bus.queue("dev")).in_flight == 0


async def test_cancelling_run_lets_a_handler_finish_that_needs_little_time() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        task.cancel()
        await asyncio.sleep(0.05)
        work.go.set()
        await asyncio.wait([task])
        assert work.finished == [0]
        assert (await work.states())[0] == ("acknowledged", 1)


async def test_cancelling_run_ends_while_the_server_is_away() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        work.transport.readers[0].away = 10**9
        work.go.set()
        await until(lambda: work.transport.readers[0].away < 10**9 - 6)
        task.cancel()
        async with asyncio.timeout(CANCEL_GRACE + 5):
            await asyncio.wait([task])
        assert task.cancelled()


async def test_run_may_be_stopped_before_anything_came_and_run_again() -> None:
    async with Bus("memory://", agent="dev") as bus:
        seen: list[str] = []

        @bus.on()
        async def handle(message: Message) -> None:
            seen.append(message.content)
            bus.stop()

        bus.stop()
        for content in ("first", "second"):
            await bus.send("dev", content)
            async with asyncio.timeout(10):
                await bus.run()
    assert seen == ["first", "second"]


# --- Signals ---------------------------------------------------------------------------------------------


@pytest.fixture
def nobody_handles_sigterm() -> Iterator[None]:
    """Whoever measures this run may handle the signal, and we leave it to those who do."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("nobody_handles_sigterm")
async def test_a_signal_stops_run() -> None:
    work = Work()
    async with work.bus:
        task = await work.begin()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        work.go.set()
        async with asyncio.timeout(10):
            await task
        assert await work.states() == [("acknowledged", 1), BACK, BACK, BACK]


@pytest.mark.usefixtures("nobody_handles_sigterm")
@pytest.mark.parametrize(("signals", "taken"), [(True, True), (False, False)])
async def test_a_program_that_says_so_keeps_its_signals(signals: bool, taken: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    work = Work()
    async with work.bus:
        work.bus.on()(work.handle)
        await work.bus.send("dev", 0)
        task = asyncio.create_task(work.bus.run(signals=signals))
        await until(lambda: work.started)
        assert (signal.getsignal(signal.SIGTERM) != before) == taken
        work.go.set()
        work.bus.stop()
        async with asyncio.timeout(10):
            await task
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("nobody_handles_sigterm")
async def test_afterwards_the_signal_means_what_it_meant_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


async def test_an_application_with_handlers_of_its_own_is_left_alone() -> None:
    def mine(number: int, frame: object) -> None:
        """Never called."""

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with stop_on_signals(lambda: None), stop_on_signals(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_there_are_no_signal_handlers() -> None:
    seen: list[object] = []

    async def look() -> None:
        with stop_on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(look()))
    thread.start()
    thread.join(timeout=30)
    assert seen == [signal.getsignal(signal.SIGTERM)]


PROGRAM = """
import asyncio, signal, sys
from hivebus import Bus

# Whoever measures this run may handle it.
signal.signal(signal.SIGTERM, signal.SIG_DFL)

async def main():
    async with Bus(sys.argv[1], agent="dev", namespace=sys.argv[2]) as bus:
        @bus.on()
        async def handle(message):
            print("started", flush=True)
            await asyncio.sleep(0.5)
            print("finished", flush=True)
        await bus.run(concurrency=1)
    print("closed", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_told_to_end_finishes_its_work_and_hands_back_the_rest(
    redis_server: Any, number: signal.Signals
) -> None:
    url, namespace = redis_server.url, f"stop-{uuid4().hex[:8]}"
    async with Bus(url, agent="pm", namespace=namespace) as bus:
        ids = [(await bus.send("dev", number)).message_id for number in range(3)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, url, namespace, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"started\n"
            process.send_signal(number)
            output, _ = await process.communicate()
        states = [(await bus.status(each)).state for each in ids]
        counts = await bus.queue("dev")
    if number == signal.SIGTERM:
        assert (process.returncode, output) == (0, b"finished\nclosed\n")
        assert states == ["acknowledged", "queued", "queued"]
    else:
        # asyncio cancels its main task on Ctrl-C, which gives handlers half a second.
        assert states[1:] == ["queued", "queued"]
    assert counts.in_flight == 0


async def test_a_bus_that_is_told_to_stop_while_it_opens_its_inbox_ends() -> None:
    async with Bus("memory://", agent="dev") as bus:
        running = asyncio.create_task(bus.run())
        await asyncio.sleep(0)
        bus.stop()
        async with asyncio.timeout(10):
            await running
        # And can be run again.
        again = asyncio.create_task(bus.run())
        await asyncio.sleep(0.05)
        assert not again.done()
        bus.stop()
        async with asyncio.timeout(10):
            await again
