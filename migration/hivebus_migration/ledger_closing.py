"""Closes a ledger without holding up the event loop, however long its file is locked by others."""

from __future__ import annotations

import asyncio
from time import monotonic

from hivebus_migration.ledger import Ledger

PAUSE = 0.01
LAST = 0.1
"""Seconds that are left for what could not be written: it is counted as missing."""


async def close_ledger(ledger: Ledger, *, within: float) -> None:
    """Wait until all that was noted is on disk, or *within* seconds are over, and let go of the file."""
    deadline = monotonic() + within
    # In short looks and not in a thread: at the end of a process no thread can be had any more.
    while not ledger.flush(within=0.0) and monotonic() < deadline:  # noqa: ASYNC110 - a thread sets no event of a loop
        await asyncio.sleep(PAUSE)
    ledger.close(within=LAST)
