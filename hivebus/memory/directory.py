"""Shared facts in memory, with versions for compare-and-set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hivebus.errors import Conflict
from hivebus.transport import ROUTES, Entry


class MemoryDirectory:
    """Entries by kind and name; what is given in or out is a copy.

    Attributes:
        changes: how often the routes have changed.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, tuple[Entry, float | None]]] = {}
        # One count for all, so that an entry that was deleted and made again has another version.
        self._versions = itertools.count(1)
        self.changes = 0

    def read(self, kind: str, now: float) -> dict[str, Entry]:
        """Return the entries of a kind that have not expired."""
        return {name: Entry(deepcopy(entry.value), entry.version) for name, entry in self._live(kind, now).items()}

    def write(
        self,
        kind: str,
        name: str,
        value: Mapping[str, Any] | None,
        *,
        expect: int | None,
        expires: float | None,
        now: float,
    ) -> int:
        """Write or delete one entry if its version is the expected one; return the new version, 0 when deleted."""
        live = self._live(kind, now)
        present = live[name].version if name in live else 0
        if expect is not None and expect != present:
            raise Conflict(
                f"{kind} {name!r} has version {present}, not {expect}",
                cause="somebody else wrote it first",
                hint="read it again and decide again",
            )
        if kind == ROUTES and (value is None or name not in live or live[name].value != dict(value)):
            self.changes += 1
        # What is over goes with the next write of its kind.
        entries = self._entries[kind] = {each: self._entries[kind][each] for each in live}
        if value is None:
            entries.pop(name, None)
            return 0
        entry = Entry(deepcopy(dict(value)), next(self._versions))
        entries[name] = (entry, expires)
        return entry.version

    def _live(self, kind: str, now: float) -> dict[str, Entry]:
        entries = self._entries.get(kind, {})
        return {name: entry for name, (entry, expires) in entries.items() if expires is None or expires > now}
