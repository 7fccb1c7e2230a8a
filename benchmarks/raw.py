"""The same work in plain redis-py: no dedup, no priorities, no leases, no settlement by owner."""

from __future__ import annotations

import asyncio
from time import perf_counter, time

from redis.asyncio import Redis

UNDER_WAY = 50
"""Messages that are sent and not answered yet, here and through hivebus: see docs/decisions/0023."""
READ = 100
"""The most messages that a consumer is given at once."""
TICKS = 500
"""Bursts per second of a paced producer."""


async def produce(url: str, count: int, payload: bytes, *, rate: float | None = None) -> float:
    """XADD in pipelines of fifty, paced when *rate* (messages per second) is given; return the seconds."""
    client = Redis.from_url(url)
    began = perf_counter()
    sent = 0
    while sent < count:
        size = min(UNDER_WAY if rate is None else max(1, int(rate / TICKS)), count - sent)
        pipeline = client.pipeline(transaction=False)
        for _ in range(size):
            pipeline.xadd("raw", {"d": payload, "t": repr(time())})
        await pipeline.execute()
        sent += size
        if rate is not None:
            await asyncio.sleep(max(0.0, began + sent / rate - perf_counter()))
    await client.aclose()
    return perf_counter() - began


async def consume(url: str, count: int) -> list[float]:
    """XREADGROUP a hundred at a time, one handler call each, XACK in a pipeline; return each latency in seconds."""
    client = Redis.from_url(url, socket_timeout=None)
    latencies: list[float] = []

    async def handle(fields: dict[bytes, bytes]) -> None:
        latencies.append(time() - float(fields[b"t"]))

    while len(latencies) < count:
        read = await client.xreadgroup("main", "c", {"raw": ">"}, count=READ, block=1000)
        for _, entries in read if isinstance(read, list) else read.items():
            pipeline = client.pipeline(transaction=False)
            for entry, fields in entries:
                await handle(fields)
                pipeline.xack("raw", "main", entry)
            await pipeline.execute()
    await client.aclose()
    return latencies


async def prepare(url: str) -> None:
    """Make the stream and its group."""
    client = Redis.from_url(url)
    await client.xgroup_create("raw", "main", id="0", mkstream=True)
    await client.aclose()


async def ping(url: str, count: int, payload: bytes) -> list[float]:
    """One message at a time from XADD to a blocked XREADGROUP in the same process; return each latency."""
    writer, reader = Redis.from_url(url), Redis.from_url(url, socket_timeout=None)
    latencies: list[float] = []
    arrived = asyncio.Event()

    async def read() -> None:
        while len(latencies) < count:
            await reader.xreadgroup("main", "c", {"raw": ">"}, count=1, block=1000)
            latencies.append(perf_counter() - sent)
            arrived.set()

    sent = perf_counter()
    reading = asyncio.create_task(read())
    for _ in range(count):
        await asyncio.sleep(0.001)
        arrived.clear()
        sent = perf_counter()
        await writer.xadd("raw", {"d": payload})
        await arrived.wait()
    await reading
    await writer.aclose()
    await reader.aclose()
    return latencies
