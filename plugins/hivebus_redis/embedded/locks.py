"""Locks between processes that end with their holder, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hivebus.errors import Unavailable

PAUSE = 0.01


@contextmanager
def hold(path: str, *, seconds: float) -> Iterator[int]:
    """Hold the lock at *path*, waiting up to *seconds* for it; yields the open file.

    A child process that is given the file holds the lock too, until the last of them is gone.

    Raises:
        Unavailable: somebody else kept it.
    """
    deadline = time.monotonic() + seconds
    file = _open(path)
    try:
        while not _take(file):
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"another process has kept {path} locked for {seconds:.0f} seconds",
                    cause="it is starting or stopping the embedded server and hangs, or is paused",
                    hint=f"fuser {path} names it; end it and try again",
                )
            time.sleep(PAUSE)
        yield file
    finally:
        os.close(file)


def is_held(path: str) -> bool:
    """Tell whether a live process holds the lock at *path*."""
    if not os.path.exists(path):
        return False
    file = _open(path)
    try:
        return not _take(file)
    finally:
        os.close(file)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
