"""`hivebus migrate report`: reads the ledger and nothing else, and says what to do when it cannot."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hivebus.cli import run
from hivebus_migration.facts import now
from hivebus_migration.ledger import Ledger
from hivebus_migration.ledger_file import open_file

from .scenes import LEGS, attempt, intent, sighting, witness


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ledger is, or will be. Neither road is there."""
    path = tmp_path / "state" / "ledger.db"
    monkeypatch.setenv("HIVEBUS_LEDGER", str(path))
    monkeypatch.setenv("HIVEBUS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", "tmux://nobody?socket=hivebus-test-nobody")
    return path


def fill(path: Path, *, hours_ago: float = 0) -> None:
    """Note a message to each of two agents that only Redis delivered."""
    at = now()
    at = at._replace(wall=at.wall - round(hours_ago * 3600e9), mono=at.mono - round((hours_ago * 3600 + 60) * 1e9))
    with Ledger(path) as ledger:
        for number, agent in enumerate(("dev", "qa")):
            ledger.note(*(witness(agent, leg, at=at) for leg in LEGS))
            ledger.note(intent(number, agent, at=at), *(attempt(number, leg, agent) for leg in LEGS))
            ledger.note(sighting(number, "redis", agent, at=at._replace(mono=at.mono + 10**6)))
        assert ledger.flush(within=30)


def test_it_works_without_either_road(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ledger)
    assert run(["migrate", "report"]) == 0
    out = capsys.readouterr().out
    assert "two roads, message by message: 2 messages to 2 agents" in out
    assert "redis: 0 of 2 lost" in out
    assert "tmux: none of 2 proven (2 lost)" in out


def test_its_json_is_one_document_with_a_schema(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ledger)
    assert run(["migrate", "report", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert facts["schema"] == "hivebus.migrate.report/1"
    assert {leg: (row["sent"], row["proven"]) for leg, row in facts["legs"].items()} == {
        "redis": (2, 2),
        "tmux": (2, 0),
    }
    assert facts["paired"]["only"] == {"redis": 2, "tmux": 0}
    assert (facts["ledger"], facts["host"]) == (str(ledger), os.uname().nodename)


def test_its_markdown_has_tables(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ledger)
    assert run(["migrate", "report", "--md"]) == 0
    assert "\n| all | redis | 2 | 2 | 2 | 0 |" in capsys.readouterr().out


def test_one_agent_can_be_reported_on(
    ledger: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger)
    assert run(["migrate", "report", "--agent", "qa", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (list(facts["agents"]), facts["messages"], facts["agent"]) == (["qa"], 1, "qa")
    # Who the shell belongs to narrows nothing.
    monkeypatch.setenv("HIVEBUS_AGENT", "qa")
    assert run(["migrate", "report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 2


def test_the_window_is_a_day_unless_said_otherwise(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ledger, hours_ago=30)
    assert run(["migrate", "report"]) == 0
    captured = capsys.readouterr()
    assert "0 messages to 0 agents" in captured.out
    assert "--since 30d looks further back" in captured.err
    assert run(["migrate", "report", "--since", "2d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 2


def test_the_deadline_decides_what_is_pending(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(ledger)
    for deadline, pending in (("1h", 2), ("10s", 0)):
        assert run(["migrate", "report", "--deadline", deadline, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["legs"]["tmux"]["pending"] == pending


def test_a_missing_ledger_is_said_with_the_next_step(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "report"]) == 1
    err = capsys.readouterr().err
    assert f"there is no ledger at {ledger}" in err
    assert "next: " in err
    assert "hivebus migrate start AGENT" in err
    assert not ledger.parent.exists()


def test_a_ledger_without_a_fact_is_an_empty_report(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.parent.mkdir()
    ledger.touch()
    assert run(["migrate", "report"]) == 0
    assert "0 messages" in capsys.readouterr().out


def test_what_is_no_ledger_is_said(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.parent.mkdir()
    ledger.write_bytes(b"something else altogether " * 200)
    assert run(["migrate", "report"]) == 1
    err = capsys.readouterr().err
    assert "the file is damaged, or it is no ledger" in err
    assert "move" in err


def test_a_folder_in_its_place_is_said(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.mkdir(parents=True)
    assert run(["migrate", "report"]) == 69
    assert f"the ledger {ledger} cannot be read now" in capsys.readouterr().err


def test_a_ledger_of_a_newer_release_is_said(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = open_file(ledger)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert run(["migrate", "report"]) == 1
    assert "was written by a newer release" in capsys.readouterr().err


def test_two_forms_at_once_are_refused(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "report", "--json", "--md"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_copy_of_a_ledger_can_be_reported_on_elsewhere(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger)
    shutil.copy(ledger, tmp_path / "copy with spaces?.db")
    monkeypatch.setenv("HIVEBUS_LEDGER", str(tmp_path / "copy with spaces?.db"))
    assert run(["migrate", "report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 2


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "report", "--help"]) == 0
    assert "hivebus migrate report --since 7d --agent pm-agent --md" in capsys.readouterr().out
