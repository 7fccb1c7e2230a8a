"""A drill's outcome for people, for programs, and as a page of the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hivebus_redis.drill.figures import Figures
from hivebus_redis.drill.invariants import TITLES, Finding

SHOWN = 20
NOT_JUDGED = {
    "I13": "only after kills and restarts that nothing else disturbed",
    "I15": "by the saboteurs among the tests: each removes a protection, and the drill must fail",
}
MEMORY = (
    "A drill at the level `memory` runs on a server that syncs once a second: what its power cuts cost is reported "
    "as measured, and judged by nobody."
)
_NAMES = {
    "acked": "accepted (`send` returned)",
    "handled": "handled",
    "lost": "lost",
    "phantom": "handled and never sent",
    "broker_duplicates": "stored twice by the server",
    "duplicated_explained": "handled twice, around a fault",
    "duplicated_unexplained": "handled twice for no reason",
    "dead_letters": "dead letters",
    "innocents": "innocents among them",
    "refused": "refused at first, sent again",
    "unknown": "unknown at first, sent again",
    "faults": "faults",
}


class Shown(Protocol):
    """What a report is about: one drill, or several as one."""

    @property
    def level(self) -> str: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def figures(self) -> Figures: ...
    @property
    def judged(self) -> Sequence[str]: ...


def lines_of(outcome: Shown) -> list[str]:
    """Return what a drill has shown, for a terminal."""
    figures = outcome.figures
    lines = [f"{text.replace('`', ''):32} {getattr(figures, name):>8,}" for name, text in _NAMES.items()]
    lines.append(f"{'seconds':32} {figures.seconds:>8,.1f}")
    lines += [f"{'work of a dead consumer was back':32} {_recovery(figures.consumer_recovery)}"]
    lines += [f"{'work went on after a restart':32} {_recovery(figures.server_recovery)}"]
    lines += ["", "faults by kind:"]
    lines += [f"  {kind:30} {count:>8}" for kind, count in figures.faults_by_kind.items()]
    lines += ["", *_verdicts(outcome)]
    return lines


def facts_of(outcome: Shown) -> dict[str, Any]:
    """Return what a drill has shown, for a program."""
    counts = Counter(finding.invariant for finding in outcome.findings)
    return {
        "level": outcome.level,
        "passed": not outcome.findings,
        **outcome.figures.facts(),
        "invariants": {
            name: {"judged": name in outcome.judged, "breaches": counts[name], "title": title}
            for name, title in TITLES.items()
        },
        "findings": [finding._asdict() for finding in outcome.findings[:SHOWN]],
    }


def page_of(outcomes: Mapping[str, Shown], *, command: str, facts: Mapping[str, str]) -> str:
    """Return the page that shows the last long run: one column for each drill of it."""
    titles = list(outcomes)
    parts = [
        "# The last long chaos run",
        "",
        f"Written by `{command}`; do not edit. What the words mean is in [delivery.md](delivery.md).",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        *_table(["", *titles], [[text, *_cells(outcomes, name)] for name, text in _NAMES.items()]),
        "",
        MEMORY,
        "",
        "## What was judged",
        "",
        *_table(["", "invariant", *titles], [[name, TITLES[name], *_verdict_cells(outcomes, name)] for name in TITLES]),
        "",
        *(f"- {name} is judged {how}." for name, how in NOT_JUDGED.items()),
        "",
        "## Recovery",
        "",
        *_table(["", *titles], _recovery_rows(outcomes)),
        "",
        "## Faults",
        "",
        *_table(["fault", *titles], _fault_rows(outcomes)),
    ]
    return "\n".join(parts) + "\n"


def _verdicts(outcome: Shown) -> list[str]:
    counts = Counter(finding.invariant for finding in outcome.findings)
    lines = []
    for name, title in TITLES.items():
        word = "not judged" if name not in outcome.judged else f"{counts[name]} breaches" if counts[name] else "holds"
        lines.append(f"{name:4} {word:14} {title}")
    return [*lines, *_shown(outcome.findings)]


def _shown(findings: Sequence[Finding]) -> list[str]:
    lines = [f"  {each.invariant} {each.id}: {each.text}" for each in findings[:SHOWN]]
    rest = len(findings) - SHOWN
    return ["", *lines, *([f"  and {rest} more"] if rest > 0 else [])] if lines else []


def _recovery(times: Mapping[str, float]) -> str:
    if not times.get("measured"):
        return "  not measured: nothing was held, or something else happened after it"
    return (
        f"within {times['last_s']:.2f} s, the first message within {times['first_s']:.2f} s, of {times['measured']:g}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _cells(outcomes: Mapping[str, Shown], name: str) -> list[str]:
    return [f"{getattr(outcome.figures, name):,}" for outcome in outcomes.values()]


def _verdict_cells(outcomes: Mapping[str, Shown], name: str) -> list[str]:
    cells = []
    for outcome in outcomes.values():
        breaches = sum(finding.invariant == name for finding in outcome.findings)
        cells.append("-" if name not in outcome.judged else f"**{breaches} breaches**" if breaches else "holds")
    return cells


def _recovery_rows(outcomes: Mapping[str, Shown]) -> list[list[str]]:
    def of(attribute: str) -> list[str]:
        return [_recovery(getattr(outcome.figures, attribute)).strip() for outcome in outcomes.values()]

    return [
        ["what a dead consumer held is back", *of("consumer_recovery")],
        ["work goes on after a restart of the server", *of("server_recovery")],
    ]


def _fault_rows(outcomes: Mapping[str, Shown]) -> list[list[str]]:
    all_figures: list[Figures] = [outcome.figures for outcome in outcomes.values()]
    kinds = sorted({kind for figures in all_figures for kind in figures.faults_by_kind})
    return [[f"`{kind}`", *(str(each.faults_by_kind.get(kind, 0)) for each in all_figures)] for kind in kinds]
