"""What became of one message on one leg: proven, corrupted, lost, unknown, or still pending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from hivebus.transport import LADDERS, Evidence
from hivebus_migration.facts import Attempt, Intent, Moment, Sighting

Fate = Literal["proven", "corrupted", "lost", "unknown", "pending"]

NEVER_SEEN = "never_seen"
NO_WITNESS = "no_witness"
NO_ANSWER = "no_answer"
NO_FINGERPRINT = "no_fingerprint"
OTHER_FINGERPRINT = "other_fingerprint"

_RANKS = {word: rank for rank, word in enumerate(LADDERS["evidence"])}


class Terms(NamedTuple):
    """What the messages to one agent are judged by on one leg.

    Attributes:
        level: how far a message must have got to count as proven.
        watched_from: since when somebody reports what gets so far; None when nobody does.
        now: the moment of the report; deadline: seconds after which an unproven message is settled.
    """

    level: Evidence
    watched_from: Moment | None
    now: Moment
    deadline: float


class Verdict(NamedTuple):
    """What became of one message on one leg.

    Attributes:
        fate: the first four are settled, and exclude each other.
        reason: one word for why it is not proven.
        claimed: whether the leg's transport said that it took the message.
        driver: what wrote the leg; None when nobody noted it.
        first: when it was first seen whole; None when it never was.
        wait: nanoseconds from intent to then; None when two clocks were involved.
        duplicated: whether it was seen whole more than once.
        strayed_to: agents that saw it although it was not meant for them.
        reordered: whether it came after one that was sent later.
    """

    intent: Intent
    leg: str
    fate: Fate
    reason: str | None
    claimed: bool
    driver: str | None
    first: Moment | None = None
    wait: int | None = None
    duplicated: bool = False
    strayed_to: tuple[str, ...] = ()
    reordered: bool = False

    @property
    def misdelivered(self) -> bool:
        """Whether an agent saw it that it was not meant for."""
        return bool(self.strayed_to)

    @property
    def key(self) -> tuple[str, str, str]:
        """The message, its recipient and the leg."""
        return self.intent.message_id, self.intent.agent, self.leg


def judge(
    intent: Intent,
    leg: str,
    *,
    attempts: Sequence[Attempt],
    sightings: Sequence[Sighting],
    terms: Terms,
) -> Verdict:
    """Return what became of a message on a leg.

    Args:
        intent: the message, and its recipient.
        leg: the road that is judged.
        attempts: what the leg's transport said about it, in any order.
        sightings: what the recipient saw of it on this leg, in any order.
        terms: what it is judged by.
    """
    near = [each for each in sightings if rank(each.level) >= rank(terms.level)]
    whole = [each for each in near if each.fingerprint == intent.legs[leg]]
    if whole:
        fate, reason = _PROVEN
    elif seconds_between(intent.at, terms.now) < terms.deadline:
        fate, reason = _PENDING
    elif sightings:
        fate, reason = _why_not_whole(intent, leg, near or sightings, terms=terms)
    else:
        fate, reason = _why_not_seen(intent, attempts, terms=terms)
    first = _first(whole, intent.at.boot)
    return Verdict(
        intent=intent,
        leg=leg,
        fate=fate,
        reason=reason,
        claimed=any(each.outcome == "accepted" for each in attempts),
        driver=_driver(attempts),
        first=first,
        wait=first.mono - intent.at.mono if first and first.boot == intent.at.boot else None,
        duplicated=_twice_at_one_level(whole),
    )


def rank(level: str) -> int:
    """Return how far up the ladder of evidence a level stands; a word from another release stands lowest."""
    return _RANKS.get(level, 0)


def seconds_between(earlier: Moment, later: Moment) -> float:
    """Return the seconds between two moments: by the monotonic clock where both have the same one."""
    if earlier.boot == later.boot:
        return (later.mono - earlier.mono) / 1e9
    return (later.wall - earlier.wall) / 1e9


_PROVEN: tuple[Fate, None] = ("proven", None)
_PENDING: tuple[Fate, None] = ("pending", None)


def _why_not_whole(intent: Intent, leg: str, seen: Sequence[Sighting], *, terms: Terms) -> tuple[Fate, str]:
    fingerprints = {each.fingerprint for each in seen}
    if intent.legs[leg] in fingerprints:
        # It arrived whole, and did not get as far as messages are compared.
        highest = max((each.level for each in seen), key=rank)
        return ("lost", f"only_{highest}") if _was_watched(intent, terms) else ("unknown", NO_WITNESS)
    if fingerprints != {None}:
        return "corrupted", OTHER_FINGERPRINT
    return "unknown", NO_FINGERPRINT


def _why_not_seen(intent: Intent, attempts: Sequence[Attempt], *, terms: Terms) -> tuple[Fate, str]:
    outcomes = {each.outcome for each in attempts}
    if "accepted" in outcomes:
        return ("lost", NEVER_SEEN) if _was_watched(intent, terms) else ("unknown", NO_WITNESS)
    if "unknown" in outcomes:
        return "unknown", _reason(attempts, "unknown")
    if "refused" in outcomes:
        return "lost", _reason(attempts, "refused")
    return "unknown", NO_ANSWER


def _was_watched(intent: Intent, terms: Terms) -> bool:
    return terms.watched_from is not None and seconds_between(terms.watched_from, intent.at) >= 0


def _reason(attempts: Iterable[Attempt], outcome: str) -> str:
    return min(each.reason or outcome for each in attempts if each.outcome == outcome)


def _first(whole: Iterable[Sighting], boot: str) -> Moment | None:
    moments = [each.at for each in whole]
    # A monotonic clock beats the wall's, which somebody may have set in between.
    here = [each for each in moments if each.boot == boot]
    return min(here, key=lambda at: at.mono) if here else min(moments, default=None)


def _twice_at_one_level(whole: Iterable[Sighting]) -> bool:
    levels = [each.level for each in whole]
    return len(levels) > len(set(levels))


def _driver(attempts: Iterable[Attempt]) -> str | None:
    # Of several that tried, the one that got furthest.
    order = {"accepted": 0, "unknown": 1}
    best = min(attempts, key=lambda each: (order.get(each.outcome, 2), each.driver), default=None)
    return best.driver if best else None
