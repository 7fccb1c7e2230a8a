"""Settles in batches and keeps the lease alive on what is held, for one reader."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from hivebus.batcher import Batcher
from hivebus.errors import BrokerFull, HivebusError, NotPermitted, Unavailable, Unknown
from hivebus.transport import Extend, Reader, Settled, Settlement, Start

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
LAST_ATTEMPT = 0.4
"""Seconds that an attempt gets whose time is over already."""
ANSWER_WITHIN = 10.0
"""Seconds that a caller waits to hear what became of a settlement."""
PASSING = (Unavailable, Unknown, BrokerFull, NotPermitted)
"""Errors that may be over when the same settlements are tried again; a right that was taken may be given back."""
_log = logging.getLogger(__name__)


class Settler:
    """Between whoever decides about deliveries and the reader that they came from.

    Args:
        reader: the open inbox.
        lease: seconds; everything held is extended three times as often.
        max_batch: the most settlements in one call.
        settled: is told about each batch with the server's answers; None when nobody wants to know.
        fenced: is told a token whose lease was lost to somebody else.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        lease: float,
        max_batch: int,
        settled: Callable[[Sequence[tuple[Settlement, Settled]]], None] | None,
        fenced: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._lease = lease
        self._settled = settled
        self._fenced = fenced
        self._batcher: Batcher[Settlement, Settled] = Batcher(self._flush, limit=max_batch)
        self._held: dict[str, None] = {}
        self._heart: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._attempt: asyncio.Timeout | None = None
        self._hurry = asyncio.Event()

    def start(self) -> None:
        """Begin to keep the lease alive."""
        self._heart = asyncio.create_task(self._beat())

    def hold(self, token: str) -> None:
        """Keep the lease of this delivery alive until it is settled."""
        self._held[token] = None

    @property
    def held(self) -> int:
        """How many deliveries are neither settled nor lost."""
        return len(self._held)

    def submit(self, settlement: Settlement) -> asyncio.Future[Settled]:
        """Settle; the future holds the server's answer."""
        if not isinstance(settlement, (Extend, Start)):
            self._held.pop(settlement.token, None)
        return self._batcher.submit(settlement)

    async def settle(self, settlement: Settlement) -> Settled:
        """Settle, and wait for the server's answer for a bounded time; it is tried further in the background.

        Raises:
            Unknown: no answer came so far.
        """
        answer = self.submit(settlement)
        await asyncio.wait([answer], timeout=ANSWER_WITHIN)
        if answer.done():
            return answer.result()
        raise Unknown(
            f"it is not known yet whether the message is settled: no answer within {ANSWER_WITHIN:g} s",
            cause="the server is away; it is tried again until this process ends",
            hint="be ready to see the message again",
        )

    async def confirm(self, token: str) -> bool:
        """Ask the server whether the lease still holds, and renew it; what is lost is not kept alive any more."""
        is_ours = await self._batcher.submit(Extend(token)) == "done"
        if not is_ours:
            _log.warning("lost the lease on a message before its turn", extra={"token": token})
            self._held.pop(token, None)
        return is_ours

    def put(self, settlement: Settlement) -> None:
        """Settle; the answer is told to *settled* and to nobody else."""
        self._held.pop(settlement.token, None)
        self._batcher.put(settlement)

    def give_up_after(self, seconds: float) -> None:
        """Stop trying to reach a server that is away after this time; the leases decide then."""
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._hurry.set()
        if self._attempt is not None and not self._attempt.expired():
            with contextlib.suppress(RuntimeError):  # it may have ended already
                self._attempt.reschedule(self._attempt_ends())

    async def close(self) -> None:
        """Return when everything that was submitted is settled, or given up."""
        await self._batcher.drain()
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
        await self._batcher.drain()

    async def _flush(self, batch: Sequence[Settlement]) -> Sequence[Settled | Exception]:
        pause = FIRST_PAUSE
        while True:
            try:
                # Who gives up while the server says nothing does not wait for its answer either.
                async with asyncio.timeout_at(self._attempt_ends()) as self._attempt:
                    results = await self._reader.settle(batch)
            except (HivebusError, TimeoutError) as error:
                if self._is_over() or not isinstance(error, PASSING):
                    # The leases decide: what could not be settled comes back, here or elsewhere.
                    _log.error("could not settle", extra={"count": len(batch), "error": str(error)})
                    return ["stale"] * len(batch)
                _log.warning("cannot settle, trying again", extra={"error": str(error), "seconds": pause})
                # Full jitter: consumers that lost the same server do not come back together.
                await self._pause(random.uniform(0, pause))
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            if self._settled is not None:
                self._settled(list(zip(batch, results, strict=True)))
            return results

    async def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            await asyncio.sleep(FIRST_PAUSE)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            held = list(self._held)
            answers = await asyncio.gather(*(self._batcher.submit(Extend(token)) for token in held))
            for token, answer in zip(held, answers, strict=True):
                # Not ours any more: somebody else has it, or has settled it already.
                if answer != "done" and token in self._held:
                    del self._held[token]
                    self._fenced(token)

    def _attempt_ends(self) -> float | None:
        # What is handed back at the very end gets one attempt too.
        return None if self._deadline is None else max(self._deadline, asyncio.get_running_loop().time() + LAST_ATTEMPT)

    def _is_over(self) -> bool:
        return self._deadline is not None and asyncio.get_running_loop().time() >= self._deadline
