"""Every promise of the transport page, a small function each."""

from __future__ import annotations

from hivebus.testing.checks import (
    concluding,
    directory,
    giving_up,
    inspecting,
    keeping,
    leases,
    listening,
    operating,
    pooling,
    publishing,
    receiving,
    settling,
)
from hivebus.testing.promises import Check


def all_checks() -> tuple[Check, ...]:
    """Return the checks in the order in which they are written down."""
    rooms = (
        publishing,
        receiving,
        settling,
        concluding,
        leases,
        pooling,
        inspecting,
        giving_up,
        operating,
        keeping,
        directory,
        listening,
    )
    return tuple(each for room in rooms for each in vars(room).values() if isinstance(each, Check))
