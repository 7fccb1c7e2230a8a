"""How long recovery takes, measured in the quiet at the beginning of a drill, where nothing else decides it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from random import Random
from time import monotonic

from hivebus.errors import HivebusError
from hivebus_redis.drill.crew import Member
from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import Fault
from hivebus_redis.drill.invariants.running import ALL_BACK, DEADLY, RESTARTS
from hivebus_redis.drill.ledger import Line
from hivebus_redis.drill.plan import WORK

PROBES = (DEADLY[0], RESTARTS[0])
BUSY = 30
"""How many messages that take a while are sent to give consumers something to hold."""
QUIET = 1.0
PATIENCE = 20.0
PAUSE = 0.02


def measure_recovery(exercise: Exercise, faults: Sequence[Fault]) -> None:
    """Kill a consumer in the middle of its work, and then the server, with nothing before and behind either."""
    random = Random(exercise.plan.seed)
    chosen = {fault.name: fault for fault in faults}
    # The server comes last, whatever the order of the faults: no lease is waited for behind it.
    for fault in (chosen[name] for name in PROBES if name in chosen):
        target, held = _caught_at_work(exercise) if fault.name in DEADLY else (fault.target(exercise, random), set())
        if target is not None:
            record = fault.befalls(exercise, target)
            began = exercise.fault_begins(fault.name, record)
            fault.begin(exercise, target)
            exercise.fault_ends(fault.name, record, began)
            _await_back(exercise, held, began=began, ended=monotonic())
            exercise.rest(QUIET)


def _caught_at_work(exercise: Exercise) -> tuple[str, set[str]]:
    """Return a consumer that stands still with unfinished messages in its hands, and their ids."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        for member in _colleagues(exercise):
            exercise.post("lengthy", times=BUSY)
            # Looked at while it runs, it would be done before it is killed.
            member.signal(signal.SIGSTOP)
            held = _in_hands(exercise.lines(member.who))
            if held:
                return member.name, held
            member.signal(signal.SIGCONT)
    raise HivebusError("no consumer was found at work: there is nothing whose recovery could be measured")


def _colleagues(exercise: Exercise) -> Sequence[Member]:
    return [each for each in exercise.crew.having("consume") if each.is_alive and each.options["inbox"] == WORK]


def _in_hands(lines: Iterable[Line]) -> set[str]:
    begun: set[str] = set()
    for line in lines:
        if line.kind == "D":
            begun.add(line.id)
        elif line.kind == "H":
            begun.discard(line.id)
    return begun


def _await_back(exercise: Exercise, held: set[str], *, began: float, ended: float) -> None:
    """Return when all of it was begun again, and anything handled; what stays away is for the judges to see."""
    deadline = ended + exercise.plan.lease + ALL_BACK
    if held:
        exercise.rest(exercise.plan.lease)
    while monotonic() < deadline:
        lines = exercise.lines()
        begun = {line.id for line in lines if line.kind == "D" and line.at > began}
        if held <= begun and any(line.kind == "H" and line.at > ended for line in lines):
            return
        exercise.rest(PAUSE)
