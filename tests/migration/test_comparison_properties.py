"""What holds for the comparison whatever the facts are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.facts import Attempt, Gap, Intent, Sighting, Witness
from hivebus_migration.records import Records
from hivebus_migration.tally import Tally

from .fault_checks import COLUMNS
from .scenes import BOOT, LEGS, OTHER_BOOT, at

AGENTS = ("dev", "qa", "docs")
MIRROR = dict(zip(LEGS, reversed(LEGS), strict=True))
FINGERPRINTS = st.sampled_from(["right", "wrong"])
SECONDS = st.integers(0, 120)

ids = st.sampled_from([f"m{number}" for number in range(6)])
agents = st.sampled_from(AGENTS)
legs = st.sampled_from(LEGS)
levels = st.sampled_from(["visible", "taken", "presented", "acked"])
moments = st.builds(lambda seconds, boot: at(seconds, boot=boot), SECONDS, st.sampled_from([BOOT, BOOT, OTHER_BOOT]))

intents = st.builds(
    Intent,
    message_id=ids,
    agent=agents,
    sender=st.just("pm"),
    session=st.sampled_from(["s1", "s2"]),
    number=st.integers(0, 20),
    message_type=st.just("event"),
    level=st.integers(1, 5),
    size=st.just(1),
    stage=st.just("dualwrite"),
    epoch=st.just(1),
    acting=legs,
    legs=st.sets(legs).map(lambda chosen: dict.fromkeys(sorted(chosen), "right")),
    at=moments,
)
attempts = st.builds(
    Attempt,
    message_id=ids,
    agent=agents,
    leg=legs,
    driver=st.sampled_from(["safe", "legacy"]),
    outcome=st.sampled_from(["accepted", "refused", "unknown"]),
    reason=st.none() | st.just("timeout"),
    seconds=st.just(0.1),
)
sightings = st.builds(
    Sighting, message_id=ids, leg=legs, agent=agents, level=levels, fingerprint=st.none() | FINGERPRINTS, at=moments
)
witnesses = st.builds(Witness, agent=agents, leg=legs, level=levels, at=moments)
gaps = st.builds(Gap, facts=st.integers(1, 9), reason=st.just("locked"), since=moments, until=moments)

records = st.builds(
    Records,
    # A sender counts: it never has two different messages under one number, in the same instant.
    intents=st.lists(
        intents, max_size=10, unique_by=lambda each: (each.message_id, each.at, each.session, each.number)
    ),
    attempts=st.lists(attempts, max_size=12),
    sightings=st.lists(sightings, max_size=20),
    witnesses=st.lists(witnesses, max_size=6),
    gaps=st.lists(gaps, max_size=2),
)

NOW = at(100)
many = settings(max_examples=200, deadline=None)


def rows(found: Comparison) -> list[Tally]:
    """Return every row that a comparison has."""
    legs = [*found.legs.values(), *(leg for agent in found.agents.values() for leg in agent.legs.values())]
    return [row for leg in legs for row in (leg.tally, *leg.drivers.values())]


@many
@given(records)
def test_what_is_sent_is_proven_or_corrupted_or_lost_or_unknown(facts: Records) -> None:
    for row in rows(compare(facts, now=NOW)):
        assert row.sent == row.proven + row.corrupted + row.lost + row.unknown
        assert row.failed == sum(row.reasons.values())
        assert row.proven == len(row.waits) + row.other_clocks + row.clock_errors
        assert row.claimed <= row.sent
        assert row.unproven_claims <= min(row.claimed, row.failed)
        assert max(row.duplicated, row.reordered) <= row.proven
        assert row.misdelivered <= row.sent + row.pending
        assert row.sent == 0 or row.failed / row.sent <= row.loss_upper_bound <= 1
        assert min(row.waits, default=0) >= 0


@many
@given(records, st.data())
def test_the_order_of_facts_does_not_matter(facts: Records, data: st.DataObject) -> None:
    shuffled = Records(*(data.draw(st.permutations(kind)) for kind in facts))
    assert compare(shuffled, now=NOW) == compare(facts, now=NOW)


@many
@given(records)
def test_to_relabel_the_legs_mirrors_the_report(facts: Records) -> None:
    straight, mirrored = compare(facts, now=NOW), compare(relabelled(facts), now=NOW)
    assert {MIRROR[name]: leg for name, leg in straight.legs.items()} == mirrored.legs
    assert mirrored.agents.keys() == straight.agents.keys()
    for name, agent in straight.agents.items():
        assert mirrored.agents[name].legs == {MIRROR[leg]: row for leg, row in agent.legs.items()}
        assert (mirrored.agents[name].level, sorted(mirrored.agents[name].silent)) == (
            agent.level, sorted(MIRROR[leg] for leg in agent.silent),
        )  # fmt: skip
    assert mirrored.paired == replace(
        straight.paired, only={MIRROR[leg]: count for leg, count in straight.paired.only.items()}
    )
    same = ("level", "mixed", "messages", "unmeasured", "strangers", "gaps")
    assert [getattr(mirrored, name) for name in same] == [getattr(straight, name) for name in same]


@many
@given(records)
def test_the_fleet_is_the_sum_of_its_agents_and_a_leg_of_its_drivers(facts: Records) -> None:
    found = compare(facts, now=NOW)
    for name, leg in found.legs.items():
        of_agents = [agent.legs[name].tally for agent in found.agents.values() if name in agent.legs]
        assert total(of_agents) == total([leg.tally])
        assert total(list(leg.drivers.values())) == total([leg.tally])


@many
@given(records)
def test_every_message_that_went_over_both_legs_to_a_measurable_agent_is_paired_or_pending(facts: Records) -> None:
    found = compare(facts, now=NOW)
    by_message: dict[tuple[str, str], list[str]] = {}
    for each in found.verdicts:
        if found.agents[each.intent.agent].measurable:
            by_message.setdefault((each.intent.message_id, each.intent.agent), []).append(each.fate)
    settled = [fates for fates in by_message.values() if len(fates) == 2 and "pending" not in fates]
    assert found.paired.together == len(settled)
    assert found.paired.both == sum(fates == ["proven", "proven"] for fates in settled)
    assert found.paired.neither == sum("proven" not in fates for fates in settled)


@many
@given(records, agents)
def test_one_agent_alone_has_the_rows_that_it_has_among_others(facts: Records, agent: str) -> None:
    whole, part = compare(facts, now=NOW), compare(facts, now=NOW, agent=agent)
    assert part.agents == {name: each for name, each in whole.agents.items() if name == agent}


@many
@given(records, sightings)
def test_another_sighting_never_makes_a_leg_look_worse(facts: Records, seen: Sighting) -> None:
    more = facts._replace(sightings=[*facts.sightings, seen])
    before, after = compare(facts, now=NOW), compare(more, now=NOW)
    for name, leg in before.legs.items():
        assert after.legs[name].tally.proven >= leg.tally.proven


def relabelled(facts: Records) -> Records:
    """Return the same facts about the other leg."""
    return Records(
        intents=[
            each._replace(legs={MIRROR[leg]: print_ for leg, print_ in each.legs.items()}, acting=MIRROR[each.acting])
            for each in facts.intents
        ],
        attempts=[each._replace(leg=MIRROR[each.leg]) for each in facts.attempts],
        sightings=[each._replace(leg=MIRROR[each.leg]) for each in facts.sightings],
        witnesses=[each._replace(leg=MIRROR[each.leg]) for each in facts.witnesses],
        gaps=facts.gaps,
    )


def total(rows: list[Tally]) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(getattr(row, name) for row in rows) for name in COLUMNS}
    return sums | {"waits": sorted(wait for row in rows for wait in row.waits)}
