"""Between a bus and its transport where a quota is set: what an agent sends beyond it is refused."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

from hivebus.errors import HivebusError, QuotaExceeded, Unavailable, Unknown
from hivebus.opening import Opened
from hivebus.quota import Quota, Quotas, quota_of
from hivebus.transport import Capabilities, Outgoing, Published, Publisher

_log = logging.getLogger(__name__)


def metered(opened: Opened, *, sender: str) -> Publisher:
    """Return the transport as *sender* may use it: itself without a quota."""
    if opened.quota is None:
        return opened.transport
    assert isinstance(opened.transport, Quotas), "checked when it was opened"
    return Metered(opened.transport, opened.transport, sender=sender, quota=quota_of(opened.quota))


class Metered(Publisher):
    """Asks for leave before each batch; what gets none is not written.

    Args:
        publisher: takes what is within the quota.
        quotas: counts it.
    """

    def __init__(self, publisher: Publisher, quotas: Quotas, *, sender: str, quota: Quota) -> None:
        self._publisher = publisher
        self._quotas = quotas
        self._sender = sender
        self._quota = quota
        self.abandonable = publisher.abandonable
        self.legs = publisher.legs

    async def connect(self) -> Capabilities:
        """Connect what is inside."""
        return await self._publisher.connect()

    async def close(self) -> None:
        """Close what is inside."""
        await self._publisher.close()

    def lane(self, item: Outgoing) -> Hashable:
        """Return the lane of what is inside."""
        return self._publisher.lane(item)

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Publish what is within the quota, from the front of the batch, and refuse the rest.

        What was stored before costs nothing. Otherwise a message to more than the quota allows at once would never
        reach the last of them, however often it is sent again.
        """
        granted, wait = await self._spend(len(batch))
        results: list[Published | HivebusError] = []
        while granted:
            answers = await self._publisher.publish(batch[len(results) :][:granted])
            results += answers
            granted = min(sum(map(_is_duplicate, answers)), len(batch) - len(results))
        return results + [self._refusal(wait) for _ in batch[len(results) :]]

    async def _spend(self, count: int) -> tuple[int, float]:
        try:
            return await self._quotas.spend(self._sender, count, self._quota)
        except (Unavailable, Unknown) as error:
            # Whoever counts is away: that stops nothing that can still be sent, on another road for instance.
            _log.warning("the quota cannot be counted", extra={"sender": self._sender, "error": str(error)})
            return count, 0.0

    def _refusal(self, wait: float) -> QuotaExceeded:
        return QuotaExceeded(
            f"{self._sender} has used up its quota of {self._quota.text}; nothing was written",
            cause=f"all its processes together may send {self._quota.burst} at once, and {self._quota.rate:g} a second",
            hint=f"send again in {wait:.3g} s, or raise the setting quota",
            sender=self._sender,
            limit=self._quota.text,
            retry_after=wait,
        )


def _is_duplicate(answer: Published | HivebusError) -> bool:
    return isinstance(answer, Published) and answer.state == "duplicate"
