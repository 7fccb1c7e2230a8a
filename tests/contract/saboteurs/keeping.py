"""Break what is kept of the past, what is forgotten, and what happens although nobody reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from hivebus.tidying import Shed, Tidied
from hivebus.transport import Inbox, Located

from .honest import Honest, sabotages


@sabotages("what_was_handled_is_history")
class ShowsDeadLettersAsHistory(Honest):
    async def history(self, inbox: str, **bounds: Any) -> AsyncIterator[Located]:
        async for each in super().history(inbox, **bounds):
            yield each
        for letter in await self.dead(inbox, limit=10):
            yield replace(letter, state="acknowledged")


@sabotages("history_is_read_and_nothing_is_taken")
class TakesWhatItShows(Honest):
    async def history(self, inbox: str, **bounds: Any) -> AsyncIterator[Located]:
        found = [each async for each in super().history(inbox, **bounds)]
        reader = await self.open(Inbox(inbox), consumer="historian", lease=30)
        await reader.receive(limit=10, start=0, wait=0)
        await reader.close()
        for each in found:
            yield each


@sabotages("history_keeps_to_its_bounds")
class ShowsEverything(Honest):
    async def history(self, inbox: str, *, since: float, limit: int, until: float = 0) -> AsyncIterator[Located]:
        async for each in super().history(inbox, since=10**9, limit=10**9):
            yield each


@sabotages("only_what_is_settled_is_forgotten")
class ForgetsWhatIsNotSettled(Honest):
    async def shed(self, inbox: str, **bounds: Any) -> Shed:
        shed = await super().shed(inbox, **bounds)
        stored = self._server.inbox(inbox)
        for level in stored._levels.values():
            level.clear()
        return shed


@sabotages("what_is_forgotten_is_gone_and_a_dry_run_forgets_nothing")
class ForgetsInADryRun(Honest):
    async def shed(self, inbox: str, **bounds: Any) -> Shed:
        return await super().shed(inbox, **{**bounds, "dry_run": False})


@sabotages("what_nobody_reads_expires_all_the_same", "what_waits_for_its_retry_expires_all_the_same")
class TidiesNothing(Honest):
    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        return Tidied()
