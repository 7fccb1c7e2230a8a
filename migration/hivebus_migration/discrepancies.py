"""Picks the messages that an operator should look at first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hivebus_migration.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One message that did not fare on a leg as it should have.

    Attributes:
        what: in words, such as ``claimed, lost (never_seen)``.
        elsewhere: what became of it on its other legs.
    """

    message_id: str
    agent: str
    leg: str
    what: str
    elsewhere: Mapping[str, str]


def find_discrepancies(verdicts: Iterable[Verdict]) -> list[Discrepancy]:
    """Return all discrepancies, the worst first: what did harm, then what was claimed and did not happen."""
    fates: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    found = []
    for each in verdicts:
        fates[each.intent.message_id, each.intent.agent][each.leg] = each.fate
        if _words(each):
            found.append(each)
    found.sort(key=_order)
    return [_discrepancy(each, fates[each.intent.message_id, each.intent.agent]) for each in found]


def _discrepancy(verdict: Verdict, fates: Mapping[str, str]) -> Discrepancy:
    return Discrepancy(
        message_id=verdict.intent.message_id,
        agent=verdict.intent.agent,
        leg=verdict.leg,
        what=", ".join(_words(verdict)),
        elsewhere={leg: fate for leg, fate in sorted(fates.items()) if leg != verdict.leg},
    )


def _words(verdict: Verdict) -> Sequence[str]:
    words = [f"misdelivered to {', '.join(verdict.strayed_to)}"] if verdict.misdelivered else []
    words += [word for word in ("duplicated", "reordered") if getattr(verdict, word)]
    if verdict.fate in ("corrupted", "lost", "unknown"):
        words += ["claimed"] if verdict.claimed else []
        words += [f"{verdict.fate} ({verdict.reason})"]
    return words


def _order(verdict: Verdict) -> tuple[object, ...]:
    # On the leg that acts it reached, or missed, the agent itself. The latest ones are the easiest to look into.
    acting = verdict.leg == verdict.intent.acting
    return _severity(verdict), not acting, -verdict.intent.at.wall, *verdict.key


def _severity(verdict: Verdict) -> int:
    claimed = verdict.claimed
    ranking = (
        verdict.misdelivered,
        verdict.fate == "corrupted",
        verdict.fate == "lost" and claimed,
        verdict.duplicated,
        verdict.fate == "unknown" and claimed,
        verdict.fate == "lost",
        verdict.fate == "unknown",
    )
    return ranking.index(True) if True in ranking else len(ranking)
