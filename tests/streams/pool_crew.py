"""The members of a pool as processes, and what their books say."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hivebus_redis.drill.ledger import Line, read

from .room import PATIENCE, Room, until

PROGRAM = Path(__file__).with_name("pool_member.py")
POOL = "architects"


class Crew:
    """Starts, ends and kills members of one pool."""

    def __init__(self, room: Room, folder: Path) -> None:
        self._room = room
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, **options: float) -> None:
        """Start a member."""
        words = [f"--{option}={value}" for option, value in options.items()]
        self._running[name] = subprocess.Popen(
            [sys.executable, PROGRAM, self._room.url, self._room.namespace, name, POOL, self._folder, *words]
        )

    async def there(self, *names: str) -> None:
        """Return when these members read."""
        await until(lambda: all(self.lines("S", name) for name in names), patience=3 * PATIENCE)

    def kill(self, name: str) -> None:
        """Kill a member, with whatever it has in hand."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def end(self, name: str) -> int:
        """Ask a member to end, and return how it did."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=3 * PATIENCE)

    def lines(self, kind: str, name: str = "*") -> list[Line]:
        """Return what the books of a member, or of all, say about one kind of event."""
        return [line for line in read(self._folder, f"{name}.*") if line.kind == kind]

    def handled(self) -> Counter[str]:
        """Return how often each message was handled to the end."""
        return Counter(line.id for line in self.lines("H"))

    def shares(self, ids: set[str]) -> Counter[str]:
        """Return how many of these messages each member handled."""
        return Counter(line.who.partition(".")[0] for line in self.lines("H") if line.id in ids)

    def close(self) -> None:
        """End whoever is left."""
        for name in list(self._running):
            self.kill(name)


@contextmanager
def crew_of(room: Room, folder: Path) -> Iterator[Crew]:
    """Return a crew whose members are gone in the end."""
    crew = Crew(room, folder)
    try:
        yield crew
    finally:
        crew.close()
