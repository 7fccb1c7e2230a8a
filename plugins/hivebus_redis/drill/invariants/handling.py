"""What happens around a handler: no doubling without a reason, none after an ack, and one holder at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hivebus_redis.drill.evidence import Begun, Evidence, Handed, Settled
from hivebus_redis.drill.invariants.finding import Finding

SERVER_WIDE = ("server", "line")


def i4(evidence: Evidence) -> list[Finding]:
    """Return what was handled more than once, without a fault of its handler or of the server in between."""
    return [
        Finding("I4", each, f"handled {_by_whom(done)}, and nothing happened in between")
        for each, done in evidence.done.items()
        if len(done) > 1 and not _is_explained(evidence, each)
    ]


def i5(evidence: Evidence) -> list[Finding]:
    """Return what was handed out by a poll that began after its ack was answered."""
    found = []
    for each, acks in evidence.acks.items():
        first = min((ack.at for ack in acks if ack.answer == "done"), default=None)
        if first is not None and any(handed.polled > first for handed in evidence.handed.get(each, ())):
            found.append(Finding("I5", each, "handed out again after it was acknowledged"))
    return found


def i6(evidence: Evidence) -> list[Finding]:
    """Return what was handed to somebody while another held it."""
    found = []
    for each, hands in evidence.handed.items():
        for one, other in pairwise(hands):
            if (one.who, one.token) != (other.who, other.token) and _overlaps(evidence, each, one, other):
                found.append(Finding("I6", each, f"held by {one.who} and handed to {other.who}"))
    return found


def doubled(evidence: Evidence) -> tuple[int, int]:
    """Return how many messages were handled more than once: for a reason, and for none."""
    several = [each for each, done in evidence.done.items() if len(done) > 1]
    explained = sum(_is_explained(evidence, each) for each in several)
    return explained, len(several) - explained


def _by_whom(done: Sequence[Begun]) -> str:
    later = (f"{again.who} {again.at - done[0].at:.3f} s later" for again in done[1:])
    return ", and by ".join([f"by {done[0].who}", *later])


def _is_explained(evidence: Evidence, each: str) -> bool:
    done = [(begun.who, begun.token) for begun in evidence.done[each]]
    times = [begun for begun in evidence.begun[each] if (begun.who, begun.token) in done]
    return all(_has_fault(evidence, one.who, one.at, other.at) for one, other in pairwise(times))


def _has_fault(evidence: Evidence, who: str, since: float, until: float) -> bool:
    return any(
        # What was handed out before a fault of the server runs out one lease after it.
        fault.began <= until and fault.ended + (evidence.lease if fault.target in SERVER_WIDE else 0) >= since
        for fault in evidence.disturbing(who)
    )


def _overlaps(evidence: Evidence, each: str, one: Handed, other: Handed) -> bool:
    """Tell whether the lease of *one* certainly held when *other* was there.

    A renewal that was granted proves it: one that began before the other hand-over holds for a lease from
    then on, and one that began later was granted to somebody whose message it no longer was.
    """
    if _clock_jumped(evidence) or any(
        (back.who, back.token) == (one.who, one.token) and back.began < other.at for back in _let_go(evidence, each)
    ):
        return False
    renewed = max(one.polled, evidence.renewed.get((each, one.who, one.token), 0.0))
    return renewed + evidence.lease > other.at


def _let_go(evidence: Evidence, each: str) -> Iterator[Settled]:
    yield from evidence.returned.get(each, ())
    yield from evidence.acks.get(each, ())


def _clock_jumped(evidence: Evidence) -> bool:
    return any(fault.kind == "server.clock" for fault in evidence.faults)
