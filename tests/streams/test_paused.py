"""A consumer that is paused for longer than its lease has lost its messages, and is told so when it comes back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from hivebus.transport import Ack, DeadLetter, Extend, Retry

from .room import Room, ids, outgoing, publish, settle, take

LEASE = 0.4
HOLDS = """
import asyncio, sys
from hivebus.transport import *
from hivebus_redis.streams import open_streams

async def main(url, namespace, lease):
    transport = open_streams(Endpoint(url=url, namespace=namespace))
    await transport.connect()
    reader = await transport.open(Inbox("pm"), consumer="paused", lease=float(lease))
    (held,) = await reader.receive(limit=1, start=1, wait=20)
    print("holds", flush=True)
    sys.stdin.readline()
    for settlement in (Extend(held.token), Retry(held.token, 0), DeadLetter(held.token, "no"), Ack(held.token)):
        print(*await reader.settle([settlement]), flush=True)
    await transport.close()

asyncio.run(main(*sys.argv[1:]))
"""
HANDLES = """
import asyncio, sys
from hivebus import Bus

async def main(url, namespace, lease):
    async with Bus(url, agent="pm", namespace=namespace, lease=float(lease)) as bus:
        @bus.on()
        async def handle(message):
            print("holds", flush=True)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                bus.stop()
                raise
        await bus.run()

asyncio.run(main(*sys.argv[1:]))
"""
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(redis_room: Room) -> Iterator[Start]:
    """Run a program that holds a message; it is gone after the test."""
    with ExitStack() as stack:

        def run(program: str) -> subprocess.Popen[str]:
            words = [sys.executable, "-c", program, redis_room.url, redis_room.namespace, str(LEASE)]
            process = stack.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process

        yield run


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def pause_until_taken_over(room: Room, process: subprocess.Popen[str]) -> None:
    """Stop a process with a message in its hands until somebody else has handled it."""
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    assert await asyncio.to_thread(line, process) == "holds"
    process.send_signal(signal.SIGSTOP)
    heir = await room.reader(transport, consumer="heir")
    (again,) = await take(heir)
    assert ids([again]) == ["m-1"] and again.alone
    process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(answers, process) in (["stale"] * 4, ["cancelled"])
    assert await settle(heir, Ack(again.token)) == "done", "nothing that the other one said was heard"
    assert (await transport.counts(["pm"]))[0].dead == 0


def answers(process: subprocess.Popen[str]) -> list[str]:
    """Let it go on, and return what it prints until it ends."""
    return process.communicate("\n", timeout=30)[0].split()


async def test_whatever_it_settles_is_stale(redis_room: Room, start: Start) -> None:
    await pause_until_taken_over(redis_room, start(HOLDS))


async def test_its_handler_is_cancelled(redis_room: Room, start: Start) -> None:
    await pause_until_taken_over(redis_room, start(HANDLES))


async def two_owners(room: Room) -> tuple[str, str]:
    """Let the lease of a reader end; return what both it and its heir are told about their acks."""
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    late = await room.reader(transport, consumer="late", lease=0.05)
    (first,) = await take(late)
    heir = await room.reader(transport, consumer="heir")
    (second,) = await take(heir)
    return await settle(late, Ack(first.token)), await settle(heir, Ack(second.token))


async def test_of_two_owners_the_second_one_decides(room: Room) -> None:
    assert await two_owners(room) == ("stale", "done")


async def test_saboteur_without_the_look_at_its_registration_the_late_one_acks(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if not kept or string.match(kept, '^%d+') ~= epoch then return 'stale' end", ""))

    assert (await two_owners(redis_room))[0] == "done"


async def test_a_registration_that_is_renewed_does_not_bring_old_messages_back(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"), outgoing("m-2"))
    late = await room.reader(transport, consumer="late", lease=0.05)
    old = await take(late, 2)
    heir = await room.reader(transport, consumer="heir")
    (taken,) = await take(heir)

    await late.receive(limit=0, start=0, wait=0)

    batch = [Extend(old[0].token), Retry(old[1].token, 0), DeadLetter(old[0].token, "no"), Ack(old[0].token)]
    assert await late.settle(batch) == ["stale"] * 4
    assert await settle(heir, Ack(taken.token)) == "done"


async def test_a_pause_that_nobody_noticed_costs_nothing(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    reader = await room.reader(transport, lease=0.05)
    (held,) = await take(reader)
    await asyncio.sleep(0.1)

    assert await settle(reader, Ack(held.token)) == "done"
