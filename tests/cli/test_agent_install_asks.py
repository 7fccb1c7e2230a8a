"""`hivebus agent install`: what it shows and asks before it writes, and what it refuses to touch."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hivebus.cli.agent_files.programs import RULES, SETTINGS

from .agent_projects import GRANT, GRANTS, PAGE, folders, lay, run, tree
from .conftest import PATIENCE, PROGRAM


@pytest.mark.parametrize("program", PAGE)
def test_a_dry_run_shows_a_diff_and_changes_nothing(offline: Any, project: Path, program: str) -> None:
    lay(project, {PAGE[program]: b"# Rules"})
    answer = offline.ok("agent", "install", program, "--dir", str(project), "--dry-run")
    assert f"--- {PAGE[program]}\n+++ {PAGE[program]}\n" in answer.out
    assert f"--- /dev/null\n+++ {GRANT[program]}\n" in answer.out
    assert "\\ No newline at end of file" in answer.out
    assert ("Bash(hivebus:*)" if program == "claude" else 'decision = "allow"') in answer.out
    assert (tree(project), folders(project)) == ({PAGE[program]: b"# Rules"}, set())
    run(offline, "install", program, project)
    installed = tree(project)
    answer = offline.ok("agent", "uninstall", program, "--dir", str(project), "--dry-run")
    assert f"--- {GRANT[program]}\n+++ /dev/null\n" in answer.out
    assert tree(project) == installed


@pytest.mark.skipif(not shutil.which("git"), reason="git applies the diff")
def test_the_diff_is_one_that_git_understands(offline: Any, project: Path, tmp_path: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules", SETTINGS: GRANTS["other entries"]})
    shown = offline.ok("agent", "install", "claude", "--dir", str(project), "--dry-run").out
    run(offline, "install", "claude", project)
    installed = tree(project)
    run(offline, "uninstall", "claude", project)
    subprocess.run(["git", "apply", "-p0", "-"], input=shown.encode(), cwd=project, check=True, timeout=60)
    assert tree(project) == installed


def test_where_nobody_can_be_asked_it_wants_yes(offline: Any, project: Path) -> None:
    answer = offline("agent", "install", "claude", "--dir", str(project))
    assert (answer.code, answer.out) == (2, "")
    assert "add --yes, or --dry-run" in answer.err
    assert tree(project) == {}
    run(offline, "install", "claude", project)
    assert offline("agent", "uninstall", "claude", "--dir", str(project)).code == 2
    # What needs no change needs no leave either.
    assert offline("agent", "install", "claude", "--dir", str(project)).code == 0


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_a_person_is_shown_the_diff_and_asked(offline: Any, project: Path, answer: bytes, code: int) -> None:
    master, slave = pty.openpty()
    try:
        os.write(master, answer)
        command = [PROGRAM, "agent", "install", "codex", "--dir", str(project)]
        done = subprocess.run(command, stdin=slave, capture_output=True, env=offline.env, timeout=PATIENCE, check=False)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == code
    assert b"+++ AGENTS.md" in done.stderr
    assert b"Change AGENTS.md and .codex/rules/hivebus.rules?" in done.stderr
    assert bool(tree(project)) == (code == 0)


def test_it_says_what_a_person_has_to_do_next(offline: Any, project: Path) -> None:
    answer = offline.ok("agent", "install", "codex", "--dir", str(project), "--yes")
    assert answer.rows == [["AGENTS.md", "created"], [RULES, "created"]]
    assert "trust the project" in answer.err
    assert "tmux set -p @hivebus_agent NAME" in answer.err
    answer = offline.ok("agent", "install", "codex", "--dir", str(project), "--yes", "-a", "pm-agent")
    assert answer.rows == [["AGENTS.md", "updated"], [RULES, "unchanged"]]
    assert "HIVEBUS_AGENT" not in answer.err


# --- What is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({SETTINGS: b'{\n  "a": 1,\n}\n'}, "settings.json:3 cannot be read as JSON"),
        ({SETTINGS: b""}, "settings.json:1 cannot be read as JSON"),
        ({SETTINGS: b'{\n// why\n"a": 1}'}, "settings.json:2 cannot be read as JSON"),
        ({SETTINGS: b"[]"}, "it must hold an object, and not a list"),
        ({SETTINGS: b'{"a":\n"\xff"}'}, "settings.json:2 cannot be read as JSON: it is no UTF-8 text"),
        ({SETTINGS: b'{"a":' * 100_000}, "it is nested too deeply"),
        ({SETTINGS: b'{\n"permissions": []}'}, "settings.json:2: permissions must be an object"),
        ({SETTINGS: b'{"permissions": {\n"allow": "all"}}'}, "settings.json:2: permissions.allow must be a list"),
        ({"CLAUDE.md": b"a\n<!-- hivebus:begin -->\n"}, "CLAUDE.md:2: cannot tell where the block"),
        ({"CLAUDE.md": b"<!-- hivebus:end -->\n<!-- hivebus:begin -->\n"}, "CLAUDE.md:1: cannot tell"),
        ({"CLAUDE.md": b"<!-- hivebus:begin -->\n<!-- hivebus:end -->\n" * 2}, "CLAUDE.md:1: cannot tell"),
        ({"CLAUDE.md": "# Rules\n".encode("utf-16")}, "CLAUDE.md is no UTF-8 text"),
        ({"CLAUDE.md/folder": b""}, "CLAUDE.md cannot be read: Is a directory"),
        ({".claude": b"a file"}, "settings.json cannot be read: Not a directory"),
    ],
)
def test_what_cannot_be_understood_is_refused_and_nothing_is_changed(
    offline: Any, project: Path, files: dict[str, bytes | None], told: str
) -> None:
    lay(project, files)
    before = tree(project)
    answer = offline("agent", "install", "claude", "--dir", str(project), "--yes")
    assert (answer.code, answer.out) == (78, "")
    assert told in answer.err
    assert "  next: " in answer.err
    assert tree(project) == before


def test_a_file_that_cannot_be_written_leaves_the_others_as_they_were(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules"})
    (project / ".claude").symlink_to("/proc/nowhere")
    answer = offline("agent", "install", "claude", "--dir", str(project), "--yes")
    assert answer.code == 78
    assert "settings.json cannot be written" in answer.err
    assert (project / "CLAUDE.md").read_bytes() == b"# Rules"
    assert {each.name for each in project.iterdir()} == {"CLAUDE.md", ".claude"}


def test_saboteur_a_first_file_that_is_not_put_back_is_noticed(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules"})
    (project / ".claude").symlink_to("/proc/nowhere")
    sabotage = "import hivebus.cli.changes as it; it.Change.back = lambda self: self.to(self.before)"
    with offline.start("agent", "install", "claude", "--dir", str(project), "--yes", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert (project / "CLAUDE.md").read_bytes() != b"# Rules"


def as_nobody(offline: Any, project: Path, *, sabotage: str = "") -> subprocess.CompletedProcess[str]:
    """Install as a user who is not root, whoever runs the tests; all is imported before that."""
    script = (
        "import os, sys, tempfile; from hivebus.cli import asking, group, problems, run, agent\n"
        f"from hivebus.cli.agent_files import programs; from hivebus.cli import changes as change\n{sabotage}\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        f"sys.exit(run(['agent', 'install', 'claude', '--dir', {str(project)!r}, '--yes', '-a', 'pm-agent']))"
    )
    env = {name: value for name, value in offline.env.items() if not name.startswith(("COVERAGE", "XDG"))}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def of_nobody(short_path: Path) -> Path:
    """A project whose page belongs to the user nobody, where the tests are run by root."""
    short_path.chmod(0o777)
    lay(short_path, {"CLAUDE.md": b"# Rules"})
    if os.geteuid() == 0:
        os.chown(short_path / "CLAUDE.md", 65534, 65534)
    return short_path


@pytest.mark.parametrize(("mode", "told"), [(0o400, "written: it is write-protected"), (0, "read: Permission denied")])
def test_a_protected_file_stays_as_it_is(offline: Any, of_nobody: Path, mode: int, told: str) -> None:
    (of_nobody / "CLAUDE.md").chmod(mode)
    done = as_nobody(offline, of_nobody)
    assert done.returncode == 78
    assert f"CLAUDE.md cannot be {told}" in done.stderr
    (of_nobody / "CLAUDE.md").chmod(0o600)
    assert tree(of_nobody) == {"CLAUDE.md": b"# Rules"}


def test_saboteur_writing_to_a_protected_file_is_noticed(offline: Any, of_nobody: Path) -> None:
    (of_nobody / "CLAUDE.md").chmod(0o400)
    as_nobody(offline, of_nobody, sabotage="change.os.access = lambda path, mode: True")
    (of_nobody / "CLAUDE.md").chmod(0o600)
    assert tree(of_nobody) != {"CLAUDE.md": b"# Rules"}


def test_a_file_that_somebody_changes_meanwhile_is_not_overwritten(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules"})
    sabotage = (
        "import hivebus.cli.changes as it; write = it._write\n"
        "def late(change):\n"
        "    if change.name == 'CLAUDE.md': open(change.path, 'ab').write(b' and more')\n"
        "    write(change)\n"
        "it._write = late"
    )
    with offline.start("agent", "install", "claude", "--dir", str(project), "--yes", sabotage=sabotage) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "was changed by somebody else meanwhile" in err
    assert tree(project) == {"CLAUDE.md": b"# Rules and more"}


@pytest.mark.parametrize(
    ("words", "code"),
    [(["install", "gemini"], 2), (["install"], 2), (["install", "claude", "--dir", "/nowhere"], 2)],
)
def test_what_is_asked_for_wrongly_is_a_usage_error(offline: Any, words: list[str], code: int) -> None:
    assert offline("agent", *words, "--yes").code == code
