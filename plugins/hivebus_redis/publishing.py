"""The words of a ``publish`` call and what its reply means; shared by the bus and the one-shot sender."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from operator import itemgetter
from typing import Protocol

from hivebus.errors import HivebusError, QueueFull
from hivebus.transport import Outgoing, Published


class Limits(Protocol):
    """How much an inbox may hold."""

    @property
    def max_messages(self) -> int:
        """Messages."""

    @property
    def max_bytes(self) -> int:
        """Bytes."""


def publish_arguments(inbox: str, items: Sequence[Outgoing], limits: Limits) -> list[str | int | bytes]:
    """Return what follows the keys of a ``publish`` call, as ``functions/publish.lua`` reads it."""
    words: list[str | int | bytes] = [inbox, limits.max_messages, limits.max_bytes]
    # Few batches mix levels, delays or times to live: what messages have in common is said once.
    for (level, delay, ttl), run in groupby(items, key=itemgetter(3, 4, 5)):
        same = list(run)
        # Rounded up: a thousandth of a second too early is too early.
        words += (len(same), level, ceil(delay * 1000), "" if ttl is None else int(ttl * 1000))
        for item in same:
            words += (item.message_id, item.data)
    return words


def published(
    inbox: str, reply: Sequence[bytes], limits: Limits, *, durability: str | None = None
) -> list[Published | HivebusError]:
    """Return one result per message of a ``publish`` call, on a server that gives this *durability*."""
    readers, idle, routes = map(int, reply[0].split())
    seconds = None if idle < 0 else idle / 1000
    stored = Published("stored", "accepted", seconds, readers, durability=durability, routes=routes)
    letters = reply[1]
    if letters.count(b"1") == len(letters):
        return [stored] * len(letters)
    answers: dict[int, Published | HivebusError] = {
        ord("1"): stored,
        ord("2"): stored._replace(state="duplicate"),
        ord("3"): stored._replace(state="scheduled"),
    }
    if b"0" in letters:
        answers[ord("0")] = _full(inbox, reply[2], limits)
    return [answers[letter] for letter in letters]


def _full(inbox: str, facts: bytes, limits: Limits) -> QueueFull:
    depth, size, waited = (int(number) for number in facts.split())
    oldest = None if waited < 0 else waited / 1000
    return QueueFull(
        f"the inbox of {inbox} is full",
        cause=f"it holds {depth} of {limits.max_messages} unsettled messages and {size} of {limits.max_bytes} bytes"
        + ("" if oldest is None else f"; the oldest has waited for {oldest:.1f} s"),
        hint="let its agent catch up, wait with on_full='wait', or raise max_messages in the URL",
        depth=depth,
        oldest_seconds=oldest,
    )
