"""What befalls producers and consumers: killed, paused, sent home."""

from __future__ import annotations

import signal
from random import Random
from typing import ClassVar

from hivebus_redis.drill.crew import Member
from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults.fault import Fault

HOUR = 3600
STRUCK_OFF = 4.0
"""Seconds, two leases: a dead consumer that held nothing is known to the server until then."""


class ProcessFault(Fault):
    """Something befalls one process of a role."""

    role: ClassVar[str]

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return a place whose holder lives."""
        places = [each for each in exercise.crew.having(self.role) if each.is_alive and not _is_left_alone(each)]
        return random.choice(places).name if places else None


class KillConsumer(ProcessFault):
    """kill -9: what it held comes back after its lease."""

    name, row, role = "consumer.kill", 1, "consume"
    settles = STRUCK_OFF

    def begin(self, exercise: Exercise, target: str) -> None:
        """Kill it, and let another take its place at once."""
        _end(exercise, target, signal.SIGKILL)


class PauseConsumer(ProcessFault):
    """Paused beyond its lease: what it settles afterwards is not its own any more."""

    name, row, role = "consumer.pause", 6, "consume"

    def begin(self, exercise: Exercise, target: str) -> None:
        """Stop it."""
        exercise.crew.members[target].signal(signal.SIGSTOP)

    def end(self, exercise: Exercise, target: str) -> None:
        """Let it go on."""
        exercise.crew.members[target].signal(signal.SIGCONT)

    def lasts(self, exercise: Exercise) -> float:
        """Return more than a lease."""
        return exercise.plan.lease * 1.6


class DismissConsumer(ProcessFault):
    """SIGTERM: it ends what it began and hands back the rest; whoever does not leave soon is killed."""

    name, row, role = "consumer.term", 1, "consume"
    settles = STRUCK_OFF

    def begin(self, exercise: Exercise, target: str) -> None:
        """Send it home, and let another take its place when it has left."""
        exercise.crew.members[target].dismiss()

    def end(self, exercise: Exercise, target: str) -> None:
        """Replace it."""
        # Without a server it would wait for one, and whoever waits for it could not bring the server back.
        _end(exercise, target, signal.SIGKILL)

    def lasts(self, exercise: Exercise) -> float:
        """Return the time in which it has ended, usually."""
        return 0.4


class KillProducer(ProcessFault):
    """kill -9: its successor sends again what it saw no answer to."""

    name, row, role = "producer.kill", 2, "produce"

    def begin(self, exercise: Exercise, target: str) -> None:
        """Kill it, and let another go on for it."""
        _end(exercise, target, signal.SIGKILL)


class PauseProducer(ProcessFault):
    """Paused in the middle of sends."""

    name, row, role = "producer.pause", 6, "produce"
    seconds = 0.8

    def begin(self, exercise: Exercise, target: str) -> None:
        """Stop it."""
        exercise.crew.members[target].signal(signal.SIGSTOP)

    def end(self, exercise: Exercise, target: str) -> None:
        """Let it go on."""
        exercise.crew.members[target].signal(signal.SIGCONT)


class DismissProducer(ProcessFault):
    """SIGTERM, which a producer without a handler dies of."""

    name, row, role = "producer.term", 2, "produce"

    def begin(self, exercise: Exercise, target: str) -> None:
        """End it, and let another go on for it."""
        _end(exercise, target, signal.SIGTERM)


class WrongClock(ProcessFault):
    """A producer goes on whose clock is an hour ahead: times of senders are information, and decide nothing."""

    name, row, role = "producer.clock", 32, "produce"

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return a place, where a clock can be set wrong."""
        return super().target(exercise, random) if exercise.server.disk else None

    def begin(self, exercise: Exercise, target: str) -> None:
        """Replace the producer by one with another clock."""
        assert exercise.server.disk is not None
        member = exercise.crew.members[target]
        member.end(signal.SIGKILL)
        exercise.crew.replace(member, exercise.server.disk.wrong_clock(HOUR))


class CancelReaders(Fault):
    """Another process comes, starts to read and is cancelled or stopped, a dozen times."""

    name, row = "reader.cancelled", 17
    settles = 6.0

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return a name for it."""
        return f"restless{len(exercise.crew.members)}"

    def begin(self, exercise: Exercise, target: str) -> None:
        """Start it; it ends by itself."""
        exercise.restless(target, rounds=8)

    def befalls(self, exercise: Exercise, target: str) -> str:
        """Return that it befalls nobody: the process itself writes down each time."""
        return "reader"


def _end(exercise: Exercise, name: str, number: signal.Signals) -> None:
    member = exercise.crew.members[name]
    member.end(number)
    exercise.crew.replace(member)


def _is_left_alone(member: Member) -> bool:
    # Order is promised to a consumer that lives.
    return bool(member.role == "consume" and member.options["inbox"] == "order")


PROCESS_FAULTS: tuple[Fault, ...] = (
    KillConsumer(), PauseConsumer(), DismissConsumer(), KillProducer(), PauseProducer(), DismissProducer(),
    WrongClock(), CancelReaders(),
)  # fmt: skip
