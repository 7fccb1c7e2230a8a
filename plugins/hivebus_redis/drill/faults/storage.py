"""What befalls the disk and the clock under the server. All but a torn write need a C compiler, and Linux."""

from __future__ import annotations

from random import Random

from hivebus_redis.drill.disk import CLOCK, FULL, SLOW, Disk, tear
from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults.fault import Fault
from hivebus_redis.drill.faults.servers import ServerFault


class DiskFault(ServerFault):
    """Something befalls the disk."""

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return the server, where its disk can be played with."""
        return super().target(exercise, random) if exercise.server.disk else None

    def disk(self, exercise: Exercise) -> Disk:
        """Return the disk."""
        assert exercise.server.disk is not None
        return exercise.server.disk


class CutPower(DiskFault):
    """The power is cut: only what was synced is on the disk."""

    name, row = "server.power_cut", 4

    def begin(self, exercise: Exercise, target: str) -> None:
        """Cut it, and switch it on again."""
        exercise.server.kill()
        cut = self.disk(exercise).cut_power(exercise.server.data)
        exercise.book.write("M", "-", "cut_bytes", cut)
        exercise.server.start()


class TearWrite(ServerFault):
    """It dies in the middle of a write: what its file ends with is the beginning of a transaction."""

    name, row = "server.torn_write", 25

    def begin(self, exercise: Exercise, target: str) -> None:
        """Kill it, tear its file, and start it."""
        exercise.server.kill()
        tear(exercise.server.data)
        exercise.server.start()


class SlowDisk(DiskFault):
    """Every sync takes longer, and then it is killed."""

    name, row = "server.slow_disk", 5
    seconds = 0.6

    def begin(self, exercise: Exercise, target: str) -> None:
        """Make the disk slow."""
        self.disk(exercise).set(SLOW, 150)

    def end(self, exercise: Exercise, target: str) -> None:
        """Kill the server, make the disk fast, and start it."""
        exercise.server.kill()
        self.disk(exercise).set(SLOW, 0)
        exercise.server.start()


class FullDisk(DiskFault):
    """There is no room: a server that must write before it answers ends itself, another refuses writes."""

    name, row = "server.disk_full", 24
    seconds = 0.4

    def begin(self, exercise: Exercise, target: str) -> None:
        """Fill it."""
        self.disk(exercise).set(FULL, 1)

    def end(self, exercise: Exercise, target: str) -> None:
        """Make room, and start the server if it has ended."""
        self.disk(exercise).set(FULL, 0)
        if not exercise.server.is_up:
            exercise.server.start()


class ClockAhead(DiskFault):
    """The server's clock jumps ahead by half a minute, and stays there. Valkey does not notice."""

    name, row = "server.clock", 31

    def begin(self, exercise: Exercise, target: str) -> None:
        """Set it."""
        disk = self.disk(exercise)
        disk.set(CLOCK, disk.get(CLOCK) + 30)


STORAGE_FAULTS: tuple[Fault, ...] = (CutPower(), TearWrite(), SlowDisk(), FullDisk(), ClockAhead())
