"""Compares two roads message by message: which of them delivered what the other did not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hivebus_migration.bound import mcnemar
from hivebus_migration.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Messages that travelled both legs and are settled on both.

    Attributes:
        both: proven on both legs; only: on this one alone; neither: on none.
    """

    both: int
    only: Mapping[str, int]
    neither: int

    @property
    def together(self) -> int:
        """How many were compared."""
        return self.both + sum(self.only.values()) + self.neither

    @property
    def p(self) -> float | None:
        """How easily chance alone would split them so; None unless there are two legs to compare."""
        return mcnemar(*self.only.values()) if self.together else None


def pair(verdicts: Iterable[Verdict], *, legs: Sequence[str]) -> Paired:
    """Return the paired table of *verdicts* over two *legs*."""
    if len(legs) != 2:
        return Paired(both=0, only=dict.fromkeys(legs, 0), neither=0)
    by_message: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for each in verdicts:
        if each.leg in legs and each.fate != "pending":
            by_message[each.intent.message_id, each.intent.agent][each.leg] = each.fate
    proven = Counter(
        tuple(leg for leg in legs if fates[leg] == "proven") for fates in by_message.values() if len(fates) == 2
    )
    return Paired(
        both=proven[tuple(legs)],
        only={leg: proven[(leg,)] for leg in legs},
        neither=proven[()],
    )
