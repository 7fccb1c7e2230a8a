"""One function per row of the budget: each measures both sides and returns a ratio."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median, quantiles
from time import perf_counter, process_time, sleep, time
from typing import Any, NamedTuple

import redis

from benchmarks import bus, raw
from benchmarks.server import empty
from hivebus import envelope

PAYLOAD = envelope.encode(envelope.compose(from_agent="producer", to_agent="consumer", content=bus.CONTENT))
HEAD_START = 0.5


def sustained(url: str, *, count: int = 40_000) -> tuple[float, float]:
    """Return messages per second end to end, raw and hivebus, a process each for producer and consumer."""
    empty(url)
    asyncio.run(raw.prepare(url))
    slow = _pair((raw.produce, (url, count, PAYLOAD)), (raw.consume, (url, count)))
    empty(url)
    ours = _pair((bus.produce, (url, count)), (bus.consume, (url, count)))
    return count / slow.seconds, count / ours.seconds


def processor(url: str, *, count: int = 40_000) -> tuple[float, float]:
    """Return microseconds of processor per message for the same work: producer, server and consumer together."""
    empty(url)
    asyncio.run(raw.prepare(url))
    before = _used_by_server(url)
    slow = _pair((raw.produce, (url, count, PAYLOAD)), (raw.consume, (url, count))).processor
    between = _used_by_server(url)
    empty(url)
    emptied = _used_by_server(url)
    ours = _pair((bus.produce, (url, count)), (bus.consume, (url, count))).processor
    after = _used_by_server(url)
    return (slow + between - before) / count * 1e6, (ours + after - emptied) / count * 1e6


def concurrent_sends(url: str, *, count: int = 30_000) -> tuple[float, float]:
    """Return sends per second, raw pipelined XADD and fifty tasks awaiting `bus.send`."""
    empty(url)
    slow = asyncio.run(raw.produce(url, count, PAYLOAD))
    empty(url)
    ours = asyncio.run(bus.produce(url, count))
    return count / slow, count / ours


def routed_sends(url: str, *, count: int = 30_000, agents: int = 1000) -> tuple[float, float]:
    """Return microseconds per send, with no agent registered and with as many that have subscribed to patterns."""
    empty(url)
    asyncio.run(bus.produce(url, count // 10))
    plain = asyncio.run(bus.produce(url, count))
    empty(url)
    asyncio.run(bus.subscribe(url, agents))
    routed = asyncio.run(bus.produce(url, count))
    return plain / count * 1e6, routed / count * 1e6


def one_at_a_time(url: str, *, count: int = 1_000) -> tuple[float, float]:
    """Return the 95th percentile in ms from send to handler, raw and hivebus."""
    empty(url)
    asyncio.run(raw.prepare(url))
    slow = asyncio.run(raw.ping(url, count, PAYLOAD))
    empty(url)
    return percentile(slow, 95), percentile(asyncio.run(bus.ping(url, count)), 95)


def ask(url: str, *, count: int = 1_000) -> tuple[float, float]:
    """Return the 95th percentile in ms of a raw ping, one way, and of a question and its answer, there and back."""
    empty(url)
    asyncio.run(raw.prepare(url))
    slow = asyncio.run(raw.ping(url, count, PAYLOAD))
    empty(url)
    return percentile(slow, 95), percentile(asyncio.run(bus.ask(url, count)), 95)


def offered(url: str, *, rate: float, seconds: float = 3.0) -> tuple[float, float]:
    """Return the 99th percentile in ms from send to handler at a fixed rate, raw and hivebus."""
    count = int(rate * seconds)
    empty(url)
    asyncio.run(raw.prepare(url))
    slow = _pair((_paced_raw, (url, count, rate)), (raw.consume, (url, count))).latencies
    empty(url)
    ours = _pair((_paced_bus, (url, count, rate)), (bus.consume, (url, count))).latencies
    return percentile(slow, 99), percentile(ours, 99)


def processes(url: str, words: Sequence[str], *, times: int = 20) -> tuple[float, float]:
    """Return the median ms of `python3 -c pass` and of one `hivebus` process, in turns."""
    python, hivebus = sys.executable, shutil.which("hivebus", path=os.path.dirname(sys.executable)) or "hivebus"
    empty(url)
    ours = [hivebus, *words]
    _once(ours, url)
    pairs = [(_once([python, "-c", "pass"], url), _once(ours, url)) for _ in range(times)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def memory(url: str, *, count: int = 50_000) -> tuple[float, float]:
    """Return the bytes on the wire of a 200-byte message, and what the server uses for it when queued."""
    empty(url)
    asyncio.run(bus.produce(url, 100))
    client = redis.Redis.from_url(url)
    before = int(client.info("memory")["used_memory_dataset"] + client.info("memory")["used_memory_overhead"])
    asyncio.run(bus.produce(url, count))
    after = int(client.info("memory")["used_memory_dataset"] + client.info("memory")["used_memory_overhead"])
    return float(len(PAYLOAD)), (after - before) / count


def percentile(seconds: Sequence[float], nth: int) -> float:
    """Return a percentile in milliseconds."""
    return quantiles(seconds, n=100)[nth - 1] * 1000


async def _paced_raw(url: str, count: int, rate: float) -> float:
    return await raw.produce(url, count, PAYLOAD, rate=rate)


async def _paced_bus(url: str, count: int, rate: float) -> float:
    return await bus.offer(url, count, rate=rate)


Job = tuple[Callable[..., Coroutine[Any, Any, Any]], tuple[Any, ...]]


class _Pair(NamedTuple):
    """What a producer and a consumer did.

    Attributes:
        seconds: from the first send to the last handler.
        latencies: of each message, in seconds.
        processor: seconds that both of them used.
    """

    seconds: float
    latencies: list[float]
    processor: float


def _pair(producer: Job, consumer: Job) -> _Pair:
    """Run both in processes of their own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        # Both interpreters are up before the clock starts.
        list(pool.map(_warm, range(2)))
        consuming = pool.submit(_run, *consumer)
        sleep(HEAD_START)
        producing = pool.submit(_run, *producer)
        consumed_at, latencies, used_there = consuming.result()
        produced_at, seconds, used_here = producing.result()
    # A producer's clock starts when it is connected, so its end less its seconds is the first send.
    return _Pair(consumed_at - (produced_at - seconds), latencies, used_here + used_there)


def _warm(number: int) -> int:
    """Import what both sides need: importing is no part of moving messages."""
    from hivebus import Bus, Message

    assert Bus and Message
    sleep(0.2)
    return number


def _run(function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> tuple[float, Any, float]:
    """Return the time of the end, the result, and the seconds of processor that it took."""
    before = process_time()
    result = asyncio.run(function(*args))
    return time(), result, process_time() - before


def _used_by_server(url: str) -> float:
    with redis.Redis.from_url(url) as client:
        facts = client.info("cpu")
    return float(facts["used_cpu_user"] + facts["used_cpu_sys"])


def _once(words: Sequence[str], url: str) -> float:
    environment = {**os.environ, "HIVEBUS_URL": url, "HIVEBUS_AGENT": "producer"}
    began = perf_counter()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (perf_counter() - began) * 1000
