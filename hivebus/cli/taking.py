"""Takes messages for the command line, and keeps them leased when the process has ended.

Messages are taken under a short lease, so that a command that dies on the way holds nobody up. What is
shown is kept under the long one: the server holds it for this consumer, and any later process of the
agent may settle it. A consumer name serves for what is kept together, and is never used again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivebus import registry
from hivebus.cli.app import App
from hivebus.cli.filters import Filter
from hivebus.cli.link import LOOK, Link
from hivebus.errors import InvalidMessage, Unavailable, Unknown
from hivebus.hops import HOP_LIMIT, is_too_far
from hivebus.transport import (
    DeadLetter,
    Delivery,
    Directory,
    Inbox,
    Reader,
    Retry,
    Settled,
    Settlement,
)

if TYPE_CHECKING:
    from hivebus.message import Message

CONSUMER_PREFIX = "cli-"
_OF = "."
"""Stands in no agent's name."""
TAKING_LEASE = 10.0
"""Seconds after which the server takes back what a command took and did not get to show."""
LOOK_AGAIN = 0.5
LONGEST_WAIT = 2.0
SETTLE_TRIES = 6


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery and the message in it."""

    delivery: Delivery
    message: Message


class Stop:
    """Set by a signal: whoever waits stops waiting, and nothing more is taken.

    Attributes:
        number: the first signal; None while there was none.
        event: set by the first signal; again: by the second.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.event = asyncio.Event()
        self.again = asyncio.Event()
        self._wake: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return self.event.is_set()

    def set(self, number: int) -> None:
        """Stop everything that waits."""
        if self.event.is_set():
            self.again.set()
            return
        self.number = number
        self.event.set()
        if self._wake:
            self._wake()

    def wakes(self, wake: Callable[[], None] | None) -> None:
        """Call *wake* as well when it is time to stop."""
        self._wake = wake

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until it is time to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.event.wait(), seconds)


class Taker:
    """One consumer of an inbox, for one command.

    Args:
        agent: who takes.
        inbox: the agent's own, or that of one of its pools.
        wanted: which messages; those in front of a wanted one are handed back at once.
        lease: seconds, while messages are being taken or worked on.
        stop: ends every wait.
    """

    def __init__(
        self, app: App, link: Link, agent: str, *, inbox: Inbox, wanted: Filter, lease: float, stop: Stop
    ) -> None:
        self._app = app
        self._link = link
        self._transport = link.receiving()
        self._agent = agent
        self._inbox = inbox
        self._wanted = wanted
        self._lease = lease
        self._stop = stop
        self._consumer = ""
        self._reader: Reader | None = None

    async def take(self, *, limit: int, wait: float | None) -> list[Taken]:
        """Return up to *limit* messages; wait for the first that long, or until it is time to stop for None."""
        loop = asyncio.get_running_loop()
        deadline = None if wait is None else loop.time() + wait
        taken: list[Taken] = []
        while not self._stop:
            left = LONGEST_WAIT if deadline is None else max(0.0, deadline - loop.time())
            pause = 0.0 if taken else min(left, LONGEST_WAIT)
            looked = await (self._sieve if self._wanted else self._next)(limit - len(taken), pause, taken)
            if len(taken) >= limit or (not looked and (taken or left <= 0)):
                break
        return taken

    async def keep(self, lease: float) -> None:
        """Leave what was taken with this consumer, for *lease* seconds from now, whoever asks meanwhile."""
        await self._transport.open(self._inbox, consumer=self._consumer, lease=lease)

    def retire(self) -> None:
        """Use another consumer from now on: what this one holds is settled by its id."""
        self._stop.wakes(None)
        self._reader = None

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        """Settle; asks again while the outcome is not known, since settling twice is harmless."""
        reader = await self._open()
        for tries in range(1, SETTLE_TRIES + 1):
            try:
                return await reader.settle(batch)
            except (Unavailable, Unknown):
                if tries == SETTLE_TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**tries)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Hand back at once what was taken and neither settled nor kept."""
        if self._reader is not None:
            await self._reader.close()

    async def _open(self) -> Reader:
        if self._reader is None:
            self._consumer = consumer_name(self._agent, self._inbox.name)
            if isinstance(self._transport, Directory):
                pools = [self._inbox.name[1:]] if self._inbox.name[:1] == "@" else []
                await registry.register(self._transport, self._agent, kind="command", pools=pools)
            self._reader = await self._transport.open(self._inbox, consumer=self._consumer, lease=self._lease)
            self._stop.wakes(self._reader.wake)
        return self._reader

    async def _next(self, limit: int, wait: float, taken: list[Taken]) -> bool:
        reader = await self._open()
        batch = await reader.receive(limit=limit, start=0, wait=wait)
        taken += await self._decoded(batch)
        return bool(batch)

    async def _sieve(self, limit: int, wait: float, taken: list[Taken]) -> bool:
        """Take as far as the wanted messages reach, and hand back at once what stands between them."""
        reach = await self._reach(limit)
        if not reach:
            # Nothing was taken, so nothing is held up: looking again is all there is to wait for.
            await self._stop.pause(min(wait, LOOK_AGAIN))
            return False
        reader = await self._open()
        passed: list[Taken] = []
        wanted: list[Taken] = []
        while reach > 0 and len(wanted) < limit:
            batch = await reader.receive(limit=min(reach, self._max_batch), start=0, wait=0)
            reach -= len(batch)
            for each in await self._decoded(batch):
                (wanted if len(wanted) < limit and self._wanted.wants(each.message) else passed).append(each)
            if not batch:
                break
        # In one go at the end: handed back any sooner, they would be in the way again.
        await self._hand_back(passed)
        taken += wanted
        return bool(wanted)

    async def _reach(self, limit: int) -> int:
        """Return how many waiting messages it takes to get at the first *limit* wanted ones; 0 when none waits."""
        inspectable = self._link.inspectable(to="filter what is received")
        waiting = [place for place in await inspectable.peek(self._inbox.name, limit=LOOK) if place.state == "queued"]
        reach = wanted = 0
        for number, place in enumerate(waiting, start=1):
            message = self._link.message(place.data)
            if wanted < limit and not isinstance(message, InvalidMessage) and self._wanted.wants(message):
                wanted, reach = wanted + 1, number
        return reach

    async def _hand_back(self, passed: Sequence[Taken]) -> None:
        for at in range(0, len(passed), self._max_batch):
            chunk = passed[at : at + self._max_batch]
            await self.settle([Retry(each.delivery.token, 0, counts=False) for each in chunk])

    async def _decoded(self, batch: Sequence[Delivery]) -> list[Taken]:
        good: list[Taken] = []
        for delivery in batch:
            message = self._link.message(delivery.data)
            if isinstance(message, InvalidMessage):
                await self.settle([DeadLetter(delivery.token, f"invalid:{message.why}")])
                self._app.note(f"a broken message became a dead letter: {message.what}")
            elif is_too_far(message, limit=self._app.settings.max_hops):
                await self.settle([DeadLetter(delivery.token, HOP_LIMIT)])
                self._app.note(
                    f"{message.message_id} became a dead letter ({HOP_LIMIT}): more than"
                    f" {self._app.settings.max_hops} messages led to it, each the answer to another"
                )
            else:
                good.append(Taken(delivery, message))
        return good

    @property
    def _max_batch(self) -> int:
        return int(self._link.capabilities.max_batch.value)


def consumer_name(agent: str, inbox: str) -> str:
    """Return a new name for what is taken together; in a pool it says for whom."""
    name = f"{CONSUMER_PREFIX}{os.urandom(4).hex()}"
    return name if inbox == agent else f"{name}{_OF}{agent}"


def is_ours(consumer: str | None) -> bool:
    """Tell whether a consumer is one of the command line, which any process of the agent may settle for."""
    return bool(consumer and consumer.startswith(CONSUMER_PREFIX))


def is_mine(consumer: str | None, agent: str) -> bool:
    """Tell whether it took for this agent; in the agent's own inbox every one of them did."""
    _, shared, owner = (consumer or "").partition(_OF)
    return not shared or owner == agent
