"""Writes the legacy leg for other processes: takes their copies out of the spool, and hands them over in batches."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence

from hivebus.address import behind_shadow
from hivebus.errors import HivebusError
from hivebus.transport import Outgoing
from hivebus_migration.copies import LEGACY_PATIENCE, Copies
from hivebus_migration.facts import Attempt, Outcome, Spooled, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import Leg
from hivebus_migration.pausing import pause_unless
from hivebus_migration.spool import Done, Spool, Waiting

LOOK_EVERY = 0.25
"""Seconds between two looks into the spool. Whoever sends while copies are under way waits for the cores, so those for
several windows are taken, and leave, together; who watches a window does not see the difference."""
PAUSE = 1.0
"""Seconds after which a spool that cannot be used is tried again."""
EXPIRES_AFTER = 30.0
"""Seconds after which a copy is given up: nobody who watches wants it any more."""
IN_HAND = 1000
_log = logging.getLogger(__name__)


class SpoolWriter:
    """Moves copies from the spool to the legacy leg, each once.

    Args:
        legacy: takes them.
        spool: where senders left them.
        ledger: is told what became of those that the spool cannot be told of.

    Attributes:
        written: how many the leg took; failed: how many it did not.
    """

    def __init__(self, legacy: Leg, spool: Spool, ledger: Ledger) -> None:
        self._legacy = legacy
        self._spool = spool
        self._ledger = ledger
        self._copies = Copies(legacy, told=self._told, patience=LEGACY_PATIENCE, absent="no_server")
        self._waiting: deque[Waiting] = deque()
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._finished: list[Done] = []
        self._file: tuple[int, int] | None = None
        self._stopping = asyncio.Event()
        self.written = 0
        self.failed = 0

    async def run(self) -> None:
        """Take and hand over until `stop`."""
        await self._give_up_abandoned()
        while not self._stopping.is_set():
            try:
                await self._turn()
            except HivebusError as error:
                _log.warning("the spool cannot be used, trying again", extra={"error": str(error)})
                await pause_unless(self._stopping, PAUSE)
            else:
                # Not to be woken from: that would cost more than the look itself, each time.
                await asyncio.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Take no more; a cancellation could lose sight of what is just being taken."""
        self._stopping.set()

    async def close(self, *, within: float) -> None:
        """Let what is under way arrive, give up what is left after *within* seconds, and close the spool."""
        for waiting in self._waiting:
            self._give_up(waiting, "closed")
        self._waiting.clear()
        await self._copies.close(within=within)
        try:
            self._spool.done(self._finished)
        except HivebusError as error:
            _log.warning("the spool cannot be used", extra={"error": str(error)})
            self._ledger.note(*(each.attempt for each in self._finished))
        self._spool.close()

    async def _turn(self) -> None:
        self._follow_file()
        room = max(0, IN_HAND - len(self._rows) - len(self._waiting))
        if self._finished or (room and self._spool.count(self._legacy.name)):
            await self._exchange(room)
        self._hand_over()

    async def _exchange(self, room: int) -> None:
        """Say what is finished, and take as many copies as there is room for."""
        done, self._finished = self._finished, []
        try:
            # In a thread, since another process may be writing at the moment.
            self._waiting += await asyncio.to_thread(self._spool.take, self._legacy.name, limit=room, done=done)
        except HivebusError:
            self._finished += done
            raise

    def _hand_over(self) -> None:
        """Give to the leg what is not too old; while it is away, keep the rest."""
        kept: deque[Waiting] = deque()
        for waiting in self._waiting:
            if _age(waiting.copy) > EXPIRES_AFTER:
                self._give_up(waiting, "expired")
            elif self._legacy.capabilities is None:
                kept.append(waiting)
            else:
                item = _outgoing(waiting.copy)
                self._rows.setdefault(_key(item), []).append(waiting.row)
                self._copies.put(item)
        self._waiting = kept

    def _told(self, told: Sequence[Attempt]) -> None:
        for each in told:
            rows = self._rows.pop((each.message_id, each.agent), [])
            self._finished += (Done(row, each) for row in rows)
            self.written += each.outcome == "accepted"
            self.failed += each.outcome != "accepted"

    def _give_up(self, waiting: Waiting, reason: str, *, unknown: bool = False) -> None:
        copy, leg = waiting.copy, self._legacy
        agent, _ = behind_shadow(copy.inbox)
        outcome: Outcome = "unknown" if unknown else "refused"
        attempt = Attempt(copy.message_id, agent, leg.name, leg.driver, outcome, reason, max(0.0, _age(copy)))
        self._finished.append(Done(waiting.row, attempt))
        self.failed += 1

    async def _give_up_abandoned(self) -> None:
        """Note what a bridge that died had in hand: it may be in a window, so it is not written again."""
        try:
            for waiting in await asyncio.to_thread(self._spool.abandoned, self._legacy.name):
                self._give_up(waiting, "abandoned", unknown=True)
        except HivebusError as error:
            _log.warning("the spool cannot be used", extra={"error": str(error)})

    def _follow_file(self) -> None:
        """Open the spool anew when its file was replaced."""
        try:
            status = os.stat(self._spool.path)
        except OSError:
            return
        file = status.st_dev, status.st_ino
        if self._file not in (None, file):
            self._spool.close()
        self._file = file


def _outgoing(copy: Spooled) -> Outgoing:
    return Outgoing(copy.inbox, copy.message_id, copy.routing_key, copy.priority, 0, copy.ttl, copy.data)


def _key(item: Outgoing) -> tuple[str, str]:
    return item.message_id, behind_shadow(item.inbox)[0]


def _age(copy: Spooled) -> float:
    """Return how many seconds ago a copy was left; one from before the machine started is as old as can be."""
    at = now()
    return (at.mono - copy.at.mono) / 1e9 if at.boot == copy.at.boot else float("inf")
