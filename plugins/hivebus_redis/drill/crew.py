"""The processes of a drill: who works, who was killed, and who has to be replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from hivebus.errors import HivebusError
from hivebus_redis.drill.consuming import POISONED
from hivebus_redis.drill.plan import Plan

WORKER = (sys.executable, "-m", "hivebus_redis.drill.worker")
PATIENCE = 40.0


@dataclass
class Member:
    """One place in the crew, and who holds it now.

    Attributes:
        role: consume, produce or restless; name: of the place, and of its books.
        options: what the process is told; leaving: whether it was asked to end.
    """

    role: str
    name: str
    options: dict[str, Any]
    process: subprocess.Popen[bytes]
    leaving: bool = False

    @property
    def who(self) -> str:
        """The book of whoever holds the place now."""
        return f"{self.name}.{self.process.pid}"

    @property
    def target(self) -> str:
        """The present holder, as fault records name it."""
        return f"{'producer' if self.role == 'produce' else 'consumer'}:{self.who}"

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        if self.is_alive:
            os.kill(self.process.pid, number)

    def dismiss(self) -> None:
        """Ask it to end, in order."""
        self.leaving = True
        self.signal(signal.SIGTERM)

    def end(self, number: Signals) -> None:
        """End it, and wait until it is gone."""
        self.signal(number)
        self.process.wait(timeout=PATIENCE)


class Crew:
    """Starts workers and keeps their places filled.

    Args:
        plan: what all of them agree on.
        folder: where their books are.
        program: what a worker is started with.
    """

    def __init__(self, plan: Plan, folder: Path, *, program: Sequence[str] = WORKER) -> None:
        self._plan = plan
        self._folder = folder
        self._program = program
        self._errors = folder.parent / "stderr"
        # Whatever its owner has set for other buses, such as a second road, is none of a drill's business.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HIVEBUS_")}
        self._environment = {**kept, "XDG_CONFIG_HOME": str(folder.parent)}
        self.members: dict[str, Member] = {}

    def add(self, role: str, name: str, **options: Any) -> Member:
        """Start a worker in a new place."""
        member = Member(role, name, options, self._start(role, name, options))
        self.members[name] = member
        return member

    def replace(self, member: Member, environment: Mapping[str, str] | None = None) -> None:
        """Start another worker in the place of one that has ended."""
        member.process = self._start(member.role, member.name, member.options, environment)
        member.leaving = False

    def tend(self) -> list[str]:
        """Replace those whom a message has killed; return who ended without anybody's doing, and what they said."""
        fallen = []
        for member in self.members.values():
            code = member.process.poll()
            if code == POISONED:
                self.replace(member)
            elif code is not None and not member.leaving and not (code == 0 and member.role != "consume"):
                fallen.append(f"{member.who} ended with {code}: {self.last_words()}")
                self.replace(member)
        return fallen

    def having(self, role: str) -> list[Member]:
        """Return the places of one role."""
        return [member for member in self.members.values() if member.role == role]

    def last_words(self) -> str:
        """Return the end of what the workers wrote on stderr."""
        return self._errors.read_text(errors="replace")[-600:] if self._errors.exists() else ""

    def dismiss(self) -> None:
        """Ask consumers to end, and wait for them."""
        for member in self.having("consume"):
            member.dismiss()
        for member in self.having("consume"):
            try:
                member.process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                raise HivebusError(f"{member.who} did not end on SIGTERM within {PATIENCE:.0f} s") from None

    def close(self) -> None:
        """Kill whoever is left."""
        for member in self.members.values():
            member.signal(signal.SIGCONT)
            member.process.kill()
            member.process.wait()

    def _start(
        self, role: str, name: str, options: dict[str, Any], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        words = {"plan": self._plan.facts(), "name": name, "folder": str(self._folder), **options}
        with self._errors.open("ab") as errors:
            return subprocess.Popen(
                [*self._program, role, json.dumps(words)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={**self._environment, **(environment or {})},
                cwd=self._folder.parent,
                # Ctrl-C is for the drill, which ends its crew itself.
                start_new_session=True,
            )
