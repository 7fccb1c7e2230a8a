"""How long a failed message waits, and when it is given up: policy, no transport."""

from __future__ import annotations

import random
from collections.abc import Callable

FACTOR = 2.0
MAX_DELAY = 3600.0
JITTER = 0.2


def retry_delay(*, failures: int, base: float, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Return the seconds before the next attempt.

    Doubles from *base* with each failure up to one hour, then spreads by 20 % either way, so that
    messages that failed together do not come back together.

    Args:
        failures: how often the message has failed, this time included.
        base: the message's ``retry_delay`` in seconds.
        uniform: a source of randomness.
    """
    # The exponent is capped, since 2.0 ** 1024 overflows.
    delay = min(MAX_DELAY, base * FACTOR ** min(failures - 1, 64))
    return delay * uniform(1 - JITTER, 1 + JITTER)


def is_exhausted(*, failures: int, max_retries: int) -> bool:
    """Tell whether a message that has failed *failures* times gets no further attempt."""
    return failures > max_retries
