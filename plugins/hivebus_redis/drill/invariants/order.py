"""Order and time, judged on the inbox of a single consumer, by what it was handed first."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from hivebus_redis.drill.evidence import Begun, Evidence, Handed, Sent
from hivebus_redis.drill.invariants.finding import Finding
from hivebus_redis.drill.plan import ORDER

LATE = 1.0
SHARE_LATE = 0.01
CATCHING_UP = 4.0
"""Seconds after a fault of the server in which what has piled up may still go first."""


def i8(evidence: Evidence) -> list[Finding]:
    """Return what was handed out before its time, and lateness where more than a hundredth is late."""
    found, late, timely = [], [], 0
    for each, sent in evidence.sent.items():
        begun = evidence.begun.get(each)
        if not sent.delay or not begun or sent.kind != "delayed":
            continue
        if begun[0].at < sent.at + sent.delay and not _clock_jumped(evidence, sent.at, begun[0].at):
            found.append(Finding("I8", each, f"{sent.at + sent.delay - begun[0].at:.3f} s before its time"))
        accepted = evidence.accepted.get(each)
        # Where the server was away at that time, nobody could have had it.
        if sent.inbox != ORDER or accepted is None or _is_disturbed(evidence, sent.at, begun[0].at):
            continue
        timely += 1
        if begun[0].at > accepted + sent.delay + LATE:
            late.append(Finding("I8", each, f"{begun[0].at - accepted - sent.delay:.3f} s late"))
    return found + (late if len(late) > SHARE_LATE * timely else [])


def i9(evidence: Evidence) -> list[Finding]:
    """Return what was begun while something more urgent had been accepted before the poll."""
    firsts = _firsts(evidence)
    levels: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
    for each, sent, _, begun in firsts:
        if not sent.delay and each in evidence.accepted:
            levels[sent.level].append((evidence.accepted[each], begun.at, each))
    waiting = {level: _latest(sorted(rows)) for level, rows in levels.items()}
    found = []
    for each, sent, handed, begun in firsts:
        for level, (accepted, latest) in waiting.items():
            before = bisect_left(accepted, handed.polled)
            if level > sent.level and before and latest[before - 1][0] > begun.at:
                found.append(Finding("I9", each, f"begun before {latest[before - 1][1]}, which is more urgent"))
                break
    return found


def i10(evidence: Evidence) -> list[Finding]:
    """Return what was begun before an earlier message of its sender and level."""
    found = []
    latest: dict[tuple[str, int], tuple[float, str]] = {}
    for each, sent, _, begun in sorted(_firsts(evidence), key=lambda row: row[1].at):
        if sent.delay or each in evidence.unknown or each in evidence.refused:
            continue
        key = (sent.who.partition(".")[0], sent.level)
        before = latest.get(key)
        if before and before[0] > begun.at:
            found.append(Finding("I10", each, f"begun before {before[1]}, which was sent earlier"))
        latest[key] = max(before or (0.0, ""), (begun.at, each))
    return found


def _firsts(evidence: Evidence) -> list[tuple[str, Sent, Handed, Begun]]:
    return [
        (each, sent, evidence.handed[each][0], evidence.begun[each][0])
        for each, sent in evidence.sent.items()
        if sent.inbox == ORDER and evidence.begun.get(each) and evidence.handed.get(each)
    ]


def _latest(rows: Sequence[tuple[float, float, str]]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the times of acceptance, and for each who of those up to it was begun last."""
    last, latest = (0.0, ""), []
    for _, begun, each in rows:
        last = max(last, (begun, each))
        latest.append(last)
    return [accepted for accepted, _, _ in rows], latest


def _clock_jumped(evidence: Evidence, since: float, until: float) -> bool:
    return any(
        fault.kind == "server.clock" and since <= fault.ended and fault.began <= until for fault in evidence.faults
    )


def _is_disturbed(evidence: Evidence, since: float, until: float) -> bool:
    return any(
        fault.target == "server" and fault.began <= until and fault.ended + CATCHING_UP >= since
        for fault in evidence.faults
    )
