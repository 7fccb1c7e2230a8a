"""A reader whose deliveries and acks are written down: the far end of the leg that is moved to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from hivebus.errors import Unsupported
from hivebus.transport import Ack, Delivery, Extend, Reader, Settled, Settlement, Start
from hivebus_migration.facts import Sighting, Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import fingerprint
from hivebus_migration.seen_before import was_seen
from hivebus_migration.telling import read_known

EVIDENCE_WITHIN = 0.5
"""Seconds for which acks wait for what was seen to be on disk."""


class WatchedReader(Reader):
    """Passes everything on, and notes what was handed over and what was acked.

    What is handed over again, after a crash or a retry, is noted once: it is still one message.

    Args:
        reader: the open inbox.
        agent: whose messages they are.
        leg: the road that they came by.
        level: how far up it reports: ``acked`` where somebody handles them, ``taken`` where nobody does.
        expects: whether messages come this way now; if not, it is a witness from the first one that does.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        agent: str,
        leg: str,
        level: Literal["taken", "acked"],
        ledger: Ledger,
        expects: bool = True,
    ) -> None:
        self._reader = reader
        self._agent = agent
        self._leg = leg
        self._level = level
        self._ledger = ledger
        self._held: dict[str, tuple[str, str]] = {}
        self._is_witness = False
        if expects:
            self._testify()

    async def receive(self, *, limit: int, start: int, wait: float) -> Sequence[Delivery]:
        deliveries = await self._reader.receive(limit=limit, start=start, wait=wait)
        if deliveries:
            self._testify()
            await self._note_taken(deliveries)
        return deliveries

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        return await self._reader.glance(limit=limit, wait=wait)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        if any(isinstance(each, Ack) and each.reply is not None for each in batch):
            raise Unsupported(
                "a reply cannot travel in the ack while messages travel two roads",
                cause="the stage of its recipient decides which road it goes",
                hint="publish the reply, then ack",
            )
        if self._level == "acked" and any(isinstance(each, Ack) for each in batch):
            await self._write_down()
        results = await self._reader.settle(batch)
        if self._level == "acked":
            self._note_acked(batch, results)
        return results

    def holds(self, token: str) -> bool:
        return self._reader.holds(token)

    def wake(self) -> None:
        self._reader.wake()

    async def close(self) -> None:
        await self._reader.close()

    async def _write_down(self) -> None:
        # What is acked never comes back: a kill right afterwards would leave a message that nobody saw.
        if self._ledger.is_healthy:
            await asyncio.to_thread(self._ledger.flush, within=EVIDENCE_WITHIN)

    def _testify(self) -> None:
        if not self._is_witness:
            self._is_witness = True
            self._ledger.note(Witness(self._agent, self._leg, self._level, now()))

    async def _note_taken(self, deliveries: Sequence[Delivery]) -> None:
        at = now()
        sightings = []
        for delivery in deliveries:
            message_id = read_known(delivery.data).message_id
            if not message_id:
                continue  # what names no message: nothing can be said about one
            seen = fingerprint(delivery.data)
            if self._level == "acked":
                self._held[delivery.token] = message_id, seen
            if delivery.attempt == 1 or not await self._was_noted(message_id):
                sightings.append(Sighting(message_id, self._leg, self._agent, "taken", seen, at))
        if sightings:
            self._ledger.note(*sightings)

    async def _was_noted(self, message_id: str) -> bool:
        if self._level == "acked":
            # By whoever had it before; and if that one died too early for it, the ack says as much and more.
            return True
        return await asyncio.to_thread(
            was_seen, self._ledger.path, message_id=message_id, leg=self._leg, agent=self._agent, level="taken"
        )

    def _note_acked(self, batch: Sequence[Settlement], results: Sequence[Settled]) -> None:
        at = now()
        sightings = []
        for settlement, result in zip(batch, results, strict=True):
            if isinstance(settlement, (Extend, Start)) and result == "done":
                continue
            seen = self._held.pop(settlement.token, None)
            if seen is not None and isinstance(settlement, Ack) and result == "done":
                sightings.append(Sighting(seen[0], self._leg, self._agent, "acked", seen[1], at))
        if sightings:
            self._ledger.note(*sightings)
