"""Keeps inboxes tidy while somebody consumes: expiry that nobody would notice, history that nobody needs any more.

A process that consumes tidies its own inbox every few seconds. One process per namespace, whoever claims it first,
tidies all of them once a minute, so that an inbox without any reader is not forgotten, and keeps their history
within its bytes. Every step is a small one, and steps pause between each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from hivebus import registry
from hivebus.errors import Conflict, HivebusError
from hivebus.shedding import shed_to
from hivebus.tidying import Tidied, Tidying
from hivebus.transport import Directory, Inspectable, Publisher

KIND = "housekeeping"
NAME = "all"
STEPS = 500
"""How many steps one round takes in one inbox at most; the next round goes on."""
CLOSE_WITHIN = 0.3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How tidy, and how often.

    Attributes:
        keep: seconds for which settled messages are kept.
        max_bytes: what all inboxes of the namespace may take for their messages.
        own_every: seconds between two rounds in the own inbox; all_every: in all of them. Both vary by a fifth,
            so that processes that were started together do not work together.
        pause: seconds between two steps.
    """

    keep: float
    max_bytes: int
    own_every: float = 15.0
    all_every: float = 60.0
    pause: float = 0.02


class Housekeeper:
    """One process that looks after inboxes, from `start` to `close`. A server that is away is waited for.

    Args:
        transport: where the inboxes are; nothing happens where it does not offer `Tidying`.
        inbox: its own.
        plan: how tidy, and how often.
    """

    def __init__(self, transport: Publisher, inbox: str, *, plan: Plan) -> None:
        self._transport = transport
        self._inbox = inbox
        self._plan = plan
        self._name = f"{inbox}@{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._stopping = asyncio.Event()
        self._working: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Tidy the own inbox, and all others when it is this process's turn, until `close`."""
        if isinstance(self._transport, Tidying):
            plan = self._plan
            rounds = (self._rounds(self._own, every=plan.own_every), self._rounds(self._all, every=plan.all_every))
            self._working = [asyncio.create_task(each) for each in rounds]

    async def close(self) -> None:
        """End; a call that is under way is waited for, unless the server does not answer."""
        self._stopping.set()
        if self._working:
            await asyncio.wait(self._working, timeout=CLOSE_WITHIN)
        for work in self._working:
            work.cancel()

    async def tidy(self, inbox: str) -> Tidied:
        """Tidy one inbox, step by step, and return what was done in all."""
        assert isinstance(self._transport, Tidying)
        done = Tidied(more=True)
        for _ in range(STEPS):
            if not done.more or self._stopping.is_set():
                break
            step = await self._transport.tidy(inbox, keep=self._plan.keep)
            done = Tidied(
                expired=done.expired + step.expired,
                trimmed=done.trimmed + step.trimmed,
                lost=done.lost + step.lost,
                removed=done.removed + step.removed,
                more=step.more,
            )
            if step.more:
                await self._pause(self._plan.pause)
        self._tell(inbox, done)
        return done

    async def claim(self) -> bool:
        """Return whether it is this process that looks after all inboxes, until another one has to."""
        if not isinstance(self._transport, Directory):
            return False
        kept = (await self._transport.read(KIND)).get(NAME)
        if kept is not None and kept.value.get("by") != self._name:
            return False
        ttl = self._plan.all_every * 2
        try:
            await self._transport.write(
                KIND, NAME, {"by": self._name}, expect=kept.version if kept is not None else 0, ttl=ttl
            )
        except Conflict:
            return False  # somebody else was faster
        return True

    async def _rounds(self, work: Callable[[], Awaitable[None]], *, every: float) -> None:
        await self._pause(every * random.uniform(0.2, 1.0))
        while not self._stopping.is_set():
            try:
                await work()
            except HivebusError as error:
                _log.warning("inboxes cannot be tidied, trying again", extra={"error": str(error), "seconds": every})
            await self._pause(every * random.uniform(0.8, 1.2))

    async def _own(self) -> None:
        await self.tidy(self._inbox)

    async def _all(self) -> None:
        if not isinstance(self._transport, Inspectable) or not await self.claim():
            return
        assert isinstance(self._transport, Tidying)
        # First, since what comes back from there may have expired.
        await self._transport.clear_away()
        inboxes = await self._transport.inboxes()
        for inbox in inboxes:
            if self._stopping.is_set():
                return
            await self.tidy(inbox)
        shed = await shed_to(self._transport, inboxes, max_bytes=self._plan.max_bytes, pause=self._plan.pause)
        if isinstance(self._transport, Directory):
            await registry.prune(self._transport)
        for inbox, each in shed.items():
            if each.messages:
                facts = {"inbox": inbox, "messages": each.messages, "bytes": each.bytes}
                _log.info("history was shortened, to stay within its bytes", extra=facts)

    def _tell(self, inbox: str, done: Tidied) -> None:
        if done.expired:
            _log.info("messages expired that nobody took", extra={"inbox": inbox, "messages": done.expired})
        if done.lost:
            _log.warning(
                "messages that were unread or in flight were removed from the server, and not by hivebus",
                extra={"inbox": inbox, "messages": done.lost},
            )
        elif done.removed:
            _log.warning(
                "settled messages were removed from the server, and not by hivebus",
                extra={"inbox": inbox, "messages": done.removed},
            )

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
