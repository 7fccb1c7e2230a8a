"""The scripts of before: the same words, the same exit codes, blocking, and light."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import hivebus
from hivebus_migration.compat.scripts import send_to_agent

from .projects import SCRIPT, compat_ok, python

REPLACEMENT = "message_bus/tmux_replacement.py"
HEAVY = ("pydantic", "asyncio", "redis", "pluggy", "click")


@pytest.fixture
def project(tmp_path: Path, one_road: dict[str, str]) -> Path:
    """A project with the scripts, on a bus of its own."""
    (folder := tmp_path / "project").mkdir()
    compat_ok("install", folder)
    return folder


@pytest.mark.parametrize(("script", "road"), [(SCRIPT, ""), (REPLACEMENT, " via Redis message bus")])
def test_a_script_prints_the_lines_of_before(project: Path, script: str, road: str) -> None:
    done = python(project, script, "pm-agent", "Sprint planning needed", "frontend-agent")
    assert (done.returncode, done.stdout) == (
        0,
        f"📡 Sending message from frontend-agent to pm-agent{road}...\n✅ Message delivered to pm-agent\n",
    )
    assert done.stderr == "note: pm-agent has never read its inbox; the message waits there\n"
    done = python(project, script, "pm-agent", "-v 'quoted' $HOME")
    assert done.stdout.startswith(f"📡 Sending message from unknown-agent to pm-agent{road}...\n")
    first, second = (hivebus.receive("pm-agent") for _ in range(2))
    assert first and second
    assert (first.from_agent, first.content) == ("frontend-agent", "Sprint planning needed")
    assert (second.from_agent, second.content) == ("unknown-agent", "-v 'quoted' $HOME")
    assert (first.message_type, first.priority) == ("information_share", "medium")


@pytest.mark.parametrize(("script", "count"), [(SCRIPT, 6), (REPLACEMENT, 7)])
@pytest.mark.parametrize("words", [[], ["pm-agent"]])
def test_too_few_words_show_the_usage_of_before(project: Path, script: str, count: int, words: list[str]) -> None:
    done = python(project, script, *words)
    lines = done.stdout.splitlines()
    name = Path(script).name
    assert done.returncode == 1
    assert lines[:6] == [
        f"Usage: python {name} <target_agent> <message> [from_agent]",
        "",
        "Examples:",
        f"  python {name} documentation-agent 'Please update API docs'",
        f"  python {name} pm-agent 'Sprint planning needed' quality-agent",
        "",
    ]
    assert lines[6] == "Available agents:"
    assert len(lines[7:]) == count


@pytest.mark.parametrize("script", [SCRIPT, REPLACEMENT])
def test_what_fails_is_exit_code_1_and_says_why(project: Path, script: str) -> None:
    done = python(project, script, "No Name", "x")
    assert done.returncode == 1
    failed = done.stdout.splitlines()[1]
    assert failed.startswith("❌ Communication failed: invalid message: to_agent")
    done = python(project, script, "pm-agent", "x", HIVEBUS_URL="nowhere://x")
    assert (done.returncode, "❌ Communication failed: " in done.stdout) == (1, True)


def test_a_message_costs_no_model_no_loop_and_no_client_library(project: Path) -> None:
    python(project, SCRIPT, "pm-agent", "first, so that the index of plugins is there")
    assert imported(project, "") == []


def test_saboteur_a_heavy_import_is_noticed(project: Path) -> None:
    assert "asyncio" in imported(project, "import asyncio")


def imported(project: Path, more: str) -> list[str]:
    program = (
        f"{more}\nimport sys; sys.path[0] = 'scripts'; import agent_communicate as it\n"
        "assert it.send_to_agent('pm-agent', 'x', 'me')\n"
        f"print(*[each for each in {HEAVY} if each in sys.modules])"
    )
    done = python(project, "-c", program, COVERAGE_PROCESS_CONFIG="")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


# --- As a function ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_road")
async def test_the_blocking_function_blocks_in_a_coroutine_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    sent: Any = send_to_agent("pm-agent", "x")
    assert sent is True
    assert capsys.readouterr().out == (
        "📡 Sending message from unknown to pm-agent...\n✅ Message delivered to pm-agent\n"
    )
    message = await asyncio.to_thread(hivebus.receive, "pm-agent")
    assert message
    assert message.from_agent == "unknown"
    assert send_to_agent("pm-agent", "x" * 300_000, "me") is False


@pytest.mark.usefixtures("one_road")
def test_the_blocking_function_works_in_any_thread() -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(send_to_agent("pm-agent", "x"))) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [True] * 5


def test_legacy_names_are_resolved(project: Path) -> None:
    (project / ".hivebus.toml").write_text('[aliases]\n"Project Manager" = "pm-agent"\n')
    done = python(project, SCRIPT, "Project Manager", "x", "Project Manager")
    assert done.stdout.endswith("✅ Message delivered to Project Manager\n")
    message = hivebus.receive("pm-agent")
    assert message
    assert message.from_agent == "pm-agent"


def test_without_a_url_it_says_which_server_that_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, short_path: Path
) -> None:
    monkeypatch.delenv("HIVEBUS_URL")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    try:
        done = python(project, SCRIPT, "pm-agent", "x")
        assert done.returncode == 0
        assert "no URL configured, using the embedded server of namespace t" in done.stderr
    finally:
        python(project, "-m", "hivebus.cli", "down", program=sys.executable)
