"""Temporary reply inboxes on a real server: they serve answers, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hivebus.errors import NoAnswer
from hivebus.message import Message
from hivebus.transport import Ack, DeadLetter, Located, Retry

from .room import PATIENCE, Room, outgoing, publish, settle, take

ASKER = """
import asyncio, sys
from hivebus import Bus

async def main(url, namespace):
    async with Bus(url, agent="pm", namespace=namespace) as bus:
        print(await bus._asking.open(), flush=True)
        await bus.ask("dev", "?", timeout=60)

asyncio.run(main(*sys.argv[1:]))
"""


def temporary(room: Room) -> list[str]:
    """Return all keys of temporary inboxes, and their names in the index."""
    names = [name for name in room.redis.smembers(f"{room.namespace}:{{@sys}}:inboxes") if "~" in name]
    return [*room.redis.keys(f"{room.namespace}:*~*"), *names]


async def answer_all(room: Room, agent: str, count: int, *, with_: Any = "yes") -> None:
    async with room.bus(agent) as bus:
        for _ in range(count):
            question = await bus.take(wait=PATIENCE)
            assert question is not None
            await bus.reply(question, with_)


async def cleared_away(room: Room, transport: Any) -> int:
    """Return how many messages went to their agents until no temporary inbox was left.

    A server that was started within the last second spares its consumers: they may not have come back yet.
    """
    moved = 0
    async with asyncio.timeout(PATIENCE):
        while temporary(room):
            moved += await transport.clear_away()
            await asyncio.sleep(0.05)
    return moved


async def history(transport: Any, inbox: str) -> list[Located]:
    return [each async for each in transport.history(inbox, since=3600, limit=10_000)]


async def test_a_bus_that_asked_leaves_no_key_of_its_reply_inbox(room: Room) -> None:
    async with room.bus("dev") as dev:

        @dev.on()
        async def answer(message: Message) -> str:
            return "yes"

        running = asyncio.create_task(dev.run())
        async with room.bus("pm") as pm:
            answers = await asyncio.gather(*(pm.ask("dev", number, timeout=PATIENCE) for number in range(500)))
            assert len(temporary(room)) > 5
        assert len({each.message_id for each in answers}) == 500
        assert temporary(room) == []
        dev.stop()
        await running
    # What is known of the answers goes by itself.
    of_asker = room.redis.keys(f"{room.namespace}:{{pm}}:*")
    assert room.redis.xlen(room.key("answers", "pm")) == 200
    assert [key for key in of_asker if room.redis.pttl(key) <= 0] == []
    assert "pm" not in room.redis.smembers(f"{room.namespace}:{{@sys}}:inboxes")


async def test_a_temporary_inbox_is_in_no_list(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport, inbox="pm~1")
    await publish(transport, outgoing("m-1", inbox="pm~1"))
    assert await transport.inboxes() == []
    await reader.close()
    assert await transport.inboxes() == ["pm"]


async def test_a_killed_asker_leaves_nothing_once_its_lease_is_over(room: Room) -> None:
    # Its lease lasts a minute: the server is told that it is over.
    asker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASKER, room.url, room.namespace, stdout=asyncio.subprocess.PIPE
    )
    assert asker.stdout is not None
    inbox = (await asker.stdout.readline()).decode().strip()
    transport = await room.transport()
    async with room.bus("dev") as dev:
        question = await dev.take(wait=PATIENCE)
        asker.send_signal(signal.SIGKILL)
        await asker.wait()
        assert question is not None and question.reply_to == inbox
        await dev.reply(question, "nobody hears me")
        assert await transport.clear_away() == 0
        for consumer in room.redis.zrange(room.key("lease", inbox), 0, -1):
            room.redis.zadd(room.key("lease", inbox), {consumer: 1})
            room.redis.hset(room.key("consumers", inbox), consumer, "1,1")
        assert await cleared_away(room, transport) == 1
    async with room.bus("pm") as pm:
        late = await pm.take(wait=PATIENCE)
    assert late is not None and late.content == "nobody hears me"


async def test_whoever_asks_next_clears_away_what_a_crash_left(redis_room: Room) -> None:
    room = redis_room
    await room.reader(await room.transport(), inbox="pm~dead", lease=0.001)
    async with room.bus("ops") as ops:
        await asyncio.sleep(1.1)  # see `cleared_away`
        with pytest.raises(NoAnswer):
            await ops.ask("dev", "?", timeout=0)
    assert temporary(room) == []


async def test_every_kind_of_rest_goes_to_the_agent_and_nothing_twice(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport, inbox="pm~1")

    def item(message_id: str, **options: Any) -> Any:
        return outgoing(message_id, inbox="pm~1", **options)

    await publish(transport, *(item(name) for name in ("acked", "dead", "retried", "held", "both")))
    first = {each.token.split("/", 3)[3]: each.token for each in await take(reader, 4)}
    assert set(first) == {"acked", "dead", "retried", "held"}
    await settle(reader, Ack(first["acked"]))
    await settle(reader, DeadLetter(first["dead"], "no"))
    await settle(reader, Retry(first["retried"], 100))
    await publish(transport, item("unread", priority=5), item("later", delay=100), outgoing("both", inbox="pm"))
    room.redis.xadd(room.key("q:3", "pm~1"), {"from": "a stranger"})
    await reader.close()

    assert temporary(room) == []
    assert sorted(room.entries("pm")) == sorted(["unread", "", "retried", "held", "both"])
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.scheduled, counts.dead) == (5, 1, 1)
    assert [each.reason for each in await transport.dead("pm", limit=9)] == ["no"]
    places = {each.message_id: each.state for each in await transport.locate(["later", "dead", "acked"], ["pm"])}
    assert places == {"later": "scheduled", "dead": "dead_lettered", "acked": "acknowledged"}
    assert await publish(transport, item("acked"), item("unread")) == ["duplicate", "duplicate"]


async def test_a_full_temporary_inbox_is_dropped_step_by_step(redis_room: Room) -> None:
    room = redis_room
    transport = await room.transport()
    reader = await room.reader(transport, inbox="pm~1")
    await publish(transport, *(outgoing(f"m-{number}", inbox="pm~1") for number in range(450)))
    await publish(transport, *(outgoing(f"d-{number}", inbox="pm~1", delay=100) for number in range(250)))
    await reader.close()
    assert temporary(room) == []
    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.scheduled) == (450, 250)


async def test_a_reply_in_an_ack_finds_its_way_when_the_asker_is_gone(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    for number, state in enumerate(["open", "gone"]):
        asker = await room.reader(transport, inbox="boss~1")
        if state == "gone":
            await asker.close()
        await publish(transport, outgoing(f"q-{number}"))
        (delivery,) = await take(reader)
        await settle(reader, Ack(delivery.token, reply=outgoing(f"a-{number}", inbox="boss~1")))
        assert room.entries("boss~1" if state == "open" else "boss")[-1] == f"a-{number}"
        await asker.close()
    assert temporary(room) == []
    assert sorted(room.entries("boss")) == ["a-0", "a-1"]
    assert await transport.inboxes() == ["boss", "pm"]


async def test_saboteur_without_the_forwarding_a_late_answer_would_lie_where_nobody_looks(
    room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if not keys[3] or is_open(k) then return k, inbox end", "do return k, inbox end"))
    transport = await room.transport()
    await publish(transport, outgoing("late", inbox="pm~1"))
    assert room.entries("pm") == []
    assert temporary(room) != []


async def test_saboteur_without_the_drop_a_closed_asker_leaves_its_keys(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*args: object) -> int:
        return 0

    monkeypatch.setattr("hivebus_redis.temporary.drop", nothing)
    async with room.bus("pm") as pm:
        with pytest.raises(NoAnswer):
            await pm.ask("dev", "?", timeout=0)
    assert temporary(room) != []


async def test_a_reader_that_slept_while_its_inbox_was_dropped_opens_it_again(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport, inbox="pm~1")
    await reader.receive(limit=1, start=1, wait=0)
    other = await room.transport()
    room.redis.zadd(room.key("lease", "pm~1"), {"one": 1})
    room.redis.hset(room.key("consumers", "pm~1"), "one", f"{reader._epoch},1")
    await cleared_away(room, other)
    for _ in range(2):
        await reader.receive(limit=1, start=1, wait=0)
    assert "pm~1" in temporary(room)
    await publish(other, outgoing("m-1", inbox="pm~1"))
    (delivery,) = await take(reader)
    assert await settle(reader, Ack(delivery.token)) == "done"
    await reader.close()
    assert temporary(room) == []


async def test_what_was_accepted_can_be_read_as_history_when_the_inbox_is_gone(room: Room) -> None:
    transport = await room.transport()
    async with room.bus("pm") as pm:
        answering = asyncio.create_task(answer_all(room, "dev", 2))
        answers = [await pm.ask("dev", number, timeout=PATIENCE) for number in range(2)]
        await answering
        inbox = pm._asking.inbox
        assert [each.message_id for each in await history(transport, inbox)] == [each.message_id for each in answers]
    found = await history(transport, inbox)
    assert [each.message_id for each in found] == [each.message_id for each in answers]
    assert {each.state for each in found} == {"acknowledged"}
    assert [each async for each in transport.history(inbox, since=3600, limit=1)] == found[:1]
    assert await history(transport, "pm~other") == []


async def test_an_asker_outlives_the_server(own_room: Room, own_server: Any) -> None:
    room = own_room
    async with room.bus("pm") as pm, room.bus("dev") as dev:

        @dev.on()
        async def answer(message: Message) -> str:
            return "yes"

        running = asyncio.create_task(dev.run())
        assert (await pm.ask("dev", 1, timeout=PATIENCE)).content == "yes"
        own_server.kill()
        own_server.start()
        answer_2 = None
        async with asyncio.timeout(3 * PATIENCE):
            while answer_2 is None:
                try:
                    answer_2 = await pm.ask("dev", 2, timeout=PATIENCE)
                except NoAnswer:
                    continue
        assert answer_2.content == "yes"
        dev.stop()
        await running


async def test_asking_through_a_second_inbox_of_the_same_agent_keeps_them_apart(redis_room: Room) -> None:
    async with redis_room.bus("pm") as one, redis_room.bus("pm") as two:
        answering = asyncio.create_task(answer_all(redis_room, "dev", 20))
        first, second = await asyncio.gather(
            asyncio.gather(*(one.ask("dev", number, timeout=PATIENCE) for number in range(10))),
            asyncio.gather(*(two.ask("dev", number, timeout=PATIENCE) for number in range(10))),
        )
        await answering
    assert {each.to_agent for each in first}.isdisjoint({each.to_agent for each in second})
    assert temporary(redis_room) == []
