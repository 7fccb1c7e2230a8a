"""A message in hand, from `bus.consume`: data, and the five things that can become of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hivebus.errors import one_line
from hivebus.retry import retry_delay
from hivebus.transport import Ack, DeadLetter, Delivery, Extend, Retry, Settled

if TYPE_CHECKING:
    from hivebus.message import Message
    from hivebus.settler import Settler


class Handed:
    """One delivery. While it is held, its lease is kept alive; when this process dies, it comes back.

    A message that was sent with ``require_ack=False`` is settled already: whatever is said about it is ``gone``.

    Attributes:
        message: the message.
        attempt: 1 when it was never handed out before.
    """

    def __init__(self, message: Message, delivery: Delivery, settler: Settler) -> None:
        self.message = message
        self.attempt = delivery.attempt
        self._delivery = delivery
        self._settler = settler

    def was_handed_over(self) -> None:
        """Settle it now if its sender wanted no ack."""
        if not self.message.delivery_options.require_ack:
            self._settler.put(Ack(self._delivery.token))

    @property
    def token(self) -> str:
        """What settles it."""
        return self._delivery.token

    async def ack(self) -> Settled:
        """It is handled: never hand it out again. Returns done, stale (lease lost) or gone (settled before)."""
        return await self._settler.settle(Ack(self._delivery.token))

    async def retry(self, *, delay: float | None = None) -> Settled:
        """It failed: hand it out again after *delay* seconds, by the message's own back-off when None."""
        if delay is None:
            failures = self._delivery.failures + 1
            delay = retry_delay(failures=failures, base=self.message.delivery_options.retry_delay)
        return await self._settler.settle(Retry(self._delivery.token, delay))

    async def reject(self, reason: str) -> Settled:
        """Never hand it out again: it becomes a dead letter with this reason."""
        return await self._settler.settle(DeadLetter(self._delivery.token, one_line(reason)))

    async def extend(self) -> Settled:
        """Renew the lease now; it is done in the background anyway while the event loop runs."""
        return await self._settler.settle(Extend(self._delivery.token))
