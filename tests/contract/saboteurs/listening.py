"""Break what a listener promises."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from hivebus.patterns import Patterns
from hivebus.transport import Outgoing, Published

from ..small_transports import Radio
from .honest import sabotages


@sabotages("a_listener_hears_what_matches")
class HearsEverything(Radio):
    def matches(self, routing_key: str, patterns: Patterns) -> int:
        return 1


@sabotages("a_pattern_may_have_a_star")
class TakesStarsLiterally(Radio):
    def matches(self, routing_key: str, patterns: Patterns) -> int:
        return int(routing_key in patterns.texts)


@sabotages("a_star_is_one_part_and_a_hash_the_rest")
class TakesPatternsForGlobs(Radio):
    def matches(self, routing_key: str, patterns: Patterns) -> int:
        return int(any(fnmatchcase(routing_key, text.replace(".#", "*")) for text in patterns.texts))


@sabotages("what_matches_twice_is_heard_once")
class HearsOncePerPattern(Radio):
    def matches(self, routing_key: str, patterns: Patterns) -> int:
        return sum(Patterns(text).first(routing_key) is not None for text in patterns.texts)


@sabotages("everybody_who_listens_hears_it")
class TellsTheFirstOnly(Radio):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        self.air.ears[1:] = []
        return await super().publish(batch)


@sabotages("of_a_list_each_hears_its_own_copy")
class KnowsNoLists(Radio):
    def key(self, item: Outgoing) -> str:
        return item.routing_key


@sabotages("what_nobody_heard_is_gone")
class TellsWhatWasSaidBefore(Radio):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        self.air.said += batch
        return await super().publish(batch)

    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        said, self.air.said = self.air.said, []
        wanted = Patterns(patterns)
        return [item.data for item in said if self.matches(self.key(item), wanted)] or await super().listen(
            patterns, limit=limit, wait=wait
        )


@sabotages("what_a_listener_cannot_keep_is_refused")
class ForgetsWhatItCannotKeep(Radio):
    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Any]:
        kept = [item._replace(delay=0, ttl=None) for item in batch]
        return [Published("scheduled") for _ in batch[:-1]] + [(await super().publish(kept))[-1]]


@sabotages("what_is_no_pattern_is_refused")
class ListensForAnything(Radio):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return []


@sabotages("a_listener_keeps_to_its_limit")
class HearsMoreThanItShould(Radio):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return await super().listen(patterns, limit=limit * 2, wait=wait)


@sabotages("listening_in_silence_ends")
class ListensForEver(Radio):
    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        return await super().listen(patterns, limit=limit, wait=3600)
