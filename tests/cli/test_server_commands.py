"""`hivebus up`, `down` and `logs`: the embedded server from the shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivebus.cli import run
from hivebus_redis import embedded

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without settings and without a server."""
    (short_path / "run").mkdir()
    for name, folder in (("STATE_HOME", "state"), ("RUNTIME_DIR", "run"), ("CONFIG_HOME", "config")):
        monkeypatch.setenv(f"XDG_{name}", str(short_path / folder))
    for name in [each for each in os.environ if each.startswith("HIVEBUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(short_path)
    yield short_path
    embedded.stop("hb")


def test_up_starts_a_server_and_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--json"]) == 0

    running = embedded.find("hb")
    assert running
    assert json.loads(capsys.readouterr().out) == {
        "schema": "hivebus.up/1",
        "url": running.url,
        "pid": running.pid,
        "socket": running.socket,
        "data_dir": running.data_dir,
        "log": running.log,
    }


def test_up_again_names_the_same_server(capsys: pytest.CaptureFixture[str]) -> None:
    run(["up"])
    first = capsys.readouterr().out
    run(["up"])

    assert capsys.readouterr().out == first
    assert "durability\tfsync\n" in first


def test_up_says_when_no_command_will_use_the_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_URL", "redis://user:secret@example.invalid")

    assert run(["up"]) == 0

    said = capsys.readouterr().err
    assert "HIVEBUS_URL in the environment says redis://user:***@example.invalid" in said


def test_up_in_the_foreground_stays_until_a_signal(home: Path) -> None:
    command = [sys.executable, "-m", "hivebus.cli", "up", "--foreground", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        running = embedded.find("hb")
        assert running and running.pid == said["pid"]

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0

    assert embedded.find("hb") is None


def test_down_stops_it_and_says_that_the_messages_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    running = embedded.ensure("hb")

    assert run(["down"]) == 0

    assert f"messages are kept in {running.data_dir}" in capsys.readouterr().out
    assert embedded.find("hb") is None
    assert Path(running.data_dir, "appendonlydir").is_dir()


def test_down_without_a_server_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down"]) == 0
    assert "no server of namespace hb was running" in capsys.readouterr().out
    assert run(["down", "--json", "--namespace", "other"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["schema"], facts["namespace"], facts["stopped"]) == ("hivebus.down/1", "other", False)


def test_logs_shows_the_last_lines_of_a_stopped_server_too(capsys: pytest.CaptureFixture[str]) -> None:
    running = embedded.ensure("hb")
    embedded.stop("hb")

    assert run(["logs", "-n", "2"]) == 0

    assert capsys.readouterr().out.splitlines() == Path(running.log).read_text().splitlines()[-2:]


def test_logs_follows(home: Path) -> None:
    running = embedded.ensure("hb")
    command = [sys.executable, "-m", "hivebus.cli", "logs", "--lines", "0", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        # It follows from some moment on: lines are added until one is seen.
        ticker = subprocess.Popen(["sh", "-c", f"while sleep 0.1; do echo a new line >> '{running.log}'; done"])
        try:
            assert process.stdout.readline() == "a new line\n"
        finally:
            ticker.kill()
            ticker.wait()
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_logs_of_a_server_that_never_ran_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs"]) == 1
    said = capsys.readouterr().err
    assert "no log of an embedded server of namespace hb" in said
    assert "next: hivebus up" in said


def test_logs_has_no_json_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "--json"]) == 78
    assert "no JSON form" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["up", "down", "logs"])
def test_the_help_has_two_examples_and_starts_nothing(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0

    shown = capsys.readouterr().out
    assert shown.partition("Examples:")[2].count(f"hivebus {name}") == 2
    assert not (home / "state").exists()
