"""Who writes the legacy leg for the processes of this machine: whoever holds a lock beside the ledger."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from hivebus.errors import HivebusError

PROBED_WITHIN = 1.0
"""Seconds; a sender that asks whether there is a bridge holds the lock for some microseconds itself."""
PAUSE = 0.02


class BridgeLock:
    """The lock of one bridge, held from entering to leaving; the kernel frees it however the process ends.

    Args:
        ledger: the ledger beside which the lock lies.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = lock_path(ledger)
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock, or raise `HivebusError` naming the process that has it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PROBED_WITHIN
        while not _locked(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = os.pread(file, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(file)
                raise HivebusError(
                    f"another bridge is running: process {holder}",
                    cause=f"it holds {self.path}",
                    hint="one is enough for a ledger; stop it first: kill " + holder,
                )
            time.sleep(PAUSE)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            # The file stays: were it deleted, two bridges could hold two files of one name.
            os.close(self._file)
            self._file = None


def lock_path(ledger: Path) -> Path:
    """Return the file that a bridge locks."""
    return ledger.with_name(f"{ledger.name}.bridge")


def is_bridged(ledger: Path) -> bool:
    """Tell whether a bridge runs that writes the legacy leg for this ledger."""
    try:
        file = os.open(lock_path(ledger), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that senders who ask at the same moment do not take each other for a bridge.
        return not _locked(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _locked(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
