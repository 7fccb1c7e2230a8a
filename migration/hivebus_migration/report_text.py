"""The report for people at a terminal: at most 100 columns, no colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from hivebus.cli.output import cell
from hivebus_migration.comparison import Comparison
from hivebus_migration.discrepancies import Discrepancy
from hivebus_migration.report import Report
from hivebus_migration.report_json import SHOWN
from hivebus_migration.rows import ARRIVALS, OUTCOMES, Cells, aligned, arrivals, cut, outcomes
from hivebus_migration.wording import LIMITS, findings_on, level_of, notes_on, number, utc

WIDTH = 100


def report_text(report: Report) -> str:
    """Return the whole report. Names and reasons come from others: nothing of them can command the terminal."""
    return "\n".join([*_headline(report), "", comparison_text(report.comparison), *_discrepancies(report), *_limits()])


def comparison_text(comparison: Comparison, *, by_agent: bool = True) -> str:
    """Return a comparison: both tables, what they say, and what makes them weaker than they look."""
    lines = [*_table(OUTCOMES, outcomes(comparison, by_agent=by_agent)), ""]
    lines += [*_table(ARRIVALS, arrivals(comparison, by_agent=by_agent)), ""]
    lines += _bullets(findings_on(comparison))
    notes = list(notes_on(comparison))
    if notes:
        lines += ["", "mind", *_bullets(notes)]
    return "\n".join(lines)


def _headline(report: Report) -> Iterator[str]:
    comparison = report.comparison
    to = f"to {report.agent}" if report.agent else f"to {number(len(comparison.agents))} agents"
    yield cut(f"two roads, message by message: {number(comparison.messages)} messages {to}", WIDTH)
    yield f"  window    {utc(report.since)} to {utc(report.until)}; settled after {report.deadline:g} s"
    yield from _field("compared", level_of(comparison))
    yield from _field(
        "drivers", "; ".join(f"{leg}: {', '.join(each.drivers)}" for leg, each in comparison.legs.items())
    )
    yield from _field("ledger", f"{report.ledger} on {report.host}")


def _field(name: str, text: str) -> Iterator[str]:
    yield from wrap(f"  {name:10}{cell(text)}", WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)


def _table(head: Cells, rows: Iterable[Cells]) -> Iterator[str]:
    yield from aligned(head, [[cell(each) for each in row] for row in rows], width=WIDTH)


def _discrepancies(report: Report) -> Iterator[str]:
    if report.discrepancies:
        yield ""
        yield f"worst discrepancies ({min(SHOWN, len(report.discrepancies))} of {number(len(report.discrepancies))})"
        yield from _bullets(map(_discrepancy, report.discrepancies[:SHOWN]))


def _discrepancy(each: Discrepancy) -> str:
    elsewhere = "".join(f"; {leg}: {fate}" for leg, fate in each.elsewhere.items())
    return f"{each.message_id}  {each.leg} to {each.agent}: {each.what}{elsewhere}"


def _limits() -> Iterator[str]:
    yield ""
    yield "what this report cannot tell"
    yield from _bullets(LIMITS)


def _bullets(sentences: Iterable[str]) -> Iterator[str]:
    for each in sentences:
        yield from wrap(
            f"  - {cell(each)}", WIDTH, subsequent_indent="    ", break_on_hyphens=False, break_long_words=True
        )
