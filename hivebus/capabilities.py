"""What a transport can do, as values of the connected server: who provides it, and how much of it there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Support = Literal["native", "emulated", "absent"]

LADDERS: Mapping[str, Sequence[str]] = {
    "evidence": ("accepted", "visible", "taken", "presented", "acked"),
    "durability": ("none", "memory", "fsync", "replicated", "fsync+replicated"),
    "order": ("none", "per_sender", "per_inbox"),
    "attempts": ("approximate", "exact"),
}
"""Capabilities whose values are words, weakest first."""


def is_as_durable(have: str, wanted: str) -> bool:
    """Tell whether the level *have* is all that *wanted* is: copies say nothing about disks, nor disks about copies."""
    parts = {part for part in wanted.split("+") if part not in ("none", "memory")}
    return have != "none" if wanted == "memory" else parts <= set(have.split("+"))


@dataclass(frozen=True, slots=True)
class Feature:
    """One capability: who provides it and how much of it there is."""

    support: Support = "absent"
    value: Any = None

    def __bool__(self) -> bool:
        return self.support != "absent"


ABSENT = Feature()


def native(value: Any = True) -> Feature:  # noqa: FBT002 - a value, and no switch
    """Return a feature that the backend itself provides."""
    return Feature("native", value)


def emulated(value: Any = True) -> Feature:  # noqa: FBT002 - a value, and no switch
    """Return a feature that the transport builds on top of its backend."""
    return Feature("emulated", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the *connected* server can do, as values; the default of everything is absent.

    Attributes:
        evidence: the strongest thing a receipt can prove, from accepted to acked.
        durability: none, memory, fsync, replicated, or both of the latter as fsync+replicated.
        redelivery: an unsettled message comes back when its consumer is gone.
        fencing: a consumer that lost its lease can no longer settle.
        priority: how many levels are handed out strictly from the top.
        priority_survives_retry: a retried message keeps its level.
        delay: the longest delay in seconds.
        ttl: expired messages are never handed out.
        order: none, per_sender (and level) or per_inbox, on first deliveries.
        dedup: seconds for which a settled ``message_id`` is still recognised.
        attempts: approximate or exact counts of attempts, failures and crashes.
        atomic_reply: a reply and the ack that carries it happen together or not at all.
        outcomes: seconds for which what a handler returned is kept with its ack.
        inspect: counts and the state of single messages can be asked for.
        dead_letters: dead letters can be listed, requeued and purged.
        pools: a process can read several inboxes at once, and those who read one share it evenly.
        replay: seconds of history that can be read again.
        retention_guard: what is unread or unsettled is never trimmed.
        directory: shared facts with compare-and-set.
        max_body: the largest encoded message in bytes.
        max_batch: how many items one call may carry.
    """

    evidence: Feature = native("accepted")
    durability: Feature = ABSENT
    redelivery: Feature = ABSENT
    fencing: Feature = ABSENT
    priority: Feature = ABSENT
    priority_survives_retry: Feature = ABSENT
    delay: Feature = ABSENT
    ttl: Feature = ABSENT
    order: Feature = ABSENT
    dedup: Feature = ABSENT
    attempts: Feature = ABSENT
    atomic_reply: Feature = ABSENT
    outcomes: Feature = ABSENT
    inspect: Feature = ABSENT
    dead_letters: Feature = ABSENT
    pools: Feature = ABSENT
    replay: Feature = ABSENT
    retention_guard: Feature = ABSENT
    directory: Feature = ABSENT
    max_body: Feature = ABSENT
    max_batch: Feature = native(500)

    def items(self) -> Sequence[tuple[str, Feature]]:
        """Return name and feature of each capability, in the order of this page."""
        return [(each.name, getattr(self, each.name)) for each in fields(self)]
