"""The report for an issue or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hivebus.cli.output import cell
from hivebus_migration.report import Report
from hivebus_migration.report_json import SHOWN
from hivebus_migration.rows import ARRIVALS, NAMES, OUTCOMES, Cells, arrivals, outcomes
from hivebus_migration.wording import LIMITS, findings_on, level_of, notes_on, number, utc


def report_markdown(report: Report) -> str:
    """Return the whole report. Names and reasons come from others: they stay text, and mention nobody."""
    comparison = report.comparison
    notes = list(notes_on(comparison))
    return "\n".join(
        [
            *_headline(report),
            *_section("What became of them", _table(OUTCOMES, outcomes(comparison))),
            *_section("How they arrived", _table(ARRIVALS, arrivals(comparison))),
            *_section("What it says", _bullets(findings_on(comparison))),
            *(_section("Mind", _bullets(notes)) if notes else []),
            *(_section("Worst discrepancies", _discrepancies(report)) if report.discrepancies else []),
            *_section("What this report cannot tell", _bullets(LIMITS)),
        ]
    )


def escaped(text: str) -> str:
    """Return *text* so that Markdown shows it as it is."""
    plain = re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", cell(text))
    # An empty entity after the sign keeps a name from being told about it.
    return plain.replace("@", "@&#8203;")


def _headline(report: Report) -> Iterator[str]:
    comparison = report.comparison
    to = f"to {report.agent}" if report.agent else f"to {number(len(comparison.agents))} agents"
    drivers = "; ".join(f"{leg}: {', '.join(each.drivers)}" for leg, each in comparison.legs.items())
    yield f"## Two roads: {number(comparison.messages)} messages {escaped(to)}"
    yield ""
    yield f"- window: {utc(report.since)} to {utc(report.until)}; settled after {report.deadline:g} s"
    yield f"- compared: {escaped(level_of(comparison))}"
    yield f"- drivers: {escaped(drivers)}"
    yield f"- ledger: {escaped(str(report.ledger))} on {escaped(report.host)}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"### {title}"
    yield ""
    yield from lines


def _table(head: Cells, rows: Iterable[Cells]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---" if column < NAMES else "---:" for column in range(len(head))])
    yield from (_row([escaped(each) for each in row]) for row in rows)


def _row(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"


def _discrepancies(report: Report) -> Iterator[str]:
    yield f"{min(SHOWN, len(report.discrepancies))} of {number(len(report.discrepancies))}"
    yield ""
    yield _row(["message", "agent", "road", "what", "other road"])
    yield _row(["---"] * 5)
    for each in report.discrepancies[:SHOWN]:
        elsewhere = ", ".join(f"{leg}: {fate}" for leg, fate in each.elsewhere.items())
        yield _row([escaped(text) for text in (each.message_id, each.agent, each.leg, each.what, elsewhere)])


def _bullets(sentences: Iterable[str]) -> Iterator[str]:
    yield from (f"- {escaped(each)}" for each in sentences)
