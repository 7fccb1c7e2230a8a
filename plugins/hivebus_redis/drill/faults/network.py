"""What befalls the line between some of the workers and the server."""

from __future__ import annotations

from random import Random

from hivebus_redis.drill.exercise import LINE, Exercise
from hivebus_redis.drill.faults.fault import Fault


class LineFault(Fault):
    """Something befalls the line."""

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return the line."""
        return LINE

    def end(self, exercise: Exercise, target: str) -> None:
        """Make it an ordinary line again."""
        exercise.line.heal()


class Delay(LineFault):
    """Everything takes 100 ms longer, each way."""

    name, row = "line.delay", 15
    seconds = 0.8

    def begin(self, exercise: Exercise, target: str) -> None:
        """Make it long."""
        exercise.line.delay = 0.1


class Trickle(LineFault):
    """A few bytes at a time."""

    name, row = "line.trickle", 15
    seconds = 0.6

    def begin(self, exercise: Exercise, target: str) -> None:
        """Make it thin."""
        exercise.line.trickle = 40


class LoseAnswers(LineFault):
    """What the server says is lost; it has done what it was told."""

    name, row = "line.answers_lost", 11
    seconds = 0.5

    def begin(self, exercise: Exercise, target: str) -> None:
        """Let one direction fall silent."""
        exercise.line.backward = False


class Silence(LineFault):
    """Nothing arrives, in neither direction, and nobody is told."""

    name, row = "line.silent", 13
    seconds = 1.5

    def begin(self, exercise: Exercise, target: str) -> None:
        """Let it fall silent."""
        exercise.line.forward = exercise.line.backward = False


class Reset(LineFault):
    """Every connection is broken off."""

    name, row = "line.reset", 12

    def begin(self, exercise: Exercise, target: str) -> None:
        """Break them off."""
        exercise.line.reset()


class Cut(LineFault):
    """Every connection ends in order."""

    name, row = "line.cut", 12

    def begin(self, exercise: Exercise, target: str) -> None:
        """End them."""
        exercise.line.cut()


class HalfClose(LineFault):
    """The server's side says that it will say nothing more, and listens on."""

    name, row = "line.half_closed", 14
    seconds = 0.3

    def begin(self, exercise: Exercise, target: str) -> None:
        """Close one side."""
        exercise.line.close_half()


NETWORK_FAULTS: tuple[Fault, ...] = (
    Delay(), Trickle(), LoseAnswers(), Silence(), Reset(), Cut(), HalfClose(),
)  # fmt: skip
