"""What the demo prints: counts of what happened, and one sentence that says what they show."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any

from hivebus.cli.output import line
from hivebus_migration.report_json import comparison_facts
from hivebus_migration.report_text import WIDTH, comparison_text
from hivebus_tmux.demo.cast import AGENTS
from hivebus_tmux.demo.story import Story
from hivebus_tmux.demo.two_roads import Phase

TMUX, REDIS = "tmux", "redis"


@dataclass(frozen=True, slots=True)
class TwoRoads:
    """Both phases of the demo."""

    today: Phase
    live: Phase

    @property
    def is_proof(self) -> bool:
        """Whether Redis delivered everything in both phases, in spite of a kill that hit something."""
        redis = [phase.comparison.legs[REDIS].tally for phase in (self.today, self.live)]
        kill = self.live.story
        return kill is not None and kill.is_proof and all(each.sent and not each.failed for each in redis)

    def facts(self) -> list[dict[str, Any]]:
        """Return both phases as JSON."""
        return [_phase_facts(phase) for phase in (self.today, self.live)]

    def show(self) -> None:
        """Print both reports, and what they say."""
        for phase in (self.today, self.live):
            # The six agents are alike here: their sum is enough.
            line(f"\n{_headline(phase)}\n\n{comparison_text(phase.comparison, by_agent=False)}")
            if phase.story is not None:
                line()
                _show_kill(phase.story)
        line("\n" + fill(_sentence(self.today, self.live), WIDTH, break_on_hyphens=False))


@dataclass(frozen=True, slots=True)
class OneRoad:
    """The durable road alone."""

    story: Story

    @property
    def is_proof(self) -> bool:
        """Whether a kill hit something, and nothing was lost."""
        return self.story.is_proof

    def facts(self) -> list[dict[str, Any]]:
        """Return what happened as JSON."""
        tally = self.story.tally
        counts = ("sent", "claimed", "proven", "lost", "duplicated", "corrupted", "misdelivered", "unknown")
        leg = {name: getattr(tally, name) for name in counts}
        leg |= {f"p{nth}_ms": _rounded(tally.percentile(nth)) for nth in (50, 95, 99)}
        leg["loss_upper_bound"] = tally.upper_bound
        return [{"name": "redis", "legs": {REDIS: leg}, **_kill_facts(self.story)}]

    def show(self) -> None:
        """Print what happened."""
        tally = self.story.tally
        _row("sent", tally.sent, f"by {len(AGENTS)} agents in {self.story.seconds:.1f} s")
        _show_kill(self.story)
        _row("handled", tally.proven, "counted in the journals of the handlers")
        _row("corrupted", tally.corrupted, "")
        _row("lost", tally.lost, f"true loss below {_percent(tally.upper_bound)} with 95 % confidence")
        waits = "   ".join(f"p{nth} {_milliseconds(tally.percentile(nth))}" for nth in (50, 95, 99))
        line(f"{'send to handler':<18}{'':>8}   {waits}")


def _phase_facts(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        **comparison_facts(phase.comparison),
        "messages_per_second": round(phase.rate, 1),
        **_kill_facts(phase.story),
    }


def _kill_facts(story: Story | None) -> dict[str, int]:
    return {
        "killed_in_flight": story.killed_in_flight if story else 0,
        "redelivered": story.redelivered if story else 0,
    }


def _headline(phase: Phase) -> str:
    counted = f"{phase.comparison.messages} messages in {phase.seconds:.0f} s"
    if phase.story is None:
        return f"AS TODAY: {counted}, typed into {len(AGENTS)} windows by the legacy flow; copies to Redis"
    return f"LIVE: {counted}; Redis acts, copies typed safely into {len(AGENTS)} windows for people"


def _show_kill(story: Story) -> None:
    tally = story.tally
    _row("in flight at kill", story.killed_in_flight, f"{story.killed}, kill -9 after {story.killed_after:.1f} s")
    _row("redelivered", story.redelivered, f"of those, once its lease of {story.lease:g} s was over")
    _row("handled twice", tally.duplicated, "killed between the work and its ack" if tally.duplicated else "")


def _sentence(today: Phase, live: Phase) -> str:
    before, after = today.comparison.legs, live.comparison.legs
    legacy, redis = before[TMUX].tally, [legs[REDIS].tally for legs in (before, after)]
    story = live.story
    assert story is not None
    return (
        f"On this machine, at {today.rate:.1f} messages a second to {len(AGENTS)} agents, the legacy flow brought "
        f"{legacy.proven} of {legacy.sent} messages to the right window whole, and claimed {legacy.claimed}; "
        f"Redis lost {sum(each.failed for each in redis)} of {sum(each.sent for each in redis)}, although "
        f"{story.killed} was killed with {story.killed_in_flight} messages in its hands."
    )


def _row(name: str, count: int, remark: str) -> None:
    line(f"{name:<18}{count:>8,}   {remark}".rstrip())


def _percent(share: float) -> str:
    # Rounded up: a bound may be too wide, never too narrow.
    return f"{int(share * 100_000 + 1) / 1000:.3f} %"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
