"""Patterns of routing keys: which messages somebody listens for.

A routing key is ``agent.<to_agent>.<message_type>``. In a pattern ``*`` stands for one part, and ``#``, at the
end, for all the rest: a message type may have dots of its own, so that it may be several parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hivebus import limits
from hivebus.errors import InvalidMessage

MAX_PATTERNS = 1000
PATTERN_RULE = (
    "must be agent.NAME.TYPE, with * for one part and # at the end for all the rest,"
    " such as agent.pm-agent.# or agent.*.system_alert"
)
_type_part = re.compile(r"[a-z0-9_-]{1,63}").fullmatch


class Patterns:
    """Checked patterns of one listener, or `InvalidMessage` for what is none."""

    def __init__(self, patterns: str | Sequence[str]) -> None:
        given = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if not 0 < len(given) <= MAX_PATTERNS:
            raise InvalidMessage(field="patterns", value=given, rule=f"must be 1 to {MAX_PATTERNS} patterns")
        self.texts = tuple(dict.fromkeys(check_pattern(each) for each in given))
        self._compiled = [(text, re.compile(_expression(text)).fullmatch) for text in self.texts]

    def first(self, routing_key: str) -> str | None:
        """Return the first pattern that matches, or None: one message is heard once, however many do."""
        return next((text for text, matches in self._compiled if matches(routing_key)), None)


def check_pattern(value: object) -> str:
    """Return a pattern, or raise `InvalidMessage`."""
    if value == "#":
        return "#"
    if isinstance(value, str):
        prefix, *parts = value.split(".")
        if prefix == "agent" and _are_parts(parts):
            return value
    raise InvalidMessage(field="pattern", value=value, rule=PATTERN_RULE)


def is_name(text: str) -> bool:
    """Tell whether *text* is the address of one agent, one pool or everybody, as it stands in a routing key."""
    try:
        return limits.check_address(text) != "*"
    except InvalidMessage:
        return False


def key_of_copy(routing_key: str, inbox: str) -> str:
    """Return the routing key of one copy: of a message to a list, each agent hears what goes to itself."""
    prefix, to, kind = routing_key.split(".", 2)
    return f"{prefix}.{inbox}.{kind}" if "," in to else routing_key


def _are_parts(parts: Sequence[str]) -> bool:
    if not parts or "#" in parts[:-1]:
        return False
    name, *kind = parts
    if name == "#":
        return True
    is_known = name == "*" or is_name(name)
    return is_known and bool(kind) and all(part in ("*", "#") or _type_part(part) for part in kind)


def _expression(pattern: str) -> str:
    if pattern == "#":
        return ".*"
    head, rest = (pattern[:-2], r"(?:\..*)?") if pattern.endswith(".#") else (pattern, "")
    return r"\.".join("[^.]*" if part == "*" else re.escape(part) for part in head.split(".")) + rest
