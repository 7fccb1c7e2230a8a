"""How many messages led to a message: each that answers another, or is sent because of it, is one hop further.

Two agents that answer each other for ever would otherwise do so until somebody notices.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivebus.message import Message

FIELD = "hops"
"""Not written while it is 0; readers that do not know it pass it on."""
HOP_LIMIT = "hop_limit"
"""The reason of a dead letter that came too far."""
# Set before each handler by the task that runs it, so it need not be set back.
_cause: ContextVar[Message | None] = ContextVar("hivebus_cause", default=None)


def handling(message: Message) -> None:
    """Note that what is sent from here on, in this task, is sent because of *message*."""
    _cause.set(message)


def hops_from_here() -> int:
    """Return the hops of a message that is sent now: one more than those of the message that is being handled."""
    cause = _cause.get()
    return 0 if cause is None else hops_of(cause) + 1


def hops_of(message: Message) -> int:
    """Return how many hops a message is away from the one that nobody caused."""
    extra: dict[str, Any] | None = message.__pydantic_extra__
    found = extra.get(FIELD) if extra else None
    # Somebody else may have written anything.
    return found if type(found) is int and found > 0 else 0


def is_too_far(message: Message, *, limit: int) -> bool:
    """Tell whether a message came further than it may; asked once for every message."""
    return bool(message.__pydantic_extra__) and hops_of(message) > limit
