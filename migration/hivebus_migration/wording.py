"""What a comparison says, in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from hivebus_migration.comparison import Comparison
from hivebus_migration.facts import Gap
from hivebus_migration.pairing import Paired
from hivebus_migration.tally import Tally

LIMITS = (
    "whether an agent acted on a message: taken means that its process received it, and no more",
    "whether a reader that announced itself still runs: what it no longer reports counts as lost",
    "what nobody wrote down: a process that is killed takes its last moments along, for both roads alike",
    "what an outage will do: the bounds take messages for independent, and an outage loses many at once",
    "how long messages between two machines took: only times by one clock are compared",
)
"""What no number of the report says."""


def findings_on(comparison: Comparison) -> Iterable[str]:
    """Yield what the numbers say: of each road, of its claims, of both together, and why messages failed."""
    measurable = any(agent.measurable for agent in comparison.agents.values())
    tallies = {leg: each.tally for leg, each in comparison.legs.items()}
    for leg, tally in tallies.items():
        yield verdict_on(leg, tally, measurable=measurable)
    if measurable:
        yield from (claims_of(leg, tally) for leg, tally in tallies.items() if tally.sent)
    yield from filter(None, [paired_of(comparison.paired)])
    yield from filter(None, (reasons_of(leg, tally) for leg, tally in tallies.items()))


def verdict_on(leg: str, tally: Tally, *, measurable: bool) -> str:
    """Return what can be said about a leg: its failures, and how many more cannot be ruled out."""
    if tally.sent == 0:
        return f"{leg}: nothing is settled yet"
    if not measurable:
        return f"{leg}: not measurable beyond accepted; the transport says that it took {_of(tally.claimed, tally)}"
    if not tally.failed:
        return f"{leg}: {_of(0, tally)} lost: true loss < {percent(tally.loss_upper_bound)}"
    kinds = [(tally.lost, "lost"), (tally.corrupted, "corrupted"), (tally.unknown, "unknown")]
    parts = ", ".join(f"{number(count)} {kind}" for count, kind in kinds if count)
    if tally.proven == 0:
        return f"{leg}: none of {number(tally.sent)} proven ({parts})"
    return f"{leg}: {_of(tally.failed, tally)} not proven ({parts}): true loss < {percent(tally.loss_upper_bound)}"


def claims_of(leg: str, tally: Tally) -> str:
    """Return how far a leg's transport can be believed."""
    if not tally.claimed:
        return f"{leg}: claimed none"
    if not tally.unproven_claims:
        return f"{leg}: claimed {number(tally.claimed)}, and all of them are proven"
    return f"{leg}: claimed {number(tally.claimed)}, of which {number(tally.unproven_claims)} are not proven"


def reasons_of(leg: str, tally: Tally) -> str | None:
    """Return why messages of a leg are not proven; None when all are."""
    if not tally.reasons:
        return None
    return (
        f"{leg}: not proven because {', '.join(f'{reason} {number(count)}' for reason, count in tally.reasons.items())}"
    )


def paired_of(paired: Paired) -> str | None:
    """Return what the roads did with the same messages; None when there is nothing to compare."""
    if not paired.together:
        return None
    only = ", ".join(f"only {leg} {number(count)}" for leg, count in paired.only.items())
    p = "" if paired.p is None else f" (McNemar p {_probability(paired.p)})"
    return (
        f"of {number(paired.together)} that travelled both roads: "
        f"both delivered {number(paired.both)}, {only}, neither {number(paired.neither)}{p}"
    )


def level_of(comparison: Comparison) -> str:
    """Return how far messages were followed."""
    levels: dict[str, list[str]] = {}
    for name, agent in comparison.agents.items():
        levels.setdefault(agent.level, []).append(name)
    if not levels:
        return "nothing to compare"
    if len(levels) == 1:
        return f"at {comparison.level}" if comparison.level != "accepted" else "not measurable beyond accepted"
    each = [f"{level} for {_some(names)}" for level, names in sorted(levels.items(), key=lambda item: len(item[1]))]
    return f"mixed: {', '.join(reversed(each))}"


def notes_on(comparison: Comparison) -> Iterable[str]:
    """Yield what makes the numbers weaker than they look."""
    if comparison.unmeasured:
        agents = [name for name, agent in comparison.agents.items() if not agent.measurable]
        yield (
            f"{_many(comparison.unmeasured, 'message')} to {_some(agents)} cannot be measured beyond accepted: "
            "nobody reports what arrives there on every road. They are not paired, and what nobody saw is unknown"
        )
    for name, agent in comparison.agents.items():
        for leg in agent.silent:
            yield f"nothing was ever seen by {name} on {leg}, although somebody said to report it: does it still run?"
    yield from map(_gap, comparison.gaps)
    if comparison.strangers:
        yield f"{_many(comparison.strangers, 'sighting')} of messages that no sender noted, and that are in no row"
    for leg, each in comparison.legs.items():
        yield from _on_leg(leg, each.tally)


def percent(share: float) -> str:
    """Return a bound in percent, rounded up: it may be too wide, never too narrow."""
    millionths = round(share * 1e6)
    if millionths < 10_000:
        return f"{-(-millionths // 10) / 1000:.3f} %"
    return f"{-(-millionths // 100) / 100:.2f} %"


def number(count: int) -> str:
    """Return a count as people read it."""
    return f"{count:,}"


def milliseconds(value: float | None) -> str:
    """Return a wait as people read it."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def utc(wall: int) -> str:
    """Return a moment of the wall clock, given in nanoseconds."""
    try:
        return f"{datetime.fromtimestamp(wall // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, OSError, ValueError):  # no clock says this, but a file may
        return "?"


def _on_leg(leg: str, tally: Tally) -> Iterable[str]:
    if tally.pending:
        yield f"{leg}: {number(tally.pending)} still pending, and in no other column"
    if tally.unknown:
        yield f"{leg}: {number(tally.unknown)} unknown, and counted against it"
    if tally.other_clocks:
        yield f"{leg}: {number(tally.other_clocks)} seen by another clock than their sender's, and not timed"
    if tally.clock_errors:
        yield f"{leg}: {number(tally.clock_errors)} seen before they were sent, and not timed: a clock is wrong"


def _gap(gap: Gap) -> str:
    return (
        f"{_many(gap.facts, 'fact')} missing ({gap.reason}), from {utc(gap.since.wall)} to {utc(gap.until.wall)}: "
        "messages of that time may look lost, or not be here at all"
    )


def _many(count: int, word: str) -> str:
    return f"{number(count)} {word}{'' if count == 1 else 's'}"


def _of(count: int, tally: Tally) -> str:
    return f"{number(count)} of {number(tally.sent)}"


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
