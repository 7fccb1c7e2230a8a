"""The books and the remains of a drill, sorted by message and by fault: what the invariants are judged on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hivebus_redis.drill.ledger import Line
from hivebus_redis.drill.remains import Remains

BY_LINE = "-line."
"""Stands in the books of workers that reach the server over the line."""


class Sent(NamedTuple):
    """The first time that a send of a message began, and what the message is."""

    at: float
    kind: str
    inbox: str
    level: int
    digest: str
    delay: float
    who: str


class Handed(NamedTuple):
    """One handing-over: to whom, when its poll began, and when it was there."""

    who: str
    token: str
    polled: float
    at: float
    attempt: int


class Begun(NamedTuple):
    """A handler began."""

    who: str
    token: str
    at: float
    digest: str


class Settled(NamedTuple):
    """The answer to an ack, or to a giving back: when it was asked for, and when it was there."""

    who: str
    token: str
    answer: str
    began: float
    at: float


class FaultRecord(NamedTuple):
    """Something that was done on purpose, from *began* until *ended*."""

    kind: str
    target: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known about a drill.

    Attributes:
        level: what the server was set up for: ``fsync`` or ``memory``.
        lease: seconds, of every consumer.
        sent, handed, begun, done, acks, returned: by message id, in order of time.
        accepted: id -> when a send of it returned first.
        unknown, refused: ids whose send ended so at least once.
        renewed: by id, holder and token, when the last renewal that was granted began.
        faults: in order of their beginnings; calls: those that took too long; failures: processes that ended.
        states: id -> what `status` says at the end, where it was asked.
        remains: what the server holds at the end; drained: whether all was settled in time.
    """

    level: str
    lease: float
    remains: Remains
    drained: bool
    states: Mapping[str, str] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    handed: dict[str, list[Handed]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[str, list[Begun]] = field(default_factory=lambda: defaultdict(list))
    done: dict[str, list[Begun]] = field(default_factory=lambda: defaultdict(list))
    acks: dict[str, list[Settled]] = field(default_factory=lambda: defaultdict(list))
    returned: dict[str, list[Settled]] = field(default_factory=lambda: defaultdict(list))
    renewed: dict[tuple[str, str, str], float] = field(default_factory=dict)
    faults: list[FaultRecord] = field(default_factory=list)
    calls: list[Line] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def disturbing(self, who: str) -> Sequence[FaultRecord]:
        """Return the faults that may befall the process with this book."""
        targets = {"server", f"consumer:{who}"} | ({"line"} if BY_LINE in who else set())
        return [each for each in self.faults if each.target in targets]

    @property
    def lost(self) -> list[str]:
        """Ids whose send returned, and that were neither handled nor given up in the open."""
        return [each for each in self.accepted if each not in self.done and each not in self.remains.dead]


def gather(
    lines: Iterable[Line],
    *,
    level: str,
    lease: float,
    remains: Remains,
    drained: bool,
    states: Mapping[str, str] | None = None,
) -> Evidence:
    """Return the evidence in the books, which must be in order of time."""
    evidence = Evidence(level=level, lease=lease, remains=remains, drained=drained, states=states or {})
    for line in lines:
        _READERS.get(line.kind, _nothing)(evidence, line)
    _close_open_faults(evidence)
    return evidence


def _sent(evidence: Evidence, line: Line) -> None:
    kind, inbox, level, digest, delay = line.words
    if line.id not in evidence.sent:
        evidence.sent[line.id] = Sent(line.at, kind, inbox, int(level), digest, float(delay), line.who)


def _accepted(evidence: Evidence, line: Line) -> None:
    evidence.accepted.setdefault(line.id, line.at)


def _handed(evidence: Evidence, line: Line) -> None:
    token, polled, attempt, _ = line.words
    evidence.handed[line.id].append(Handed(line.who, token, float(polled), line.at, int(attempt)))


def _begun(evidence: Evidence, line: Line) -> None:
    evidence.begun[line.id].append(Begun(line.who, line.words[0], line.at, line.words[1]))


def _done(evidence: Evidence, line: Line) -> None:
    evidence.done[line.id].append(Begun(line.who, line.words[0], line.at, ""))


def _acked(evidence: Evidence, line: Line) -> None:
    token, answer, began = line.words
    evidence.acks[line.id].append(Settled(line.who, token, answer, float(began), line.at))


def _returned(evidence: Evidence, line: Line) -> None:
    token, answer, began = line.words
    evidence.returned[line.id].append(Settled(line.who, token, answer, float(began), line.at))


def _renewed(evidence: Evidence, line: Line) -> None:
    token, began = line.words
    key = (line.id, line.who, token)
    evidence.renewed[key] = max(evidence.renewed.get(key, 0.0), float(began))


def _fault_began(evidence: Evidence, line: Line) -> None:
    kind, target = line.words
    evidence.faults.append(FaultRecord(kind, target, line.at, 0.0))


def _fault_ended(evidence: Evidence, line: Line) -> None:
    kind, target, _ = line.words
    for index in range(len(evidence.faults) - 1, -1, -1):
        known = evidence.faults[index]
        if (known.kind, known.target, known.ended) == (kind, target, 0.0):
            evidence.faults[index] = known._replace(ended=line.at)
            return


def _close_open_faults(evidence: Evidence) -> None:
    # A process that a message kills writes down the beginning, and no end.
    evidence.faults[:] = [each if each.ended else each._replace(ended=each.began) for each in evidence.faults]


def _nothing(evidence: Evidence, line: Line) -> None:
    """What the judges do not need."""


_READERS: Mapping[str, Callable[[Evidence, Line], object]] = {
    "T": _sent,
    "A": _accepted,
    "U": lambda evidence, line: evidence.unknown.add(line.id),
    "R": lambda evidence, line: evidence.refused.add(line.id),
    "P": _handed,
    "D": _begun,
    "H": _done,
    "K": _acked,
    "N": _returned,
    "L": _renewed,
    "f": _fault_began,
    "F": _fault_ended,
    "C": lambda evidence, line: evidence.calls.append(line),
    "X": lambda evidence, line: evidence.failures.append(" ".join(line.words)),
}
