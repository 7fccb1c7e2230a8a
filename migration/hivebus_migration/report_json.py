"""The report for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivebus_migration.comparison import Comparison, Leg
from hivebus_migration.discrepancies import Discrepancy
from hivebus_migration.facts import Gap
from hivebus_migration.pairing import Paired
from hivebus_migration.report import Report
from hivebus_migration.tally import Tally
from hivebus_migration.wording import utc

SHOWN = 5
"""So many discrepancies are named; the others are counted."""


def report_facts(report: Report) -> dict[str, Any]:
    """Return the report as JSON; `comparison_facts` and where they come from."""
    return {
        **comparison_facts(report.comparison),
        "window": {"since": utc(report.since), "until": utc(report.until), "deadline_seconds": report.deadline},
        "ledger": str(report.ledger),
        "host": report.host,
        "agent": report.agent,
        "discrepancies": [_discrepancy(each) for each in report.discrepancies[:SHOWN]],
        "discrepancies_total": len(report.discrepancies),
    }


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON: by leg, message by message, and by agent."""
    return {
        "legs": _legs(comparison.legs),
        "paired": _paired(comparison.paired),
        "agents": {
            name: {
                "level": agent.level,
                "measurable": agent.measurable,
                "legs": _legs(agent.legs),
                "paired": _paired(agent.paired),
                "silent": list(agent.silent),
            }
            for name, agent in comparison.agents.items()
        },
        "level": comparison.level,
        "mixed": comparison.mixed,
        "messages": comparison.messages,
        "unmeasured": comparison.unmeasured,
        "strangers": comparison.strangers,
        "gaps": [_gap(each) for each in comparison.gaps],
    }


def _legs(legs: Mapping[str, Leg]) -> dict[str, Any]:
    return {
        name: {**_row(leg.tally), "drivers": {driver: _row(tally) for driver, tally in leg.drivers.items()}}
        for name, leg in legs.items()
    }


def _row(tally: Tally) -> dict[str, Any]:
    return {
        "sent": tally.sent,
        "claimed": tally.claimed,
        "proven": tally.proven,
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        "corrupted": tally.corrupted,
        "misdelivered": tally.misdelivered,
        "unknown": tally.unknown,
        "p50_ms": _rounded(tally.percentile(50)),
        "p95_ms": _rounded(tally.percentile(95)),
        "p99_ms": _rounded(tally.percentile(99)),
        "loss_upper_bound": tally.loss_upper_bound,
        "reordered": tally.reordered,
        "pending": tally.pending,
        "claimed_not_proven": tally.unproven_claims,
        "reasons": dict(tally.reasons),
        "timed": len(tally.waits),
        "other_clocks": tally.other_clocks,
        "clock_errors": tally.clock_errors,
    }


def _paired(paired: Paired) -> dict[str, Any]:
    p = None if paired.p is None else round(paired.p, 6)
    return {"both": paired.both, "only": dict(paired.only), "neither": paired.neither, "mcnemar_p": p}


def _gap(gap: Gap) -> dict[str, Any]:
    return {"facts": gap.facts, "reason": gap.reason, "since": utc(gap.since.wall), "until": utc(gap.until.wall)}


def _discrepancy(each: Discrepancy) -> dict[str, Any]:
    return {
        "message_id": each.message_id,
        "agent": each.agent,
        "leg": each.leg,
        "what": each.what,
        "elsewhere": dict(each.elsewhere),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
