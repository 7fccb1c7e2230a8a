"""What the ledger's file looks like: one table per kind of fact, one row per fact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hivebus_migration.facts import Attempt, Fact, Gap, Intent, Moment, Sighting, Spooled, Witness

VERSION = 1
"""Stands in the file as ``user_version``; 0 is an empty file."""

# `noted` is when a row was written: what is pruned by, because not every fact has a time of its own.
TABLES = """
CREATE TABLE intent(
    message_id TEXT, agent TEXT, sender TEXT, session TEXT, number INTEGER, message_type TEXT, level INTEGER,
    size INTEGER, stage TEXT, epoch INTEGER, acting TEXT, legs TEXT, wall INTEGER, mono INTEGER, boot TEXT,
    noted INTEGER, PRIMARY KEY(message_id, agent));
CREATE INDEX intent_by_time ON intent(wall);
CREATE TABLE attempt(
    message_id TEXT, agent TEXT, leg TEXT, driver TEXT, outcome TEXT, reason TEXT, seconds REAL, noted INTEGER);
CREATE INDEX attempt_by_message ON attempt(message_id);
CREATE TABLE sighting(
    message_id TEXT, leg TEXT, agent TEXT, level TEXT, fingerprint TEXT, wall INTEGER, mono INTEGER, boot TEXT,
    noted INTEGER);
CREATE INDEX sighting_by_message ON sighting(message_id);
CREATE INDEX sighting_by_time ON sighting(wall);
CREATE TABLE witness(
    agent TEXT, leg TEXT, level TEXT, wall INTEGER, mono INTEGER, boot TEXT, noted INTEGER);
CREATE TABLE gap(
    facts INTEGER, reason TEXT, since_wall INTEGER, since_mono INTEGER, since_boot TEXT, until_wall INTEGER,
    until_mono INTEGER, until_boot TEXT, noted INTEGER);
CREATE TABLE spool(
    id INTEGER PRIMARY KEY AUTOINCREMENT, leg TEXT, inbox TEXT, message_id TEXT, routing_key TEXT, priority INTEGER,
    ttl REAL, data BLOB, wall INTEGER, mono INTEGER, boot TEXT, noted INTEGER, taken_by TEXT);
CREATE INDEX spool_by_leg ON spool(leg, taken_by, id);
"""

Row = tuple[Any, ...]


def statement(kind: type[Fact]) -> str:
    """Return what inserts a row of a kind of fact."""
    return _STATEMENTS[kind]


def row_of(fact: Fact, *, noted: int) -> Row:
    """Return the row of a fact that is written down at *noted*, in nanoseconds of the wall clock."""
    return (*_ROWS[type(fact)](fact), noted)


def _intent(fact: Intent) -> Row:
    return (*fact[:11], json.dumps(dict(fact.legs), sort_keys=True), *fact.at)


def _flat(fact: tuple[Any, ...]) -> Row:
    return tuple(part for each in fact for part in (each if isinstance(each, Moment) else (each,)))


_ROWS: Mapping[type[Fact], Callable[[Any], Row]] = {
    Intent: _intent,
    Attempt: _flat,
    Sighting: _flat,
    Witness: _flat,
    Gap: _flat,
    Spooled: _flat,
}

_STATEMENTS: Mapping[type[Fact], str] = {
    # A message that is sent again under its id is the same message.
    Intent: f"INSERT OR IGNORE INTO intent VALUES({', '.join('?' * 16)})",
    Attempt: f"INSERT INTO attempt VALUES({', '.join('?' * 8)})",
    Sighting: f"INSERT INTO sighting VALUES({', '.join('?' * 9)})",
    Witness: f"INSERT INTO witness VALUES({', '.join('?' * 7)})",
    Gap: f"INSERT INTO gap VALUES({', '.join('?' * 9)})",
    Spooled: (
        "INSERT INTO spool(leg, inbox, message_id, routing_key, priority, ttl, data, wall, mono, boot, noted)"
        f" VALUES({', '.join('?' * 11)})"
    ),
}
