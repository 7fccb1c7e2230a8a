"""Producers of a drill: what they are not sure of, they send again under the same id."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from time import monotonic

from hivebus import Bus, HivebusError
from hivebus.errors import Refused
from hivebus_redis.drill.ledger import Book, digest, line_of, read
from hivebus_redis.drill.plan import ORDER, Letter, Plan, level, ordered, traffic

STOP = "stop"
"""The file that tells producers to finish."""
SEND_LIMIT = 10.0
"""Seconds after which a send that got no answer says so."""
CLEARLY = 1.0
PATIENCE = 60.0
AGAIN = 0.1
SHARE_ORDERED = 0.2
"""Of the rate: a single consumer must keep up, or lateness would tell its speed and nothing else."""


async def produce(plan: Plan, *, name: str, folder: str, url: str, inbox: str, count: int | None) -> None:
    """Send until told to stop, or *count* messages; then see to it that every one of them was answered."""
    next_number, unsure = _resume(Path(folder), name)
    producer = Producer(plan, Book(folder, name), name=name, inbox=inbox)
    producer.bus = await _connected(plan, url, name)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(producer.bus)
        unsure = await producer.send(unsure)
        stop = Path(folder).parent / STOP
        while not stop.exists() and (count is None or next_number < count):
            began = monotonic()
            numbers = range(next_number, next_number + producer.at_once)
            unsure |= await producer.send({number for number in numbers if count is None or number < count})
            next_number += producer.at_once
            await asyncio.sleep(max(0.0, producer.at_once / producer.rate - (monotonic() - began)))
        deadline = monotonic() + PATIENCE
        while unsure and monotonic() < deadline:
            unsure = await producer.send(unsure)
            await asyncio.sleep(AGAIN if unsure else 0)
        producer.book.write("M", "-", "ended", 1)


async def _connected(plan: Plan, url: str, name: str) -> Bus:
    deadline = monotonic() + PATIENCE
    while True:
        try:
            return await Bus(url, agent=name, namespace="hb", durability=plan.durability).__aenter__()
        except HivebusError:
            # A server that is away when it starts: whoever runs producers for good starts them again.
            if monotonic() > deadline:
                raise
            await asyncio.sleep(AGAIN)


class Producer:
    """Sends messages by their numbers.

    Attributes:
        at_once: how many it sends together: the order of sends is judged only where each waits for the last.
        rate: messages a second.
    """

    bus: Bus

    def __init__(self, plan: Plan, book: Book, *, name: str, inbox: str) -> None:
        self.book = book
        self._plan = plan
        self._name = name
        self._make = ordered if inbox == ORDER else traffic
        self.at_once = 1 if inbox == ORDER else plan.at_once
        self.rate = plan.rate * SHARE_ORDERED if inbox == ORDER else plan.rate

    async def send(self, numbers: Collection[int]) -> set[int]:
        """Send them; return those whose outcome is not known, or that were refused."""
        numbers = sorted(numbers)
        failed: set[int] = set()
        for at in range(0, len(numbers), self.at_once):
            some = numbers[at : at + self.at_once]
            answers = await asyncio.gather(*(self._send(number) for number in some))
            failed |= {number for number, is_sure in zip(some, answers, strict=True) if not is_sure}
        return failed

    async def _send(self, number: int) -> bool:
        letter = self._make(self._plan, self._name, number)
        self.book.write_all([sending(letter)])
        began = monotonic()
        try:
            receipt = await self.bus.send(letter.inbox, letter.content, **letter.options)
        except HivebusError as error:
            self.book.write("R" if isinstance(error, Refused) else "U", letter.id, type(error).__name__)
            return False
        else:
            self.book.write("A", letter.id, receipt.state)
            return True
        finally:
            seconds = monotonic() - began
            if seconds > SEND_LIMIT + CLEARLY:
                self.book.write("C", letter.id, "send", seconds, SEND_LIMIT + CLEARLY)


def sending(letter: Letter) -> bytes:
    """Return the line that says that a send begins."""
    words = (letter.kind, letter.inbox, level(letter.priority), digest(letter.content), letter.delay)
    return line_of("T", letter.id, *words)


def _resume(folder: Path, name: str) -> tuple[int, set[int]]:
    """Return the next number of a producer that was killed, and those whose answer it never saw."""
    lines = read(folder, f"{name}.*")
    began = {_number(line.id) for line in lines if line.kind == "T"}
    sure = {_number(line.id) for line in lines if line.kind == "A"}
    return max(began, default=-1) + 1, began - sure


def _number(message_id: str) -> int:
    with contextlib.suppress(ValueError):
        return int(message_id.rpartition("-")[2])
    return -1
