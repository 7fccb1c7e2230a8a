"""Which road delivered: every message is judged on each leg that it travelled, and counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from hivebus.transport import Evidence
from hivebus_migration.facts import DUPLICATE, Attempt, Gap, Intent, Moment, Sighting
from hivebus_migration.order import reordered
from hivebus_migration.pairing import Paired, pair
from hivebus_migration.records import Records
from hivebus_migration.strays import Key, find_strays
from hivebus_migration.tally import Tally, tally
from hivebus_migration.verdict import Terms, Verdict, judge, rank
from hivebus_migration.witnesses import Witnesses

DEADLINE = 30.0
"""Seconds after which a message that is not proven is settled."""

UNNAMED = "unnamed"
"""Stands for the driver of messages for which no attempt was noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg: its row, and a row for each driver that wrote it."""

    tally: Tally
    drivers: Mapping[str, Tally]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The comparison for one agent.

    Attributes:
        level: the highest one that is reported for each of its legs; ``accepted`` when one has no
            witness, and then nothing can be said about what arrived.
        paired: over its messages, when they can be compared.
        silent: legs that messages were sent over and somebody reports from, but nothing was ever seen on.
    """

    level: Evidence
    legs: Mapping[str, Leg]
    paired: Paired
    silent: Sequence[str]

    @property
    def measurable(self) -> bool:
        """Whether arrival was looked at on every leg."""
        return self.level != "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the ledger says about two roads.

    Attributes:
        legs: the sums over all agents.
        level: the lowest of the agents' levels; mixed: whether they differ.
        paired: over the messages to agents that can be compared.
        messages: how many messages were judged, a message to several agents once for each.
        unmeasured: how many of them were for agents that cannot be compared.
        strangers: sightings of messages that nobody noted an intent for.
        gaps: facts that are missing.
        verdicts: what became of each message on each leg.
    """

    legs: Mapping[str, Leg]
    agents: Mapping[str, Agent]
    level: Evidence
    mixed: bool
    paired: Paired
    messages: int
    unmeasured: int
    strangers: int
    gaps: Sequence[Gap]
    verdicts: Sequence[Verdict]


def compare(records: Records, *, now: Moment, deadline: float = DEADLINE, agent: str | None = None) -> Comparison:
    """Return the comparison of the roads that the messages in *records* travelled.

    Args:
        records: all facts, in any order.
        now: the moment of the comparison; what is younger than *deadline* and not yet proven is pending.
        deadline: in seconds.
        agent: judge only the messages to this one.
    """
    intents = _first_ones(records.intents)
    judged = [each for each in intents if agent in (None, each.agent)]
    strays = find_strays(intents, records.sightings, agent=agent)
    witnesses = Witnesses(records.witnesses)
    legs_of = _legs_of(judged)
    levels = {name: witnesses.common_level(name, legs) for name, legs in legs_of.items()}
    terms = {
        (name, leg): Terms(
            level=levels[name], watched_from=witnesses.since(name, leg, levels[name]), now=now, deadline=deadline
        )
        for name, legs in legs_of.items()
        for leg in legs
    }
    verdicts = _judge_all(judged, records, terms=terms)
    elsewhere = _sent_elsewhere(verdicts, records.attempts)
    judged = [each for each in judged if (each.message_id, each.agent) not in elsewhere]
    verdicts = [each for each in verdicts if (each.intent.message_id, each.intent.agent) not in elsewhere]
    verdicts = _marked(verdicts, strayed=strays.misdelivered, late=reordered(verdicts))
    agents = _agents(verdicts, levels=levels, legs_of=legs_of, silent=_silent(verdicts, records.sightings, witnesses))
    legs = sorted(set().union(*legs_of.values()))
    return Comparison(
        legs=_legs(verdicts, legs),
        agents=agents,
        level=min(levels.values(), key=rank, default="accepted"),
        mixed=len(set(levels.values())) > 1,
        paired=pair([each for each in verdicts if agents[each.intent.agent].measurable], legs=legs),
        messages=len(judged),
        unmeasured=sum(not agents[each.agent].measurable for each in judged),
        strangers=strays.strangers,
        gaps=sorted(records.gaps, key=lambda gap: (gap.since, gap.until, gap.reason, gap.facts)),
        verdicts=verdicts,
    )


# --- Every message on every leg --------------------------------------------------------------------


def _first_ones(intents: Iterable[Intent]) -> list[Intent]:
    """Return one intent per message and recipient: a message that is sent again is still one message."""
    first: dict[tuple[str, str], Intent] = {}
    for each in intents:
        known = first.setdefault((each.message_id, each.agent), each)
        if (each.at, each.session, each.number) < (known.at, known.session, known.number):
            first[each.message_id, each.agent] = each
    return sorted(first.values(), key=lambda each: (each.at, each.message_id, each.agent))


def _legs_of(intents: Iterable[Intent]) -> dict[str, list[str]]:
    legs: dict[str, set[str]] = defaultdict(set)
    for each in intents:
        legs[each.agent].update(each.legs)
    return {agent: sorted(names) for agent, names in sorted(legs.items())}


def _judge_all(
    intents: Iterable[Intent],
    records: Records,
    *,
    terms: Mapping[tuple[str, str], Terms],
) -> list[Verdict]:
    attempts: dict[tuple[str, str, str], list[Attempt]] = defaultdict(list)
    for attempt in records.attempts:
        attempts[attempt.message_id, attempt.agent, attempt.leg].append(attempt)
    sightings: dict[tuple[str, str, str], list[Sighting]] = defaultdict(list)
    for sighting in records.sightings:
        sightings[sighting.message_id, sighting.agent, sighting.leg].append(sighting)
    return [
        judge(
            intent,
            leg,
            attempts=attempts.get((intent.message_id, intent.agent, leg), ()),
            sightings=sightings.get((intent.message_id, intent.agent, leg), ()),
            terms=terms[intent.agent, leg],
        )
        for intent in intents
        for leg in sorted(intent.legs)
    ]


def _sent_elsewhere(verdicts: Iterable[Verdict], attempts: Iterable[Attempt]) -> set[tuple[str, str]]:
    """Return the messages that had arrived before anything was noted of them, by their ids and recipients.

    A sender that was killed takes its notes along. When it sends again, its message may read differently (it has
    another timestamp), while the leg keeps the first one: what was seen then can be compared with nothing.
    """
    reasons: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    for each in attempts:
        reasons[each.message_id, each.agent, each.leg].add(each.reason)
    return {
        (each.intent.message_id, each.intent.agent)
        for each in verdicts
        if each.fate == "corrupted" and reasons.get(each.key) == {DUPLICATE}
    }


def _marked(
    verdicts: Iterable[Verdict], *, strayed: Mapping[Key, Sequence[str]], late: AbstractSet[Key]
) -> list[Verdict]:
    return [
        each._replace(strayed_to=tuple(strayed.get(each.key, ())), reordered=each.key in late)
        if each.key in strayed or each.key in late
        else each
        for each in verdicts
    ]


def _silent(verdicts: Iterable[Verdict], sightings: Iterable[Sighting], witnesses: Witnesses) -> set[tuple[str, str]]:
    seen = {(each.agent, each.leg) for each in sightings}
    settled = {(each.intent.agent, each.leg) for each in verdicts if each.fate != "pending"}
    return {(agent, leg) for agent, leg in settled - seen if witnesses.since(agent, leg, "accepted")}


# --- Counted ---------------------------------------------------------------------------------------


def _agents(
    verdicts: Iterable[Verdict],
    *,
    levels: Mapping[str, Evidence],
    legs_of: Mapping[str, Sequence[str]],
    silent: AbstractSet[tuple[str, str]],
) -> dict[str, Agent]:
    of_agent: dict[str, list[Verdict]] = defaultdict(list)
    for each in verdicts:
        of_agent[each.intent.agent].append(each)
    return {
        agent: Agent(
            level=levels[agent],
            legs=_legs(of_agent[agent], legs),
            paired=pair(of_agent[agent] if levels[agent] != "accepted" else (), legs=legs),
            silent=[leg for leg in legs if (agent, leg) in silent],
        )
        for agent, legs in legs_of.items()
    }


def _legs(verdicts: Iterable[Verdict], legs: Iterable[str]) -> dict[str, Leg]:
    of_leg: dict[str, list[Verdict]] = defaultdict(list)
    of_driver: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for each in verdicts:
        of_leg[each.leg].append(each)
        of_driver[each.leg, each.driver or UNNAMED].append(each)
    return {
        leg: Leg(
            tally=tally(of_leg[leg]),
            drivers={driver: tally(each) for (name, driver), each in sorted(of_driver.items()) if name == leg},
        )
        for leg in legs
    }
