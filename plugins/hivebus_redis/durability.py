"""What a server's configuration promises about a message that it has accepted.

``fsync`` is `appendfsync always` and nothing else: the answer is sent after the write is on the disk. A
`WAITAOF` behind ``everysec`` is no substitute, since servers were found that answer it too early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hivebus.errors import DurabilityUnavailable

NEEDED = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
"""What makes a server give ``fsync``: with the last one, it also keeps that up while it rewrites its file."""


class Level(NamedTuple):
    """A level and how it is known. A named tuple, because a one-shot sender defines it anew.

    Attributes:
        name: ``memory`` or ``fsync``.
        why: what it rests on, or why it is no more than that.
        hint: what to do about it.
    """

    name: str
    why: str
    hint: str = ""


def judge(configuration: Mapping[str, str]) -> Level:
    """Return the level that a configuration gives, by the values of `NEEDED`."""
    wrong = [name for name, value in NEEDED.items() if configuration.get(name) != value]
    if not wrong:
        return Level("fsync", "its configuration puts every write on disk before it is answered")
    commands = "; ".join(f"CONFIG SET {name} {NEEDED[name]}" for name in wrong)
    return Level(
        "memory",
        ", ".join(f"its {name} is {configuration.get(name) or 'unknown'}" for name in wrong),
        f"on the server: {commands}; CONFIG REWRITE",
    )


def joined(level: str, *, replicated: bool) -> str:
    """Return the name of a level together with that of its copies."""
    if not replicated:
        return level
    return "fsync+replicated" if level == "fsync" else "replicated"


def refusal(where: str, *, have: str, wanted: str, why: str, hint: str) -> DurabilityUnavailable:
    """Return the error for a server that does not give what was asked for."""
    return DurabilityUnavailable(
        f"{where} gives durability {have!r}, not {wanted!r}",
        cause=why,
        hint=f"{hint or 'ask for less'}; hivebus doctor says more",
    )
