"""What a fault is: it begins, lasts, and is made good again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import ClassVar

from hivebus_redis.drill.exercise import Exercise


class Fault(ABC):
    """One kind of trouble.

    Attributes:
        name: what it befalls, a point, and what happens.
        row: its number in the catalogue of faults; 0 where that has none.
        seconds: how long it lasts; settles: how long it takes until all that follows from it is over.
    """

    name: ClassVar[str]
    row: ClassVar[int]
    seconds: ClassVar[float] = 0.0
    settles: float = 0.0

    @abstractmethod
    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return whom it would befall now, or None when there is nobody."""

    @abstractmethod
    def begin(self, exercise: Exercise, target: str) -> None:
        """Do it."""

    def end(self, exercise: Exercise, target: str) -> None:  # noqa: B027 - much is over at once
        """Make it good again."""

    def befalls(self, exercise: Exercise, target: str) -> str:
        """Return how its record names whom it befalls: a place in the crew by the process that holds it."""
        member = exercise.crew.members.get(target)
        return member.target if member else target

    def lasts(self, exercise: Exercise) -> float:
        """Return how long it goes on."""
        return self.seconds
