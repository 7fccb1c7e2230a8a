"""What happened, told by those to whom it happened: append-only files outside the server, and a judge who reads them.

Every process writes a file of its own, a line with a single write, so that a kill loses none that was written.
A line is ``KIND time id note``:

* ``T`` a send begins, ``A`` it returned (note: its state), ``U`` its outcome is unknown (note: the error)
* ``D`` a handler begins, ``H`` its effect is done
* ``F`` somebody killed or paused something (note: what)

Times are of the machine's monotonic clock, which all of its processes share.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """One event; *id* is ``-`` where no message is concerned."""

    kind: str
    at: float
    id: str
    note: str


class Book:
    """Where one process writes."""

    def __init__(self, folder: Path | str, name: str) -> None:
        self._file = os.open(Path(folder) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, message_id: str = "-", note: str = "") -> None:
        """Append one line."""
        os.write(self._file, f"{kind} {time.monotonic():.6f} {message_id} {note}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the books add up to.

    Attributes:
        sent: every id that somebody tried to send; acknowledged: those whose send returned.
        handled: those whose effect was done.
        lost: acknowledged, and neither handled nor accounted for.
        unexpected: handed to a handler, and never sent.
        duplicated: handled more than once, and how often.
        unexplained: duplicated without a fault between the two.
    """

    sent: frozenset[str]
    acknowledged: frozenset[str]
    handled: frozenset[str]
    lost: frozenset[str]
    unexpected: frozenset[str]
    duplicated: Mapping[str, int]
    unexplained: frozenset[str]


def read(folder: Path, pattern: str = "*") -> list[Line]:
    """Return the lines of all books, in order of time; half a line at the end of a file is none."""
    lines = [line for path in sorted(folder.glob(pattern)) for line in _lines(path)]
    return sorted(lines, key=lambda line: line.at)


def judge(lines: Collection[Line], *, accounted_for: Collection[str] = ()) -> Verdict:
    """Return the verdict; *accounted_for* are ids that rightly ended elsewhere, such as dead letters."""
    begun, done = defaultdict[str, list[float]](list), Counter[str]()
    for line in lines:
        if line.kind == "D":
            begun[line.id].append(line.at)
        elif line.kind == "H":
            done[line.id] += 1
    faults = [line.at for line in lines if line.kind == "F"]
    sent, acknowledged = _ids(lines, "T"), _ids(lines, "A")
    duplicated = {each: count for each, count in done.items() if count > 1}
    return Verdict(
        sent=sent,
        acknowledged=acknowledged,
        handled=frozenset(done),
        lost=acknowledged - done.keys() - set(accounted_for),
        unexpected=frozenset({*begun, *done}) - sent,
        duplicated=duplicated,
        unexplained=frozenset(each for each in duplicated if not _is_explained(begun[each], faults)),
    )


def in_hands(lines: Collection[Line]) -> frozenset[str]:
    """Return the ids whose handler began and did not end, in the book of one process."""
    return _ids(lines, "D") - _ids(lines, "H")


def broker_duplicates(stored: Collection[str]) -> set[str]:
    """Return the ids that the server holds more than once."""
    return {each for each, count in Counter(stored).items() if count > 1}


def _is_explained(begun: list[float], faults: list[float]) -> bool:
    return all(any(before <= fault <= after for fault in faults) for before, after in pairwise(begun))


def _ids(lines: Collection[Line], kind: str) -> frozenset[str]:
    return frozenset(line.id for line in lines if line.kind == kind)


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text().splitlines(keepends=True):
        if text.endswith("\n"):
            kind, at, message_id, note = text.rstrip("\n").split(" ", 3)
            yield Line(kind, float(at), message_id, note)
