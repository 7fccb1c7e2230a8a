"""The demo: both roads with real windows and processes, smaller than what `hivebus demo` shows."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hivebus_tmux.demo.cast import AGENTS, Scale, hivebus, run
from hivebus_tmux.demo.showing import OneRoad, TwoRoads
from hivebus_tmux.demo.story import VICTIM, tell
from hivebus_tmux.demo.two_roads import URL, compare_roads

FEW = Scale(messages=5, rate=2.0, work=0)
SOME = Scale(messages=15, rate=5.0, work=1.0, hit=1, lease=1.0)
COUNTS = {"sent", "claimed", "proven", "lost", "duplicated", "corrupted", "misdelivered", "unknown"}
TIMES = {"p50_ms", "p95_ms", "p99_ms", "loss_upper_bound"}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short, since a socket lives in it."""
    with tempfile.TemporaryDirectory(prefix="hb-d-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def environment(folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / "run").mkdir(mode=0o700)
    values = {"XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run"), "HIVEBUS_NAMESPACE": "demo"}
    yield values
    run(["down", "--quiet"], values)


@pytest.fixture(scope="module")
def shown(folder: Path, environment: Mapping[str, str]) -> TwoRoads:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TMUX", raising=False)
        patch.delenv("TMUX_PANE", raising=False)
        return TwoRoads(*compare_roads(folder, environment=environment, progress=print, as_today=FEW, live=SOME))


def test_redis_loses_nothing_in_either_phase_in_spite_of_the_kill(shown: TwoRoads) -> None:
    today, live = (phase.comparison.legs["redis"].tally for phase in (shown.today, shown.live))
    assert today.sent == today.proven == FEW.messages * len(AGENTS)
    # What the killed agent had not yet written down is missing from both roads.
    assert 0 <= SOME.messages * len(AGENTS) - live.sent <= 5
    assert live.sent == live.proven
    assert shown.live.story is not None
    assert shown.live.story.tally.proven == SOME.messages * len(AGENTS)
    assert shown.live.story.killed_in_flight == shown.live.story.redelivered > 0
    assert shown.is_proof


def test_every_window_reports_and_both_roads_are_compared_at_what_was_taken(shown: TwoRoads) -> None:
    for phase, driver in ((shown.today, "legacy"), (shown.live, "safe")):
        assert phase.comparison.level == "taken"
        assert set(phase.comparison.agents) == set(AGENTS)
        assert set(phase.comparison.legs["tmux"].drivers) == {driver}
        assert phase.comparison.paired.together == phase.comparison.messages


def test_what_the_safe_driver_claims_arrived(shown: TwoRoads) -> None:
    tally = shown.live.comparison.legs["tmux"].tally
    assert tally.claimed == tally.proven == tally.sent
    assert (tally.duplicated, tally.misdelivered, tally.corrupted) == (0, 0, 0)


def test_both_phases_are_said_in_the_shape_that_scripts_read(shown: TwoRoads) -> None:
    phases = json.loads(json.dumps(shown.facts()))
    assert [phase["name"] for phase in phases] == ["as today", "live"]
    for phase in phases:
        assert {"killed_in_flight", "redelivered"} <= phase.keys()
        for leg in ("redis", "tmux"):
            assert phase["legs"][leg].keys() >= COUNTS | TIMES
    assert phases[0]["killed_in_flight"] == 0 < phases[1]["killed_in_flight"]


def test_it_ends_with_one_sentence_of_measured_numbers(shown: TwoRoads, capsys: pytest.CaptureFixture[str]) -> None:
    shown.show()
    said = " ".join(capsys.readouterr().out.split("\n\n")[-1].split())
    legacy = shown.today.comparison.legs["tmux"].tally
    assert f"brought {legacy.proven} of {legacy.sent} messages to the right window whole" in said
    assert re.search(f"Redis lost 0 of 1[12][0-9], although {VICTIM} was killed with", said)


def test_nothing_is_left_running(shown: TwoRoads, folder: Path) -> None:
    listed = subprocess.run(["tmux", "-S", str(folder / "tmux"), "list-windows"], capture_output=True, check=False)
    assert listed.returncode != 0
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert [line for line in processes.splitlines() if str(folder) in line] == []


def test_saboteur_a_lost_message_is_no_proof(shown: TwoRoads) -> None:
    assert not TwoRoads(shown.live, shown.today).is_proof, "a phase without a kill in it"


def test_without_tmux_the_durable_road_is_shown_alone(
    folder: Path, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "alone").mkdir()
    # A server of its own: the ids are those of the phases, and would be known there.
    alone = {**environment, "HIVEBUS_NAMESPACE": "alone"}
    try:
        one = OneRoad(tell(URL, folder / "alone", scale=SOME, environment=alone, progress=print))
    finally:
        run(["down", "--quiet"], alone)
    assert one.is_proof
    one.show()
    assert "handled                 90   counted in the journals of the handlers" in capsys.readouterr().out
    (phase,) = one.facts()
    assert phase["legs"].keys() == {"redis"} and phase["redelivered"] == phase["killed_in_flight"] > 0


def test_a_command_that_fails_says_what_it_said(environment: Mapping[str, str]) -> None:
    with pytest.raises(Exception, match="hivebus no-such-command ended with code 2"):
        run(["no-such-command"], environment)
    assert hivebus(["version"])[1:] == ["-m", "hivebus.cli", "version"]
