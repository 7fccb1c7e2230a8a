"""What a server holds when a drill is over, read with plain commands: hivebus is not asked about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

LEVELS = (1, 2, 3, 4, 5)
INDEX = "hb:{@sys}:inboxes"
CHUNK = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """The end of a drill, as the server has it.

    Attributes:
        dead: id -> inbox and reason of every dead letter.
        stored: how many entries of each id the streams of an inbox hold, settled ones included.
        unsettled: by inbox, what is neither settled nor a dead letter.
        consumers: how many the groups still know, besides the one that stands for nobody.
        clients: how many are connected.
    """

    dead: Mapping[str, tuple[str, str]]
    stored: Mapping[str, int]
    unsettled: Mapping[str, int]
    consumers: int
    clients: int


def look(client: redis.Redis) -> Remains:
    """Return what the server holds."""
    dead: dict[str, tuple[str, str]] = {}
    stored: Counter[str] = Counter()
    consumers = 0
    for inbox in inboxes(client):
        base = f"hb:{{{inbox}}}:"
        for fields in _entries(client, f"{base}dlq"):
            dead[fields.get("i") or fields.get("d", "")] = (inbox, fields.get("r", ""))
        for level in LEVELS:
            stored.update(fields["i"] for fields in _entries(client, f"{base}q:{level}") if fields.get("i"))
            for group in _groups(client, f"{base}q:{level}"):
                names = client.xinfo_consumers(f"{base}q:{level}", group["name"])
                consumers = max(consumers, sum(each["name"] != "~" for each in names))
    info: Any = client.info("clients")
    return Remains(
        dead=dead,
        stored=stored,
        unsettled=backlog(client),
        consumers=consumers,
        clients=info["connected_clients"],
    )


def backlog(client: redis.Redis) -> dict[str, int]:
    """Return what is not settled of each inbox."""
    counts = {}
    for inbox in inboxes(client):
        base = f"hb:{{{inbox}}}:"
        scheduled: Any = client.hlen(f"{base}sched")
        counts[inbox] = scheduled + sum(_unsettled(client, f"{base}q:{level}") for level in LEVELS)
    return counts


def inboxes(client: redis.Redis) -> list[str]:
    """Return the names of all inboxes."""
    found: Any = client.smembers(INDEX)
    return sorted(found)


def _unsettled(client: redis.Redis, stream: str) -> int:
    groups = _groups(client, stream)
    if not groups:
        # Without a group nobody has read anything.
        length: Any = client.xlen(stream)
        return int(length)
    return max(int(each["pending"]) + _unread(client, stream, each["last-delivered-id"]) for each in groups)


def _unread(client: redis.Redis, stream: str, last: str) -> int:
    # Counted by hand: the server's own number is lost after a deletion.
    found: Any = client.xrange(stream, f"({last}", "+", count=CHUNK)
    return len(found)


def _groups(client: redis.Redis, stream: str) -> Sequence[dict[str, Any]]:
    try:
        groups: Any = client.xinfo_groups(stream)
    except redis.ResponseError:
        return []
    return list(groups)


def _entries(client: redis.Redis, stream: str) -> Iterator[dict[str, str]]:
    last = "-"
    while True:
        rows: Any = client.xrange(stream, last, "+", count=CHUNK)
        for _, fields in rows:
            yield fields
        if len(rows) < CHUNK:
            return
        last = f"({rows[-1][0]}"
