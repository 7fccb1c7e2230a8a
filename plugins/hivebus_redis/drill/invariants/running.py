"""How the drill went: no hanging call, recovery in time, and nothing left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hivebus_redis.drill.evidence import Evidence, FaultRecord
from hivebus_redis.drill.invariants.finding import Finding

FIRST_BACK = 1.0
ALL_BACK = 5.0
SERVER_BACK = 2.0
"""Seconds: of what a dead consumer held, the first after the lease and the last; and after a restart of the server."""
RESTARTS = ("server.kill", "server.stop", "server.power_cut", "server.torn_write", "server.slow_disk")
DEADLY = ("consumer.kill",)


class Recovery(NamedTuple):
    """How long it took until work went on: the first message, and all of them."""

    fault: FaultRecord
    first: float
    last: float


def i12(evidence: Evidence) -> list[Finding]:
    """Return calls that took longer than their time-outs allow, and processes that ended by themselves."""
    found = [Finding("I12", "-", each) for each in evidence.failures]
    for line in evidence.calls:
        call, seconds, allowed = line.words
        if not _was_paused(evidence, line.who, line.at - float(seconds), line.at):
            found.append(
                Finding("I12", line.id, f"{call} took {float(seconds):.1f} s, and {float(allowed):.1f} at most")
            )
    return found


def i13(evidence: Evidence) -> list[Finding]:
    """Return what came back too late."""
    found = []
    for each in consumer_recoveries(evidence):
        if each.first > evidence.lease + FIRST_BACK or each.last > evidence.lease + ALL_BACK:
            text = f"{each.fault.target}: first back after {each.first:.2f} s, last after {each.last:.2f} s"
            found.append(Finding("I13", "-", text))
    found += [
        Finding("I13", "-", f"{each.fault.kind}: work went on after {each.first:.2f} s")
        for each in server_recoveries(evidence)
        if each.first > SERVER_BACK
    ]
    return found


def i14(evidence: Evidence) -> list[Finding]:
    """Return what is left behind when every worker has gone home."""
    found = []
    if evidence.remains.consumers:
        found.append(Finding("I14", "-", f"{evidence.remains.consumers} consumers are still registered"))
    if evidence.remains.clients > 1:
        found.append(Finding("I14", "-", f"{evidence.remains.clients - 1} connections are still open"))
    return found


def consumer_recoveries(evidence: Evidence) -> Sequence[Recovery]:
    """Return how long it took after each kill, where nothing else happened meanwhile."""
    found = []
    for fault in evidence.faults:
        if fault.kind not in DEADLY:
            continue
        who = fault.target.partition(":")[2]
        times = [
            next((begun.at for begun in begins if begun.at > fault.began), None)
            for each, begins in evidence.begun.items()
            if _was_in_hands(evidence, each, who, fault.began)
        ]
        back = [at - fault.began for at in times if at is not None]
        if back and not _is_disturbed(evidence, fault, fault.began + max(back)):
            found.append(Recovery(fault, min(back), max(back)))
    return found


def server_recoveries(evidence: Evidence) -> Sequence[Recovery]:
    """Return how long after each restart the next message was handled, where nothing else happened meanwhile."""
    done = sorted(handled.at for rows in evidence.done.values() for handled in rows)
    found = []
    for fault in evidence.faults:
        after = next((at for at in done if at > fault.ended), None) if fault.kind in RESTARTS else None
        if after is not None and not _is_disturbed(evidence, fault, after):
            found.append(Recovery(fault, after - fault.ended, after - fault.ended))
    return found


def _was_in_hands(evidence: Evidence, each: str, who: str, at: float) -> bool:
    began = [begun for begun in evidence.begun[each] if begun.who == who and begun.at <= at]
    if not began:
        return False
    token = began[-1].token
    settled = [*evidence.acks.get(each, ()), *evidence.returned.get(each, ())]
    return not any(each.token == token for each in settled)


def _is_disturbed(evidence: Evidence, fault: FaultRecord, until: float) -> bool:
    return any(
        other is not fault and other.began <= until and other.ended + evidence.lease >= fault.began
        and other.target != "message" and not other.target.startswith("producer")
        for other in evidence.faults
    )  # fmt: skip


def _was_paused(evidence: Evidence, who: str, since: float, until: float) -> bool:
    return any(
        fault.target.partition(":")[2] == who and fault.began <= until and fault.ended >= since
        for fault in evidence.faults
    )
