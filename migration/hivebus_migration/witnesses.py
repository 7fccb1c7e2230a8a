"""Who reports from the far ends of the legs, how far up, and since when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from hivebus.transport import LADDERS, Evidence
from hivebus_migration.facts import Moment, Witness
from hivebus_migration.verdict import rank


class Witnesses:
    """What all `Witness` facts say together."""

    def __init__(self, facts: Iterable[Witness]) -> None:
        self._of: dict[tuple[str, str], list[Witness]] = defaultdict(list)
        for each in sorted(facts, key=lambda fact: fact.at.wall):
            self._of[each.agent, each.leg].append(each)

    def common_level(self, agent: str, legs: Iterable[str]) -> Evidence:
        """Return the highest level that is reported for *agent* on all its *legs*; accepted without a witness."""
        ranks = [max((rank(each.level) for each in self._of.get((agent, leg), ())), default=0) for leg in legs]
        return LADDERS["evidence"][min(ranks, default=0)]  # type: ignore[return-value]

    def since(self, agent: str, leg: str, level: Evidence) -> Moment | None:
        """Return since when somebody reports what gets as far as *level*, or further."""
        return next((each.at for each in self._of.get((agent, leg), ()) if rank(each.level) >= rank(level)), None)
