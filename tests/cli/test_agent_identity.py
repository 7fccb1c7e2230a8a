"""Who an agent is: flag, environment, tmux pane, file; and tmux is asked only where that is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OPTION = "@hivebus_agent"
LONG = 600


@dataclass(frozen=True)
class Pane:
    """A real tmux pane on a private socket, and the environment of a process in it."""

    socket: Path
    id: str

    @property
    def env(self) -> dict[str, str]:
        return {"TMUX": f"{self.socket},1,0", "TMUX_PANE": self.id}

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", os.devnull, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def is_of(self, agent: str) -> None:
        self.tmux("set-option", "-p", "-t", self.id, OPTION, agent)


@pytest.fixture
def pane(short_path: Path) -> Iterator[Pane]:
    """A pane with a neighbour; nobody said yet who runs in it."""
    server = Pane(short_path / "tmux.sock", "")
    server.tmux("new-session", "-d", "-s", "s", f"sleep {LONG}")
    try:
        found = Pane(server.socket, server.tmux("display-message", "-p", "-t", "s", "#{pane_id}"))
        server.tmux("split-window", "-d", "-t", "s", f"sleep {LONG}")
        yield found
    finally:
        server.tmux("kill-server")


FakeTmux = Callable[[str], Mapping[str, str]]


@pytest.fixture
def fake_tmux(tmp_path: Path) -> FakeTmux:
    """Put a program of this text in front of tmux, and return the environment of a pane."""

    def put(script: str) -> Mapping[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "tmux").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "tmux").chmod(0o755)
        return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "TMUX": "/any,1,0", "TMUX_PANE": "%3"}

    return put


def test_a_pane_says_who_runs_in_it(offline: Any, pane: Pane) -> None:
    pane.is_of("frontend-agent")
    source = f"{OPTION} of tmux pane {pane.id}"
    assert offline.ok("agent", "whoami", env=pane.env).rows == [["frontend-agent", source]]
    told = offline.ok("agent", "whoami", "--json", env=pane.env).json
    assert told == {"schema": "hivebus.agent.whoami/1", "agent": "frontend-agent", "source": source}
    assert ["agent", "frontend-agent", source] in offline.ok("config", "show", env=pane.env).rows


def test_who_runs_in_a_pane_sends_and_receives_under_its_name(hivebus: Any, pane: Pane) -> None:
    pane.is_of("frontend-agent")
    hivebus.ok("send", "frontend-agent", "to myself", env=pane.env)
    [line] = hivebus.ok("receive", "--jsonl", env=pane.env).lines
    assert line["message"]["from_agent"] == "frontend-agent"
    hivebus.ok("ack", line["message"]["message_id"], env=pane.env)


def test_flag_and_environment_win_over_the_pane_and_the_pane_over_a_file(
    offline: Any, pane: Pane, tmp_path: Path
) -> None:
    def who(*flags: str, **env: str) -> list[str]:
        [row] = offline.ok("agent", "whoami", *flags, env={**pane.env, **env}).rows
        return list(row)

    (tmp_path / ".hivebus.toml").write_text('agent = "file-agent"')
    assert who() == ["file-agent", str(tmp_path / ".hivebus.toml")]
    pane.is_of("pane-agent")
    assert who()[0] == "pane-agent"
    assert who(HIVEBUS_AGENT="env-agent") == ["env-agent", "HIVEBUS_AGENT in the environment"]
    assert who("-a", "flag-agent", HIVEBUS_AGENT="env-agent") == ["flag-agent", "flag --agent"]


def test_a_legacy_name_on_a_pane_is_resolved(offline: Any, pane: Pane, tmp_path: Path) -> None:
    (tmp_path / ".hivebus.toml").write_text('[aliases]\n"Front End" = "frontend-agent"')
    pane.is_of("Front End")
    assert offline.ok("agent", "whoami", env=pane.env).rows[0][0] == "frontend-agent"


def test_nobody_said_who_is_78_with_the_next_step(offline: Any, pane: Pane) -> None:
    for env, why in [({}, "a config file says so"), (pane.env, f"pane {pane.id} is not set")]:
        answer = offline("agent", "whoami", "--json", env=env)
        assert (answer.code, answer.out) == (78, "")
        error = json.loads(answer.err)["error"]
        assert why in error["message"]
        assert f"tmux set -p {OPTION} NAME" in error["hint"]


def test_another_pane_says_nothing_about_this_one(offline: Any, pane: Pane) -> None:
    pane.tmux("set-option", "-p", "-t", "s.1", OPTION, "neighbour")
    pane.tmux("select-pane", "-t", "s.1")
    assert offline("agent", "whoami", env=pane.env).code == 78
    # Without a pane of its own, a process would be told of the one that a person looks at.
    for missing in ("", "neighbour", "%"):
        answer = offline("agent", "whoami", env={**pane.env, "TMUX_PANE": missing})
        assert answer.code == 78
        assert "names no pane" in answer.err


@pytest.mark.parametrize("name", ["Bad Name", "-x", "a" * 64, "x\x1b[31m", "rm;ls"])
def test_a_pane_that_names_no_agent_is_an_error_that_says_where(offline: Any, pane: Pane, name: str) -> None:
    pane.is_of(name)
    answer = offline("agent", "whoami", env=pane.env)
    assert (answer.code, answer.out) == (78, "")
    assert f"of tmux pane {pane.id}: must match" in answer.err
    assert f"tmux set -p -t {pane.id} {OPTION} NAME" in answer.err
    assert "\x1b" not in answer.err


def test_a_tmux_that_is_gone_is_named_and_a_file_still_counts(offline: Any, tmp_path: Path) -> None:
    gone = {"TMUX": "/nowhere/tmux,1,0", "TMUX_PANE": "%0"}
    answer = offline("agent", "whoami", env=gone)
    assert answer.code == 78
    assert "/nowhere/tmux" in answer.err
    (tmp_path / ".hivebus.toml").write_text('agent = "file-agent"')
    assert offline.ok("agent", "whoami", env=gone).rows[0][0] == "file-agent"
    assert "/nowhere/tmux" in offline.ok("config", "show", env=gone).err


def test_without_a_tmux_program_it_is_said(offline: Any, tmp_path: Path) -> None:
    answer = offline("agent", "whoami", env={"PATH": str(tmp_path), "TMUX": "/any,1,0", "TMUX_PANE": "%3"})
    assert answer.code == 78
    assert "tmux cannot be run" in answer.err


def test_a_tmux_that_does_not_answer_holds_nobody_up(offline: Any, fake_tmux: FakeTmux) -> None:
    # A wrapper that leaves a child behind: it keeps the pipe open after it was killed itself.
    answer = offline("agent", "whoami", env=fake_tmux(f"sleep {LONG / 100} & exec sleep {LONG}"))
    assert answer.code == 78
    assert "did not say within 1 s which agent runs in pane %3" in answer.err


def test_saboteur_waiting_for_tmux_without_end_is_noticed(offline: Any, fake_tmux: FakeTmux) -> None:
    offline.env.update(fake_tmux(f"exec sleep {LONG}"))
    sabotage = "import hivebus.cli.identity as it; it.PANE_TIMEOUT = None"
    with offline.start("agent", "whoami", sabotage=sabotage) as process:
        time.sleep(3)
        assert process.poll() is None
        process.kill()
        process.communicate(timeout=60)


def test_tmux_is_asked_only_by_a_command_that_has_to_know(hivebus: Any, fake_tmux: FakeTmux, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    env = fake_tmux(f"echo asked >> {asked}; echo pm-agent")
    hivebus.ok("queues", env=env)
    hivebus.ok("send", "qa-agent", "x", "--agent", "me", env=env)
    hivebus.ok("inbox", env={**env, "HIVEBUS_AGENT": "qa-agent"})
    hivebus.ok("--help", env=env)
    hivebus.ok("agent", "snippet", env=env)
    assert not asked.exists()
    hivebus.ok("send", "qa-agent", "x", env=env)
    assert asked.read_text() == "asked\n"


def test_sending_from_a_pane_imports_nothing_heavy(hivebus: Any, fake_tmux: FakeTmux) -> None:
    hivebus.send("qa-agent", "first, so that the index of plugins is there")
    script = (
        "import sys, atexit; from hivebus.cli import main; sys.argv[:] = ['hivebus', *sys.argv[1:]];"
        "heavy = ('libtmux', 'pydantic', 'asyncio', 'redis', 'pluggy', 'subprocess');"
        "atexit.register(lambda: print([m for m in heavy if m in sys.modules])); main()"
    )

    def imported(env: Mapping[str, str]) -> str:
        kept = {name: value for name, value in {**hivebus.env, **env}.items() if not name.startswith("COVERAGE")}
        command = [sys.executable, "-c", script, "send", "qa-agent", "x", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, env=kept, check=True, timeout=60)
        return done.stdout.splitlines()[-1]

    env = fake_tmux("echo pm-agent")
    assert imported(env) == "['subprocess']"
    assert imported({**env, "HIVEBUS_AGENT": "pm-agent"}) == "[]"
