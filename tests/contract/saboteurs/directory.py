"""Break what the shared facts promise."""

from __future__ import annotations

import asyncio
from typing import Any

from hivebus.transport import (
    Entry,
)

from .honest import Honest, sabotages


@sabotages("a_fact_is_read_as_it_was_written")
class TurnsFactsIntoText(Honest):
    async def read(self, kind: str) -> dict[str, Entry]:
        facts = await super().read(kind)
        return {name: Entry({key: str(each) for key, each in fact.value.items()}, 1) for name, fact in facts.items()}


@sabotages("a_deleted_fact_is_gone")
class EmptiesInsteadOfDeleting(Honest):
    async def write(self, kind: str, name: str, value: Any, *, expect: int | None = None, ttl: Any = None) -> int:
        return await super().write(kind, name, value or {}, expect=expect, ttl=ttl)


@sabotages("a_write_with_an_old_version_is_refused")
class TheLastOneWins(Honest):
    async def write(self, kind: str, name: str, value: Any, *, expect: int | None = None, ttl: Any = None) -> int:
        return await super().write(kind, name, value, ttl=ttl)


@sabotages("of_two_writers_one_wins")
class ComparesAndThenSets(Honest):
    async def write(self, kind: str, name: str, value: Any, *, expect: int | None = None, ttl: Any = None) -> int:
        facts = await self.read(kind)
        await asyncio.sleep(0)
        present = facts[name].version if name in facts else 0
        return await super().write(kind, name, value, expect=expect if expect != present else None, ttl=ttl)


@sabotages("a_fact_with_an_end_disappears")
class KeepsFactsForEver(Honest):
    async def write(self, kind: str, name: str, value: Any, *, expect: int | None = None, ttl: Any = None) -> int:
        return await super().write(kind, name, value, expect=expect)


@sabotages("a_change_of_routes_is_counted")
class CountsNoChanges(Honest):
    async def changes(self) -> int:
        return 0
