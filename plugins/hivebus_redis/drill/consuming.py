"""Consumers of a drill: they do with each message what its content says, and keep book."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import TYPE_CHECKING

from hivebus import Bus, HivebusError, Reject
from hivebus_redis.drill.ledger import Book, digest
from hivebus_redis.drill.plan import HANDLED_TYPE, Plan
from hivebus_redis.drill.watched import PREFIX, Watch

if TYPE_CHECKING:
    from hivebus import Message

POISONED = 13
"""What a process exits with that a message has killed."""
BRIEF, LENGTHY = 0.002, 0.03
AGAIN = 0.1
OUTLASTS = 1.5


class Failure(Exception):
    """What a handler raises that is told to fail."""


async def consume(plan: Plan, *, name: str, folder: str, url: str, inbox: str, concurrency: int) -> None:
    """Handle messages until SIGTERM."""
    watch = Watch(Book(folder, name))
    while True:
        with _noted(watch.book):
            async with _bus(plan, watch, url, inbox) as bus:
                await bus.run(concurrency=concurrency)
                return
        # A server that is away when it starts: whoever runs consumers for good starts them again.
        await asyncio.sleep(AGAIN)


async def restless(plan: Plan, *, name: str, folder: str, url: str, inbox: str, concurrency: int, rounds: int) -> None:
    """Start to handle messages and be cancelled, or stopped, soon after: again and again."""
    watch, random, done = Watch(Book(folder, name)), Random(f"{plan.seed}:{name}"), 0
    while done < rounds:
        with _noted(watch.book):
            async with _bus(plan, watch, url, inbox) as bus:
                while done < rounds:
                    running = asyncio.create_task(bus.run(concurrency=concurrency))
                    done += 1
                    await asyncio.sleep(random.uniform(0, 0.02))
                    await _end(bus, running, watch.book, cancelled=done % 2 == 0)
    watch.book.write("M", "-", "ended", 1)


async def _end(bus: Bus, running: asyncio.Task[None], book: Book, *, cancelled: bool) -> None:
    kind = "reader.cancelled" if cancelled else "reader.stopped"
    book.write("f", "-", kind, f"consumer:{book.who}")
    if cancelled:
        running.cancel()
    while not running.done():
        # Again and again: who is still opening its inbox has nothing yet that could be stopped.
        bus.stop(grace=0.1)
        await asyncio.wait([running], timeout=0.05)
    book.write("F", "-", kind, f"consumer:{book.who}", 0.0)
    with contextlib.suppress(asyncio.CancelledError):
        await running


@contextlib.contextmanager
def _noted(book: Book) -> Iterator[None]:
    try:
        yield
    except HivebusError as error:
        book.write("W", "-", type(error).__name__)


def _bus(plan: Plan, watch: Watch, url: str, inbox: str) -> Bus:
    bus = Bus(
        f"{PREFIX}{url}", agent=inbox, lease=plan.lease, max_crashes=plan.max_crashes, namespace="hb", plugins=[watch]
    )
    handlers = _handlers(plan, watch)

    @bus.on(HANDLED_TYPE)
    async def handle(message: Message) -> None:
        book, handed = watch.book, watch.handed[message.message_id]
        content = message.content
        book.write("D", message.message_id, handed.token, digest(content))
        handler = handlers.get(content.partition(":")[0])
        if handler is not None:
            await handler(message)
        book.write("H", message.message_id, handed.token)

    return bus


def _handlers(plan: Plan, watch: Watch) -> dict[str, Callable[[Message], Awaitable[None]]]:
    async def poison(message: Message) -> None:
        await asyncio.sleep(0.001)
        watch.book.write("f", message.message_id, "handler.poison", f"consumer:{watch.book.who}")
        os._exit(POISONED)

    async def failing(message: Message) -> None:
        raise Failure("as it is told")

    async def flaky(message: Message) -> None:
        if watch.handed[message.message_id].failures == 0:
            raise Failure("as it is told, the first time")

    async def unwanted(message: Message) -> None:
        raise Reject("unwanted")

    def lasting(seconds: float) -> Callable[[Message], Awaitable[None]]:
        async def last(message: Message) -> None:
            await asyncio.sleep(seconds)

        return last

    return {
        "poison": poison,
        "failing": failing,
        "expiring": failing,
        "flaky": flaky,
        "unwanted": unwanted,
        "brief": lasting(BRIEF),
        "lengthy": lasting(LENGTHY),
        "outlasting": lasting(OUTLASTS * plan.lease),
    }
