"""Finds the messages that came after one that was sent later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from hivebus_migration.facts import Moment
from hivebus_migration.verdict import Verdict


def reordered(verdicts: Iterable[Verdict]) -> set[tuple[str, str, str]]:
    """Return the message, agent and leg of each that was first seen after one with a higher number.

    Only messages of one sender's session, to one agent, of one level and on one leg have an order,
    and only sightings by one clock.
    """
    lines: dict[tuple[object, ...], list[tuple[Moment, Verdict]]] = defaultdict(list)
    for each in verdicts:
        if each.first is not None:
            line = each.intent.agent, each.intent.session, each.intent.level, each.leg, each.first.boot
            lines[line].append((each.first, each))
    return {late.key for line in lines.values() for late in _late_ones(line)}


def _late_ones(line: Sequence[tuple[Moment, Verdict]]) -> Iterable[Verdict]:
    highest = -1
    # What was seen in the same instant has no order.
    for _, together in groupby(sorted(line, key=lambda each: each[0].mono), key=lambda each: each[0].mono):
        instant = [verdict for _, verdict in together]
        yield from (each for each in instant if each.intent.number < highest)
        highest = max(highest, *(each.intent.number for each in instant))
