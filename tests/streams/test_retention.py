"""What is forgotten: settled messages in front of everything that is not settled, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from hivebus.shedding import shed_older, shed_to
from hivebus.tidying import Holding
from hivebus.transport import Ack, DeadLetter, Inbox, Retry
from hivebus_redis.streams import RedisStreams

from .ageing import DAY, add_aged, trim_now
from .room import INBOX, Room, ids, outgoing, publish, settle, take

NEVER = "99999999999999-0"


# --- By age ---------------------------------------------------------------------------------------------


async def aged_inbox(room: Room) -> None:
    """Leave one message of each kind, all of them older than the history that is kept."""
    transport = await room.transport()
    for name in ("acked-1", "acked-2", "dead", "retrying", "in-flight", "acked-3", "unread-1", "unread-2"):
        add_aged(room, name, age=2 * DAY - len(room.entries()))
    reader = await room.reader(transport)
    one, two, dead, retrying, _, three = await take(reader, 6)
    await reader.settle([Ack(one.token), Ack(two.token), Ack(three.token)])
    await reader.settle([DeadLetter(dead.token, "no"), Retry(retrying.token, 100)])
    trim_now(room)
    await reader.receive(limit=0, start=0, wait=0)


async def test_only_settled_messages_in_front_of_all_others_are_trimmed(room: Room) -> None:
    await aged_inbox(room)

    assert room.entries() == ["retrying", "in-flight", "acked-3", "unread-1", "unread-2"]


async def test_what_was_trimmed_around_is_still_handed_out(room: Room) -> None:
    await aged_inbox(room)
    heir = await room.reader(await room.transport(), consumer="heir")

    assert ids(await take(heir, 2)) == ["unread-1", "unread-2"]
    counts = (await (await room.transport()).counts(["pm"]))[0]
    assert (counts.retrying, counts.in_flight) == (1, 3)


async def test_what_was_settled_within_the_history_stays(room: Room) -> None:
    transport = await room.transport()
    for n, age in enumerate((3 * DAY, DAY + 1000, DAY - 60_000, 1000)):
        add_aged(room, f"m-{n}", age=age)
    reader = await room.reader(transport)
    await reader.settle([Ack(each.token) for each in await take(reader, 4)])
    trim_now(room)
    await reader.receive(limit=1, start=1, wait=0)

    assert room.entries() == ["m-2", "m-3"]


async def test_what_another_group_has_not_read_is_not_trimmed(room: Room) -> None:
    transport = await room.transport()
    add_aged(room, "m-1", age=2 * DAY)
    reader = await room.reader(transport)
    shadow = await transport.open(Inbox("pm", group="shadow"), consumer="shadow", lease=60)
    await settle(reader, Ack((await take(reader))[0].token))
    trim_now(room)
    await reader.receive(limit=1, start=1, wait=0)
    assert room.entries() == ["m-1"]

    assert ids(await take(shadow)) == ["m-1"]
    await shadow.close()


async def test_dead_letters_are_kept_for_thirty_days(room: Room) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    seconds, _ = room.redis.time()
    for days in (31, 29):
        fields = {"i": f"{days}-days", "d": "x", "r": "no", "a": 1, "f": 0, "c": 0, "l": 2, "e": "1-1"}
        room.redis.xadd(room.key("dlq"), fields, id=f"{seconds * 1000 - days * DAY}-0")
    trim_now(room)
    await reader.receive(limit=1, start=1, wait=0)

    assert [each.message_id for each in await transport.dead("pm", limit=9)] == ["29-days"]


async def trimmed_with(room: Room) -> list[str]:
    """Leave one message in flight in front of a settled one and an unread one, trim, and return what is left."""
    transport = await room.transport()
    for n, name in enumerate(("in-flight", "acked", "unread")):
        add_aged(room, name, age=2 * DAY - n)
    room.redis.hset(room.key("meta"), "trimmed", room.redis.time()[0] * 1000)
    reader = await room.reader(transport)
    _, acked = await take(reader, 2)
    await settle(reader, Ack(acked.token))
    trim_now(room)
    await reader.receive(limit=0, start=0, wait=0)
    return room.entries()


async def test_without_sabotage_nothing_of_it_is_trimmed(redis_room: Room) -> None:
    assert await trimmed_with(redis_room) == ["in-flight", "acked", "unread"]


async def test_saboteur_a_trim_that_does_not_ask_what_was_delivered_loses_unread_messages(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        ("local first = behind(group['last-delivered-id'])", f"local first = '{NEVER}'"),
        ("local oldest = redis.call('XPENDING', stream, name)[2]", "local oldest"),
    )

    assert await trimmed_with(redis_room) == []


async def test_saboteur_a_trim_that_does_not_ask_what_is_pending_loses_messages_in_flight(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("local oldest = redis.call('XPENDING', stream, name)[2]", "local oldest"))

    assert await trimmed_with(redis_room) == ["unread"]


# --- Whatever the budget says ---------------------------------------------------------------------------


async def fill(transport: RedisStreams, count: int, *, inbox: str = INBOX, size: int = 1000) -> None:
    """Send so many messages of so many bytes, over all levels."""
    for at in range(0, count, 100):
        chunk = range(at, min(count, at + 100))
        items = [outgoing(f"{inbox}-{n}", inbox=inbox, priority=1 + n % 5, data=b"x" * size) for n in chunk]
        assert set(await publish(transport, *items)) == {"stored"}


async def handle(room: Room, transport: RedisStreams, count: int, *, inbox: str = INBOX) -> None:
    """Take and ack so many messages."""
    reader = await room.reader(transport, inbox=inbox)
    await reader.settle([Ack(each.token) for each in await take(reader, count)])
    await reader.close()


async def test_a_budget_of_nothing_takes_all_that_is_settled_and_nothing_else(room: Room) -> None:
    transport = await room.transport()
    await fill(transport, 300)
    await publish(transport, outgoing("scheduled", delay=100))
    reader = await room.reader(transport)
    taken = await take(reader, 200)
    await reader.settle([Ack(each.token) for each in taken[:150]])
    await reader.settle([Retry(each.token, 100) for each in taken[150:175]])
    unsettled = Counter(room.entries()) - Counter(ids(taken[:150]))

    gone = await shed_to(transport, [INBOX], max_bytes=0)

    assert gone[INBOX].messages == 150
    assert Counter(room.entries()) == unsettled
    counts = (await transport.counts([INBOX]))[0]
    assert (counts.waiting, counts.in_flight, counts.retrying, counts.scheduled) == (100, 25, 25, 1)
    assert len(await take(reader, 100)) == 100


async def test_a_budget_is_kept_by_forgetting_the_oldest_of_all_inboxes(room: Room) -> None:
    transport = await room.transport()
    for inbox in ("old", "new"):
        await fill(transport, 400, inbox=inbox)
        await handle(room, transport, 400, inbox=inbox)
        await asyncio.sleep(0.005)
    before = [each.bytes for each in await transport.holding(["old", "new"])]
    budget = int(before[1] + before[0] / 2)

    gone = await shed_to(transport, ["old", "new"], max_bytes=budget)

    after = [each.bytes for each in await transport.holding(["old", "new"])]
    assert gone["new"].messages == 0
    assert 180 <= gone["old"].messages <= 260
    assert sum(after) <= budget * 1.1
    assert len(room.entries("new")) == 400


async def test_what_a_dry_run_counts_is_what_goes(room: Room) -> None:
    transport = await room.transport()
    await fill(transport, 300)
    await handle(room, transport, 300)
    (before,) = await transport.holding([INBOX])

    would = await shed_to(transport, [INBOX], max_bytes=before.bytes // 2, dry_run=True)
    assert len(room.entries()) == 300
    does = await shed_to(transport, [INBOX], max_bytes=before.bytes // 2)

    assert (does[INBOX].messages, does[INBOX].last) == (would[INBOX].messages, would[INBOX].last)
    assert len(room.entries()) == 300 - does[INBOX].messages


async def test_what_is_older_goes_in_steps_and_a_dry_run_goes_through_all_of_it(room: Room) -> None:
    transport = await room.transport()
    for n in range(2500):
        add_aged(room, f"m-{n}", age=2 * DAY - n, level=1 + n % 2)
    await handle(room, transport, 2500)
    room.redis.hset(room.key("meta"), "trimmed", room.redis.time()[0] * 1000)

    assert (await shed_older(transport, [INBOX], older_than=3 * 86_400, dry_run=True))[INBOX].messages == 0
    assert (await shed_older(transport, [INBOX], older_than=86_400, dry_run=True))[INBOX].messages == 2500


async def test_without_a_reader_nothing_is_ever_forgotten(room: Room) -> None:
    transport = await room.transport()
    add_aged(room, "m-1", age=2 * DAY)

    await transport.tidy(INBOX, keep=1)
    assert (await shed_to(transport, [INBOX], max_bytes=0))[INBOX].messages == 0
    # Somebody who reads along with a group of his own is not the agent.
    room.redis.xgroup_create(room.key("q:2"), "monitor", "0")
    room.redis.xreadgroup("monitor", "m", {room.key("q:2"): ">"}, noack=True)
    await transport.tidy(INBOX, keep=1)

    assert room.entries() == ["m-1"]
    assert ids(await take(await room.reader(transport))) == ["m-1"]


async def test_saboteur_a_trim_that_takes_any_group_for_the_agent_loses_what_the_agent_never_saw(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if not groups.main then return nil end", ""))
    transport = await redis_room.transport()
    add_aged(redis_room, "m-1", age=2 * DAY)
    redis_room.redis.xgroup_create(redis_room.key("q:2"), "monitor", "0")
    redis_room.redis.xreadgroup("monitor", "m", {redis_room.key("q:2"): ">"}, noack=True)

    await transport.tidy(INBOX, keep=1)
    assert redis_room.entries() == []


async def test_what_stands_in_the_way_is_named(room: Room) -> None:
    transport = await room.transport()
    await publish(
        transport, outgoing("held", priority=5), outgoing("retried", priority=4), outgoing("unread", priority=1)
    )
    reader = await room.reader(transport, consumer="worker-7")
    _, retried = await take(reader, 2)
    await settle(reader, Retry(retried.token, 100))

    (holding,) = await transport.holding([INBOX])

    found = {each.priority: (each.kind, each.consumer, each.message_id, each.count) for each in holding.blockers}
    assert found == {
        5: ("held", "worker-7", "held", 1),
        4: ("retrying", None, "retried", 1),
        1: ("unread", None, "unread", 1),
    }
    assert await transport.holding(["nobody"]) == [Holding()]


async def test_a_forgotten_message_is_acknowledged_while_its_id_is_known_and_then_unknown(room: Room) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    await handle(room, transport, 1)
    await transport.tidy(INBOX, keep=0)
    assert room.entries() == []

    assert [each.state for each in await transport.locate(["m-1"], [INBOX])] == ["acknowledged"]
    for entry, fields in room.redis.xrange(room.key("done")):
        room.redis.delete(room.key("done"))
        room.redis.xadd(room.key("done"), fields, id=f"{int(entry.partition('-')[0]) - 3_600_001}-0")
    await transport.tidy(INBOX, keep=0)
    assert await transport.locate(["m-1"], [INBOX]) == []


# --- Under load -----------------------------------------------------------------------------------------


class Traffic:
    """Producers and consumers, and a ledger outside of the server: what was accepted, and what was being acked."""

    def __init__(self, room: Room, *, count: int, seed: int) -> None:
        self.room = room
        self.count = count
        self.accepted: set[str] = set()
        self.acking: set[str] = set()
        self.trimmed = 0
        self.looks = 0
        self.alarms = 0
        self.lost: set[str] = set()
        self._chance = random.Random(seed)

    async def run(self) -> None:
        await asyncio.gather(self.produce(), self.consume("a"), self.consume("b"), self.trim(), self.look())

    @property
    def is_done(self) -> bool:
        return len(self.acking) == self.count or bool(self.lost)

    async def produce(self) -> None:
        transport = await self.room.transport()
        for at in range(0, self.count, 20):
            items = [outgoing(f"m-{n}", priority=1 + n % 5) for n in range(at, at + 20)]
            assert set(await publish(transport, *items)) == {"stored"}
            self.accepted |= {item.message_id for item in items}
            await asyncio.sleep(0.001)

    async def consume(self, name: str) -> None:
        reader = await self.room.reader(await self.room.transport(), consumer=name)
        held = []
        while not self.is_done:
            held += await reader.receive(limit=30, start=30, wait=0.05)
            self._chance.shuffle(held)
            # Some are kept for a while, so that older ones stand in the way of younger ones that are settled.
            now, held = held[len(held) // 4 :], held[: len(held) // 4]
            retried = [each for each in now if self._chance.random() < 0.1]
            acked = [each for each in now if each not in retried]
            self.acking |= set(ids(acked))
            await reader.settle([*(Ack(each.token) for each in acked), *(Retry(each.token, 0.02) for each in retried)])

    async def trim(self) -> None:
        transport = await self.room.transport()
        while not self.is_done:
            tidied = await transport.tidy(INBOX, keep=0)
            gone = await shed_to(transport, [INBOX], max_bytes=0)
            self.trimmed += tidied.trimmed + gone[INBOX].messages
            self.alarms += tidied.lost + tidied.removed
            await asyncio.sleep(0.005)

    async def look(self) -> None:
        while not self.is_done:
            accepted = set(self.accepted)
            stored = set(await asyncio.to_thread(self.room.entries))
            self.lost |= accepted - self.acking - stored
            self.looks += 1
            await asyncio.sleep(0.01)


async def test_under_load_only_what_is_settled_is_forgotten(room: Room) -> None:
    traffic = Traffic(room, count=4000, seed=4)
    async with asyncio.timeout(60):
        await traffic.run()

    assert (traffic.lost, traffic.alarms) == (set(), 0)
    assert len(traffic.acking) == 4000
    assert traffic.looks >= 10
    assert traffic.trimmed >= 2000


async def test_saboteur_a_trim_that_looks_at_ages_alone_is_seen_by_the_ledger(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(
        ("is_before(before, cut) and before or cut) end\n  end\n  redis.call", "before) end\n  end\n  redis.call")
    )
    traffic = Traffic(redis_room, count=4000, seed=4)
    async with asyncio.timeout(60):
        await traffic.run()

    assert len(traffic.lost) > 0
