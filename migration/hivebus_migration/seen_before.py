"""Whether a sighting was written down before: a message that is handed over again is still one message."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hivebus.transport import Evidence


def was_seen(ledger: Path, *, message_id: str, leg: str, agent: str, level: Evidence) -> bool:
    """Tell whether the ledger knows the sighting; False where it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(ledger))}?mode=ro", uri=True)) as connection:
            found = connection.execute(_QUERY, (message_id, leg, agent, level)).fetchone()
    except sqlite3.Error:
        return False
    return found is not None


_QUERY = "SELECT 1 FROM sighting WHERE message_id = ? AND leg = ? AND agent = ? AND level = ? LIMIT 1"
