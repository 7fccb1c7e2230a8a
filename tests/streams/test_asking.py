"""Asking about messages: the state at each step, from another process; counts that survive a stranger's deletions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from hivebus.transport import Ack, DeadLetter, Retry

from .room import Room, ids, outgoing, publish, settle, take

ASKS = """
import asyncio, json, sys
from hivebus import Bus

async def main(url, namespace):
    async with Bus(url, agent="asker", namespace=namespace) as bus:
        while line := await asyncio.to_thread(sys.stdin.readline):
            found = await bus.status(line.strip())
            print(json.dumps([found.state, found.attempts, found.consumer, found.reason]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
Ask = Callable[[str], Awaitable[list[Any]]]


def answering(words: list[str]) -> subprocess.Popen[str]:
    """Start a process that is asked by lines."""
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
async def ask(room: Room) -> AsyncIterator[Ask]:
    """Ask another process what became of a message."""
    words = [sys.executable, "-c", ASKS, room.url, room.namespace]
    with answering(words) as process:
        assert process.stdin is not None and process.stdout is not None
        answers, questions = process.stdout, process.stdin

        async def asked(message_id: str) -> list[Any]:
            questions.write(f"{message_id}\n")
            questions.flush()
            answer: list[Any] = json.loads(await asyncio.to_thread(answers.readline))
            return answer

        yield asked
        process.kill()


async def test_the_state_is_right_at_each_step_and_from_another_process(room: Room, ask: Ask) -> None:
    transport = await room.transport()
    assert await ask("m-1") == ["unknown", 0, None, None]

    await publish(transport, outgoing("m-1", delay=0.2))
    assert await ask("m-1") == ["scheduled", 0, None, None]
    await asyncio.sleep(0.25)
    await (await room.reader(transport, consumer="passer-by")).receive(limit=0, start=0, wait=0)
    assert await ask("m-1") == ["queued", 0, None, None]
    reader = await room.reader(transport)
    (delivery,) = await take(reader)
    assert await ask("m-1") == ["delivered", 1, "one", None]
    await settle(reader, Retry(delivery.token, 100))
    assert await ask("m-1") == ["retrying", 1, None, None]
    room.redis.zadd(room.key("due"), {f"r{delivery.token.rsplit('/', 2)[0]}": 1})
    (delivery,) = await take(reader)
    assert await ask("m-1") == ["delivered", 2, "one", None]
    await settle(reader, Retry(delivery.token, 0, counts=False))
    assert await ask("m-1") == ["queued", 2, None, None]
    (delivery,) = await take(reader)
    await settle(reader, DeadLetter(delivery.token, "too hard"))
    assert await ask("m-1") == ["dead_lettered", 3, None, "too hard"]
    assert await transport.requeue("pm", ["m-1"]) == [True]
    assert await ask("m-1") == ["queued", 0, None, None]
    (delivery,) = await take(reader)
    await settle(reader, Ack(delivery.token))
    assert await ask("m-1") == ["acknowledged", 1, None, None]


async def test_a_message_of_a_dead_consumer_is_told_to_be_with_its_heir(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    dying = await room.reader(transport, consumer="dying", lease=0.05)
    await take(dying)
    await asyncio.sleep(0.1)
    heir = await room.reader(transport, consumer="heir")
    (alone,) = await take(heir)
    assert alone.alone
    (found,) = await transport.locate(["m-1"], ["pm"])
    assert (found.state, found.consumer, found.attempts) == ("delivered", "heir", 2)


@pytest.mark.parametrize("level", [1, 2, 5])
async def test_a_retry_keeps_its_level(room: Room, level: int) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    await publish(transport, outgoing("again", priority=level))
    (first,) = await take(reader)
    await publish(transport, *(outgoing(f"at-{n}", priority=n) for n in (1, 2, 3, 4, 5)))
    await settle(reader, Retry(first.token, 0.01))
    await asyncio.sleep(0.05)

    order = ids(await take(reader, 6))

    assert sorted(order, key=lambda name: -level if name == "again" else -int(name[-1])) == order
    assert (await transport.locate(["again"], ["pm"]))[0].priority == level


# --- Deleted by a stranger ------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [[0], [3], [5], [9], [3, 4, 5], [0, 1, 2, 3, 4, 5], list(range(10))])
async def test_counts_are_right_after_a_stranger_deleted_entries(room: Room, gone: list[int]) -> None:
    transport = await room.transport()
    await publish(transport, *(outgoing(f"m-{n}") for n in range(10)))
    reader = await room.reader(transport)
    await reader.settle([Ack((await take(reader))[0].token)])
    await take(reader, 2)
    entries = [entry for entry, _ in room.redis.xrange(room.key("q:2"))]
    room.redis.xdel(room.key("q:2"), *(entries[n] for n in gone))

    counts = (await transport.counts(["pm"]))[0]

    left = [n for n in range(3, 10) if n not in gone]
    assert (counts.waiting, counts.in_flight) == (len(left), 2)
    await publish(transport, outgoing("m-10"))
    assert (await transport.counts(["pm"]))[0].waiting == len(left) + 1
    assert ids(await take(reader, len(left) + 1)) == [f"m-{n}" for n in [*left, 10]]
    assert (await transport.counts(["pm"]))[0].waiting == 0


async def test_a_full_inbox_counts_right_after_a_stranger_deleted_entries(room: Room) -> None:
    transport = await room.transport(max_messages=3)
    await room.reader(transport)
    await publish(transport, outgoing("m-0"), outgoing("m-1"), outgoing("m-2"))
    (_, (entry, _), _) = room.redis.xrange(room.key("q:2"))
    room.redis.xdel(room.key("q:2"), entry)
    assert room.redis.xinfo_groups(room.key("q:2"))[0]["lag"] is None, "the server has lost its own count"

    assert await publish(transport, outgoing("m-3"), outgoing("m-4")) == ["stored", "QueueFull"]


async def test_a_message_in_flight_that_a_stranger_deleted_is_not_waited_for(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-0"), outgoing("m-1"))
    dying = await room.reader(transport, consumer="dying", lease=0.1)
    await take(dying)
    ((entry, _), _) = room.redis.xrange(room.key("q:2"))
    room.redis.xdel(room.key("q:2"), entry)
    # A server spares the leases of a second after its start, and then its message would be found missing later.
    while room.redis.info("server")["uptime_in_seconds"] < 2:
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.2)

    heir = await room.reader(transport, consumer="heir")

    assert ids(await take(heir, 2, wait=0.5)) == ["m-1"]
    assert (await transport.counts(["pm"]))[0].in_flight == 1


async def test_saboteur_the_servers_own_count_is_wrong_after_a_deletion(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    trusted = "if group.lag and pairs_of(redis.call('XINFO', 'STREAM', stream))['max-deleted-entry-id'] == '0-0' then"
    change_library((trusted, "if group.lag then"))
    transport = await redis_room.transport()
    await publish(transport, *(outgoing() for _ in range(10)))
    reader = await redis_room.reader(transport)
    await take(reader, 3)
    entries = [entry for entry, _ in redis_room.redis.xrange(redis_room.key("q:2"))]
    redis_room.redis.xdel(redis_room.key("q:2"), *entries[3:6])
    await take(reader, 4)

    assert (await transport.counts(["pm"]))[0].waiting != 0
