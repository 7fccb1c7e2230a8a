"""What happened, told by those to whom it happened: append-only files outside the server.

Every process has a book of its own and writes whole lines with one ``write``, so a kill loses none that
was written. A line is ``KIND time id words...``:

* ``T kind inbox priority digest delay`` a send begins; ``A state seconds`` it returned;
  ``U error seconds`` its outcome is unknown; ``R error seconds`` it was refused
* ``P token polled attempt failures`` handed over, and when the poll began; ``D token digest`` its handler
  begins; ``H token`` its effect is done
* ``K token answer began`` acknowledged; ``N token answer began`` given back, or given up;
  ``L token began`` its lease was renewed
* ``F kind target began`` a fault is over that began then; ``f kind target`` one begins
* ``C call seconds allowed`` a call took longer than it may; ``M name value`` something was measured

Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import NamedTuple


class Line(NamedTuple):
    """One event; *id* is ``-`` where no message is concerned, *who* is the book that it stands in."""

    kind: str
    at: float
    id: str
    words: tuple[str, ...]
    who: str


class Book:
    """Where one process writes.

    Attributes:
        who: its name, which holds the process's own number.
    """

    def __init__(self, folder: Path | str, name: str) -> None:
        self.who = f"{name}.{os.getpid()}"
        self._file = os.open(Path(folder) / self.who, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, message_id: str = "-", *words: object) -> None:
        """Append one line."""
        os.write(self._file, line_of(kind, message_id, *words))

    def write_all(self, lines: Iterable[bytes]) -> None:
        """Append lines that `line_of` made, at once."""
        os.write(self._file, b"".join(lines))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def line_of(kind: str, message_id: str, *words: object) -> bytes:
    """Return one line, with the time of now."""
    text = " ".join(_word(each) for each in words)
    return f"{kind} {monotonic():.6f} {message_id} {text}\n".encode()


def digest(content: str) -> str:
    """Return what tells one content from another."""
    return sha256(content.encode()).hexdigest()[:16]


def read(folder: Path, pattern: str = "*") -> list[Line]:
    """Return the lines of all books in order of time; half a line at the end of a file is none."""
    lines = [line for path in sorted(folder.glob(pattern)) for line in _lines(path)]
    lines.sort(key=lambda line: line.at)
    return lines


def count(folder: Path, kind: str) -> int:
    """Return how many lines of one kind all books hold, without reading what they say."""
    return sum((b"\n" + path.read_bytes()).count(f"\n{kind} ".encode()) for path in folder.iterdir())


def _lines(path: Path) -> Iterator[Line]:
    who = path.name
    for text in path.read_text().splitlines(keepends=True):
        if text.endswith("\n"):
            kind, at, message_id, *words = text.split()
            yield Line(kind, float(at), message_id, tuple(words), who)


def _word(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
