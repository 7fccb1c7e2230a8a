"""What the ledger is told: one kind of fact per thing that happens to a message on its roads.

Facts are written down by whoever saw them happen: a sender its intents and attempts, whoever reads at
the far end of a leg its sightings. Nothing is ever changed afterwards; the comparison is made from all
facts together. Bodies are not kept, only fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Literal, NamedTuple

from hivebus.transport import Evidence

Outcome = Literal["accepted", "refused", "unknown"]
"""What a leg's transport said: it took the message, wrote nothing, or could not tell."""


class Moment(NamedTuple):
    """A point in time: *mono* can be subtracted between processes of one *boot*, *wall* is for people."""

    wall: int
    mono: int
    boot: str


class Intent(NamedTuple):
    """A message is about to travel.

    Attributes:
        agent: the recipient; one message to three agents is three intents under one id.
        session: names the sending process; *number* counts its messages, so that order can be judged.
        level: its priority, 1 to 5; only messages of one level keep their order.
        stage, epoch: the recipient's stage as this sender knew it; acting: the leg that acts.
        legs: the legs that it travels, each with the fingerprint that a reader at its far end will see.
    """

    message_id: str
    agent: str
    sender: str
    session: str
    number: int
    message_type: str
    level: int
    size: int
    stage: str
    epoch: int
    acting: str
    legs: Mapping[str, str]
    at: Moment


DUPLICATE = "duplicate"


class Attempt(NamedTuple):
    """A leg answered.

    Attributes:
        driver: how the leg was written to, such as ``safe`` or ``legacy``; a part of the comparison.
        reason: one word for what went wrong; None when it was accepted, or `DUPLICATE` when it had been before.
        seconds: how long the answer took.
    """

    message_id: str
    agent: str
    leg: str
    driver: str
    outcome: Outcome
    reason: str | None
    seconds: float


class Sighting(NamedTuple):
    """Somebody at the far end of a leg saw a message.

    Attributes:
        agent: who saw it, which is not always whom it was meant for.
        level: how far it had got: visible, taken, presented or acked.
        fingerprint: of what was seen; None when it could not be told.
    """

    message_id: str
    leg: str
    agent: str
    level: Evidence
    fingerprint: str | None
    at: Moment


class Witness(NamedTuple):
    """From now on somebody reports what *agent* gets on *leg*, up to *level*."""

    agent: str
    leg: str
    level: Evidence
    at: Moment


class Gap(NamedTuple):
    """Facts that could not be written down: what they were about is missing from the comparison."""

    facts: int
    reason: str
    since: Moment
    until: Moment


class Spooled(NamedTuple):
    """A copy for a leg that another process writes: what `hivebus.transport.Outgoing` has, and its leg."""

    leg: str
    inbox: str
    message_id: str
    routing_key: str
    priority: int
    ttl: float | None
    data: bytes
    at: Moment


Fact = Intent | Attempt | Sighting | Witness | Gap | Spooled


def now() -> Moment:
    """Return this moment."""
    return Moment(time_ns(), monotonic_ns(), boot_id())


@cache
def boot_id() -> str:
    """Return what names this boot of this machine; monotonic clocks of two boots say nothing about each other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # Elsewhere than on Linux the host must do.
        import socket

        return socket.gethostname()
