"""The two tables of the report: what became of the messages, and how they arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hivebus_migration.comparison import Comparison
from hivebus_migration.tally import Tally
from hivebus_migration.wording import milliseconds, number, percent

NAMES = 2
"""So many columns at the left are names; the others are numbers."""

OUTCOMES = ("AGENT", "ROAD", "SENT", "CLAIMED", "PROVEN", "LOST", "CORRUPTED", "UNKNOWN", "PENDING", "LOSS <")
ARRIVALS = ("AGENT", "ROAD", "LEVEL", "DUPLIC.", "MISDELIV.", "REORDERED", "P50 MS", "P95 MS", "P99 MS")

Cells = Sequence[str]


def outcomes(comparison: Comparison, *, by_agent: bool = True) -> list[Cells]:
    """Return the rows under `OUTCOMES`: claimed next to proven; the sums, and a row per agent if asked for."""
    return [
        [name, road, *_outcome(tally, bounded=level != "accepted")]
        for name, road, level, tally in _all(comparison, by_agent=by_agent)
    ]


def arrivals(comparison: Comparison, *, by_agent: bool = True) -> list[Cells]:
    """Return the rows under `ARRIVALS`: how far messages were followed, and how those that arrived did."""
    return [[name, road, level, *_arrival(tally)] for name, road, level, tally in _all(comparison, by_agent=by_agent)]


def aligned(head: Cells, rows: Sequence[Cells], *, width: int) -> Iterator[str]:
    """Yield the lines of a table; where it is too wide, names of agents are cut."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    widths[0] = max(len(head[0]), widths[0] - max(0, excess))
    for line in lines:
        line[0] = cut(line[0], widths[0])
        cells = [_justify(number)(each, width) for number, (each, width) in enumerate(zip(line, widths, strict=True))]
        yield cut("  ".join(cells).rstrip(), width)


def cut(text: str, width: int) -> str:
    """Return *text*, or as much of it as fits."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _all(comparison: Comparison, *, by_agent: bool) -> Iterator[tuple[str, str, str, Tally]]:
    level = f"{comparison.level}*" if comparison.mixed else comparison.level
    for leg, each in comparison.legs.items():
        yield "all", leg, level, each.tally
        if len(each.drivers) > 1:
            yield from (("all", f"{leg} by {driver}", level, tally) for driver, tally in each.drivers.items())
    for name, agent in comparison.agents.items() if by_agent else ():
        yield from ((name, leg, agent.level, each.tally) for leg, each in agent.legs.items())


def _outcome(tally: Tally, *, bounded: bool) -> list[str]:
    counts = (tally.sent, tally.claimed, tally.proven, tally.lost, tally.corrupted, tally.unknown, tally.pending)
    return [*map(number, counts), percent(tally.loss_upper_bound) if bounded and tally.sent else "n/m"]


def _arrival(tally: Tally) -> list[str]:
    counts = (tally.duplicated, tally.misdelivered, tally.reordered)
    return [*map(number, counts), *(milliseconds(tally.percentile(nth)) for nth in (50, 95, 99))]


def _justify(column: int) -> Callable[[str, int], str]:
    return str.ljust if column < NAMES else str.rjust
