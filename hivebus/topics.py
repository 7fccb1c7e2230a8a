"""Who subscribed to what, arranged for one question: who gets a copy of this?"""

from __future__ import annotations

from collections.abc import Iterable

from hivebus.errors import InvalidMessage
from hivebus.patterns import check_pattern

Parts = tuple[str, ...]


class Subscriptions:
    """Patterns of routing keys, and who asked for each.

    Args:
        wanted: pairs of agent and pattern. What is no pattern is passed over: somebody else wrote it, and a
            sender has other things to do.

    Attributes:
        asked: how often it was looked for subscribers, for whoever counts the work.
    """

    def __init__(self, wanted: Iterable[tuple[str, object]] = ()) -> None:
        self._agents: dict[Parts, list[str]] = {}
        for agent, pattern in wanted:
            try:
                parts = tuple(check_pattern(pattern).split("."))
            except InvalidMessage:
                continue
            self._agents.setdefault(parts, []).append(agent)
        self.asked = 0

    def of(self, routing_key: str) -> list[str]:
        """Return who subscribed to a pattern that matches; each agent once."""
        if not self._agents:
            return []
        self.asked += 1
        parts = routing_key.split(".")
        found = (agents for pattern, agents in self._agents.items() if _matches(pattern, parts))
        return list(dict.fromkeys(agent for agents in found for agent in agents))


def _matches(pattern: Parts, parts: list[str]) -> bool:
    for index, wanted in enumerate(pattern):
        if wanted == "#":
            return True
        if index >= len(parts) or wanted not in ("*", parts[index]):
            return False
    return len(pattern) == len(parts)
