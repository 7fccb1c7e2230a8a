"""Injects faults one after the other, several at once but never two into the same target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic, sleep

from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import Fault

PAUSE = 0.02
LONGER = 3.0
"""How many times as long a machine may take that is slow at it."""
LULL = 0.3
"""Seconds for which a target is left alone after a fault, so that there is something to disturb again."""


@dataclass(frozen=True, slots=True)
class Running:
    """A fault that goes on, and until when."""

    fault: Fault
    target: str
    record: str
    began: float
    until: float


class Schedule:
    """Draws faults from a bag that is filled again when it is empty, so that each kind has its turn.

    Args:
        exercise: what they befall.
        faults: which.
        every: seconds between two of them.
    """

    def __init__(self, exercise: Exercise, faults: Sequence[Fault], *, every: float, seed: int) -> None:
        self._exercise = exercise
        self._faults = list(faults)
        self._every = every
        self._random = Random(seed)
        self._bag: list[Fault] = []
        self._running: list[Running] = []
        self._free_at: dict[str, float] = {}
        self._count = 0

    def run(self, seconds: float, *, is_enough: Callable[[int], bool] = lambda count: True) -> None:
        """Inject faults for so long, and on until so many are enough; then make good what goes on still."""
        next_at = began = monotonic()
        ends = began + seconds
        while monotonic() < ends or (monotonic() < began + LONGER * seconds and not is_enough(self._count)):
            self._end_those_due(monotonic())
            self._exercise.tend()
            if monotonic() >= next_at:
                self._begin_one(left=max(0.0, ends - monotonic()))
                next_at = max(next_at + self._every, monotonic())
            sleep(PAUSE)
        while self._running:
            self._end_those_due(monotonic())
            sleep(PAUSE)

    def _begin_one(self, *, left: float) -> None:
        # What takes long to be over must not make everybody wait for it at the end.
        self._bag = [fault for fault in self._bag if fault.settles <= left]
        if not self._bag:
            self._bag = [fault for fault in self._faults if fault.settles <= left]
            self._random.shuffle(self._bag)
            # What goes on for longest comes first, so that it has its turn in a short run too.
            self._bag.sort(key=lambda fault: -fault.settles)
        # The first in the bag whose target is free; the others keep their places.
        for fault in self._bag:
            target = fault.target(self._exercise, self._random)
            if target is not None and self._is_free(target):
                self._bag.remove(fault)
                self._begin(fault, target)
                return
            if target is None:
                self._bag.remove(fault)
                return

    def _begin(self, fault: Fault, target: str) -> None:
        record = fault.befalls(self._exercise, target)
        self._count += 1
        began = self._exercise.fault_begins(fault.name, record)
        fault.begin(self._exercise, target)
        self._running.append(Running(fault, target, record, began, monotonic() + fault.lasts(self._exercise)))
        self._end_those_due(monotonic())

    def _end_those_due(self, now: float) -> None:
        for each in [each for each in self._running if each.until <= now]:
            self._running.remove(each)
            each.fault.end(self._exercise, each.target)
            self._exercise.fault_ends(each.fault.name, each.record, each.began)
            self._free_at[each.target] = monotonic() + (0 if each.record == "message" else LULL)

    def _is_free(self, target: str) -> bool:
        is_busy = any(each.target == target for each in self._running)
        return not is_busy and monotonic() >= self._free_at.get(target, 0.0)
