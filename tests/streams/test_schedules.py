"""A message for later comes within a second after its time, whatever was restarted; or never, when cancelled."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

import hivebus
from hivebus import due
from hivebus.errors import Unavailable
from hivebus.message import Message
from hivebus.transport import Ack, DeadLetter, Inbox, Retry
from hivebus_redis.streams import RedisStreams

from .own_server import DURABLE, OwnServer
from .room import PATIENCE, Room, ids, outgoing, publish, settle, take

ON_TIME = 1.0
"""Seconds after its time within which a scheduled message is with its handler."""
HOUR = 3600.0
CROWD = 300

SENDS_AND_ENDS = """
import sys
from datetime import UTC, datetime
import hivebus
url, namespace, at = sys.argv[1:]
receipt = hivebus.send("pm", "due", from_agent="sender", url=url, namespace=namespace,
                       at=datetime.fromtimestamp(float(at), UTC))
print(receipt.state)
"""


def at(seconds: float) -> datetime:
    """Return the moment that is so many seconds after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


async def handled(room: Room, count: int) -> list[tuple[Any, float]]:
    """Run an agent until it has handled so many; return what each said, and when."""
    seen: list[tuple[Any, float]] = []
    async with room.bus("pm") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            seen.append((message.content, time.time()))
            if len(seen) == count:
                bus.stop()

        async with asyncio.timeout(PATIENCE):
            await bus.run()
    return seen


# --- On time ----------------------------------------------------------------------------------------------


async def test_twenty_messages_are_with_a_waiting_handler_within_a_second_after_their_times(room: Room) -> None:
    running = asyncio.create_task(handled(room, 20))
    transport = await room.transport()
    await until_reading(transport)
    began = time.time()
    # The later ones first: a reader that sleeps until the first of them must learn of each sooner one.
    moments = [began + 0.2 + 0.07 * n for n in reversed(range(20))]
    async with room.bus("sender") as sender:
        for moment in moments:
            assert (await sender.send("pm", moment, at=at(moment))).state == "scheduled"

        late = [came - moment for moment, came in await running]

    assert len(late) == 20
    assert min(late) >= -0.01 and max(late) <= ON_TIME, f"late by {min(late):.3f} to {max(late):.3f} s"


async def test_neither_a_schedule_nor_a_retry_falls_due_a_fraction_of_a_millisecond_early(redis_room: Room) -> None:
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    early = []
    for number in range(20):
        # What is handed over must begin with what was just sent, so nothing else waits.
        asked = microseconds(redis_room)
        await publish(transport, outgoing(f"s{number}", delay=0.0015))
        early.append(due_at(redis_room, f"s{number}") - asked - 1500)
        (delivery,) = await take(reader)
        asked = microseconds(redis_room)
        await settle(reader, Retry(delivery.token, delay=0.0015))
        early.append(due_at(redis_room, "/".join(delivery.token.split("/")[:2]), "r") - asked - 1500)
        await settle(reader, *(Ack(each.token) for each in await take(reader)))

    assert min(early) >= 0, f"{-min(early)} us early"


def microseconds(room: Room) -> int:
    """Return the server's own time."""
    seconds, fraction = room.redis.time()
    return int(seconds) * 1_000_000 + int(fraction)


def due_at(room: Room, member: str, kind: str = "s") -> float:
    """Return when a member falls due, in microseconds of the server's time."""
    return float(room.redis.zscore(room.key("due"), kind + member)) * 1000


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_schedule_survives_a_killed_server_and_the_end_of_every_process(
    kind: str, make_server: Callable[..., OwnServer]
) -> None:
    server = make_server(*DURABLE, kind=kind)
    moment = time.time() + 4
    room = Room(server.url, server.client())
    words = [sys.executable, "-c", SENDS_AND_ENDS, server.url, room.namespace, str(moment)]
    sent = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert sent.stdout.strip() == "scheduled"
    for _ in range(2):
        server.kill()
        await asyncio.to_thread(server.start)
    restarted = time.time()

    ((content, came),) = await handled(room, 1)

    assert content == "due" and restarted < moment, "the machine was too slow for this test"
    assert 0 <= came - moment + 0.01 <= ON_TIME, f"it came {came - moment:.3f} s after its time"
    room.redis.close()


async def test_what_fell_due_while_nobody_read_comes_at_once(room: Room) -> None:
    async with room.bus("sender") as sender:
        moment = time.time() + 0.1
        await sender.send("pm", "due", at=at(moment))
    await asyncio.sleep(0.3)
    began = time.time()

    ((_, came),) = await handled(room, 1)

    assert came - began <= ON_TIME


async def test_the_past_is_now(room: Room) -> None:
    async with room.bus("sender") as sender:
        assert (await sender.send("pm", "x", at=at(time.time() - HOUR))).state == "stored"
        assert (await sender.queue("pm")).waiting == 1


async def test_a_message_keeps_its_level_through_its_schedule(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await publish(transport, outgoing("low", priority=1), *(outgoing(f"p{n}", priority=n, delay=0.1) for n in (3, 5)))
    await asyncio.sleep(0.15)

    assert ids(await take(await redis_room.reader(transport), 3)) == ["p5", "p3", "low"]


# --- Whose clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-HOUR, HOUR], ids=["an hour behind", "an hour ahead"])
async def test_the_clock_of_the_server_counts_and_not_that_of_the_sender(
    room: Room, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "_this_machine", lambda: time.time() + wrong)
    moment = at(time.time() + HOUR / 2)
    send_once = partial(hivebus.send, "pm", "x", from_agent="script", url=room.url, namespace=room.namespace, at=moment)
    async with room.bus("sender") as bus:
        for receipt in (await bus.send("pm", "x", at=moment), await asyncio.to_thread(send_once)):
            place = (await bus.status(receipt.message_id)).recipients["pm"]
            assert place.state == "scheduled" and place.due_seconds == pytest.approx(HOUR / 2, abs=PATIENCE)


async def test_a_server_that_does_not_tell_its_time_leaves_it_to_the_sender(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saboteur of the one above: without the server's time, a wrong clock schedules for a wrong time."""

    async def silent(self: RedisStreams) -> float:
        raise Unavailable("it does not say")

    monkeypatch.setattr(RedisStreams, "now", silent)
    monkeypatch.setattr(due, "_this_machine", lambda: time.time() - HOUR)
    async with redis_room.bus("sender") as bus:
        receipt = await bus.send("pm", "x", at=at(time.time() + HOUR / 2))
        place = (await bus.status(receipt.message_id)).recipients["pm"]

    assert place.due_seconds == pytest.approx(HOUR * 1.5, abs=PATIENCE)


# --- Cancelled --------------------------------------------------------------------------------------------


async def test_a_cancelled_schedule_never_comes_and_its_neighbour_does(room: Room) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=0.3)
    async with room.bus("sender") as sender, room.bus("operator") as operator:
        first = await sender.send("pm", "cancelled", at=moment)
        await sender.send("pm", "comes", at=moment)

        assert (await operator.cancel(first.message_id)).outcome == "cancelled"

        assert [content for content, _ in await handled(room, 1)] == ["comes"]
        assert (await sender.status(first.message_id)).state == "cancelled"
        assert (await sender.queue("pm")).scheduled == 0
        transport = await room.transport()
        assert await take(await room.reader(transport), wait=0.3) == []


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_what_was_cancelled_stays_cancelled_after_the_server_was_killed(
    kind: str, make_server: Callable[..., OwnServer]
) -> None:
    server = make_server(*DURABLE, kind=kind)
    room = Room(server.url, server.client())
    transport = await room.transport()
    await publish(transport, outgoing("queued"), outgoing("later", delay=0.1), outgoing("comes"))
    assert await transport.cancel("pm", ["queued", "later"]) == [True, True]
    server.kill()
    await asyncio.to_thread(server.start)

    again = await room.transport()

    assert ids(await take(await room.reader(again), 3, wait=0.5)) == ["comes"]
    assert {each.state for each in await again.locate(["queued", "later"], ["pm"])} == {"cancelled"}
    await room.close()
    room.redis.close()


async def test_each_outcome_of_a_cancellation_is_told(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    names = ["acked", "dead", "retrying", "held"]
    await publish(transport, *(outgoing(each) for each in names))
    acked, dead, retrying, _ = await take(reader, 4)
    await reader.settle([Ack(acked.token), DeadLetter(dead.token, "no"), Retry(retrying.token, 100)])
    await publish(transport, outgoing("waits"), outgoing("later", delay=100), outgoing("brief", ttl=0.001))
    await asyncio.sleep(0.01)

    async with room.bus("operator") as bus:
        told = {each: await bus.cancel(each) for each in [*names, "waits", "later", "brief", "nobody-knows"]}

    assert {name: each.outcome for name, each in told.items()} == {
        **dict.fromkeys(names, "handed_out"),
        "waits": "cancelled",
        "later": "cancelled",
        "brief": "expired",
        "nobody-knows": "unknown",
    }
    assert [name for name, each in told.items() if each] == ["waits", "later"]


async def test_what_was_fetched_and_handed_back_unstarted_is_cancelled(room: Room) -> None:
    transport = await room.transport()
    first = await room.reader(transport, consumer="first")
    await publish(transport, outgoing("m-1"), outgoing("m-2"))
    assert len(await first.receive(limit=2, start=0, wait=1)) == 2
    await first.close()

    assert await transport.cancel("pm", ["m-1"]) == [True]

    counts = (await transport.counts(["pm"]))[0]
    assert (counts.waiting, counts.in_flight) == (1, 0)
    assert ids(await take(await room.reader(transport, consumer="second"), 2, wait=0.2)) == ["m-2"]


async def test_what_was_cancelled_comes_to_nobody_whichever_group_passes_it_over_first(redis_room: Room) -> None:
    transport = await redis_room.transport()
    await publish(transport, outgoing("cancelled"), outgoing("comes"))
    await transport.cancel("pm", ["cancelled"])
    for group in ("shadow", "main"):
        reader = await transport.open(Inbox("pm", group=group), consumer=group, lease=30)
        assert ids(await take(reader, 2, wait=0.2)) == ["comes"]
        await reader.close()


async def test_of_three_hundred_messages_each_is_either_cancelled_or_handed_out(room: Room) -> None:
    transport, operator = await room.transport(), await room.transport()
    reader = await room.reader(transport)
    names = [f"m-{n}" for n in range(CROWD)]
    await publish(transport, *(outgoing(each) for each in names))

    async def take_all() -> list[str]:
        taken: list[str] = []
        while found := await reader.receive(limit=7, start=7, wait=0.3):
            taken += ids(found)
            await reader.settle([Ack(each.token) for each in found])
        return taken

    async def cancel_all() -> list[str]:
        # From the far end, so that both meet in the middle.
        return [name for name in reversed(names) if await operator.cancel("pm", [name]) == [True]]

    taken, cancelled = await asyncio.gather(take_all(), cancel_all())

    assert taken and cancelled, "they have not met"
    assert sorted(taken + cancelled) == sorted(names)
    states = {each.message_id: each.state for each in await transport.locate(names, ["pm"])}
    assert states == {**dict.fromkeys(taken, "acknowledged"), **dict.fromkeys(cancelled, "cancelled")}


# --- Saboteurs --------------------------------------------------------------------------------------------


async def test_saboteur_a_reader_that_is_not_woken_for_a_sooner_schedule_is_late(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if not soonest or at < tonumber(soonest) then ring(k) end", ""))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    waiting = asyncio.create_task(take(reader, wait=0.2 + ON_TIME * 1.5))
    await asyncio.sleep(0.1)
    await publish(transport, outgoing("due", delay=0.2))
    moment = time.monotonic() + 0.2

    # It is found in the end, because a call that ends looks once more.
    assert ids(await waiting) == ["due"] and time.monotonic() - moment > ON_TIME


async def test_saboteur_a_server_that_keeps_nothing_forgets_a_schedule(make_server: Callable[..., OwnServer]) -> None:
    server = make_server()
    room = Room(server.url, server.client())
    await publish(await room.transport(), outgoing("due", delay=0.1))
    await room.close()
    server.kill()
    await asyncio.to_thread(server.start)

    assert await take(await room.reader(await room.transport()), wait=0.5) == []
    await room.close()
    room.redis.close()


async def test_saboteur_a_reader_that_does_not_look_hands_out_what_was_cancelled(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("    redis.call('SADD', k.cancelled, token)\n  end\nend", "  end\nend"))
    transport = await redis_room.transport()
    await publish(transport, outgoing("m-1"))
    assert await transport.cancel("pm", ["m-1"]) == [True]

    assert ids(await take(await redis_room.reader(transport))) == ["m-1"]


async def test_saboteur_a_cancellation_of_what_was_handed_out_takes_it_from_nobody(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("elseif row and row[2] == 'queued' and row[3] == '0' then", "elseif row then"))
    transport = await redis_room.transport()
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("m-1"))
    (delivery,) = await take(reader)

    assert await transport.cancel("pm", ["m-1"]) == [True]
    assert await settle(reader, Ack(delivery.token)) == "done", "it was handled all the same"


async def until_reading(transport: RedisStreams) -> None:
    """Return when somebody reads the inbox."""
    deadline = time.monotonic() + PATIENCE
    while (await transport.counts(["pm"]))[0].consumers == 0:
        assert time.monotonic() < deadline, "nobody reads"
        await asyncio.sleep(0.02)
