"""Reads what the ledger knows, from its file alone: neither road needs to be there."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from hivebus.errors import HivebusError, NotFound, NotPermitted, Unavailable
from hivebus_migration.facts import Attempt, Gap, Intent, Moment, Sighting, Witness
from hivebus_migration.missing import left_behind
from hivebus_migration.schema import VERSION

F = TypeVar("F")


class Records(NamedTuple):
    """The facts of a window: all that is known about every message that was sent in it.

    Attributes:
        sightings: of those messages, and of messages that nobody noted an intent for.
        witnesses: of all times: a reader says only once that it reports.
    """

    intents: Sequence[Intent] = ()
    attempts: Sequence[Attempt] = ()
    sightings: Sequence[Sighting] = ()
    witnesses: Sequence[Witness] = ()
    gaps: Sequence[Gap] = ()


def read_records(path: Path, *, since: int = 0, agent: str | None = None) -> Records:
    """Return the facts about messages that were sent at *since* or later, in nanoseconds of the wall clock.

    With *agent*, those about messages to that agent, whoever else they were for.

    Raises:
        NotFound: there is no ledger; NotPermitted: it is another user's.
        HivebusError: it cannot be read, or another release wrote it.
    """
    _check_readable(path)
    try:
        with closing(_open(path)) as connection:
            return _read(connection, path, since=since, agent=agent)
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"the ledger {path} cannot be read now: {error}",
            cause="another program holds it, or its folder may not be written to",
            hint=f"try again, or copy {path}* to a folder of yours and name the copy by HIVEBUS_LEDGER",
        ) from error
    except sqlite3.DatabaseError as error:
        raise HivebusError(
            f"the ledger {path} cannot be read: {error}",
            cause="the file is damaged, or it is no ledger",
            hint=f"move {path}* away: the next message begins a new one",
        ) from error


def _check_readable(path: Path) -> None:
    # By access and not by opening: to close the file again would end the locks of this process on it.
    if os.access(path, os.R_OK):
        return
    if os.access(path.parent, os.X_OK) and path.exists():
        raise NotPermitted(
            f"you may not read the ledger {path}",
            cause="it belongs to another user, who alone may read it",
            hint="run this as the user whose agents are on this machine",
        )
    raise NotFound(
        f"there is no ledger at {path}",
        cause="nothing was sent over two roads yet, or another ledger or namespace is meant",
        hint="set HIVEBUS_LEGACY_URL and run `hivebus migrate start AGENT`, or name the file by HIVEBUS_LEDGER",
    )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if not isinstance(error, sqlite3.OperationalError) or path.with_name(f"{path.name}-wal").exists():
            raise
        # Nobody has it open, and this user may write nothing beside it: it can be read as it stands.
        return sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True, isolation_level=None)
    return connection


def _read(connection: sqlite3.Connection, path: Path, *, since: int, agent: str | None) -> Records:
    # One transaction: what is written meanwhile is seen in all tables or in none.
    connection.execute("BEGIN")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise HivebusError(
            f"the ledger {path} was written by a newer release", hint="upgrade hivebus on this machine too"
        )
    if version == 0:
        return Records(gaps=_gaps_beside(path, since))
    rows = _Rows(connection, {"since": since, "agent": agent})
    return Records(
        intents=rows.read(_intent, f"{_INTENTS} WHERE message_id IN ({_MESSAGES})"),
        attempts=rows.read(Attempt._make, f"{_ATTEMPTS} WHERE message_id IN ({_MESSAGES})"),
        sightings=rows.read(
            _sighting, f"{_SIGHTINGS} WHERE message_id IN ({_MESSAGES}) UNION ALL {_SIGHTINGS} WHERE {_STRANGE}"
        ),
        witnesses=rows.read(_witness, _WITNESSES),
        gaps=[*rows.read(_gap, f"{_GAPS} WHERE until_wall >= :since"), *_gaps_beside(path, since)],
    )


_MESSAGES = "SELECT message_id FROM intent WHERE wall >= :since AND (:agent IS NULL OR agent = :agent)"
_STRANGE = (
    "wall >= :since AND (:agent IS NULL OR agent = :agent)"
    " AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.message_id = sighting.message_id)"
)
_INTENTS = (
    "SELECT message_id, agent, sender, session, number, message_type, level, size, stage, epoch, acting, legs,"
    " wall, mono, boot FROM intent"
)
_ATTEMPTS = "SELECT message_id, agent, leg, driver, outcome, reason, seconds FROM attempt"
_SIGHTINGS = "SELECT message_id, leg, agent, level, fingerprint, wall, mono, boot FROM sighting"
_WITNESSES = "SELECT agent, leg, level, wall, mono, boot FROM witness"
_GAPS = "SELECT facts, reason, since_wall, since_mono, since_boot, until_wall, until_mono, until_boot FROM gap"


class _Rows:
    """Reads rows as facts. A text that comes often is kept once: a month of messages must fit into memory."""

    def __init__(self, connection: sqlite3.Connection, values: dict[str, Any]) -> None:
        self._connection = connection
        self._values = values
        self._texts: dict[str, str] = {}

    def read(self, fact: Callable[[list[Any]], F], query: str) -> list[F]:
        return [fact(list(map(self._kept, row))) for row in self._connection.execute(query, self._values)]

    def _kept(self, value: Any) -> Any:
        return self._texts.setdefault(value, value) if type(value) is str else value


def _intent(row: list[Any]) -> Intent:
    return Intent._make([*row[:11], json.loads(row[11]), Moment._make(row[12:])])


def _sighting(row: list[Any]) -> Sighting:
    return Sighting._make([*row[:5], Moment._make(row[5:])])


def _witness(row: list[Any]) -> Witness:
    return Witness._make([*row[:3], Moment._make(row[3:])])


def _gap(row: list[Any]) -> Gap:
    return Gap._make([*row[:2], Moment._make(row[2:5]), Moment._make(row[5:])])


def _gaps_beside(path: Path, since: int) -> list[Gap]:
    return [gap for gap in left_behind(path) if gap.until.wall >= since]
