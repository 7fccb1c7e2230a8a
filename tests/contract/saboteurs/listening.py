"""Break what a listener promises."""

from __future__ import annotations

from collections.abc import Sequence

from ..small_transports import Radio
from .honest import sabotages


@sabotages("a_listener_hears_what_matches")
class HearsEverything(Radio):
    def matches(self, routing_key: str, pattern: str) -> bool:
        return True


@sabotages("a_pattern_may_have_a_star")
class TakesStarsLiterally(Radio):
    def matches(self, routing_key: str, pattern: str) -> bool:
        return routing_key == pattern


@sabotages("a_listener_keeps_to_its_limit")
class HearsMoreThanItShould(Radio):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return await super().listen(patterns, limit=limit * 2, wait=wait)


@sabotages("listening_in_silence_ends")
class ListensForEver(Radio):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return await super().listen(patterns, limit=limit, wait=3600)
