"""The file of the ledger: opened when it is needed, and again when it was replaced or failed."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hivebus_migration.facts import Fact, Gap, now
from hivebus_migration.missing import forget_old
from hivebus_migration.schema import TABLES, VERSION, Row, row_of, statement

BUSY_SECONDS = 0.5
"""How long a write waits for another process to finish its own."""

KEEP_DAYS = 30
_DAY = 86_400 * 10**9


class Trouble(Exception):
    """The file cannot be written now: *reason* is one word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unwritable(Exception):
    """The file is well, but a fact holds what no row can hold."""


class LedgerFile:
    """One connection to the file; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._opened = now()
        self._written = 0
        self._lost: list[Gap] = []

    def write(self, facts: Sequence[Fact]) -> None:
        """Write all *facts* or none of them; raises `Trouble` or `Unwritable`."""
        self._leave_if_replaced()
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            insert(connection, [*facts, *self._lost])
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise _told_apart(error) from error
        except (OverflowError, TypeError, ValueError) as error:
            self.close()
            raise Unwritable(str(error)) from error
        self._written += len(facts)
        self._lost.clear()

    def close(self) -> None:
        """Close the connection; the next write opens the file again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_file(self._path)
            self._identity = _identity(self._path)
        return self._connection

    def _leave_if_replaced(self) -> None:
        # Rows go to the file that was opened, also when it has been deleted since: nobody will ever read them.
        if self._identity is None or self._identity == _identity(self._path):
            return
        self.close()
        if self._written:
            self._lost.append(Gap(self._written, "file_replaced", since=self._opened, until=now()))
        self._identity, self._opened, self._written = None, now(), 0


def insert(connection: sqlite3.Connection, facts: Sequence[Fact]) -> None:
    """Add the rows of *facts* to a transaction."""
    noted = time.time_ns()
    rows: dict[type[Fact], list[Row]] = {}
    for fact in facts:
        rows.setdefault(type(fact), []).append(row_of(fact, noted=noted))
    for kind, of_kind in rows.items():
        connection.executemany(statement(kind), of_kind)


def open_file(path: Path) -> sqlite3.Connection:
    """Open the ledger for writing; folder, file and tables are made as needed, and old facts are forgotten."""
    os.makedirs(path.parent, mode=0o700, exist_ok=True)
    _make_file(path)
    # Also closed by another thread than its user's: see `Ledger`.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # The spool's bodies must not linger in the free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        _make_tables(connection)
        _prune(connection, time.time_ns())
        forget_old(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_file(path: Path) -> None:
    # SQLite gives its helper files the mode of the file itself. A file that is there is not opened: to close it
    # would end the locks of every other connection of this process to it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _make_tables(connection: sqlite3.Connection) -> None:
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    found = _version(connection)
    if found == 0:
        for each in filter(str.strip, TABLES.split(";")):
            connection.execute(each)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    if found > VERSION:
        raise Trouble("newer_version")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _prune(connection: sqlite3.Connection, at: int) -> None:
    # Rows are in the order of their writing: a look at the first one tells whether a day's worth has grown too old.
    limit = at - KEEP_DAYS * _DAY
    grown_old = [table for table in _PRUNED if _oldest(connection, table) < limit - _DAY]
    for table in grown_old:
        connection.execute(f"DELETE FROM {table} WHERE noted < ?", (limit,))  # noqa: S608 - one of our names
    if grown_old:
        connection.execute(_PRUNE_WITNESSES, {"limit": limit})


def _oldest(connection: sqlite3.Connection, table: str) -> float:
    row = connection.execute(f"SELECT noted FROM {table} ORDER BY rowid LIMIT 1").fetchone()  # noqa: S608 - likewise
    return row[0] if row else float("inf")


_PRUNED = ("intent", "attempt", "sighting", "gap", "spool")

# A reader says only once that it reports, and may run for longer than facts are kept.
_PRUNE_WITNESSES = """
DELETE FROM witness WHERE noted < :limit AND rowid NOT IN (
    SELECT max(rowid) FROM witness WHERE noted < :limit GROUP BY agent, leg, level)
"""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _told_apart(error: sqlite3.Error | OSError) -> Exception:
    if isinstance(error, OSError):
        return Trouble(_OS_REASONS.get(error.errno or 0, "cannot_open"))
    if isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError)):
        return Unwritable(str(error))
    # The lowest byte of an error code is its kind.
    return Trouble(_REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "failed"))


_REASONS = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_IOERR: "disk_failed",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}

_OS_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "not_permitted",
    errno.EPERM: "not_permitted",
    errno.EIO: "disk_failed",
}
