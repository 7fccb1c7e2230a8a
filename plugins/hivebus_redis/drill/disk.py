"""The disk under a private server: what of its file would survive a power cut, and a disk that is slow or full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from struct import pack_into, unpack_from

from hivebus_redis.append_only import newest

SOURCE = Path(__file__).with_name("disk.c")
SLOW, FULL, CLOCK = 0, 4, 8
TORN = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$8\r\nFLUSHALL\r\n*5\r\n$4\r\nXADD\r\n$24"
"""What a write leaves behind that the power was cut in: the beginning of a transaction, which must never be run."""


class Disk:
    """A library that is loaded into the server with its own ``fsync``, ``write`` and clock.

    Args:
        folder: where its files may be.
        library: from `build`.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self._log = folder / "synced"
        self._control = folder / "control"
        self._log.touch()
        self._control.write_bytes(bytes(4096))
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "HIVEBUS_DISK_LOG": str(self._log),
            "HIVEBUS_DISK_CONTROL": str(self._control),
        }

    def wrong_clock(self, seconds: int) -> Mapping[str, str]:
        """Return the environment of another process whose clock shall be wrong by so much."""
        # A file of its own: whoever writes into one that a process has in its memory kills that process.
        control = self._control.with_name(f"clock-{os.urandom(4).hex()}")
        page = bytearray(4096)
        pack_into("i", page, CLOCK, seconds)
        control.write_bytes(page)
        return {"LD_PRELOAD": self.environment["LD_PRELOAD"], "HIVEBUS_DISK_CONTROL": str(control)}

    def set(self, what: int, value: int) -> None:
        """Make it slow by so many milliseconds, full or not, or its clock wrong by so many seconds."""
        page = bytearray(self._control.read_bytes())
        pack_into("i", page, what, value)
        # In place: the server has this very file in its memory.
        with self._control.open("r+b") as file:
            file.write(page)

    def get(self, what: int) -> int:
        """Return how it is set."""
        return int(unpack_from("i", self._control.read_bytes(), what)[0])

    def cut_power(self, data: Path) -> int:
        """Take from every file of a dead server what was not synced; return how many bytes that were."""
        sizes: dict[str, int] = {}
        for text in self._log.read_text(errors="replace").splitlines():
            size, _, name = text.partition(" ")
            sizes[name] = int(size)
        lost = 0
        for path in data.rglob("*.incr.aof"):
            kept, written = sizes.get(str(path), 0), path.stat().st_size
            if kept < written:
                os.truncate(path, kept)
                lost += written - kept
        self._log.write_text("".join(f"{path.stat().st_size} {path}\n" for path in data.rglob("*.incr.aof")))
        return lost


def tear(data: Path) -> None:
    """Leave the beginning of a transaction at the end of a dead server's file, behind all that is whole."""
    path = newest(data)
    assert path is not None, f"no append-only file below {data}"
    whole = _whole(path.read_bytes())
    with path.open("r+b") as file:
        # It may have died in the middle of a write by itself.
        file.truncate(whole)
        file.seek(whole)
        file.write(TORN)


def _whole(data: bytes) -> int:
    """Return where the last whole command ends."""
    at = whole = 0
    words = 0
    while at < len(data):
        end = data.find(b"\r\n", at)
        if end < 0:
            break
        if data[at : at + 1] == b"*":
            words, at = int(data[at + 1 : end]), end + 2
        elif data[at : at + 1] == b"$":
            words, at = words - 1, end + 2 + int(data[at + 1 : end]) + 2
        else:
            at = end + 2  # a remark between two commands
        if words == 0 and at <= len(data):
            whole = at
    return whole


def build(folder: Path) -> Path | None:
    """Return the library, or None where nobody can build it: it needs a C compiler, and Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = folder / "disk.so"
    words = [compiler, "-O1", "-shared", "-fPIC", "-nostdlib", "-fno-builtin", "-o", str(library), str(SOURCE)]
    done = subprocess.run(words, capture_output=True, check=False, timeout=60)
    return library if done.returncode == 0 else None
