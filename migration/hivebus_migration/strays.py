"""Sightings where no message was meant to be: misdelivered ones, and strangers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import cycle
from typing import NamedTuple

from hivebus_migration.facts import Intent, Sighting

Key = tuple[str, str, str]
"""A message, its recipient, and a leg."""


class Strays(NamedTuple):
    """What was seen by whom it was not meant for.

    Attributes:
        misdelivered: which wrong agents saw a message. One to several agents is charged to a recipient who
            never saw it, if there is one: every wrong agent is charged once.
        strangers: sightings on a leg that nobody sent their message over, as far as the ledger knows.
    """

    misdelivered: Mapping[Key, list[str]]
    strangers: int


def find_strays(intents: Iterable[Intent], sightings: Iterable[Sighting], *, agent: str | None) -> Strays:
    """Return the strays among *sightings*; with *agent*, strangers are those that this agent saw."""
    meant: dict[str, dict[str, Intent]] = defaultdict(dict)
    for intent in intents:
        meant[intent.message_id][intent.agent] = intent
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    strangers = 0
    for each in sightings:
        if any(each.leg in intent.legs for intent in meant.get(each.message_id, {}).values()):
            seen[each.message_id, each.leg].add(each.agent)
        elif agent in (None, each.agent):
            strangers += 1
    charged: dict[Key, list[str]] = defaultdict(list)
    for (message_id, leg), agents in seen.items():
        for recipient, wrong in _charged(leg, meant[message_id], agents):
            charged[message_id, recipient, leg].append(wrong)
    return Strays(charged, strangers)


def _charged(leg: str, meant: Mapping[str, Intent], seen: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Yield a recipient for each wrong agent."""
    recipients = sorted((each for each in meant if leg in meant[each].legs), key=lambda each: (each in seen, each))
    return zip(cycle(recipients), sorted(seen - meant.keys()), strict=False)
