"""A table of faults, put into each leg: the comparison counts them exactly, from memory and from a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hivebus_migration import comparison, strays, verdict
from hivebus_migration.comparison import compare
from hivebus_migration.facts import Moment, Sighting
from hivebus_migration.records import Records, read_records

from . import scenes
from .fault_checks import check_fault, columns, judged, perfect
from .scenes import DEV, FAULTS, LEGS, NOW, QA, VICTIMS, Fault, Scene, attempt, both_delivered, intent, sighting


@pytest.fixture(params=["memory", "ledger"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scene], Records]:
    """How the facts get to the comparison: as they are, or through a ledger file."""
    if request.param == "memory":
        return Scene.records
    return lambda scene: read_records(scene.write(tmp_path / "ledger.db"))


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_a_leg_is_counted_exactly(fault: Fault, leg: str, read: Callable[[Scene], Records]) -> None:
    scene = both_delivered()
    fault(scene, leg)
    check_fault(read(scene), fault, leg)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_in_both_legs_are_counted_in_each(fault: Fault) -> None:
    scene = both_delivered()
    for leg in LEGS:
        fault(scene, leg)
    found = judged(scene).agents["dev"]
    assert columns(found.legs["redis"].tally) == columns(found.legs["tmux"].tally)
    failed = found.legs["redis"].tally.failed
    assert (found.paired.both, found.paired.neither) == (DEV - failed, failed)
    assert found.paired.only == {"redis": 0, "tmux": 0}


def test_several_faults_at_once_do_not_hide_each_other() -> None:
    scene = both_delivered()
    scene.sightings[3, "tmux"] = []
    scene.sightings[8, "tmux"] = [sighting(8, "tmux", fingerprint="torn")]
    scene.attempts[12, "tmux"] = [attempt(12, "tmux", outcome="unknown", reason="timeout")]
    scene.sightings[12, "tmux"] = []
    scene.sightings[15, "tmux"] *= 2
    scene.sightings[20, "tmux"] = [sighting(20, "tmux", agent="qa")]
    row = judged(scene).agents["dev"].legs["tmux"].tally
    assert columns(row) == perfect(DEV) | {
        "claimed": DEV - 1, "proven": DEV - 4, "lost": 2, "corrupted": 1, "unknown": 1, "unproven_claims": 3,
        "duplicated": 1, "misdelivered": 1,
    }  # fmt: skip
    assert row.reasons == {"never_seen": 2, "other_fingerprint": 1, "timeout": 1}


def test_a_sender_that_is_killed_before_its_flush_takes_the_message_from_both_legs(
    read: Callable[[Scene], Records],
) -> None:
    scene = both_delivered()
    for number in VICTIMS:
        del scene.intents[number]
        for leg in LEGS:
            del scene.attempts[number, leg]
    found = compare(read(scene), now=NOW)
    for leg in LEGS:
        assert columns(found.agents["dev"].legs[leg].tally) == perfect(DEV - len(VICTIMS))
    assert found.strangers == len(VICTIMS) * len(LEGS)
    assert found.paired.together == DEV + QA - len(VICTIMS)


def test_a_message_that_is_sent_again_counts_once(read: Callable[[Scene], Records]) -> None:
    scene = both_delivered()
    again = intent(3, sent=400)._replace(number=200)
    for leg in LEGS:
        scene.attempts[3, leg] *= 2
    records = read(scene)
    twice = compare(records._replace(intents=[again, *records.intents]), now=NOW)
    assert columns(twice.legs["tmux"].tally) == perfect(DEV + QA)
    assert twice.messages == DEV + QA
    assert twice.legs["tmux"].tally.percentile(99) == pytest.approx(300)


# --- Saboteurs: the comparer without one of its rules ----------------------------------------------


def by_one_clock(whole: list[Sighting], boot: str) -> Moment | None:
    return min((each.at._replace(boot=boot) for each in whole), default=None)


SABOTAGE: dict[str, tuple[Any, str, Any, Fault]] = {
    "takes every claim for a proof": (verdict, "_why_not_seen", lambda *_, **__: ("proven", None), scenes.dropped),
    "takes an unknown for a loss": (verdict, "_why_not_seen", lambda *_, **__: ("lost", "x"), scenes.timed_out),
    "compares no fingerprints": (verdict, "_why_not_whole", lambda *_, **__: ("proven", None), scenes.corrupted),
    "counts no duplicates": (verdict, "_twice_at_one_level", lambda _: False, scenes.duplicated),
    "counts levels as duplicates": (verdict, "_twice_at_one_level", lambda seen: len(seen) > 1, scenes.seen_further_up),
    "takes every level for enough": (verdict, "rank", lambda _: 0, scenes.only_visible),
    "looks at no other agent": (strays, "_charged", lambda *_: (), scenes.misdelivered),
    "subtracts any two clocks": (verdict, "_first", by_one_clock, scenes.seen_by_another_clock),
    "keeps no order": (comparison, "reordered", lambda _: set(), scenes.reordered),
}


@pytest.mark.parametrize(("module", "name", "broken", "fault"), SABOTAGE.values(), ids=SABOTAGE)
def test_saboteur_a_comparer_that_breaks_a_rule_is_found_out(
    module: Any, name: str, broken: Any, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = both_delivered()
    fault(scene, "tmux")
    check_fault(scene.records(), fault, "tmux")
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        check_fault(scene.records(), fault, "tmux")
