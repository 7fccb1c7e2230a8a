"""``python -m benchmarks [ROW...]``: prints each row of the budget as a ratio, against its floor and its aim."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks import mirror, rows
from benchmarks.server import private_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One budget.

    Attributes:
        measure: returns what raw redis-py (or `python3 -c pass`, or hivebus without a mirror) needs, and what
            hivebus needs.
        figure: what is judged: hivebus / raw as ``ratio``, hivebus alone as ``value``, hivebus - raw as ``extra``, how
            much more it is than raw as ``percent``.
        more_is_better: whether the floor is a minimum or a maximum.
    """

    name: str
    unit: str
    measure: Callable[[str], tuple[float, float]]
    figure: Literal["ratio", "value", "extra", "percent"]
    floor: float
    aim: float
    more_is_better: bool = False
    runs: int = 5


ROWS = (
    Row(
        name="sustained", unit="msg/s", measure=rows.sustained, figure="ratio", floor=0.83, aim=1.2, more_is_better=True
    ),
    Row(name="processor", unit="us", measure=rows.processor, figure="value", floor=64, aim=44),
    Row(
        name="sends",
        unit="msg/s",
        measure=rows.concurrent_sends,
        figure="ratio",
        floor=0.5,
        aim=0.9,
        more_is_better=True,
    ),
    # 1,000 agents with patterns against none.
    Row(name="routes", unit="us", measure=rows.routed_sends, figure="percent", floor=10, aim=5),
    Row(name="ping", unit="ms p95", measure=rows.one_at_a_time, figure="ratio", floor=2.5, aim=1.5),
    Row(name="ask", unit="ms p95", measure=rows.ask, figure="value", floor=3, aim=2),
    Row(
        name="offered-10k",
        unit="ms p99",
        measure=lambda url: rows.offered(url, rate=10_000),
        figure="value",
        floor=10,
        aim=4,
    ),
    Row(
        name="offered-20k",
        unit="ms p99",
        measure=lambda url: rows.offered(url, rate=20_000),
        figure="value",
        floor=40,
        aim=10,
    ),
    Row(
        name="send-process",
        unit="ms",
        measure=lambda url: rows.processes(url, ["send", "consumer", "hello"]),
        figure="ratio",
        floor=9,
        aim=6,
        runs=3,
    ),
    Row(
        name="help-process",
        unit="ms",
        measure=lambda url: rows.processes(url, ["--help"]),
        figure="ratio",
        floor=6,
        aim=5,
        runs=3,
    ),
    Row(name="memory", unit="bytes", measure=rows.memory, figure="extra", floor=250, aim=150, runs=1),
    Row(name="mirror", unit="ms p95", measure=mirror.cost, figure="percent", floor=5, aim=2, runs=3),
)


def main(wanted: list[str]) -> int:
    """Print the rows; return 1 when one misses its floor."""
    missed = 0
    print(f"{'row':14}{'raw':>10}{'hivebus':>10} {'unit':8}{'figure':>9}{'floor':>8}{'aim':>7}  verdict")
    with private_server() as url:
        for row in ROWS:
            if wanted and row.name not in wanted:
                continue
            results = [row.measure(url) for _ in range(row.runs)]
            figure = median(_figure(row, *result) for result in results)
            verdict = _verdict(row, figure)
            missed += verdict == "MISSED"
            print(
                f"{row.name:14}{median(r[0] for r in results):10.5g}{median(r[1] for r in results):10.5g} {row.unit:8}"
                f"{figure:9.3g}{row.floor:8g}{row.aim:7g}  {verdict}",
                flush=True,
            )
    return 1 if missed else 0


def _figure(row: Row, raw: float, ours: float) -> float:
    return {"ratio": ours / raw, "value": ours, "extra": ours - raw, "percent": (ours / raw - 1) * 100}[row.figure]


def _verdict(row: Row, figure: float) -> str:
    def reaches(goal: float) -> bool:
        return figure >= goal if row.more_is_better else figure <= goal

    return "aim" if reaches(row.aim) else "floor" if reaches(row.floor) else "MISSED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
