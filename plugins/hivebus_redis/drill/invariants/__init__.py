"""What must hold at the end of a drill, each rule by its number; those that cannot be judged say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hivebus_redis.drill.evidence import Evidence
from hivebus_redis.drill.invariants.accounts import i1, i2, i3, i7, i11
from hivebus_redis.drill.invariants.finding import Finding as Finding
from hivebus_redis.drill.invariants.handling import i4, i5, i6
from hivebus_redis.drill.invariants.order import i8, i9, i10
from hivebus_redis.drill.invariants.running import i12, i13, i14

INVARIANTS: Mapping[str, Callable[[Evidence], list[Finding]]] = {
    "I1": i1, "I2": i2, "I3": i3, "I4": i4, "I5": i5, "I6": i6, "I7": i7,
    "I8": i8, "I9": i9, "I10": i10, "I11": i11, "I12": i12, "I13": i13, "I14": i14,
}  # fmt: skip
TITLES: Mapping[str, str] = {
    "I1": "what was accepted is handled, or is a dead letter, and nothing is left",
    "I2": "what is handled was sent, byte for byte",
    "I3": "the server holds each message once",
    "I4": "what is handled twice has a fault between the two",
    "I5": "what was acknowledged is never handed out again",
    "I6": "nobody is handed what another holds",
    "I7": "the dead letters are those that deserve it, for the right reason",
    "I8": "nothing is handed out before its time, and little of it late",
    "I9": "what is more urgent comes first",
    "I10": "messages of one sender and level come in their order",
    "I11": "status says what the books say",
    "I12": "no call hangs, and no process ends by itself",
    "I13": "what a dead consumer held comes back in time, and a server that is back is found again",
    "I14": "nothing is left behind: consumers, connections",
}
AT_MEMORY = ("I2", "I3", "I12", "I14")
"""What holds although a server that syncs once a second lost power."""


def judge(evidence: Evidence) -> list[Finding]:
    """Return every breach of every invariant that applies."""
    return [finding for name in applying(evidence) for finding in INVARIANTS[name](evidence)]


def applying(evidence: Evidence) -> Sequence[str]:
    """Return the names of the invariants that this drill promised to keep."""
    return AT_MEMORY if evidence.level == "memory" else list(INVARIANTS)
