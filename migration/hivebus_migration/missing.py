"""Keeps count of the facts that could not be written down, until that itself can be."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hivebus_migration.facts import Gap, Moment, now

KEEP_SECONDS = 30 * 86_400

_log = logging.getLogger(__name__)


class Missing:
    """One `Gap` per reason. True while there is one that has not been noted."""

    def __init__(self, ledger: Path) -> None:
        self.total = 0
        self._ledger = ledger
        self._gaps: dict[str, Gap] = {}

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def add(self, facts: int, reason: str) -> None:
        """Count *facts* that are missing from now on."""
        if facts == 0:
            return
        self.total += facts
        moment = now()
        known = self._gaps.get(reason) or Gap(0, reason, since=moment, until=moment)
        self._gaps[reason] = known._replace(facts=known.facts + facts, until=moment)

    def gaps(self) -> Sequence[Gap]:
        """Return what must be noted."""
        return list(self._gaps.values())

    def forget(self, noted: Sequence[Gap]) -> None:
        """Forget what was noted; what came to it meanwhile stays."""
        for gap in noted:
            left = self._gaps[gap.reason].facts - gap.facts
            if left:
                self._gaps[gap.reason] = self._gaps[gap.reason]._replace(facts=left, since=gap.until)
            else:
                del self._gaps[gap.reason]

    def leave_behind(self) -> None:
        """Leave a note beside the ledger: this process ends, and the ledger could not take it."""
        gaps = self.gaps()
        self._gaps.clear()
        for gap in gaps:
            facts = {"facts": gap.facts, "reason": gap.reason, "path": str(self._ledger)}
            _log.warning("facts are missing from the ledger", extra=facts)
        try:
            _append(beside(self._ledger), "".join(f"{json.dumps(each)}\n" for each in gaps))
        except OSError:
            _log.warning("nor could it be noted beside it", extra={"path": str(self._ledger)})


def beside(ledger: Path) -> Path:
    """Return the file for gaps that a process could not note in the ledger before it ended."""
    return ledger.with_name(f"{ledger.name}-gaps")


def left_behind(ledger: Path) -> Iterator[Gap]:
    """Yield the gaps that stand beside a ledger; a line that was cut short is skipped."""
    try:
        lines = beside(ledger).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            facts, reason, since, until = json.loads(line)
            yield Gap(int(facts), str(reason), Moment(*since), Moment(*until))
        except (ValueError, TypeError):
            continue


def forget_old(ledger: Path) -> None:
    """Remove the file beside a ledger when the last gap in it is older than what a ledger keeps."""
    try:
        if os.stat(beside(ledger)).st_mtime < time.time() - KEEP_SECONDS:
            os.unlink(beside(ledger))
    except OSError:
        return


def _append(path: Path, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # One write, so that the lines of two processes do not mix.
        os.write(file, text.encode())
    finally:
        os.close(file)
