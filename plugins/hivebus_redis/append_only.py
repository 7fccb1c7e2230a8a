"""Takes from an append-only file what a server that was killed has written of a transaction, but not finished.

Redis up to 8.0 at least, and Valkey before its pull request 4342, cut a file that ends in the middle of a command
behind the last whole command, also where that is inside a transaction. The next transaction is written behind what is
left of the first, and the start after that runs both as one: a message that was sent again is stored twice.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from pathlib import Path

BEGIN = b"*1\r\n$5\r\nMULTI\r\n"
END = b"*1\r\n$4\r\nEXEC\r\n"


def cut_unfinished(data: Path) -> int:
    """Cut the newest append-only file below *data*, while no server has it open; return how many bytes that were.

    Nobody was told that an unfinished transaction is done. Whole ones stay, byte for byte. No message holds the bytes
    that begin one: hivebus stores JSON, which has no bare line ends.
    """
    path = newest(data)
    if path is None or not path.stat().st_size:
        return 0
    with path.open("r+b") as file:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as text:
            size, begun = len(text), text.rfind(BEGIN)
            if begun < 0 or text.find(END, begun) >= 0:
                return 0
        file.truncate(begun)
        os.fsync(file.fileno())
    return size - begun


def newest(data: Path) -> Path | None:
    """Return the append-only file below *data* that a server writes to last; None where there is none."""
    return max(data.rglob("*.incr.aof"), key=_number, default=None)


def _number(path: Path) -> int:
    # appendonly.aof.12.incr.aof
    return int(path.name.split(".")[-3])
