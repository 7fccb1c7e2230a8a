"""What became of the wish to take a message back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hivebus.transport import Inspectable, Located, Schedules, State

Outcome = Literal["cancelled", "handed_out", "expired", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """True when nobody will be handed the message.

    Attributes:
        outcome: ``cancelled``; ``handed_out`` when somebody works on it or has done so; ``expired`` when its
            time to live was over before; ``unknown`` when no inbox knows the id.
        recipients: the state per inbox. Of several recipients, one that was faster makes it ``handed_out``.
    """

    message_id: str
    outcome: Outcome
    recipients: Mapping[str, State] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.outcome == "cancelled"


async def cancel(
    message_id: str, inboxes: Sequence[str], *, schedules: Schedules, inspectable: Inspectable
) -> Cancellation:
    """Take a message back from each of *inboxes* where it was not handed out yet, and say what happened."""
    found: dict[str, State] = {}
    for place in await inspectable.locate([message_id], inboxes):
        found[place.inbox] = await _take_back(schedules, inspectable, place)
    return Cancellation(message_id=message_id, outcome=_outcome(set(found.values())), recipients=found)


async def _take_back(schedules: Schedules, inspectable: Inspectable, place: Located) -> State:
    if place.state not in ("scheduled", "queued"):
        return place.state
    [done] = await schedules.cancel(place.inbox, [place.message_id])
    if done:
        return "cancelled"
    # Somebody took it meanwhile, or it was handed out once and waits for its next attempt.
    now = await inspectable.locate([place.message_id], [place.inbox])
    return now[0].state if now else "unknown"


def _outcome(states: set[State]) -> Outcome:
    if not states or states == {"unknown"}:
        return "unknown"
    if states == {"cancelled"}:
        return "cancelled"
    return "expired" if states <= {"cancelled", "expired"} else "handed_out"
