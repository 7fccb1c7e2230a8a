"""The counts and times of a drill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from hivebus_redis.drill.evidence import Evidence
from hivebus_redis.drill.invariants.accounts import i2, innocents
from hivebus_redis.drill.invariants.handling import doubled
from hivebus_redis.drill.invariants.running import Recovery, consumer_recoveries, server_recoveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a drill counted.

    Attributes:
        acked: messages whose send returned; handled: those whose handler ended well, at least once.
        lost: accepted, and neither handled nor a dead letter; phantom: handled, and never sent like that.
        broker_duplicates: stored more than once.
        duplicated_explained, duplicated_unexplained: handled more than once, with a fault in between or without.
        dead_letters: all of them; innocents: those that do not deserve it.
        refused, unknown: messages whose send ended so at least once, and was repeated.
        consumer_recovery, server_recovery: longest times until work went on, of so many that were undisturbed.
    """

    seconds: float
    acked: int
    handled: int
    lost: int
    phantom: int
    broker_duplicates: int
    duplicated_explained: int
    duplicated_unexplained: int
    dead_letters: int
    innocents: int
    refused: int
    unknown: int
    faults: int
    faults_by_kind: Mapping[str, int]
    consumer_recovery: Mapping[str, float]
    server_recovery: Mapping[str, float]

    def facts(self) -> dict[str, Any]:
        """Return them as words of JSON."""
        return asdict(self)


_COUNTED = [field.name for field in fields(Figures) if field.type == "int"]


def figures_of(evidence: Evidence, *, seconds: float) -> Figures:
    """Return the figures of a drill that took so long."""
    explained, unexplained = doubled(evidence)
    kinds = Counter(fault.kind for fault in evidence.faults)
    return Figures(
        seconds=round(seconds, 1),
        acked=len(evidence.accepted),
        handled=len(evidence.done),
        lost=len(evidence.lost),
        phantom=len({finding.id for finding in i2(evidence)}),
        broker_duplicates=sum(count > 1 for count in evidence.remains.stored.values()),
        duplicated_explained=explained,
        duplicated_unexplained=unexplained,
        dead_letters=len(evidence.remains.dead),
        innocents=len(innocents(evidence)),
        refused=len(evidence.refused),
        unknown=len(evidence.unknown),
        faults=len(evidence.faults),
        faults_by_kind=dict(sorted(kinds.items())),
        consumer_recovery=_times(consumer_recoveries(evidence)),
        server_recovery=_times(server_recoveries(evidence)),
    )


def total(several: Sequence[Figures]) -> Figures:
    """Return the figures of several drills as those of one."""
    sums = {name: sum(getattr(each, name) for each in several) for name in _COUNTED}
    return Figures(
        **sums,
        seconds=round(sum(each.seconds for each in several), 1),
        faults_by_kind=dict(sorted(sum((Counter(each.faults_by_kind) for each in several), Counter()).items())),
        consumer_recovery=_longest([each.consumer_recovery for each in several]),
        server_recovery=_longest([each.server_recovery for each in several]),
    )


def _longest(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    known = [each for each in several if each["measured"]]
    if not known:
        return {"measured": 0}
    return {
        "measured": sum(each["measured"] for each in known),
        "first_s": max(each["first_s"] for each in known),
        "last_s": max(each["last_s"] for each in known),
    }


def _times(recoveries: Sequence[Recovery]) -> dict[str, float]:
    if not recoveries:
        return {"measured": 0}
    return {
        "measured": len(recoveries),
        "first_s": round(max(each.first for each in recoveries), 2),
        "last_s": round(max(each.last for each in recoveries), 2),
    }
