"""The past of an inbox: read without taking anything, and sent again at a rate, once per run."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import HivebusError, InvalidMessage, Unavailable
from hivebus.message import Message
from hivebus.receipt import Receipt
from hivebus.replaying import ReplayReport, new_id
from hivebus.transport import Ack, DeadLetter, Retry

from .ageing import HOUR, add_aged
from .room import INBOX, Room, ids, outgoing, publish, settle, take


async def an_hour(room: Room, count: int) -> None:
    """Leave the history of two hours: *count* handled messages in each, over three levels; the last hour has begun."""
    for n in range(2 * count):
        add_aged(room, f"m-{n:04}", age=2 * HOUR - n * HOUR // count - 3000, level=1 + n % 3)
    reader = await room.reader(await room.transport())
    for each in await take(reader, 2 * count):
        await settle(reader, Ack(each.token))
    await reader.close()


async def received(bus: Bus, count: int) -> list[Message]:
    """Take so many messages."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        async for handed in bus.consume():
            await handed.ack()
            found.append(handed.message)
            if len(found) == count:
                break
    return found


# --- Reading ----------------------------------------------------------------------------------------------


async def test_history_is_everything_that_was_accepted_oldest_first_over_all_levels_and_pages(room: Room) -> None:
    await an_hour(room, 400)
    async with room.bus(INBOX) as bus:
        seen = [each.message_id async for each in bus.history(INBOX, since="1d")]
        assert seen == [f"m-{n:04}" for n in range(800)]
        last_hour = [each.message_id async for each in bus.history(INBOX, since="1h", limit=3)]
        assert last_hour == ["m-0400", "m-0401", "m-0402"]
        assert [each async for each in bus.history("nobody")] == []


async def test_history_leaves_out_what_was_given_up_or_taken_back_and_shows_what_waits(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *[outgoing(name) for name in ("acked", "dead", "purged", "retrying", "held", "unread")])
    await publish(transport, outgoing("cancelled"), outgoing("expired", ttl=0.01), outgoing("scheduled", delay=100))
    reader = await room.reader(transport)
    acked, dead, purged, retrying, _ = await take(reader, 5)
    await reader.settle([Ack(acked.token), DeadLetter(dead.token, "no"), DeadLetter(purged.token, "no")])
    await reader.settle([Retry(retrying.token, 100)])
    await transport.purge(INBOX, ["purged"])
    await transport.cancel(INBOX, ["cancelled"])
    await asyncio.sleep(0.02)

    for _ in range(2):
        found = {each.message_id: each.state async for each in transport.history(INBOX, since=3600, limit=100)}
        assert found == {"acked": "acknowledged", "retrying": "retrying", "held": "delivered", "unread": "queued"}
        await transport.tidy(INBOX, keep=86_400)


async def test_reading_history_changes_nothing(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *[outgoing(f"m-{n}") for n in range(250)])
    (before,) = await transport.counts([INBOX])

    assert len([each async for each in transport.history(INBOX, since=3600, limit=1000)]) == 250

    (after,) = await transport.counts([INBOX])
    assert replace(after, oldest_waiting_seconds=None) == replace(before, oldest_waiting_seconds=None)
    assert len(await take(await room.reader(transport), 250)) == 250


# --- Sending again ------------------------------------------------------------------------------------------


async def test_an_hour_goes_to_another_agent_at_a_rate_kept_within_ten_per_cent(room: Room) -> None:
    await an_hour(room, 300)
    loop = asyncio.get_running_loop()
    async with room.bus(INBOX) as bus, room.bus("qa") as other:
        receiving = asyncio.create_task(received(other, 300))
        begun = loop.time()
        report = await bus.replay(INBOX, since="1h", to="qa", rate=100)
        took = loop.time() - begun
        found = await receiving

    assert report.messages == len(report.sent) == 300
    assert 0.9 <= 300 / took / 100 <= 1.1
    assert [each.replay_of for each in found] == [f"m-{n:04}" for n in range(300, 600)]
    assert {each.replay_of: each.message_id for each in found} == report.sent
    assert {each.to_agent for each in found} == {"qa"}


async def test_a_replayed_message_is_a_new_one_that_says_the_same(room: Room) -> None:
    async with room.bus("pm") as bus:
        sent = await bus.send(
            "pm", {"n": 1}, message_type="question", priority="urgent", ttl=3600, context={"a": 1}, max_retries=7
        )
        (old,) = await received(bus, 1)
        report = await bus.replay("pm", since=60)
        (new,) = await received(bus, 1)

    assert report.sent == {sent.message_id: new.message_id}
    assert (new.replay_of, old.replay_of) == (old.message_id, None)
    assert new.timestamp > old.timestamp
    same = new.replace(message_id=old.message_id, timestamp=old.timestamp)
    assert same.to_json().replace(b',"replay_of":"' + old.message_id.encode() + b'"', b"") == old.to_json()
    left = room.redis.xrange(room.key("q:4"))[-1][1]["x"]
    assert int(left) - int(room.redis.time()[0]) * 1000 > 3590_000


async def test_the_same_run_stores_nothing_twice_and_another_run_does(room: Room) -> None:
    await an_hour(room, 50)
    async with room.bus(INBOX) as bus:
        first = await bus.replay(INBOX, since="1d", to="qa", label="friday")
        again = await bus.replay(INBOX, since="1d", to="qa", label="friday")
        assert (len(first.sent), len(first.known)) == (100, 0)
        assert (len(again.sent), again.known) == (0, first.sent)
        assert len(room.entries("qa")) == 100
        await bus.replay(INBOX, since="1d", to="qa")
        assert len(room.entries("qa")) == 200
    assert first.sent["m-0001"] == new_id("m-0001", to="qa", label="friday")


async def test_a_run_that_was_cut_off_goes_on_where_it_was(room: Room) -> None:
    await an_hour(room, 200)
    cuts = random.Random(7)
    async with room.bus(INBOX) as bus:
        for _ in range(4):
            work = asyncio.create_task(bus.replay(INBOX, since="1d", to="qa", rate=2000, label="cut"))
            await asyncio.sleep(cuts.uniform(0.02, 0.08))
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        stored = len(room.entries("qa"))
        assert 0 < stored < 400
        report = await bus.replay(INBOX, since="1d", to="qa", label="cut")

    assert len(report.sent) + len(report.known) == 400
    assert len(report.known) >= stored
    assert Counter(Counter(room.entries("qa")).values()) == {1: 400}


async def test_a_replay_to_the_same_agent_ends_and_leaves_out_what_still_waits(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, *[outgoing(f"m-{n}") for n in range(30)])
    reader = await room.reader(transport)
    await reader.settle([Ack(each.token) for each in await take(reader, 20)])
    async with room.bus(INBOX) as bus:
        report = await bus.replay(INBOX, since="1h")

    assert (report.messages, len(report.sent), report.waiting) == (20, 20, 10)
    assert len(room.entries()) == 50


async def test_only_what_is_wanted_is_sent_and_a_dry_run_sends_nothing(room: Room) -> None:
    async with room.bus("pm") as bus:
        for n in range(6):
            await bus.send("pm", n, message_id=f"m-{n}", message_type="question" if n % 2 else "answer")
        await received(bus, 6)
        dry = await bus.replay("pm", since="1h", types=["question"], to="qa", dry_run=True)
        assert (dry.messages, dry.by_type, dry.sent, dry.dry_run) == (3, {"question": 3}, {}, True)
        assert dry.first is not None and dry.last is not None and dry.first <= dry.last
        assert room.entries("qa") == []
        named = await bus.replay("pm", since="1h", ids=["m-1", "m-4", "gone"], to="qa")
        assert (sorted(named.sent), named.missing) == (["m-1", "m-4"], ["gone"])
        assert (await bus.replay("pm", since="1h", until="30m", dry_run=True)).messages == 0


async def test_a_run_that_fails_says_how_many_went_and_how_to_go_on(room: Room) -> None:
    await an_hour(room, 150)

    class Breaking(Bus):
        calls = 0

        async def send_many(self, messages: Any) -> list[Receipt | HivebusError]:
            self.calls += 1
            if self.calls == 3:
                return [Unavailable("the line is cut") for _ in messages]
            return await super().send_many(messages)

    async with Breaking(room.url, agent=INBOX, namespace=room.namespace) as bus:
        with pytest.raises(Unavailable, match=r"200 messages were sent before; run it again with the label friday"):
            await bus.replay(INBOX, since="1d", to="qa", label="friday")
        report = await bus.replay(INBOX, since="1d", to="qa", label="friday")
    assert (len(report.known), len(report.sent)) == (200, 100)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": -1}, "since"),
        ({"since": "1h", "until": "2h"}, "until"),
        ({"since": "1h", "rate": 0}, "rate"),
        ({"since": "1h", "to": "QA Team"}, "to"),
        ({"since": "1h", "types": ["No Type"]}, "message_type"),
        ({"since": "1h", "ids": "m-1"}, "ids"),
        ({"since": "1h", "label": "a b"}, "label"),
    ],
)
async def test_a_wrong_argument_is_named_and_nothing_is_sent(
    redis_room: Room, wrong: dict[str, Any], field: str
) -> None:
    async with redis_room.bus(INBOX) as bus:
        with pytest.raises(InvalidMessage) as refused:
            await bus.replay(INBOX, **wrong)
    assert refused.value.field == field


# --- Saboteurs ------------------------------------------------------------------------------------------------


async def half_cut(room: Room) -> ReplayReport:
    async with room.bus(INBOX) as bus:
        await bus.replay(INBOX, since="1d", to="qa", label="same")
        return await bus.replay(INBOX, since="1d", to="qa", label="same")


async def test_saboteur_ids_that_do_not_follow_from_the_old_ones_store_everything_twice(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await an_hour(redis_room, 20)
    numbers = iter(range(1000))
    monkeypatch.setattr("hivebus.replaying.new_id", lambda old, *, to, label: f"{label}-{next(numbers)}")

    assert len((await half_cut(redis_room)).sent) == 40
    assert len(redis_room.entries("qa")) == 80


async def test_saboteur_a_history_without_its_marks_sends_dead_letters_again(
    redis_room: Room, change_library: Any
) -> None:
    change_library(
        (
            "  mark_unhandled(k, level, entry)\n  redis.call('HDEL', k.fate, token)",
            "  redis.call('HDEL', k.fate, token)",
        )
    )
    transport = await redis_room.transport()
    await publish(transport, outgoing("dead"))
    reader = await redis_room.reader(transport)
    (dead,) = await take(reader, 1)
    assert ids([dead]) == ["dead"]
    await settle(reader, DeadLetter(dead.token, "no"))

    assert [each.message_id async for each in transport.history(INBOX, since=60, limit=9)] == ["dead"]
