"""Steps of a drill that a test takes one by one."""

from __future__ import annotations

import time

from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import FAULTS


def inflict(exercise: Exercise, name: str, target: str) -> None:
    """Let one fault happen from beginning to end."""
    fault = FAULTS[name]
    record = fault.befalls(exercise, target)
    began = exercise.fault_begins(name, record)
    fault.begin(exercise, target)
    time.sleep(fault.lasts(exercise))
    fault.end(exercise, target)
    exercise.fault_ends(name, record, began)


def await_lines(exercise: Exercise, kind: str, count: int, pattern: str = "*") -> None:
    """Return when the books hold so many lines of a kind."""
    exercise.await_that(lambda: sum(line.kind == kind for line in exercise.lines(pattern)) >= count, f"{count} {kind}")
