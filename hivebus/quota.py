"""What a transport may offer besides what is in `hivebus.offers`: to count what each agent sends.

In a file of its own, because whoever sends one message needs none of it, and has it defined for each.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NamedTuple

from hivebus.setting_rules import QUOTA_PATTERN

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Quota(NamedTuple):
    """How much one agent may send.

    Attributes:
        rate: messages a second; burst: how many at once after a pause.
        text: as it was written.
    """

    rate: float
    burst: int
    text: str


class Spent(NamedTuple):
    """What a sender may send now.

    Attributes:
        granted: how many of those it asked for.
        wait: seconds until the next one is granted; 0 when all were.
    """

    granted: int
    wait: float


class Quotas(ABC):
    """Counts for all processes of an agent together."""

    @abstractmethod
    async def spend(self, sender: str, count: int, quota: Quota) -> Spent:
        """Take *count* messages out of the quota of an agent, or as many as are left of it."""


def quota_of(text: str) -> Quota:
    """Return the quota of the setting: ``20/s``, ``600/m``, ``20/s burst 100``."""
    match = re.fullmatch(QUOTA_PATTERN, text)
    assert match is not None, "the setting was checked"
    rate = int(match["count"]) / _SECONDS[match["unit"] or "s"]
    return Quota(rate, int(match["burst"] or max(1, int(rate))), text)
