"""Who subscribed to what, arranged for one question: who gets a copy of this?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hivebus.errors import InvalidMessage
from hivebus.patterns import check_pattern

EVERYTHING = ("#",)
REMEMBERED = 1024
"""How many types of messages it is remembered for who wants them from anybody."""
Wanted = tuple[tuple[str, ...], str]
"""The parts of a type that an agent wants, and the agent."""


class Subscriptions:
    """Patterns of routing keys, and who asked for each.

    Args:
        wanted: pairs of agent and pattern. What is no pattern is passed over: somebody else wrote it, and a
            sender has other things to do.

    Attributes:
        asked: how often it was looked for subscribers, for whoever counts the work.
    """

    def __init__(self, wanted: Iterable[tuple[str, object]] = ()) -> None:
        self._of_anybody: list[Wanted] = []
        self._of_one: dict[str, list[Wanted]] = {}
        self._known: dict[str, list[str]] = {}
        for agent, pattern in wanted:
            try:
                _, *parts = check_pattern(pattern).split(".")
            except InvalidMessage:
                continue
            name, *kind = parts or EVERYTHING
            into = self._of_anybody if name in ("*", "#") else self._of_one.setdefault(name, [])
            into.append((EVERYTHING if name == "#" else tuple(kind), agent))
        self.asked = 0

    def of(self, routing_key: str) -> list[str]:
        """Return who subscribed to a pattern that matches; each agent once."""
        if not self._of_anybody and not self._of_one:
            return []
        self.asked += 1
        _, name, kind = routing_key.split(".", 2)
        # A list of a thousand names has one type.
        anybody = self._known.get(kind)
        if anybody is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            anybody = self._known[kind] = _who(self._of_anybody, kind)
        return list(dict.fromkeys([*_who(self._of_one.get(name, ()), kind), *anybody]))


def _who(wanted: Sequence[Wanted], kind: str) -> list[str]:
    parts = kind.split(".") if wanted else []
    return [agent for pattern, agent in wanted if _matches(pattern, parts)]


def _matches(pattern: tuple[str, ...], parts: list[str]) -> bool:
    for index, wanted in enumerate(pattern):
        if wanted == "#":
            return True
        if index >= len(parts) or wanted not in ("*", parts[index]):
            return False
    return len(pattern) == len(parts)
