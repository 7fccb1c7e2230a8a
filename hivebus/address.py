"""What stands in ``to_agent``: one agent, a pool, everyone, or a list of agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hivebus import limits

EVERYONE = ("*", "broadcast")
_SHADOW = "~shadow"
"""No agent can be called so."""
_MARK = "~"
"""Stands between the name of an agent and what makes another inbox of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address.

    Attributes:
        kind: ``agent`` (one inbox), ``pool``, ``everyone``, or ``list``.
        names: the agent names, the pool's name without ``@``, or nothing for everyone.
    """

    kind: Literal["agent", "pool", "everyone", "list"]
    names: tuple[str, ...]


def parse_address(to_agent: str | tuple[str, ...]) -> Address:
    """Return the parsed address, or raise :class:`~hivebus.errors.InvalidMessage`."""
    checked = limits.check_address(to_agent)
    if isinstance(checked, tuple):
        return Address("list", tuple(dict.fromkeys(checked)))
    if checked in EVERYONE:
        return Address("everyone", ())
    if checked.startswith("@"):
        return Address("pool", (checked[1:],))
    return Address("agent", (checked,))


def routing_key(to_agent: str | tuple[str, ...], message_type: str) -> str:
    """Return ``agent.<to_agent>.<message_type>``; the names of a list are joined by commas.

    An answer that somebody waits for has the name of its agent there: nobody can know the other one.
    """
    to = owner_of(to_agent) if isinstance(to_agent, str) else ",".join(to_agent)
    return f"agent.{to}.{message_type}"


def shadow_of(agent: str) -> str:
    """Return the inbox for copies on the leg that does not act: they are compared, and never handled."""
    return agent + _SHADOW


def temporary_of(agent: str, token: str) -> str:
    """Return a reply inbox of an agent, which is there for as long as somebody reads it."""
    return agent + _MARK + token


def is_temporary(inbox: str) -> bool:
    """Tell whether an inbox is such a reply inbox."""
    return _MARK in inbox and not inbox.endswith(_SHADOW)


def owner_of(inbox: str) -> str:
    """Return the agent that a temporary inbox belongs to, and any other inbox as it is."""
    return inbox.partition(_MARK)[0] if is_temporary(inbox) else inbox


def behind_shadow(inbox: str) -> tuple[str, bool]:
    """Return the agent that an inbox belongs to, and whether it is its shadow."""
    return inbox.removesuffix(_SHADOW), inbox.endswith(_SHADOW)
