"""How much one call may take out of a pool: the server's side of it, reader by reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hivebus.transport import Ack, Delivery, Inbox, PoolPolicy
from hivebus_redis.reader import StreamReader
from hivebus_redis.streams import RedisStreams

from .room import LONG, Room, ids, outgoing, publish, take, until

POOL = "@architects"
LEAD = 100


class Bench:
    """Members of one pool, by name."""

    def __init__(self, room: Room, transport: RedisStreams) -> None:
        self.room = room
        self.transport = transport

    async def member(
        self, name: str, *, policy: PoolPolicy | None = None, inbox: str = POOL, lease: float = LONG
    ) -> StreamReader:
        reader = await self.transport.open(Inbox(inbox, policy=policy), consumer=name, lease=lease)
        self.room._readers.append(reader)
        return reader

    async def send(self, count: int, *, inbox: str = POOL, level: int = 2) -> None:
        await publish(self.transport, *(outgoing(inbox=inbox, priority=level) for _ in range(count)))

    def known(self) -> set[str]:
        return set(self.room.redis.hkeys(self.room.key("pool", POOL)))


async def bench(room: Room) -> Bench:
    return Bench(room, await room.transport())


async def ask(reader: StreamReader, limit: int, *, wait: float = 0) -> list[Delivery]:
    return list(await reader.receive(limit=limit, start=limit, wait=wait))


async def ack(reader: StreamReader, deliveries: Sequence[Delivery]) -> None:
    await reader.settle([Ack(each.token) for each in deliveries])


async def shares_of_waiting_members(here: Bench, count: int) -> list[int]:
    """Let three members wait, each with room for all, and return what each gets of *count* messages."""
    members = [await here.member(name) for name in ("one", "two", "three")]
    ending = asyncio.Event()

    async def work(reader: StreamReader) -> int:
        taken = 0
        while not ending.is_set():
            taken += len(await ask(reader, count, wait=5))
        return taken

    working = [asyncio.create_task(work(member)) for member in members]
    await until(lambda: len(here.known()) == 3)
    await here.send(count)
    async with asyncio.timeout(10):
        while (await here.transport.counts([POOL]))[0].waiting:
            await asyncio.sleep(0.01)
    ending.set()
    for member in members:
        member.wake()
    return sorted(await asyncio.gather(*working))


async def test_members_that_wait_get_even_shares(room: Room) -> None:
    shares = await shares_of_waiting_members(await bench(room), 90)

    assert sum(shares) == 90 and shares[0] >= 26 and shares[-1] <= 34


async def test_saboteur_without_the_bound_the_first_takes_all(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("args[4] = tostring(share)", "share = limit"))
    shares = await shares_of_waiting_members(await bench(redis_room), 90)

    assert sum(shares) == 90 and shares[-1] == 90


async def test_nothing_waits_for_members_that_do_not_come(room: Room) -> None:
    here = await bench(room)
    readers = [await here.member(name) for name in ("one", "two", "three")]
    for reader in readers:
        assert await ask(reader, 50) == []
    await here.send(30)

    assert len(await take(readers[0], 30, wait=5)) == 30


async def test_saboteur_with_endless_patience_they_wait_for_ever(
    redis_room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("local PATIENCE = 10\n", "local PATIENCE = 3600000\n"))
    here = await bench(redis_room)
    readers = [await here.member(name) for name in ("one", "two", "three")]
    for reader in readers:
        assert await ask(reader, 50) == []
    await here.send(30)

    assert len(await take(readers[0], 30, wait=1)) == 10


async def test_a_member_alone_takes_what_it_has_room_for(room: Room) -> None:
    here = await bench(room)
    one = await here.member("one")
    await here.send(300)

    assert len(await ask(one, 250)) == 250


async def test_beside_a_busy_one_a_member_goes_on_message_by_message_when_it_is_ahead(room: Room) -> None:
    here = await bench(room)
    one, two = await here.member("one"), await here.member("two")
    await here.send(500)
    assert len(await ask(two, 1)) == 1
    assert len(await ask(one, 250)) == LEAD
    assert [len(await ask(one, 250)) for _ in range(3)] == [1, 1, 1]
    # Whoever is behind catches up, and of what is left they get the same.
    assert len(await ask(two, 500)) == 249
    assert len(await ask(one, 250)) == 147


async def test_one_that_stays_behind_is_slow_and_slows_nobody_down(room: Room) -> None:
    here = await bench(room)
    one, slow = await here.member("one"), await here.member("slow")
    await here.send(600)
    assert len(await ask(slow, 1)) == 1
    assert len(await ask(one, 200)) == LEAD
    gone_on: list[int] = []
    async with asyncio.timeout(10):
        while 200 not in gone_on:
            gone_on += [len(await ask(one, 200)) for _ in range(3)]
            await ask(slow, 1)
            await asyncio.sleep(0.02)

    assert gone_on[0] == 1


async def test_who_was_away_is_owed_no_more_than_a_little(room: Room) -> None:
    here = await bench(room)
    one, away = await here.member("one"), await here.member("away")
    assert await ask(away, 500) == []
    for _ in range(5):
        await here.send(100)
        await ack(one, await take(one, 100, wait=5))
    assert await ask(one, 500) == []
    assert await ask(away, 500) == []
    await here.send(400)
    first = await ask(away, 500)

    assert 200 <= len(first) <= 200 + LEAD


async def test_with_least_loaded_the_next_one_goes_to_who_has_the_fewest_in_hand(room: Room) -> None:
    here = await bench(room)
    busy, idle = await here.member("busy", policy="least_loaded"), await here.member("idle")
    await here.send(10)
    held = await take(busy, 10, wait=5)
    assert await ask(busy, 10) == [] and await ask(idle, 10) == []
    await here.send(4)
    # Another member waits that has less.
    assert await ask(busy, 10) == []
    assert len(await ask(idle, 10)) == 4
    await ack(busy, held)
    assert await ask(idle, 10) == []
    await here.send(6)
    assert len(await ask(busy, 10)) == 5
    assert len(await ask(idle, 10)) == 1


async def test_another_policy_holds_at_once_for_all(redis_room: Room) -> None:
    here = await bench(redis_room)
    await here.member("one", policy="least_loaded")
    await here.member("two")
    assert redis_room.redis.hget(redis_room.key("meta", POOL), "policy") == "least_loaded"
    await here.member("three", policy="round_robin")
    assert redis_room.redis.hget(redis_room.key("meta", POOL), "policy") == "round_robin"


async def test_what_comes_back_from_a_dead_member_goes_to_the_others(room: Room) -> None:
    here = await bench(room)
    dying, heir = await here.member("dying", lease=0.2), await here.member("heir")
    await here.send(8)
    assert len(await dying.receive(limit=8, start=0, wait=5)) == 8
    assert len(await take(heir, 8, wait=5)) == 8
    await until(lambda: here.known() == {"heir"})


async def test_what_was_handed_back_is_shared_too_and_wakes_those_that_sleep(room: Room) -> None:
    here = await bench(room)
    leaving = await here.member("leaving")
    await here.send(30)
    assert len(await leaving.receive(limit=30, start=0, wait=5)) == 30
    readers = [await here.member(name) for name in ("one", "two")]
    waiting = [asyncio.create_task(take(reader, 15, wait=5)) for reader in readers]
    await until(lambda: len(here.known()) == 3)
    await leaving.close()
    taken = await asyncio.gather(*waiting)

    assert [len(each) for each in taken] == [15, 15]
    assert len({each for batch in taken for each in ids(batch)}) == 30


async def test_priority_holds_in_a_pool(room: Room) -> None:
    here = await bench(room)
    one, two = await here.member("one"), await here.member("two")
    assert await ask(one, 4) == [] and await ask(two, 4) == []
    await here.send(4, level=1)
    await here.send(2, level=5)

    assert [each.priority for each in await ask(one, 4)] == [5, 5, 1]


async def test_a_glance_leaves_everything_and_takes_its_turn(room: Room) -> None:
    here = await bench(room)
    one, two = await here.member("one"), await here.member("two")
    assert not any(await one.glance(limit=10, wait=0)) and not any(await two.glance(limit=10, wait=0))
    await here.send(1)
    assert list(await one.glance(limit=10, wait=0)) == [0, 0, 1, 0, 0, 0]
    assert len(await ask(one, 10)) == 1
    assert not any(await one.glance(limit=10, wait=0))
    await here.send(1)
    # It is the other one's turn, which does not come: soon it is anybody's.
    assert not any(await one.glance(limit=10, wait=0))
    assert list(await one.glance(limit=10, wait=5)) == [0, 0, 1, 0, 0, 0]


async def test_a_glance_tells_of_a_suspect(room: Room) -> None:
    here = await bench(room)
    dying, heir = await here.member("dying", lease=0.1), await here.member("heir")
    await here.send(1)
    assert len(await take(dying)) == 1
    assert list(await heir.glance(limit=10, wait=5)) == [1, 0, 0, 0, 0, 0]
    assert (await ask(heir, 10))[0].alone


async def test_an_inbox_of_an_agent_knows_nothing_of_all_this(redis_room: Room) -> None:
    here = await bench(redis_room)
    one, two = await here.member("one", inbox="pm"), await here.member("two", inbox="pm")
    assert await ask(one, 50) == [] and await ask(two, 50) == []
    await here.send(50, inbox="pm")

    assert len(await ask(one, 50)) == 50
    assert not redis_room.redis.exists(redis_room.key("pool", "pm"))


async def test_members_that_left_are_forgotten(redis_room: Room) -> None:
    here = await bench(redis_room)
    one, two = await here.member("one"), await here.member("two")
    await ask(one, 5)
    await ask(two, 5)
    assert here.known() == {"one", "two"}
    await one.close()
    assert here.known() == {"two"}
    long_ago = "0 1 5 0 0 0 0"
    redis_room.redis.hset(redis_room.key("pool", POOL), "silent", long_ago)
    await ask(two, 5)
    assert here.known() == {"two"}
