"""Turns what moved into facts for observers, and nothing at all when nobody observes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hivebus.errors import HivebusError
from hivebus.facts import Delivered, Sent, SettledFact
from hivebus.plugins import Plugins
from hivebus.transport import Ack, DeadLetter, Outgoing, Published, Retry, Settled, Settlement

if TYPE_CHECKING:
    from hivebus.consumer import Work

_VERBS: dict[type, str] = {Ack: "ack", Retry: "retry", DeadLetter: "dead"}


class Observing:
    """The observers of one bus.

    Attributes:
        inbox_of: tells by the token of a delivery which inbox it came from, where several are read.
    """

    def __init__(self, plugins: Plugins, *, inbox: str) -> None:
        self._plugins = plugins
        self.inbox_of: Callable[[str], str] = lambda token: inbox
        self.sees_sent = plugins.observes("messages_sent")
        self.sees_received = plugins.observes("messages_delivered") or plugins.observes("messages_settled")
        self._sees_delivered = plugins.observes("messages_delivered")
        self._sees_settled = plugins.observes("messages_settled")
        self._ids: dict[str, str] = {}

    def sent(self, batch: Sequence[Outgoing], results: Sequence[Published | HivebusError], seconds: float) -> None:
        """Tell that a transport answered for a batch."""
        facts = [
            Sent(
                item.message_id,
                item.inbox,
                item.routing_key.split(".", 2)[2],
                item.priority,
                len(item.data),
                result.state if isinstance(result, Published) else type(result).__name__,
                seconds,
            )
            for item, result in zip(batch, results, strict=True)
        ]
        self._plugins.observe("messages_sent", facts)

    def delivered(self, works: Sequence[Work]) -> None:
        """Tell that messages were handed over."""
        if self._sees_settled:
            self._ids.update((work.delivery.token, work.message.message_id) for work in works)
        if not self._sees_delivered:
            return
        facts = [
            Delivered(
                work.message.message_id,
                self.inbox_of(work.delivery.token),
                work.message.message_type,
                work.message.from_agent,
                work.delivery.attempt,
                work.delivery.failures,
                work.delivery.crashes,
            )
            for work in works
        ]
        self._plugins.observe("messages_delivered", facts)

    def settled(self, batch: Sequence[tuple[Settlement, Settled]]) -> None:
        """Tell what the server answered to settlements."""
        if not self._sees_settled:
            return
        facts = [
            SettledFact(
                self._ids.pop(settlement.token, ""),
                self.inbox_of(settlement.token),
                _VERBS[type(settlement)],
                outcome,
                settlement.reason if isinstance(settlement, DeadLetter) else None,
            )
            for settlement, outcome in batch
            if type(settlement) in _VERBS
        ]
        if facts:
            self._plugins.observe("messages_settled", facts)
