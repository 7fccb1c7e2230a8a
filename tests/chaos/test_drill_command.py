"""`hivebus drill` for operators: on a private server, with an exit code, and with the books kept when it fails."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hivebus.cli.group import root
from hivebus_redis.drill import campaign, exercise
from hivebus_redis.drill.command import program
from hivebus_redis.drill.evidence import gather
from hivebus_redis.drill.figures import figures_of
from hivebus_redis.drill.invariants import TITLES, Finding
from hivebus_redis.drill.ledger import read
from hivebus_redis.drill.plan import ORDER
from hivebus_redis.drill.report import page_of
from hivebus_redis.drill.story import Outcome
from hivebus_redis.drill.watched import OPENED

from .saboteur import PROGRAM
from .test_judge import FINE, NOTHING_LEFT, books


def drill(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a world of its own."""
    environment = {**os.environ, "TMPDIR": str(folder), "HIVEBUS_URL": "redis://nobody.invalid:1"}
    return subprocess.run(
        ["hivebus", "drill", *words], env=environment, capture_output=True, text=True, timeout=90, check=False
    )


def test_a_drill_that_goes_well_says_so_in_json_and_leaves_nothing_behind(short_path: Path) -> None:
    words = ("--minutes", "0.02", "--server", "redis-server", "--json")
    done = drill(*words, "--faults", "server.kill,consumer.kill", folder=short_path)

    assert done.returncode == 0, done.stderr + done.stdout
    said = json.loads(done.stdout)
    assert said["schema"] == "hivebus.drill/1" and said["passed"] is True
    assert said["acked"] > 200 and said["lost"] == said["duplicated_unexplained"] == said["innocents"] == 0
    assert set(said["faults_by_kind"]) == {"server.kill", "consumer.kill"}
    assert sum(said["faults_by_kind"].values()) == said["faults"] > 1
    # Whatever the order of the faults: the one probe is over, with all that follows from it, before the other begins.
    assert said["consumer_recovery"]["measured"] and said["server_recovery"]["measured"]
    assert said["invariants"]["I1"] == {"judged": True, "breaches": 0, "title": said["invariants"]["I1"]["title"]}
    assert list(short_path.glob("hb-drill-*")) == []


def test_a_drill_that_fails_exits_1_and_keeps_the_books_and_names_their_folder(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    sabotaged = functools.partial(exercise.Exercise, worker=(sys.executable, str(PROGRAM), "without_known_ids"))
    monkeypatch.setattr(campaign, "Exercise", sabotaged)

    done = CliRunner().invoke(
        root, ["drill", "--minutes", "0.03", "--faults", "line.answers_lost,producer.kill"], standalone_mode=False
    )

    (folder,) = short_path.glob("hb-drill-*")
    assert done.return_value == 1, done.output
    assert f"kept in {folder}" in done.stderr and list((folder / "1" / "books").iterdir())
    assert "I3   " in done.stdout and "stored 2 times" in done.stdout
    # What is sent before its consumer is there would be late in a drill's eyes.
    opened = next(line.at for line in read(folder / "1" / "books", f"{ORDER}.*") if line.words == (OPENED, "1"))
    assert opened < next(line.at for line in read(folder / "1" / "books", "o.*") if line.kind == "T")
    shutil.rmtree(folder)


def test_the_faults_are_listed_and_an_unknown_one_is_refused(short_path: Path) -> None:
    listed = drill("--faults", "list", folder=short_path)
    refused = drill("--faults", "earthquake", folder=short_path)

    assert listed.returncode == 0 and "server.power_cut" in listed.stdout
    assert refused.returncode == 78 and "no fault 'earthquake'" in refused.stderr


def test_a_server_is_found_by_its_kind_or_by_its_path_and_a_wrong_one_is_named(redis_program: str) -> None:
    assert program(redis_program) == program("redis") == redis_program
    assert program("valkey").endswith("valkey-server")
    assert os.access(program(None), os.X_OK)
    refused = CliRunner().invoke(root, ["drill", "--server", "mysql"])
    assert "no server program 'mysql'" in str(refused.exception)


def test_the_page_of_a_long_run_has_a_column_for_each_of_its_drills() -> None:
    lines = books(FINE + "f 1.6 - consumer.kill consumer:c.1")
    evidence = gather(lines, level="fsync", lease=1.0, remains=NOTHING_LEFT, drained=True)
    figures = figures_of(evidence, seconds=1.0)
    one = Outcome(evidence=evidence, findings=[], figures=figures, judged=["I1"])
    other = Outcome(evidence=evidence, findings=[Finding("I1", "a", "lost")], figures=figures, judged=["I1"])

    page = page_of({"one": one, "other": other}, command="make chaos", facts={"machine": "two cores"})

    assert "| lost | 0 | 0 |" in page and "| `consumer.kill` | 1 | 1 |" in page
    assert f"| I1 | {TITLES['I1']} | holds | **1 breaches** |" in page


def test_a_drill_pays_no_attention_to_what_its_owner_has_set_for_other_buses(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_URL", "redis://nobody.invalid:1")
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", "tmux://nobody")
    monkeypatch.setenv("HIVEBUS_MAX_MESSAGE_BYTES", "nonsense")
    made = exercise.Exercise(short_path, program=program("redis"))
    try:
        made.consumer("c")
        made.producer("p", count=20)
        made.post("plain")
        made.await_that(lambda: sum(line.kind == "H" for line in made.lines()) == 21, "all is handled")
    finally:
        made.close()
