"""Starts, kills and pauses agents, records each fault, and knows when all is done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hivebus_redis.library import read_source

from ..streams.own_server import OwnServer
from .ledger import Book, Line, Verdict, broker_duplicates, judge, read

PROGRAM = Path(__file__).with_name("agents.py")
PATIENCE = 40.0
KEY = "hb:{pm}:"


class Fleet:
    """Agents on one server.

    Attributes:
        lease: seconds, of every consumer.
        folder: where the books are.
    """

    def __init__(self, server: OwnServer, folder: Path, *, lease: float, bus: Mapping[str, float]) -> None:
        self.server = server
        self.folder = folder / "books"
        self.folder.mkdir()
        self._errors = folder / "stderr"
        self.lease = lease
        self._bus = {"url": server.url, "lease": lease, **bus}
        self._book = Book(self.folder, "faults")
        self._processes: list[subprocess.Popen[bytes]] = []

    def consumer(
        self, name: str, *, work: float = 0.01, concurrency: int = 8, careless: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a consumer."""
        return self._start("consume", name, work=work, concurrency=concurrency, careless=careless)

    def producer(self, name: str, *, count: int, at_once: int = 20, pause: float = 0.01) -> subprocess.Popen[bytes]:
        """Start a producer, or one that goes on where the last of this name was killed."""
        return self._start("produce", name, count=count, at_once=at_once, pause=pause)

    def kill(self, process: subprocess.Popen[bytes]) -> float:
        """Kill -9; return when it was."""
        at = time.monotonic()
        self.fault("kill")
        process.kill()
        process.wait()
        return at

    def fault(self, what: str) -> None:
        """Record that something was done to somebody."""
        self._book.write("F", note=what)

    def lines(self, pattern: str = "*") -> list[Line]:
        """Return what the books say, all of them or those of one name."""
        return read(self.folder, pattern)

    def book_of(self, process: subprocess.Popen[bytes]) -> list[Line]:
        """Return what one process has written."""
        return read(self.folder, f"*.{process.pid}")

    def verdict(self) -> Verdict:
        """Judge; what is a dead letter is accounted for."""
        return judge(self.lines(), accounted_for=self.dead_letters())

    def dead_letters(self) -> dict[str, str]:
        """Return id and reason of every dead letter."""
        with self.server.client() as client:
            return {fields["i"]: fields["r"] for _, fields in client.xrange(f"{KEY}dlq")}

    def broker_duplicates(self) -> set[str]:
        """Return the ids that the server holds more than once."""
        with self.server.client() as client:
            streams: Any = (client.xrange(f"{KEY}q:{level}") for level in (1, 2, 3, 4, 5))
            return broker_duplicates([fields["i"] for stream in streams for _, fields in stream])

    def pending(self) -> int:
        """Return how many messages are neither settled nor dead letters, by the server's own count."""
        with self.server.client() as client:
            stream = f"{KEY}q:2"
            groups = client.xinfo_groups(stream) if client.exists(stream) else []
            # Without a group nobody has read anything.
            return sum(each["pending"] + (each["lag"] or 0) for each in groups) if groups else client.xlen(stream)

    def await_that(self, condition: Callable[[], object], what: str) -> None:
        """Return when *condition* holds; fail with *what* when it does not in time."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not in time: {what}; {self.summary()}"
            time.sleep(0.02)

    def await_traffic(self, *consumers: subprocess.Popen[bytes], acknowledged: int) -> None:
        """Return when so many sends have returned, and each of the consumers has handled something."""
        self.await_that(lambda: len(self.verdict().acknowledged) >= acknowledged, "traffic goes on")
        for each in consumers:
            self.await_that(lambda process=each: self.book_of(process), "every consumer is at work")

    def assert_alive(self, *processes: subprocess.Popen[bytes]) -> None:
        """Fail when one of them has ended, with what it said last."""
        assert [each.poll() for each in processes] == [None] * len(processes), self._errors.read_text()

    def await_drained(self, *producers: subprocess.Popen[bytes]) -> None:
        """Return when the producers are through and the inbox is empty."""
        for each in producers:
            self.await_end(each)
        self.await_that(lambda: self.pending() == 0, "the inbox is empty")

    def await_end(self, producer: subprocess.Popen[bytes]) -> None:
        """Return when a producer is through."""
        assert producer.wait(timeout=60) == 0, f"a producer failed: {self._errors.read_text()}"

    def summary(self) -> str:
        """Return the figures of the verdict."""
        figures = [f"{name} {len(value)}" for name, value in vars(self.verdict()).items()]
        return ", ".join([*figures, f"pending {self.pending()}"])

    def close(self) -> None:
        """Kill whoever is left."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._book.close()

    def _start(self, role: str, name: str, **options: Any) -> subprocess.Popen[bytes]:
        words = {"name": name, "folder": str(self.folder), "bus": self._bus, **options}
        with self._errors.open("ab") as errors:
            process = subprocess.Popen([sys.executable, str(PROGRAM), role, json.dumps(words)], stderr=errors)
        self._processes.append(process)
        return process


def sabotage(fleet: Fleet, old: str, new: str) -> None:
    """Put other functions under the names that every agent calls, so that none of them loads its own."""
    source = read_source()
    assert source.count(old) == 1, f"the library must hold exactly once: {old}"
    with fleet.server.client() as client:
        client.function_load(source.replace(old, new))


def terminate(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end; return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=PATIENCE)
