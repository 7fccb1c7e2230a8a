"""What became of a message, as `bus.status` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hivebus.transport import Located, State

PROGRESS: Sequence[State] = (
    "dead_lettered",
    "expired",
    "cancelled",
    "retrying",
    "scheduled",
    "queued",
    "delivered",
    "acknowledged",
    "unknown",
)
"""Of several recipients, the one that needs attention first speaks for the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of one message, derived from the queues at the moment of asking.

    Attributes:
        state: scheduled, queued, delivered, retrying, acknowledged, dead_lettered, expired, cancelled,
            or unknown when no inbox knows the id (never sent, or settled longer ago than an hour).
        attempts: how often it was handed over; consumer: who has it; reason: why it is a dead letter.
        recipients: the same per inbox, for a message to several agents.
    """

    message_id: str
    state: State
    attempts: int = 0
    consumer: str | None = None
    reason: str | None = None
    recipients: Mapping[str, Located] = field(default_factory=dict)


def status_of(message_id: str, found: Sequence[Located]) -> Status:
    """Return the status that the places of one message add up to."""
    if not found:
        return Status(message_id=message_id, state="unknown")
    speaks = min(found, key=lambda place: PROGRESS.index(place.state))
    return Status(
        message_id=message_id,
        state=speaks.state,
        attempts=speaks.attempts,
        consumer=speaks.consumer,
        reason=speaks.reason,
        recipients={place.inbox: place for place in found},
    )
