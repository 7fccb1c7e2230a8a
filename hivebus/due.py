"""When a message for later is queued: an absolute time as the delay that a transport understands."""

from __future__ import annotations

from datetime import datetime
from time import time

from hivebus import limits
from hivebus.errors import InvalidMessage


def check_at(value: object, *, delay: float = 0) -> float:
    """Return an absolute time in seconds since the epoch, or raise `InvalidMessage`.

    Args:
        value: a datetime that knows its time zone; without one it is another moment on another machine.
        delay: the relative time that was asked for as well; only one of the two can be meant.
    """
    if not isinstance(value, datetime):
        raise InvalidMessage(field="at", value=value, rule="must be a datetime with a time zone")
    if value.utcoffset() is None:
        raise InvalidMessage(
            field="at",
            value=value.isoformat(),
            rule="must have a time zone, such as datetime(2026, 11, 23, 12, 0, tzinfo=UTC) or 2026-11-23T12:00:00Z",
        )
    if delay != 0:
        raise InvalidMessage(field="at", value=value.isoformat(), rule=f"cannot be given together with delay = {delay}")
    return value.timestamp()


def delay_until(at: float, *, now: float | None) -> float:
    """Return the seconds until *at*; what is past is now.

    Args:
        at: seconds since the epoch.
        now: the server's time; None takes the clock of this machine.
    """
    delay = max(0.0, at - (_this_machine() if now is None else now))
    if delay > limits.MAX_DELAY:
        raise InvalidMessage(
            field="at", value=f"in {delay / 86_400:.0f} days", rule=f"must be within {limits.MAX_DELAY // 86_400} days"
        )
    return delay


def _this_machine() -> float:
    return time()
