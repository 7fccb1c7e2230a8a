"""What observers are told: frozen facts about messages that moved."""

from __future__ import annotations

from typing import NamedTuple

from hivebus.transport import Evidence, Settled


class Sent(NamedTuple):
    """A transport answered for one message: *state* is stored, duplicate, scheduled or an error's name."""

    message_id: str
    inbox: str
    message_type: str
    priority: int
    size: int
    state: str
    seconds: float


class Delivered(NamedTuple):
    """One message was handed over to this process."""

    message_id: str
    inbox: str
    message_type: str
    from_agent: str
    attempt: int
    failures: int
    crashes: int


class SettledFact(NamedTuple):
    """What became of one delivery: *verb* is ack, retry or dead; *outcome* is the server's answer."""

    message_id: str
    inbox: str
    verb: str
    outcome: Settled
    reason: str | None


class Evidenced(NamedTuple):
    """A leg proves that a message got as far as *evidence*."""

    message_id: str
    leg: str
    evidence: Evidence
    agent: str
