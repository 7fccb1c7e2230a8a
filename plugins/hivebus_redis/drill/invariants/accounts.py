"""Every message is accounted for: handled or given up, once in the server, and `status` knows it."""

from __future__ import annotations

from collections.abc import Iterator

from hivebus_redis.drill.evidence import Evidence
from hivebus_redis.drill.invariants.finding import Finding
from hivebus_redis.drill.plan import DEAD


def i1(evidence: Evidence) -> list[Finding]:
    """Return what was accepted and vanished, and what is not settled at the end."""
    found = [Finding("I1", each, "accepted, and neither handled nor a dead letter") for each in evidence.lost]
    if not evidence.drained:
        left = {inbox: count for inbox, count in evidence.remains.unsettled.items() if count}
        found.append(Finding("I1", "-", f"not drained in time; not settled: {left}"))
    # A producer makes sure of everything before it ends, so nothing may be left open.
    for each, sent in evidence.sent.items():
        if each not in evidence.accepted and sent.kind != "invalid":
            found.append(Finding("I1", each, "sent, and its sender never learnt what became of it"))
    return found


def i2(evidence: Evidence) -> list[Finding]:
    """Return what was handled and never sent, or sent with another content."""
    found = []
    for each, begun in evidence.begun.items():
        sent = evidence.sent.get(each)
        if sent is None:
            found.append(Finding("I2", each, "handled, and never sent"))
        elif any(handling.digest != sent.digest for handling in begun):
            found.append(Finding("I2", each, "handled with another content than it was sent with"))
    return found


def i3(evidence: Evidence) -> list[Finding]:
    """Return what the server holds more than once."""
    return [
        Finding("I3", each, f"stored {count} times") for each, count in evidence.remains.stored.items() if count > 1
    ]


def i7(evidence: Evidence) -> list[Finding]:
    """Return innocents among the dead letters, wrong reasons, and what should be there and is not."""
    return [*_wrongly_dead(evidence), *_wrongly_alive(evidence)]


def i11(evidence: Evidence) -> list[Finding]:
    """Return where the state of a message is not what the books say."""
    found = []
    for each, state in evidence.states.items():
        expected = _expected_states(evidence, each)
        if state not in expected:
            found.append(Finding("I11", each, f"status says {state}, and the books say {' or '.join(expected)}"))
    return found


def innocents(evidence: Evidence) -> list[str]:
    """Return the dead letters that do not deserve it."""
    return [each for each in evidence.remains.dead if _kind(evidence, each) not in DEAD]


def _wrongly_dead(evidence: Evidence) -> Iterator[Finding]:
    for each, (_, reason) in evidence.remains.dead.items():
        expected = DEAD.get(_kind(evidence, each))
        if expected is None:
            yield Finding("I7", each, f"an innocent among the dead letters: {reason}")
        elif not reason.startswith(expected):
            yield Finding("I7", each, f"a dead letter for the reason {reason!r}, and {expected!r} is right")


def _wrongly_alive(evidence: Evidence) -> Iterator[Finding]:
    for each in evidence.accepted:
        if _kind(evidence, each) in DEAD and each not in evidence.remains.dead:
            yield Finding("I7", each, "not among the dead letters, where it belongs")


def _expected_states(evidence: Evidence, each: str) -> tuple[str, ...]:
    if each in evidence.remains.dead:
        return ("expired",) if evidence.remains.dead[each][1] == "expired" else ("dead_lettered",)
    if evidence.done.get(each):
        return ("acknowledged",)
    return ("unknown",)


def _kind(evidence: Evidence, each: str) -> str:
    sent = evidence.sent.get(each)
    return sent.kind if sent else ""
