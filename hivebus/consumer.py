"""Receive, decode, handle, settle: the only place that settles what handlers were given.

The server is told that messages started in the same call that hands them over, so no handler ever
runs behind its back. How far ahead of the handlers that happens follows their pace: with slow handlers
nothing is taken that does not run at once, with fast ones a batch is taken per round trip.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from hivebus.errors import HivebusError
from hivebus.handling import Handling
from hivebus.pace import Pace
from hivebus.settler import FIRST_PAUSE, LONGEST_PAUSE, Settler
from hivebus.transport import Ack, DeadLetter, Delivery, Reader, Retry, Settled, Settlement

if TYPE_CHECKING:
    from hivebus.message import Message

WAIT = 5.0
TURN = 0.002
"""Seconds for which a worker handles messages whose handlers do not suspend, before it lets others run."""
CRASH_LOOP = "crash_loop"
FENCED = "hivebus: the lease on this message is lost, and somebody else may be handling it"
"""What a handler is told that is cancelled for it: the argument of its `CancelledError`."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a consumer works.

    Attributes:
        concurrency: how many handlers run at once.
        lease: seconds without a sign of life after which the server takes everything back.
        max_crashes: how often a message may take its process down before it is a dead letter.
        max_batch: the most settlements in one call.
    """

    concurrency: int
    lease: float
    max_crashes: int
    max_batch: int


class Work(NamedTuple):
    """One delivery and the message in it."""

    delivery: Delivery
    message: Message


class Consumer:
    """Feeds one inbox to a handler until it is stopped.

    Args:
        reader: the open inbox.
        handling: turns each delivery into a settlement.
        delivered: is told about each batch before its handlers run; None when nobody wants to know.
        settled: is told about each batch of settlements with the server's answers; None likewise.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        handling: Handling,
        policy: Policy,
        delivered: Callable[[Sequence[Work]], None] | None,
        settled: Callable[[Sequence[tuple[Settlement, Settled]]], None] | None,
    ) -> None:
        self._reader = reader
        self._handling = handling
        self._policy = policy
        self._delivered = delivered
        self._pace = Pace(concurrency=policy.concurrency)
        self._settler = Settler(
            reader, lease=policy.lease, max_batch=policy.max_batch, settled=settled, fenced=self._fence
        )
        self._levels: tuple[deque[Delivery], ...] = tuple(deque() for _ in range(6))
        self._from_the_top = self._levels[:0:-1]
        self._decoded: dict[str, Message] = {}
        self._queued = 0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._waking = False
        self._alone = False
        self._room = asyncio.Event()
        self._stopping = False
        self._give_up_at: float | None = None

    async def run(self) -> None:
        """Work until `stop`; then return when no handler runs any more and all is settled."""
        for _ in range(self._policy.concurrency):
            self._add_worker()
        self._settler.start()
        try:
            await self._fetch()
        finally:
            self._dismiss()
            await self._until_idle()

    def stop(self, *, grace: float) -> None:
        """Stop reading. Handlers have *grace* seconds to finish; then they are cancelled and handed back."""
        self._stopping = True
        self._room.set()
        self._reader.wake()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + grace
        if self._give_up_at is None or give_up_at < self._give_up_at:
            self._give_up_at = give_up_at
            self._settler.give_up_after(grace)
            loop.call_later(grace, self._cancel_running)

    # --- reading -----------------------------------------------------------------------------

    async def _fetch(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping:
            window = self._pace.window()
            room = window - self._queued - len(self._running)
            # Half a window at a time: the server gathers the next half while handlers run on this one.
            if room <= 0 or self._alone or (self._queued and room < window // 2):
                self._room.clear()
                await self._room.wait()
                continue
            try:
                deliveries = await self._reader.receive(limit=room, start=room, wait=WAIT)
            except HivebusError as error:
                _log.warning("the inbox cannot be read, trying again", extra={"error": str(error), "seconds": pause})
                # Full jitter: consumers that lost the same server do not come back together.
                await self._pause(random.uniform(0, pause))
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            pause = FIRST_PAUSE
            self._take(deliveries)
            # A handler runs before it is asked for more.
            await asyncio.sleep(0)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.crashes >= self._policy.max_crashes:
                self._give_up(delivery, CRASH_LOOP)
                continue
            self._alone = self._alone or delivery.alone
            self._settler.hold(delivery.token)
            self._levels[delivery.priority].append(delivery)
            self._queued += 1
        if self._delivered is not None:
            self._tell(deliveries)
        self._wake_worker()

    def _tell(self, deliveries: Sequence[Delivery]) -> None:
        works = []
        for delivery in deliveries:
            if delivery.crashes >= self._policy.max_crashes:
                continue
            message = self._handling.decode(delivery)
            # What cannot be read is looked at once more when its turn comes, and given up then.
            if not isinstance(message, DeadLetter):
                works.append(Work(delivery, message))
        self._decoded.update((work.delivery.token, work.message) for work in works)
        if works and self._delivered is not None:
            self._delivered(works)

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        _log.warning("a message became a dead letter", extra={"token": delivery.token, "reason": reason})
        self._settler.put(DeadLetter(delivery.token, reason))

    async def _pause(self, seconds: float) -> None:
        self._room.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._room.set)
        await self._room.wait()
        timer.cancel()

    # --- handling ----------------------------------------------------------------------------

    def _add_worker(self) -> None:
        worker = asyncio.create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()):
            _log.critical("a worker failed", exc_info=error)
        if not self._stopping:
            self._add_worker()

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        # One task for many messages: a handler that does not suspend costs no task of its own.
        turn_ends = 0.0
        while True:
            while not self._queued:
                if self._stopping:
                    return
                await self._until_woken()
                turn_ends = monotonic() + TURN
            delivery = self._next()
            # The next worker is woken by the one before it, so that handlers that do not suspend wake one only.
            if self._queued and not self._waking:
                self._wake_worker()
            await self._handle_one(delivery, task)
            if monotonic() >= turn_ends:
                # Handlers that never suspend would keep everything else waiting: reading, settling, sending.
                await asyncio.sleep(0)
                turn_ends = monotonic() + TURN

    def _next(self) -> Delivery:
        self._queued -= 1
        for level in self._from_the_top:
            if level:
                return level.popleft()
        raise AssertionError("the count of queued messages is wrong")

    async def _handle_one(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        token = delivery.token
        self._running[token] = task
        settlement: Settlement | None = None
        is_known = False
        try:
            # Only now: a batch of decoded messages that wait would be moved around by the garbage collector.
            message = self._decoded.pop(token, None) or self._handling.decode(delivery)
            if isinstance(message, DeadLetter):
                settlement = message
            elif not self._reader.holds(token) and not await self._settler.confirm(token):
                settlement = None  # somebody else decides about it
            elif message.delivery_options.require_ack:
                settlement = await self._handling.handle(delivery, message, task)
            else:
                # Handed over is settled: nobody asked to know more, and a crash from here on costs it.
                self._settler.put(Ack(token))
                await self._handling.handle_unacknowledged(message, task)
            is_known = True
        finally:
            del self._running[token]
            self._pace.handled()
            self._room.set()
            self._settle(delivery, settlement if is_known else Retry(token, 0, counts=False))

    def _settle(self, delivery: Delivery, settlement: Settlement | None) -> None:
        if settlement is None:
            self._alone = self._alone and not delivery.alone
        elif delivery.alone:
            self._settler.submit(settlement).add_done_callback(self._end_alone)
        else:
            self._settler.put(settlement)

    def _end_alone(self, answer: asyncio.Future[Settled]) -> None:
        self._alone = False
        self._room.set()

    def _wake_worker(self) -> None:
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                self._waking = True
                waiting.set_result(None)
                return

    async def _until_woken(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        try:
            await waiting
        finally:
            self._waking = False

    # --- stopping ----------------------------------------------------------------------------

    def _fence(self, token: str) -> None:
        """Somebody else has the message now: stop working on it."""
        _log.warning("lost the lease on a message", extra={"token": token})
        self._decoded.pop(token, None)
        if token in self._running:
            self._running[token].cancel(FENCED)
        for level in self._levels:
            for delivery in [each for each in level if each.token == token]:
                level.remove(delivery)
                self._queued -= 1
                self._alone = self._alone and not delivery.alone
        self._room.set()

    def _dismiss(self) -> None:
        """Hand back what no handler has seen, and let idle workers go."""
        self._stopping = True
        for level in self._levels:
            for delivery in level:
                self._settler.put(Retry(delivery.token, 0, counts=False))
            level.clear()
        self._queued = 0
        while self._idle:
            self._wake_worker()

    async def _until_idle(self) -> None:
        while self._workers:
            await asyncio.wait(self._workers)
        await self._settler.close()

    def _cancel_running(self) -> None:
        for worker in list(self._running.values()):
            worker.cancel()
