"""A bus that reads its own inbox and those of pools, on a real server: levels, trouble, suspects, outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hivebus.message import Message

from .own_server import DURABLE, OwnServer
from .room import LONG, PATIENCE, Room, take, until


async def test_the_highest_level_comes_first_whichever_inbox_it_is_in(room: Room) -> None:
    async with room.bus("sender") as sender, room.bus("dev", pools=["a", "b"]) as dev:
        for at, (to, level) in enumerate([("dev", 2), ("@a", 5), ("@b", 3), ("@a", 1), ("dev", 4)]):
            await sender.send(to, at, priority=level)
        order = []
        async for handed in dev.consume():
            order.append(handed.message.content)
            assert await handed.ack() == "done"
            if len(order) == 5:
                break
        assert order == [1, 4, 2, 0, 3]


async def test_a_server_that_was_killed_is_read_again_in_every_inbox(make_server: Callable[..., OwnServer]) -> None:
    server = make_server(*DURABLE)
    with server.client() as client:
        room = Room(server.url, client)
        seen: list[str] = []
        async with room.bus("sender") as sender, room.bus("dev", pools=["a"]) as dev:

            @dev.on()
            async def handle(message: Message) -> None:
                seen.append(message.content)

            running = asyncio.create_task(dev.run())
            for to in ("dev", "@a"):
                await sender.send(to, f"before {to}")
            await until(lambda: len(seen) == 2)
            server.kill()
            await asyncio.sleep(0.3)
            server.start()
            for to in ("@a", "dev"):
                await sender.send(to, f"after {to}")
            await until(lambda: len(seen) >= 4)
            dev.stop()
            await running
        assert set(seen) == {"before dev", "before @a", "after dev", "after @a"}
        await room.close()


async def test_what_killed_a_member_runs_alone_in_the_next_one(redis_room: Room) -> None:
    beside: list[int] = []
    at_work = 0
    async with redis_room.bus("sender") as sender, redis_room.bus("dev", pools=["a"]) as dev:

        @dev.on()
        async def handle(message: Message) -> None:
            nonlocal at_work
            at_work += 1
            if message.content == "suspect":
                beside.append(at_work)
            await asyncio.sleep(0.02)
            at_work -= 1

        transport = await redis_room.transport()
        await sender.send("@a", "suspect")
        dying = await redis_room.reader(transport, consumer="dying", lease=0.1, inbox="@a")
        assert len(await take(dying)) == 1
        running = asyncio.create_task(dev.run(concurrency=8))
        for number in range(100):
            await sender.send("dev", number)
            await asyncio.sleep(0.003)
        await until(lambda: beside)
        dev.stop()
        await running
        assert beside == [1]


async def test_an_outcome_is_found_in_the_pool_when_its_message_comes_again(redis_room: Room) -> None:
    calls: list[str] = []
    async with redis_room.bus("sender") as sender, redis_room.bus("dev", pools=["a"], lease=0.4) as dev:

        @dev.on(once=True)
        async def pay(message: Message) -> str:
            calls.append(message.message_id)
            return "paid"

        transport = await redis_room.transport()
        await sender.send("@a", "pay", message_id="m-1")
        first = await redis_room.reader(transport, consumer="first", lease=0.2, inbox="@a")
        (held,) = await take(first)
        running = asyncio.create_task(dev.run())
        await until(lambda: calls == ["m-1"])
        async with asyncio.timeout(PATIENCE):
            while (await sender.status("m-1", agent="@a")).state != "acknowledged":
                await asyncio.sleep(0.01)
        assert (await sender.send("@a", "pay", message_id="m-1")).state == "duplicate"
        dev.stop()
        await running
        assert calls == ["m-1"] and held.attempt == 1


async def test_a_member_that_stops_hands_back_what_it_has_not_begun(room: Room) -> None:
    seen: list[str] = []
    started = asyncio.Event()
    async with (
        room.bus("sender") as sender,
        room.bus("one", pools=["a"], lease=LONG) as one,
        room.bus("two", pools=["a"], lease=LONG) as two,
    ):

        @one.on()
        async def hold(message: Message) -> None:
            started.set()
            await asyncio.sleep(0.2)
            seen.append(message.message_id)

        @two.on()
        async def handle(message: Message) -> None:
            seen.append(message.message_id)

        for number in range(6):
            await sender.send("@a", "x", message_id=f"m-{number}")
        working = asyncio.create_task(one.run(concurrency=1))
        await started.wait()
        one.stop()
        inheriting = asyncio.create_task(two.run())
        await until(lambda: len(seen) == 6)
        two.stop()
        await asyncio.gather(working, inheriting)
        assert sorted(seen) == [f"m-{number}" for number in range(6)]
