"""What handlers returned that shall do their work once: kept with the ack, found by a redelivery."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hivebus import limits
from hivebus.transport import Inspectable

if TYPE_CHECKING:
    from hivebus.message import Message


class Outcomes:
    """The outcomes of the inboxes that are read together.

    Args:
        inspectable: knows what is kept.
        inboxes: where these messages are.
        applies_to: tells which messages go to such a handler.
        limit: the most bytes that an outcome may have.
    """

    def __init__(
        self, inspectable: Inspectable, *, inboxes: Sequence[str], applies_to: Callable[[Message], bool], limit: int
    ) -> None:
        self._inspectable = inspectable
        self._inboxes = inboxes
        self._limit = limit
        self.applies_to = applies_to

    async def find(self, message: Message) -> bytes | None:
        """Return what was kept with an earlier ack of this message; None when it was never acked."""
        found = await self._inspectable.locate([message.message_id], self._inboxes)
        return next((each.outcome for each in found if each.outcome is not None), None)

    def encode(self, result: Any) -> bytes:
        """Return what a handler returned as it is kept, or raise `InvalidMessage` when JSON cannot hold it."""
        checked = limits.check_json(result, field="outcome")
        return limits.check_encoded(json.dumps(checked, separators=(",", ":")).encode(), limit=self._limit)

    def decode(self, kept: bytes) -> Any:
        """Return what the handler returned."""
        return json.loads(kept)
