"""Where everything that happens to a message on its two roads is written down, without holding anybody up."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hivebus_migration.facts import Fact, Spooled
from hivebus_migration.missing import Missing

# Whoever notes nothing needs no sqlite3, and who notes something does not wait for its import.
if TYPE_CHECKING:
    from hivebus_migration.ledger_file import LedgerFile

BATCH = 1000
"""So many facts are written in one transaction at most."""

ROOM = 50_000
"""So many facts wait in memory while the file cannot be written; those that come then are missing."""

LINGER = 0.05
"""Seconds from one write to the next, unless somebody can wait longer; behind a quiet time nothing is waited for."""

PAUSE = 0.25
"""Seconds between two attempts to write a file that failed."""

GRACE = 2.0
"""Seconds that a write may outlast the time that `close` was given."""

WRITER = "hivebus-ledger"
"""The name of the thread that writes."""


class Ledger:
    """Takes facts and writes them into a file that many processes share.

    A thread of this process writes them in batches. Whatever is wrong with the file, `note` returns at
    once: facts wait in memory until writing works again, and those that find no room are counted and
    noted as a `Gap`. What a process has not flushed when it is killed is gone.

    Args:
        path: the file.
        room: how many facts wait in memory at most.
        linger: seconds from one write to the next.
    """

    def __init__(self, path: Path, *, room: int = ROOM, linger: float | None = None) -> None:
        self.path = path
        self._room = room
        self._linger = LINGER if linger is None else linger
        self._begin()
        # SQLite must not be carried into a child: it would take the parent's locks for its own.
        before, parent, child = map(weakref.WeakMethod, (self._let_go, self._go_on, self._begin))
        os.register_at_fork(
            before=partial(_call, before), after_in_parent=partial(_call, parent), after_in_child=partial(_call, child)
        )

    def _begin(self) -> None:
        # The lock is held for moments only, and never while the file is touched.
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._waiting: deque[Fact] = deque()
        self._weight = 0
        self._noted = 0
        self._done = 0
        self._hurried_to = 0
        self._complete = True
        self._trouble: str | None = None
        self._missing = Missing(self.path)
        self._wrote_at = float("-inf")
        self._writer: threading.Thread | None = None
        self._closing_by: float | None = None
        self._file: LedgerFile | None = None
        self._file_lock = threading.Lock()
        self._let_go_of = False

    @property
    def missing(self) -> int:
        """How many facts of this process will not be found in the file."""
        return self._missing.total

    @property
    def is_healthy(self) -> bool:
        """Whether the last attempt to write the file worked, or none was made."""
        return self._trouble is None

    def note(self, *facts: Fact) -> None:
        """Write *facts* down soon. Never waits for the file, and never raises."""
        weight = sum(map(_weight, facts))
        with self._lock:
            self._noted += len(facts)
            if self._weight + weight > self._room or not self._has_writer():
                self._done += len(facts)
                self._miss(len(facts), self._trouble or "no_room")
                return
            before = len(self._waiting)
            self._waiting.extend(facts)
            self._weight += weight
            if before == 0 or before < BATCH <= len(self._waiting):
                self._work.notify()

    def flush(self, *, within: float = 2.0) -> bool:
        """Wait until what was noted is on disk; False if it is not, or if facts went missing since the last call."""
        with self._lock:
            mark = self._hurried_to = self._noted
            self._work.notify()
            done = self._progress.wait_for(lambda: self._done >= mark, within)
            complete, self._complete = self._complete, True
            return done and complete

    def close(self, *, within: float = 2.0) -> None:
        """Write what waits, for about *within* seconds at most, and let go of the file; `note` would open it again."""
        with self._lock:
            writer, self._closing_by = self._writer, time.monotonic() + within
            self._work.notify()
        if writer is not None:
            writer.join(within + GRACE)
        with self._lock:
            if self._writer is None and self._missing:
                self._missing.leave_behind()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- What the callers do, always in possession of the lock ---------------------------------------

    def _has_writer(self) -> bool:
        if self._writer is None:
            writer = threading.Thread(target=self._run, name=WRITER, daemon=True)
            try:
                writer.start()
            except RuntimeError:  # no more threads, or the interpreter is about to end
                return False
            self._writer, self._closing_by = writer, None
            atexit.register(self.close)
        return True

    def _miss(self, facts: int, reason: str) -> None:
        self._missing.add(facts, reason)
        self._complete = False

    # --- What happens at a fork: the child begins anew, and what waits is the parent's to write --------

    def _let_go(self) -> None:
        self._let_go_of = self._file_lock.acquire(timeout=GRACE)
        if self._let_go_of and self._file is not None:
            self._file.close()

    def _go_on(self) -> None:
        if self._let_go_of:
            self._file_lock.release()

    # --- What the writer does ------------------------------------------------------------------------

    def _run(self) -> None:
        from hivebus_migration.ledger_file import LedgerFile

        file = self._file = LedgerFile(self.path)
        while (batch := self._next_batch()) is not None:
            self._write(file, batch)
        with self._file_lock:
            file.close()

    def _next_batch(self) -> list[Fact] | None:
        with self._lock:
            self._work.wait_for(lambda: self._waiting or self._missing or self._closing_by)
            if self._closing_by is None:
                self._work.wait_for(self._has_no_time, timeout=self._wrote_at + self._linger - time.monotonic())
            if self._closing_by and not self._waiting and not self._missing:
                self._writer = None
                return None
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _has_no_time(self) -> bool:
        return self._done < self._hurried_to or self._closing_by is not None or len(self._waiting) >= BATCH

    def _write(self, file: LedgerFile, batch: list[Fact]) -> None:
        from hivebus_migration.ledger_file import Trouble, Unwritable

        while True:
            with self._lock:
                gaps = self._missing.gaps()
            try:
                with self._file_lock:
                    file.write([*batch, *gaps])
                self._wrote_at = time.monotonic()
            except Trouble as trouble:
                if not self._wait_after(trouble.reason):
                    self._give_up(batch, trouble.reason)
                    return
            except Unwritable:
                self._write_apart(file, batch)
                return
            else:
                with self._lock:
                    self._trouble = None
                    self._missing.forget(gaps)
                    self._settle(batch)
                return

    def _write_apart(self, file: LedgerFile, batch: list[Fact]) -> None:
        if len(batch) == 1:
            with self._lock:
                self._miss(1, "unwritable")
                self._settle(batch)
            return
        half = len(batch) // 2
        self._write(file, batch[:half])
        self._write(file, batch[half:])

    def _wait_after(self, reason: str) -> bool:
        """Return, after a pause, whether to try again."""
        with self._lock:
            self._trouble = reason
            self._work.wait_for(lambda: self._closing_by, timeout=PAUSE)
            if self._closing_by is None:
                return True
            left = self._closing_by - time.monotonic()
            self._work.wait(max(0.0, min(PAUSE, left)))
            return left > 0

    def _give_up(self, batch: list[Fact], reason: str) -> None:
        with self._lock:
            self._miss(len(batch) + len(self._waiting), reason)
            self._settle([*batch, *self._waiting])
            self._waiting.clear()
            self._missing.leave_behind()

    def _settle(self, facts: list[Fact]) -> None:
        self._weight -= sum(map(_weight, facts))
        self._done += len(facts)
        self._progress.notify_all()


def _weight(fact: Fact) -> int:
    return 1 + len(fact.data) // 512 if isinstance(fact, Spooled) else 1


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    living = method()
    if living is not None:
        living()
