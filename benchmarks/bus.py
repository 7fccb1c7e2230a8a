"""The same work through hivebus: fifty tasks that await their sends, one handler call and ack per message."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import cast

from benchmarks.raw import TICKS, UNDER_WAY
from hivebus import Bus, Message, Receipt, registry
from hivebus.opening import connect
from hivebus.transport import Directory

CONTENT = "x" * 200


async def produce(url: str, count: int) -> float:
    """Send from fifty concurrent tasks; return the seconds."""
    async with Bus(url, agent="producer") as bus:
        began = perf_counter()

        async def work(share: int) -> None:
            for _ in range(share):
                await bus.send("consumer", CONTENT)

        await asyncio.gather(*(work(count // UNDER_WAY) for _ in range(UNDER_WAY)))
        return perf_counter() - began


async def subscribe(url: str, agents: int) -> None:
    """Register agents, each with a pattern of its own."""
    opened = await connect(url, namespace=None, durability=None, require=(), plugins=())
    directory = cast(Directory, opened.transport)
    for number in range(agents):
        await registry.register(directory, f"agent-{number}")
        await registry.subscribe(directory, f"agent-{number}", [f"agent.*.event-{number}"])
    await opened.transport.close()


async def offer(url: str, count: int, *, rate: float) -> float:
    """Send *rate* messages per second in the same small bursts as the raw producer; return the seconds."""
    async with Bus(url, agent="producer") as bus:
        began = perf_counter()
        sent = 0
        pending: set[asyncio.Task[Receipt]] = set()
        while sent < count:
            for _ in range(min(int(rate / TICKS), count - sent)):
                pending.add(asyncio.create_task(bus.send("consumer", CONTENT, metadata={"t": time()})))
                sent += 1
            await asyncio.sleep(max(0.0, began + sent / rate - perf_counter()))
            pending = {task for task in pending if not task.done()}
        await asyncio.gather(*pending)
        return perf_counter() - began


async def consume(url: str, count: int) -> list[float]:
    """Handle *count* messages and return each latency in seconds, where messages carry their time."""
    latencies: list[float] = []
    async with Bus(url, agent="consumer") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            sent = message.body.metadata.get("t")
            latencies.append(time() - sent if sent else 0.0)
            if len(latencies) >= count:
                bus.stop()

        await bus.run()
    return latencies


async def ping(url: str, count: int) -> list[float]:
    """One message at a time from `send` to its handler in the same process; return each latency."""
    latencies: list[float] = []
    arrived = asyncio.Event()
    async with Bus(url, agent="consumer") as receiver, Bus(url, agent="producer") as sender:

        @receiver.on()
        async def handle(message: Message) -> None:
            latencies.append(perf_counter() - sent)
            arrived.set()

        sent = perf_counter()
        running = asyncio.create_task(receiver.run())
        await asyncio.sleep(0.2)
        for _ in range(count):
            await asyncio.sleep(0.001)
            arrived.clear()
            sent = perf_counter()
            await sender.send("consumer", CONTENT)
            await arrived.wait()
        receiver.stop()
        await running
    return latencies


async def ask(url: str, count: int) -> list[float]:
    """One question at a time, answered by what a handler in the same process returns; return each round trip."""
    trips: list[float] = []
    async with Bus(url, agent="expert") as expert, Bus(url, agent="asker") as asker:

        @expert.on()
        async def answer(message: Message) -> str:
            return CONTENT

        running = asyncio.create_task(expert.run())
        await asker.ask("expert", CONTENT)
        for _ in range(count):
            await asyncio.sleep(0.001)
            began = perf_counter()
            await asker.ask("expert", CONTENT)
            trips.append(perf_counter() - began)
        expert.stop()
        await running
    return trips
