"""A worker of a drill with one protection taken away: ``saboteur.py NAME ROLE WORDS``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from hivebus.transport import Ack, Delivery
from hivebus_redis import library
from hivebus_redis.drill import worker
from hivebus_redis.reader import StreamReader

PROGRAM = Path(__file__)
TAKE_OVER = "take_over(k, dead, now)"


def change(*changes: tuple[str, str]) -> None:
    """Let this process load another text of the server-side functions."""
    text = library._text()
    for old, new in changes:
        assert old in text, f"the library must hold: {old}"
        text = text.replace(old, new)
    library._text = lambda: text


def without_known_ids() -> None:
    change(("if is_known[key] then", "if false then"))


def with_maxlen() -> None:
    change(("redis.call('XADD', stream, '*', 'i'", "redis.call('XADD', stream, 'MAXLEN', 100, '*', 'i'"))


def acks_before_handling() -> None:
    receive = StreamReader.receive

    async def careless(self: StreamReader, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        deliveries = await receive(self, limit=limit, start=start, wait=wait)
        await self.settle([Ack(each.token) for each in deliveries])
        return deliveries

    StreamReader.receive = careless
    # Or it would not begin with what it does not hold any more.
    StreamReader.holds = lambda self, token: True


def group_at_the_end() -> None:
    change(("k.group, '0', 'MKSTREAM'", "k.group, '$', 'MKSTREAM'"))


def forgets_dead_consumers() -> None:
    change((TAKE_OVER, "forget(k, dead, now)"))


def cancels_its_readers() -> None:
    change((TAKE_OVER, ""))
    poll = StreamReader._poll

    polls = count(1)

    async def impatient(self: StreamReader, *words: Any) -> Sequence[Delivery]:
        polling = asyncio.create_task(poll(self, *words))
        if next(polls) % 3:
            return await polling
        # One step: the question is on its way now, and nobody waits for the answer.
        await asyncio.sleep(0)
        polling.cancel()
        return []

    async def never(self: StreamReader) -> None: ...

    StreamReader._poll = impatient
    StreamReader._resynchronise = never


def changes_nothing() -> None: ...


def renews_whatever_it_is_asked_to() -> None:
    change(
        ("tostring(redis.call('HINCRBY', k.meta, 'epoch', 1))", "'1'"),
        ("if not kept or string.match(kept, '^%d+') ~= epoch then return 'stale' end", ""),
        ("return row[2] == consumer and 'd' or 's'", "give_to(k, level .. '/' .. entry, consumer) return 'd'"),
    )


def counts_every_delivery_as_a_crash() -> None:
    change(("add_fate(k, token, 1, 0, alone)", "add_fate(k, token, 1, 0, 1)"))


SABOTAGE: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        without_known_ids,
        with_maxlen,
        acks_before_handling,
        group_at_the_end,
        forgets_dead_consumers,
        cancels_its_readers,
        changes_nothing,
        renews_whatever_it_is_asked_to,
        counts_every_delivery_as_a_crash,
    )
}

if __name__ == "__main__":
    SABOTAGE[sys.argv.pop(1)]()
    worker.main()
