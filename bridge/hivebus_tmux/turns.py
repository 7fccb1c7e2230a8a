"""One writer per pane at a time, in all processes of a user."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic

from hivebus_tmux.errors import PaneRefused
from hivebus_tmux.inventory import Pane

PATIENCE = 15.0
"""Seconds that a writer waits for its turn: thirty others, with a settle time of half a second each."""
POLL = 0.02


class Turns:
    """Locks of one folder; within a process first come is first served, between processes chance decides."""

    def __init__(self, folder: Path | None = None, *, patience: float = PATIENCE) -> None:
        self._folder = folder or _state_folder()
        self._patience = patience
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, pane: Pane) -> AsyncIterator[None]:
        """Wait until nobody else writes into the pane; raises `PaneRefused` when that takes too long."""
        name = f"{sha256(pane.socket.encode()).hexdigest()[:12]}-{pane.id[1:]}.lock"
        deadline = monotonic() + self._patience
        lock = self._locks[name]
        try:
            async with asyncio.timeout(self._patience):
                await lock.acquire()
        except TimeoutError:
            raise _busy(pane) from None
        try:
            with self._opened(name) as file:
                while not _locked(file):
                    if monotonic() > deadline:
                        raise _busy(pane)
                    await asyncio.sleep(random.uniform(POLL / 2, POLL))
                yield
        finally:
            lock.release()

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        try:
            try:
                file = self._open(name)
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = self._open(name)
        except OSError as error:
            raise PaneRefused(
                f"no lock can be taken in {self._folder}",
                reason="no_lock",
                cause=str(error),
                hint="make the folder writable, or point XDG_STATE_HOME elsewhere",
            ) from None
        try:
            yield file
        finally:
            os.close(file)  # which gives the lock back

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(pane: Pane) -> PaneRefused:
    return PaneRefused(
        f"others kept writing into window {pane}",
        reason="busy",
        cause="one writer types at a time, and waits for the program to settle",
        hint="send it again later, or with a shorter settle= in the URL",
    )


def _state_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "hivebus", "panes")
