"""What a fault must change in the comparison, and what it must leave alone."""

from __future__ import annotations

from typing import Any

from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.records import Records
from hivebus_migration.tally import Tally

from .scenes import DEV, FAULTS, LEGS, NOW, QA, VICTIMS, Fault, Scene

COLUMNS = (
    "sent", "pending", "claimed", "proven", "corrupted", "lost", "unknown", "unproven_claims", "duplicated",
    "misdelivered", "reordered", "other_clocks", "clock_errors",
)  # fmt: skip


def columns(row: Tally) -> dict[str, Any]:
    """Return every number of a row but the times."""
    return {name: getattr(row, name) for name in COLUMNS}


def perfect(count: int) -> dict[str, Any]:
    """Return the row of a leg that delivered everything."""
    return dict.fromkeys(COLUMNS, 0) | {"sent": count, "claimed": count, "proven": count}


def judged(scene: Scene, **options: Any) -> Comparison:
    return compare(scene.records(), now=NOW, **options)


def other(leg: str) -> str:
    return LEGS[1 - LEGS.index(leg)]


def check_fault(records: Records, fault: Fault, leg: str) -> None:
    """Check that a fault in a leg shows there, in the columns that it is about, and nowhere else."""
    expected = perfect(DEV)
    for column, each in FAULTS[fault].items():
        if column != "reason":
            expected[column] += each * len(VICTIMS)
    reasons = {FAULTS[fault]["reason"]: len(VICTIMS)} if "reason" in FAULTS[fault] else {}

    found = compare(records, now=NOW)

    dev, qa = found.agents["dev"], found.agents["qa"]
    assert columns(dev.legs[leg].tally) == expected
    assert dev.legs[leg].tally.reasons == reasons
    assert columns(dev.legs[other(leg)].tally) == perfect(DEV)
    assert [columns(qa.legs[each].tally) for each in LEGS] == [perfect(QA), perfect(QA)]
    failed = DEV - expected["proven"]
    assert dev.paired.only == {leg: 0, other(leg): failed}
    assert (dev.paired.both, dev.paired.neither) == (DEV - failed, 0)
    assert columns(found.legs[leg].tally) == {name: expected[name] + perfect(QA)[name] for name in COLUMNS}
    assert found.strangers == 0
