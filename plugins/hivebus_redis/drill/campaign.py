"""A long drill is many short ones: each on a new server, so that its books can be read by a small machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import Fault
from hivebus_redis.drill.figures import Figures, total
from hivebus_redis.drill.invariants import Finding
from hivebus_redis.drill.plan import MAX_CRASHES, Plan
from hivebus_redis.drill.story import Outcome, run

ROUND = 60.0
"""Seconds of faults, at most, before everything is settled and judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What all rounds have shown together.

    Attributes:
        level: of durability; findings: every breach; figures: the sums; judged: the invariants that applied.
    """

    level: str
    findings: Sequence[Finding]
    figures: Figures
    judged: Sequence[str]


def fight(
    folder: Path,
    *,
    program: str,
    seconds: float,
    faults: Sequence[Fault],
    every: float,
    seed: int,
    level: str = "fsync",
    max_crashes: int = MAX_CRASHES,
    told: Callable[[str], None] = lambda text: None,
) -> Campaign:
    """Run so many rounds as the time asks for; the folders of those that fail stay in *folder*."""
    rounds = math.ceil(seconds / ROUND)
    outcomes = []
    for number in range(rounds):
        place = folder / str(number + 1)
        place.mkdir()
        plan = Plan(url="", seed=seed + number, max_crashes=max_crashes)
        exercise = Exercise(place, program=program, level=level, plan=plan)
        if exercise.server.disk is None and number == 0:
            told("hivebus: no power cuts, no full disk: they need Linux and a C compiler")
        failed = True
        try:
            outcome = run(exercise, seconds=seconds / rounds, faults=faults, every=every)
            failed = bool(outcome.findings)
        finally:
            exercise.close(keep=failed)
        told(f"hivebus: round {number + 1} of {rounds}: {_sentence(outcome)}")
        outcomes.append(outcome)
    return sum_up(outcomes)


def sum_up(outcomes: Sequence[Outcome | Campaign]) -> Campaign:
    """Return several drills of one level as one."""
    return Campaign(
        level=outcomes[0].level,
        findings=[finding for outcome in outcomes for finding in outcome.findings],
        figures=total([outcome.figures for outcome in outcomes]),
        judged=outcomes[0].judged,
    )


def _sentence(outcome: Outcome) -> str:
    figures = outcome.figures
    return f"{figures.acked:,} accepted, {figures.faults} faults, {len(outcome.findings)} breaches"
