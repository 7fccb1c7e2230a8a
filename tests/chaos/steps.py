"""Steps of a drill that a test takes one by one."""

from __future__ import annotations

import time

from hivebus_redis.drill.disk import SLOW
from hivebus_redis.drill.exercise import SERVER, Exercise
from hivebus_redis.drill.faults import FAULTS

AGES = 60_000
"""Milliseconds that a sync takes which shall not end."""


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


def cut_power_before_a_sync(exercise: Exercise, *, sent: int) -> None:
    """Let a server that syncs once a second acknowledge so many, and cut the power before any of them was synced."""
    disk = exercise.server.disk
    assert disk is not None
    disk.set(SLOW, AGES)  # or the last of them may have come just before a sync, and nothing is lost
    exercise.producer("p", count=sent)
    await_lines(exercise, "A", sent)
    exercise.server.kill()
    disk.set(SLOW, 0)
    inflict(exercise, "server.power_cut", SERVER)
