"""What the comparison counts, and by what it judges: levels, deadlines, recipients, order, clocks, drivers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from hivebus_migration import pairing, tally, verdict
from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.facts import Gap
from hivebus_migration.records import Records

from . import scenes
from .fault_checks import COLUMNS, columns, judged, perfect
from .scenes import DEV, LEGS, NOW, QA, VICTIMS, Scene, at, attempt, both_delivered, intent, sighting, witness

# --- Levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redis", "tmux", "level"),
    [
        ("taken", "taken", "taken"),
        ("acked", "taken", "taken"),
        ("presented", "visible", "visible"),
        ("acked", "acked", "acked"),
        ("taken", None, "accepted"),
        (None, None, "accepted"),
    ],
)
def test_legs_are_compared_at_the_highest_level_that_both_have_a_witness_for(
    redis: str | None, tmux: str | None, level: str
) -> None:
    scene = both_delivered()
    scene.witnesses = [witness("dev", leg, level=word) for leg, word in (("redis", redis), ("tmux", tmux)) if word]
    assert judged(scene).agents["dev"].level == level


def test_who_reports_what_is_presented_proves_that_it_was_taken() -> None:
    scene = both_delivered()
    scene.witnesses.append(witness("dev", "redis", level="presented"))
    for number in range(DEV):
        scene.sightings[number, "redis"] = [sighting(number, "redis", level="presented")]
    found = judged(scene).agents["dev"]
    assert (found.level, found.legs["redis"].tally.proven) == ("taken", DEV)


def check_that_nothing_is_claimed_for_an_unwatched_leg(scene: Scene) -> None:
    found = judged(scene)
    dev = found.agents["dev"]
    assert (dev.level, dev.measurable) == ("accepted", False)
    assert columns(dev.legs["tmux"].tally) == perfect(DEV) | {
        "proven": 0, "unknown": DEV, "unproven_claims": DEV,
    }  # fmt: skip
    assert dev.legs["tmux"].tally.reasons == {"no_witness": DEV}
    assert dev.legs["tmux"].tally.loss_upper_bound == 1.0
    assert dev.paired.together == 0
    assert found.paired.together == QA
    assert (found.level, found.mixed, found.unmeasured) == ("accepted", True, DEV)


def unwatched() -> Scene:
    scene = both_delivered()
    scene.witnesses = [each for each in scene.witnesses if (each.agent, each.leg) != ("dev", "tmux")]
    for number in range(DEV):
        scene.sightings[number, "tmux"] = []
    return scene


def test_a_leg_that_nobody_watches_is_unknown_and_neither_proven_nor_lost() -> None:
    check_that_nothing_is_claimed_for_an_unwatched_leg(unwatched())


def test_what_was_sent_before_anybody_watched_is_unknown_and_not_lost() -> None:
    scene = both_delivered()
    scene.witnesses = [witness(agent, leg, at=at(10.5)) for agent in ("dev", "qa") for leg in LEGS]
    scenes.dropped(scene, "tmux")  # two of the three before, and one after
    row = judged(scene).agents["dev"].legs["tmux"].tally
    assert (row.unknown, row.lost, row.proven) == (2, 1, DEV - 3)
    assert row.reasons == {"no_witness": 2, "never_seen": 1}


def test_what_was_refused_is_lost_whether_or_not_somebody_watched() -> None:
    scene = unwatched()
    for number in VICTIMS:
        scene.attempts[number, "tmux"] = [attempt(number, "tmux", outcome="refused", reason="no_window")]
    row = judged(scene).agents["dev"].legs["tmux"].tally
    assert (row.lost, row.unknown) == (3, DEV - 3)


def test_a_witness_who_reports_nothing_at_all_is_named() -> None:
    scene = both_delivered()
    for number in range(DEV):
        scene.sightings[number, "tmux"] = []
    found = judged(scene)
    assert found.agents["dev"].silent == ["tmux"]
    assert found.agents["qa"].silent == []
    assert found.agents["dev"].legs["tmux"].tally.lost == DEV


# --- Pending ---------------------------------------------------------------------------------------


def test_what_is_young_and_not_proven_is_pending_and_in_no_other_column() -> None:
    scene = both_delivered()
    scenes.dropped(scene, "tmux")
    scenes.refused(scene, "redis")
    # 12 is 29.9 s old, 8 is 33.9 s.
    found = compare(scene.records(), now=at(41.9), deadline=30)
    tmux, redis = (found.agents["dev"].legs[leg].tally for leg in ("tmux", "redis"))
    assert columns(tmux) == perfect(DEV - 1) | {"pending": 1, "proven": DEV - 3, "lost": 2, "unproven_claims": 2}
    assert columns(redis) == perfect(DEV - 1) | {"pending": 1, "claimed": DEV - 3, "proven": DEV - 3, "lost": 2}
    assert found.agents["dev"].paired.together == DEV - 1


@pytest.mark.parametrize(("age", "pending"), [(29.999, 1), (30.0, 0)])
def test_a_message_is_settled_when_the_deadline_is_over(age: float, pending: int) -> None:
    scene = Scene()
    scene.add(0)
    scene.witnesses = [witness("dev", leg) for leg in LEGS]
    scene.sightings[0, "tmux"] = []
    row = compare(scene.records(), now=at(age), deadline=30).legs["tmux"].tally
    assert (row.pending, row.lost) == (pending, 1 - pending)


def test_the_age_of_a_message_from_another_boot_is_told_by_the_wall_clock() -> None:
    scene = Scene()
    scene.add(0)
    scene.sightings[0, "tmux"] = []
    records = scene.records()
    assert compare(records, now=at(29, boot=scenes.OTHER_BOOT)).legs["tmux"].tally.pending == 1
    assert compare(records, now=at(31, boot=scenes.OTHER_BOOT)).legs["tmux"].tally.pending == 0


def test_a_misdelivered_message_is_counted_as_such_while_it_is_pending() -> None:
    scene = both_delivered()
    scene.sightings[3, "tmux"] = [sighting(3, "tmux", agent="qa")]
    row = compare(scene.records(), now=at(29), deadline=30).legs["tmux"].tally
    assert (row.pending, row.misdelivered, row.lost) == (1, 1, 0)


# --- Several recipients, strangers -----------------------------------------------------------------


def to_several(*seen_by: str) -> Comparison:
    """Return the comparison of one message to dev and qa that *seen_by* saw on tmux."""
    records = Records(
        intents=[intent(1, agent) for agent in ("dev", "qa")],
        attempts=[attempt(1, leg, agent) for leg in LEGS for agent in ("dev", "qa")],
        sightings=[sighting(1, "tmux", agent) for agent in seen_by],
        witnesses=[witness(agent, leg) for leg in LEGS for agent in ("dev", "qa")],
    )
    return compare(records, now=NOW)


def test_a_message_to_several_agents_is_misdelivered_to_none_of_them() -> None:
    found = to_several("dev", "qa")
    assert found.messages == 2
    assert [agent.legs["tmux"].tally.proven for agent in found.agents.values()] == [1, 1]
    assert found.legs["tmux"].tally.misdelivered == 0


def test_a_wrong_agent_is_charged_once_to_a_recipient_who_missed_the_message() -> None:
    found = to_several("dev", "docs")
    assert [agent.legs["tmux"].tally.misdelivered for agent in found.agents.values()] == [0, 1]


def test_two_wrong_agents_are_charged_to_two_recipients() -> None:
    found = to_several("docs", "security")
    assert [agent.legs["tmux"].tally.misdelivered for agent in found.agents.values()] == [1, 1]


def test_a_sighting_without_an_intent_is_a_stranger_and_in_no_row() -> None:
    scene = both_delivered()
    scene.sightings[500, "tmux"] = [sighting(500, "tmux"), sighting(500, "tmux", agent="docs")]
    found = judged(scene)
    assert found.strangers == 2
    assert columns(found.legs["tmux"].tally) == perfect(DEV + QA)


def test_a_sighting_on_a_leg_that_the_message_did_not_travel_is_a_stranger() -> None:
    scene = both_delivered()
    scene.add(700, legs=("redis",))
    scene.sightings[700, "tmux"] = [sighting(700, "tmux")]
    found = judged(scene)
    assert found.strangers == 1
    assert (found.legs["redis"].tally.sent, found.legs["tmux"].tally.sent) == (DEV + QA + 1, DEV + QA)
    assert found.paired.together == DEV + QA


# --- Order -----------------------------------------------------------------------------------------


def late(**changes: Any) -> int:
    """Return how many of two messages are reordered when the first one comes after the second, *changes* apart."""
    scene = Scene()
    scene.add(1)
    scene.add(2)
    scene.intents[1] = scene.intents[1]._replace(**changes)
    scene.sightings[1, "tmux"] = [sighting(1, "tmux", at=at(9))]
    scene.witnesses = [witness("dev", leg) for leg in LEGS]
    return judged(scene).legs["tmux"].tally.reordered


@pytest.mark.parametrize(
    ("changes", "count"), [({}, 1), ({"session": "s2"}, 0), ({"level": 4}, 0), ({"agent": "qa"}, 0)]
)
def test_only_messages_of_one_session_agent_and_level_have_an_order(changes: dict[str, Any], count: int) -> None:
    assert late(**changes) == count


def test_what_is_seen_in_the_same_instant_is_not_reordered() -> None:
    scene = both_delivered()
    for number in range(DEV):
        scene.sightings[number, "tmux"] = [sighting(number, "tmux", at=at(100))]
    assert judged(scene).legs["tmux"].tally.reordered == 0


def test_one_early_message_makes_every_one_reordered_that_it_overtook() -> None:
    scene = both_delivered()
    scene.sightings[20, "tmux"] = [sighting(20, "tmux", at=at(0.1))]
    assert judged(scene).legs["tmux"].tally.reordered == 20


def test_sightings_by_two_clocks_have_no_order() -> None:
    scene = both_delivered()
    scene.sightings[20, "tmux"] = [sighting(20, "tmux", at=at(0.1, boot=scenes.OTHER_BOOT))]
    assert judged(scene).legs["tmux"].tally.reordered == 0


# --- Times, drivers, one agent ---------------------------------------------------------------------


def test_percentiles_are_waits_that_were_measured() -> None:
    scene = Scene()
    for number in range(100):
        scene.add(number)
        scene.sightings[number, "redis"] = [sighting(number, "redis", at=at(number + (number + 1) / 1000))]
    row = judged(scene).legs["redis"].tally
    assert [row.percentile(nth) for nth in (50, 95, 99)] == pytest.approx([50, 95, 99])
    assert judged(Scene()).legs == {}


def test_the_wait_ends_with_the_first_whole_sighting() -> None:
    scene = both_delivered()
    scenes.duplicated(scene, "redis")
    scenes.corrupted_then_whole(scene, "redis")
    assert judged(scene).legs["redis"].tally.percentile(99) == pytest.approx(10)


def test_times_of_two_clocks_and_clock_errors_are_in_no_percentile() -> None:
    scene = both_delivered()
    scenes.seen_by_another_clock(scene, "redis")
    row = judged(scene).agents["dev"].legs["redis"].tally
    assert (len(row.waits), row.other_clocks, row.proven) == (DEV - 3, 3, DEV)
    scenes.seen_before_it_was_sent(scene, "redis")
    row = judged(scene).agents["dev"].legs["redis"].tally
    assert (len(row.waits), row.clock_errors, row.proven) == (DEV - 3, 3, DEV)
    assert min(row.waits) >= 0


def test_every_driver_of_a_leg_has_a_row_of_its_own() -> None:
    scene = both_delivered()
    for number in range(10):
        scene.attempts[number, "tmux"] = [attempt(number, "tmux", driver="legacy")]
    scene.sightings[3, "tmux"] = []
    del scene.attempts[20, "tmux"]
    leg = judged(scene).agents["dev"].legs["tmux"]
    assert {name: (row.sent, row.proven) for name, row in leg.drivers.items()} == {
        "legacy": (10, 9), "safe": (DEV - 11, DEV - 11), "unnamed": (1, 1),
    }  # fmt: skip
    assert leg.tally.sent == sum(row.sent for row in leg.drivers.values())


def test_a_message_that_two_drivers_tried_belongs_to_the_one_that_got_furthest() -> None:
    scene = both_delivered()
    scene.attempts[3, "tmux"].append(attempt(3, "tmux", driver="legacy", outcome="refused", reason="no_window"))
    assert list(judged(scene).legs["tmux"].drivers) == ["safe"]


def test_the_comparison_of_one_agent_is_its_part_of_the_whole() -> None:
    scene = both_delivered()
    scenes.misdelivered(scene, "tmux")
    whole, part = judged(scene), judged(scene, agent="dev")
    assert part.agents == {"dev": whole.agents["dev"]}
    assert part.legs == whole.agents["dev"].legs
    assert part.paired == whole.agents["dev"].paired


def test_messages_on_one_leg_alone_are_not_paired() -> None:
    scene = Scene()
    scene.add(1, legs=("redis",))
    scene.witnesses = [witness("dev", "redis")]
    found = judged(scene)
    assert found.level == "taken"
    assert (found.paired.together, found.paired.p) == (0, None)
    assert found.legs["redis"].tally.proven == 1


def test_gaps_are_passed_on_in_the_order_of_time() -> None:
    first, second = Gap(3, "locked", at(1), at(2)), Gap(1, "disk_full", at(5), at(6))
    scene = both_delivered()
    scene.gaps = [second, first]
    assert judged(scene).gaps == [first, second]


def test_words_of_a_later_release_do_no_harm() -> None:
    scene = both_delivered()
    scene.attempts[3, "tmux"] = [attempt(3, "tmux", outcome="postponed")]
    scene.sightings[3, "tmux"] = [sighting(3, "tmux", level="pondered")]
    scene.witnesses.append(witness("dev", "tmux", level="pondered"))
    row = judged(scene).agents["dev"].legs["tmux"].tally
    assert (row.sent, row.proven, row.claimed) == (DEV, DEV - 1, DEV - 1)


def test_a_row_has_no_column_that_is_not_checked() -> None:
    empty = tally.tally([])
    assert set(asdict(empty)) == {*COLUMNS, "reasons", "waits"}
    assert pairing.pair([], legs=LEGS).together == 0


def test_saboteur_a_comparer_that_needs_no_witness_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_was_watched", lambda *_: True)
    with pytest.raises(AssertionError):
        check_that_nothing_is_claimed_for_an_unwatched_leg(unwatched())


# --- Sent before anybody took notes ---------------------------------------------------------------------


def scene_of_a_killed_sender() -> Scene:
    """The first message to dev was stored by a sender that took its notes along; sent again, it reads differently."""
    scene = both_delivered()
    (first,) = scene.attempts[0, "redis"]
    scene.attempts[0, "redis"] = [first._replace(reason="duplicate")]
    (seen,) = scene.sightings[0, "redis"]
    scene.sightings[0, "redis"] = [seen._replace(fingerprint="of the first time")]
    return scene


def test_what_was_stored_before_it_was_noted_is_compared_on_neither_leg() -> None:
    found = judged(scene_of_a_killed_sender()).agents["dev"]
    for leg in LEGS:
        assert columns(found.legs[leg].tally) == perfect(DEV - 1)


def test_a_message_that_reads_differently_although_it_is_new_is_corrupted() -> None:
    scene = scene_of_a_killed_sender()
    (answered,) = scene.attempts[0, "redis"]
    scene.attempts[0, "redis"].append(answered._replace(reason=None))
    assert judged(scene).agents["dev"].legs["redis"].tally.corrupted == 1


def test_a_duplicate_that_nobody_ever_saw_is_lost() -> None:
    scene = scene_of_a_killed_sender()
    scene.sightings[0, "redis"] = []
    assert judged(scene).agents["dev"].legs["redis"].tally.lost == 1
