"""The report on a ledger: what is compared, of which window, and as seen from which machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.discrepancies import Discrepancy, find_discrepancies
from hivebus_migration.facts import Moment
from hivebus_migration.records import read_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What all renderings are made from.

    Attributes:
        ledger: the file; host: the machine that it was read on.
        since, until: the window, in nanoseconds of the wall clock.
        deadline: seconds after which an unproven message is settled.
        agent: the only one that is reported on, if there is one.
        discrepancies: the worst first.
    """

    comparison: Comparison
    discrepancies: list[Discrepancy]
    ledger: Path
    host: str
    since: int
    until: int
    deadline: float
    agent: str | None = None


def make_report(ledger: Path, *, since: float, deadline: float, now: Moment, agent: str | None = None) -> Report:
    """Return the report on the messages of the last *since* seconds. Reads the file, and nothing else."""
    begin = now.wall - round(since * 1e9)
    comparison = compare(read_records(ledger, since=begin, agent=agent), now=now, deadline=deadline, agent=agent)
    return Report(
        comparison=comparison,
        discrepancies=find_discrepancies(comparison.verdicts),
        ledger=ledger,
        host=os.uname().nodename,
        since=begin,
        until=now.wall,
        deadline=deadline,
        agent=agent,
    )
