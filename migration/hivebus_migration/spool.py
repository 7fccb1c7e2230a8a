"""Where copies wait for the process that writes a leg: each is taken once, and deleted when it is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

from hivebus.errors import Unavailable
from hivebus_migration.facts import Attempt, Moment, Spooled
from hivebus_migration.ledger_file import Trouble, insert, open_file


class Waiting(NamedTuple):
    """A copy that was taken: *row* is what `Spool.done` wants to know."""

    row: int
    copy: Spooled


class Done(NamedTuple):
    """A copy that was taken and is finished, and what became of it."""

    row: int
    attempt: Attempt


class Spool:
    """The copies in one ledger file, put there by `Ledger.note` of any process on this host.

    For one thread at a time. Every method raises `Unavailable` when the file cannot be written now;
    nothing is taken or deleted then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taker = str(uuid4())
        self._connection: sqlite3.Connection | None = None

    def take(self, leg: str, *, limit: int = 100, done: Sequence[Done] = ()) -> Sequence[Waiting]:
        """Return up to *limit* copies for *leg*, oldest first. Nobody else is given them again.

        In the same step those that are *done* are deleted, and what became of them is noted in the ledger.
        """
        with self._transaction() as connection:
            _finish(connection, done)
            rows = connection.execute(_TAKE, {"leg": leg, "taker": self._taker, "limit": limit}).fetchall()
        return sorted(map(_waiting, rows))

    def abandoned(self, leg: str) -> Sequence[Waiting]:
        """Return what others took and never finished: what became of it is not known.

        Only for who is the sole reader of *leg*: what a living one has in hand is among it.
        """
        with self._open() as connection:
            rows = connection.execute(_ABANDONED, {"leg": leg, "taker": self._taker}).fetchall()
            return sorted(map(_waiting, rows))

    def done(self, done: Sequence[Done]) -> None:
        """Delete copies, and note in the ledger what became of them."""
        with self._transaction() as connection:
            _finish(connection, done)

    def count(self, leg: str) -> int:
        """Return how many copies for *leg* nobody has taken yet."""
        with self._open() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM spool WHERE leg = ? AND taken_by IS NULL", (leg,)
            ).fetchone()
            return int(count)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = open_file(self.path)
            yield self._connection
        except (sqlite3.Error, OSError, Trouble) as error:
            self.close()
            raise Unavailable(
                f"the spool in {self.path} cannot be used: {error}",
                cause="another process holds the ledger for long, or its disk is full or read-only",
                hint=f"look at {self.path.parent}",
            ) from error


_TAKE = """
UPDATE spool SET taken_by = :taker WHERE id IN (
    SELECT id FROM spool WHERE leg = :leg AND taken_by IS NULL ORDER BY id LIMIT :limit)
RETURNING id, leg, inbox, message_id, routing_key, priority, ttl, data, wall, mono, boot
"""

# A row that nobody has taken is another one: the file was replaced, and counts from the beginning.
_DONE = "DELETE FROM spool WHERE id = ? AND taken_by IS NOT NULL"

_ABANDONED = """
SELECT id, leg, inbox, message_id, routing_key, priority, ttl, data, wall, mono, boot FROM spool
WHERE leg = :leg AND taken_by IS NOT NULL AND taken_by != :taker
"""


def _finish(connection: sqlite3.Connection, done: Sequence[Done]) -> None:
    insert(connection, [each.attempt for each in done])
    connection.executemany(_DONE, [(each.row,) for each in done])


def _waiting(row: Sequence[Any]) -> Waiting:
    return Waiting(row[0], Spooled._make([*row[1:8], Moment._make(row[8:])]))
