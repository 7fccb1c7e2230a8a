"""Who sleeps polls long: it asks for what `receive` wants, and one trip brings that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hivebus.transport import Ack, Inbox, Start
from hivebus_redis import bell
from hivebus_redis.bulk import Bulk
from hivebus_redis.drill.ledger import Book, read
from hivebus_redis.drill.watched import Watch, WatchedReader
from hivebus_redis.polls import Answer, Polls
from hivebus_redis.reader import StreamReader
from hivebus_redis.wire import Wire

from .room import INBOX, LONG, PATIENCE, Room, asleep, ids, outgoing, publish, settle, take
from .sleepers import SHORT, Begun, bounded, idle, sleeping

LEASE = 1.0


# --- What is begun ------------------------------------------------------------------------------------------


async def test_who_sleeps_asks_for_what_the_present_call_wants(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    sender = await room.transport()
    await publish(sender, *(outgoing(f"old-{n}") for n in range(2)))
    running = await take(opened, 2)
    receiving = await sleeping(room, opened, limit=3, start=1)

    await publish(sender, *(outgoing(f"m-{n}") for n in range(4)))

    got = await bounded(receiving)
    assert ids(got) == ["m-0", "m-1", "m-2"] and begun.words[-1] == (3, 1, len(running))
    assert {each.token for each in running} < opened._started and len(opened._started) == len(running) + 1


async def commands_after_publishing(room: Room, monkeypatch: pytest.MonkeyPatch) -> int:
    """Publish for a reader that sleeps; return how many commands that one sends before it has the message."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    sent = 0
    send = Wire._send

    def counted(self: Wire, packed: bytes, count: int, *words: Any, **options: Any) -> Any:
        nonlocal sent
        sent += count * (self is opened._receiving.wire)
        return send(self, packed, count, *words, **options)

    monkeypatch.setattr(Wire, "_send", counted)
    await publish(await room.transport(), outgoing("m-1"))
    assert ids(await bounded(receiving)) == ["m-1"]
    return sent


async def test_what_comes_is_brought_without_another_question(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await commands_after_publishing(room, monkeypatch) == 0


async def test_saboteur_who_listens_first_asks_when_it_has_heard(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamReader, "_begin_long_poll", lambda self, *words: False)

    assert await commands_after_publishing(room, monkeypatch) == 1


async def test_many_messages_come_one_by_one_each_once(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    sender, taken = await redis_room.transport(), []
    for number in range(50):
        receiving = asyncio.ensure_future(opened.receive(limit=5, start=5, wait=PATIENCE))
        await asyncio.sleep(0.002)
        await publish(sender, outgoing(f"m-{number}"))
        got = await bounded(receiving)
        taken += ids(got)
        assert await opened.settle([Ack(each.token) for each in got]) == ["done"] * len(got)

    assert taken == [f"m-{number}" for number in range(50)] and begun.words


async def test_who_has_waited_for_nothing_keeps_its_connection(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    wire = opened._receiving.wire
    began = time.monotonic()
    assert await opened.receive(limit=5, start=5, wait=SHORT) == []
    assert SHORT <= time.monotonic() - began < PATIENCE / 2

    receiving = await sleeping(room, opened)
    await publish(await room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]
    assert begun.words == [(5, 5, 0)] * 2 and opened._receiving.wire is wire


async def test_a_bell_that_rings_beside_it_changes_nothing(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    wire = opened._receiving.wire
    receiving = await sleeping(room, opened)

    opened._alarm.set()
    await asyncio.sleep(SHORT)
    await publish(await room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]
    assert len(begun.words) == 1 and opened._receiving.wire is wire


async def test_saboteur_who_gets_up_at_every_bell_loses_sight_of_the_answer(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_up(self: StreamReader) -> None:
        await self._alarm.wait()

    monkeypatch.setattr(StreamReader, "_until_answered", get_up)
    opened = await idle(room)
    receiving = await sleeping(room, opened)

    opened._alarm.set()
    await asyncio.sleep(SHORT)
    await publish(await room.transport(), outgoing("m-1"))

    done, _ = await asyncio.wait([receiving], timeout=SHORT)
    assert not done
    opened.wake()
    await bounded(receiving)


async def test_a_retry_comes_at_its_time_to_who_sleeps(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    began = time.monotonic()
    await publish(await room.transport(), outgoing("m-1", delay=SHORT))

    assert ids(await bounded(receiving)) == ["m-1"] and begun.words
    assert SHORT <= time.monotonic() - began < PATIENCE / 2


# --- When nothing is begun ------------------------------------------------------------------------------------


async def test_nothing_is_begun_where_many_messages_go_another_way(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await idle(redis_room)
    monkeypatch.setattr(Bulk, "is_worth_it", True)
    receiving = await sleeping(redis_room, opened)

    opened.wake()

    assert await bounded(receiving) == [] and begun.words == []


async def test_nothing_is_begun_for_who_only_looks(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    looking = asyncio.ensure_future(opened.glance(limit=5, wait=PATIENCE))
    await asleep(redis_room)

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert sum(await bounded(looking)) == 1 and begun.words == []


async def runs_beside_a_suspect(room: Room) -> bool:
    """Start what was fetched while its reader sleeps; tell whether a suspect message is handed to it beside that."""
    sender, opened = await room.transport(), await idle(room)
    await publish(sender, outgoing("suspect"))
    await take(await room.reader(await room.transport(), consumer="dead", lease=LEASE))
    await publish(sender, outgoing("fetched"))
    (fetched,) = await opened.receive(limit=1, start=0, wait=0)
    receiving = await sleeping(room, opened, limit=1, start=1)
    assert await settle(opened, Start(fetched.token)) == "done"
    done, _ = await asyncio.wait([receiving], timeout=LEASE * 1.5)
    opened.wake()
    await bounded(receiving)
    return bool(done)


async def test_nothing_is_begun_while_something_may_start_beside_it(redis_room: Room, begun: Begun) -> None:
    assert not await runs_beside_a_suspect(redis_room) and begun.words == []


async def test_saboteur_who_begins_all_the_same_is_handed_a_suspect_beside_what_runs(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: StreamReader, ids: Sequence[bytes], seconds: float, limit: int, start: int) -> bool:
        return self._polls.begin(ids, seconds=seconds, limit=limit, start=start, running=len(self._started))

    monkeypatch.setattr(StreamReader, "_begin_long_poll", begin)

    assert await runs_beside_a_suspect(redis_room)


async def test_who_may_not_listen_keeps_its_pause(own_room: Room, begun: Begun, monkeypatch: Any) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *result: Any) -> Any:
        pauses.append(seconds)
        return await sleep(seconds, *result)

    own_room.redis.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", "-xread"], keys=["*"])
    opened = await idle(own_room)
    monkeypatch.setattr(bell.asyncio, "sleep", noted)
    assert await opened.receive(limit=1, start=1, wait=4 * bell.LOOK_AGAIN) == []
    await publish(await own_room.transport(), outgoing("m-1"))

    assert ids(await take(opened)) == ["m-1"] and len(begun.words) == 1
    assert bell.LOOK_AGAIN in pauses


# --- Its time is that at which it left ---------------------------------------------------------------------------


async def is_relied_on(room: Room, begun: Begun) -> bool:
    """Block the loop for more than a lease behind the answer; tell whether what it brought is held for certain."""
    sender, opened = await room.transport(), await idle(room, lease=LEASE)
    receiving = await sleeping(room, opened)
    begun.behind = lambda: time.sleep(LEASE * 1.1)
    await publish(sender, outgoing("m-1"))
    (found,) = await bounded(receiving)
    return opened.holds(found.token)


async def test_what_it_brings_is_held_from_when_it_left(redis_room: Room, begun: Begun) -> None:
    assert not await is_relied_on(redis_room, begun)


async def test_saboteur_who_counts_from_its_turn_is_sure_too_long(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Polls, "leaves_at", property(lambda self: time.monotonic()))

    assert await is_relied_on(redis_room, begun)


async def test_the_book_of_a_drill_has_the_time_at_which_it_left(
    redis_room: Room, begun: Begun, tmp_path: Path
) -> None:
    transport = await redis_room.transport()
    watch = Watch(Book(tmp_path, "consumer"))
    opened = WatchedReader(transport._server, transport._layout, Inbox(INBOX), consumer="one", lease=LONG)
    opened.watch = watch
    await opened.start()
    await opened.receive(limit=1, start=1, wait=0)
    receiving = await sleeping(redis_room, opened)
    slept = time.monotonic()
    await publish(await redis_room.transport(), outgoing("m-1"))
    assert ids(await bounded(receiving)) == ["m-1"]
    await opened.close()
    watch.book.close()

    (line,) = [each for each in read(tmp_path) if each.kind == "P"]
    assert float(line.words[1]) <= slept <= line.at


# --- What waits until nothing else runs --------------------------------------------------------------------------


async def is_handed_over_soon(room: Room, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Settle what runs while the answer that it is waited for is on its way; tell whether that is noticed."""
    sender = await room.transport()
    opened = await idle(room)
    await publish(sender, outgoing("running"))
    (running,) = await take(opened)
    await publish(sender, outgoing("suspect"))
    await take(await room.reader(await room.transport(), consumer="dead", lease=0.05))
    await asyncio.sleep(0.2)
    ask = Polls.ask

    async def slow(self: Polls, *words: Any) -> Answer | None:
        answer = await ask(self, *words)
        if answer and answer.kind == b"drain":
            await settle(opened, Ack(running.token))
        return answer

    monkeypatch.setattr(Polls, "ask", slow)
    receiving = asyncio.ensure_future(opened.receive(limit=1, start=1, wait=PATIENCE))
    done, _ = await asyncio.wait([receiving], timeout=bell.LONGEST_SLEEP / 2)
    opened.wake()
    await bounded(receiving)
    return bool(done)


async def test_what_was_settled_while_the_answer_was_on_its_way_is_waited_for_no_more(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await is_handed_over_soon(redis_room, monkeypatch)
