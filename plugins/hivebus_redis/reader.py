"""One consumer of one inbox: polls by a server-side function, sleeps on a plain blocking read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from hivebus.errors import HivebusError
from hivebus.transport import NOTHING_WAITS, DeadLetter, Delivery, Inbox, Reader, Retry, Settled, Settlement
from hivebus_redis import alarms
from hivebus_redis.bell import LONGEST_SLEEP, Bell
from hivebus_redis.bulk import Bulk
from hivebus_redis.connection import Channel, Server
from hivebus_redis.continuity import Continuity
from hivebus_redis.errors import while_away
from hivebus_redis.horizon import Horizon
from hivebus_redis.layout import Layout
from hivebus_redis.long_poll import LongPoll
from hivebus_redis.polls import Answer, Polls
from hivebus_redis.settling import STALE, Request, bare

T = TypeVar("T")
CLOSE_TIMEOUT = 2.0
"""Seconds that handing back may take."""


class StreamReader(Reader):
    """Takes deliveries and settles them, as one consumer.

    An idle reader polls long. Who only looks, or has not started all that it holds, listens to a bell instead, which
    takes nothing, and asks when that has rung.
    """

    def __init__(
        self,
        server: Server,
        layout: Layout,
        inbox: Inbox,
        *,
        consumer: str,
        lease: float,
        continuity: Continuity | None = None,
    ) -> None:
        self._server = server
        self._continuity = continuity
        self._layout = layout
        self._inbox = inbox
        self._consumer = consumer
        self._lease = lease
        self._keys = (layout.meta(inbox.name),)
        self._epoch = ""
        self._held: set[str] = set()
        self._started: set[str] = set()
        self._sure_until = 0.0
        self._lost_reply = False
        self._draining = False
        self._closed = False
        self._woken = False
        self._horizon: Horizon | None = None
        self._last_horizon: Horizon | None = None
        self._alarm = asyncio.Event()
        self._receiving = server.channel()
        self._bulk = Bulk(server, self._receiving, layout, inbox, consumer=consumer)
        self._settling = server.channel()
        facts = (inbox.group, consumer, self._milliseconds())
        self._long = LongPoll(self._receiving, streams=layout.listening(inbox.name), rings=self._alarm.set)
        self._polls = Polls(server, self._receiving, keys=self._keys, facts=facts, long=self._long)
        self._bell = Bell(server, layout, inbox, rings=self._alarm.set)

    async def start(self) -> None:
        """Register the consumer, or go on with its registration."""
        self._epoch = await while_away(self._register, where=self._server.where)

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        """Return deliveries, sleeping until there are any, `wake` is called or *wait* is over."""
        try:
            return await self._until_found(lambda: self._take(limit, start), wait, wanted=(limit, start))
        finally:
            self._give_up_poll()

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        """Return what waits, sleeping likewise, and take nothing."""
        return await self._until_found(lambda: self._look(limit), wait) or NOTHING_WAITS

    async def _until_found(
        self, poll: Callable[[], Awaitable[list[T]]], wait: float, *, wanted: tuple[int, int] | None = None
    ) -> list[T]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not self._closed:
            self._alarm.clear()
            if not self._long.is_answered:
                await self._resynchronise()
                if self._continuity is not None and self._continuity.is_due:
                    await self._continuity.look()
            if self._horizon is None or wait <= 0:
                found = await poll()
                if found:
                    return found
            left = deadline - loop.time()
            if self._woken or (left <= 0 and not self._lost_reply):
                break
            await self._sleep(min(left, self._lease / 3, LONGEST_SLEEP), wanted)
            if self._woken and not self._long.is_answered:
                break
        self._woken = False
        return []

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        """Settle a batch in one call; the server decides by owner and epoch."""
        request = Request(batch, epoch=self._epoch, held=self._held, layout=self._layout)
        if request.args:
            asked_at = monotonic()
            reply = await self._server.call(
                "settle",
                (*self._keys, *request.keys),
                (self._inbox.group, self._consumer, self._epoch, self._milliseconds(), *request.args),
                channel=self._settling,
            )
            request.answered(reply)
            if reply != STALE:
                self._renewed(asked_at)
        for index, late in request.left_behind():
            answer = await self._server.call(
                "conclude", (*self._keys, *late.keys), (self._inbox.group, *late.args), channel=self._settling
            )
            request.results[index] = "done" if answer == b"d" else "gone"
        self._held -= request.released
        self._started -= request.released
        self._started |= request.started
        if self._draining and not self._started:
            self._alarm.set()
        return request.results

    def holds(self, token: str) -> bool:
        """Tell whether it is this consumer's, and less than a lease has gone by since the server last heard of it."""
        return token in self._held and monotonic() < self._sure_until

    def wake(self) -> None:
        """Make a waiting `receive` return."""
        self._woken = True
        self._alarm.set()

    async def close(self) -> None:
        """Hand back what was not started, and stop listening."""
        if self._closed:
            return
        self._closed = True
        self._give_up_poll()
        self._alarm.set()
        await self._bell.close()
        with suppress(HivebusError, TimeoutError):
            # A server that is away takes it back by itself when the lease is over.
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._resynchronise()
                await self._server.call("close", self._keys, (self._inbox.group, self._consumer, self._epoch))
        for channel in (self._receiving, self._settling):
            await self._server.forget(channel)

    async def _take(self, limit: int, start: int) -> list[Delivery]:
        if self._goes_the_short_way(limit, start):
            deliveries = await self._take_many(limit)
            if deliveries:
                return deliveries
        return await self._poll(limit, start)

    def _goes_the_short_way(self, limit: int, start: int) -> bool:
        # What is not started at once is noted by the server, which only the long way does.
        return self._bulk.is_worth_it and start >= limit

    async def _take_many(self, limit: int) -> list[Delivery]:
        asked_at = monotonic()
        try:
            number = self._polls.next_number()
            taken = await self._bulk.take(limit, epoch=self._epoch, lease_ms=self._milliseconds(), number=number)
        except HivebusError:
            self._lost_reply = True
            if self._receiving.wire is None:
                raise
            # The server said no: the long way meets what is wrong, and mends it or says so.
            await self._resynchronise()
            return []
        except BaseException:
            self._lost_reply = True
            raise
        if taken is None:
            return []
        self._renewed(asked_at)
        self._hold([*taken.deliveries, *taken.expired], limit)
        if taken.expired:
            await self._give_up(taken.expired, beside=taken.deliveries)
        self._listen_behind(taken.deliveries, limit)
        return taken.deliveries

    async def _give_up(self, expired: Sequence[Delivery], *, beside: Sequence[Delivery]) -> None:
        try:
            await self.settle([DeadLetter(delivery.token, "expired") for delivery in expired])
        except BaseException:
            # Nobody gets to know of those that were taken with them, so they are handed back.
            tokens = {delivery.token for delivery in (*expired, *beside)}
            self._held -= tokens
            self._started -= tokens
            self._lost_reply = True
            raise

    async def _poll(self, limit: int, start: int) -> list[Delivery]:
        try:
            answer = await self._ask("receive", limit, start)
        except BaseException:
            # The reply may have carried messages: ask for them before anything else.
            self._lost_reply = True
            raise
        if answer is None:
            return []
        if answer.kind == b"healed":
            alarms.stream_was_gone(self._server.where, inbox=self._inbox.name, held=len(self._held))
            # What is in the new stream is there for the next poll, so do not sleep.
            self._alarm.set()
        elif answer.kind not in (b"deliveries", b"plain"):
            return []
        deliveries = answer.deliveries()
        if not deliveries:
            return []
        self._hold(deliveries, start)
        self._bulk.learn(deliveries, plain=answer.kind == b"plain")
        self._listen_behind(deliveries, limit)
        return deliveries

    def _listen_behind(self, deliveries: Sequence[Delivery], limit: int) -> None:
        if deliveries and len(deliveries) < limit and self._last_horizon is not None and not deliveries[0].alone:
            # The streams are read to their ends: listen behind what came, instead of asking once more.
            self._last_horizon.move_behind(deliveries)
            self._horizon = self._last_horizon

    async def _look(self, limit: int) -> list[int]:
        answer = await self._ask("look", limit, 0)
        return [int(count) for count in answer.rest] if answer and answer.kind == b"waiting" else []

    async def _ask(self, function: str, limit: int, start: int) -> Answer | None:
        answer = await self._polls.ask(function, limit, start, len(self._started))
        if answer is None:
            # The next one comes at once, behind the question what it carried.
            self._lost_reply = True
            self._alarm.set()
            return None
        self._note_epoch(answer.epoch)
        self._renewed(answer.asked_at)
        # A suspect message waits until nothing else runs here; `settle` rings when that is so.
        self._draining = answer.kind == b"drain"
        if self._draining and not self._started:
            self._alarm.set()  # it was settled while the answer was on its way
        if answer.kind == b"idle":
            self._horizon = Horizon(answer.rest, due_at=asyncio.get_running_loop().time() + answer.due)
            self._last_horizon = self._horizon
        return answer

    async def _register(self, channel: Channel | None = None) -> str:
        """Return the present epoch; what is held stays held as long as that is the one that was known."""
        reply = await self._server.call(
            "open",
            (*self._keys, self._layout.index()),
            (self._inbox.name, self._inbox.group, self._consumer, self._milliseconds(), self._inbox.policy or ""),
            channel=channel,
        )
        epoch: str = reply.decode()
        return epoch

    def _renewed(self, asked_at: float) -> None:
        # The server renewed the lease when it was asked, or later; how long its answer took is unknown.
        self._sure_until = max(self._sure_until, asked_at + self._lease)

    def _note_epoch(self, epoch: str) -> None:
        if epoch != self._epoch:
            # The lease was lost meanwhile: all that this consumer held is somebody else's now.
            self._epoch = epoch
            self._held.clear()
            self._started.clear()

    def _hold(self, deliveries: Sequence[Delivery], start: int) -> None:
        tokens = [delivery.token for delivery in deliveries]
        self._held.update(tokens)
        self._started.update(tokens[:start])

    async def _resynchronise(self) -> None:
        """Give back what the server handed over in a reply that never arrived."""
        if not self._lost_reply:
            return
        # Behind a poll that was given up there: its answer may have told of a new epoch, and what came with it can be
        # given back under no other.
        self._note_epoch(await self._register(self._receiving))
        known = {bare(token) for token in self._held}
        words = (self._inbox.group, self._consumer, self._polls.number)
        tokens = await self._server.call("held", self._keys, words, channel=self._receiving)
        lost = [token.decode() for token in tokens if token.decode() not in known]
        for at in range(0, len(lost), 500):
            await self.settle([Retry(f"{token}/{self._epoch}/", 0, counts=False) for token in lost[at : at + 500]])
        # Not before: a line that breaks once more would leave them to a consumer that does not know of them.
        self._lost_reply = False

    async def _sleep(self, seconds: float, wanted: tuple[int, int] | None) -> None:
        """Sleep until something may have changed; *wanted* is what to ask for as soon as it has."""
        loop = asyncio.get_running_loop()
        if self._horizon is not None:
            seconds = min(seconds, max(0.0, self._horizon.due_at - loop.time()))
            if wanted is not None and self._begin_long_poll(self._horizon.ids, seconds, *wanted):
                self._horizon = None
                await self._until_answered()
                return
            self._bell.listen(self._horizon.ids)
        timer = loop.call_later(seconds, self._alarm.set)
        try:
            await self._alarm.wait()
        finally:
            timer.cancel()
            self._horizon = None

    async def _until_answered(self) -> None:
        # A bell that still listens may ring before the answer is there.
        while not (self._long.is_answered or self._woken or self._closed):
            self._alarm.clear()
            await self._alarm.wait()

    def _begin_long_poll(self, ids: Sequence[bytes], seconds: float, limit: int, start: int) -> bool:
        # It would not know of what starts meanwhile, and a suspect could be handed out beside that.
        has_started_all = len(self._started) == len(self._held)
        if self._long.is_refused or not has_started_all or self._goes_the_short_way(limit, start):
            return False
        return self._polls.begin(ids, seconds=seconds, limit=limit, start=start, running=len(self._started))

    def _give_up_poll(self) -> None:
        # Its answer may carry messages: ask for them before anything else.
        self._lost_reply = self._long.give_up() or self._lost_reply

    def _milliseconds(self) -> int:
        return int(self._lease * 1000)
