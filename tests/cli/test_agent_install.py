"""`hivebus agent install` and `uninstall`: what is somebody else's stays byte for byte."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hivebus.cli.agent_files.change import apply
from hivebus.cli.agent_files.programs import ENTRIES, PROGRAMS, RULES, SETTINGS

from .conftest import PATIENCE, PROGRAM

Tree = dict[str, bytes]

ALLOW, ASK = ENTRIES["allow"], ENTRIES["ask"]
PAGE = {"claude": "CLAUDE.md", "codex": "AGENTS.md"}
GRANT = {"claude": SETTINGS, "codex": RULES}

PAGES: dict[str, bytes | None] = {
    "no file": None,
    "an empty file": b"",
    "a page": b"# Rules\n\nBe kind.\n",
    "no final newline": b"# Rules\n\nBe kind.",
    "blank lines at the end": b"# Rules\n\n\n",
    "only a newline": b"\n",
    "only a blank": b" ",
    "CRLF": b"# Rules\r\n\r\nBe kind.\r\n",
    "CRLF, no final newline": b"# Rules\r\n\r\nBe kind.",
    "CRLF first, LF last": b"# Rules\r\nBe kind.\n",
    "LF first, CRLF last": b"# Rules\nBe kind.\r\n",
    "a lone CR at the end": b"# Rules\nBe kind.\r",
    "BOM": b"\xef\xbb\xbf# Rules\n",
    "BOM and nothing else": b"\xef\xbb\xbf",
    "BOM, CRLF, no final newline": b"\xef\xbb\xbf# Rules\r\nBe kind.",
    "not UTF-8": b"# R\xe8gles\n",
    "unusual line separators": "a\u2028b\x0bc\x85d\n".encode(),
    "a page that speaks of the marks": b"Leave `<!-- hivebus:begin -->` alone.\n",
}
GRANTS: dict[str, bytes | None] = {
    "no file": None,
    "empty object": b"{}",
    "empty object, newline": b"{}\n",
    "empty object over two lines": b"{\n}\n",
    "other settings": b'{\n  "model": "opus",\n  "env": {"A": "1"}\n}\n',
    "other entries": b'{\n  "permissions": {\n    "allow": [\n      "Bash(git diff:*)",\n      "WebSearch"\n    ],\n'
    b'    "deny": ["Read(.env)"]\n  },\n  "hooks": {}\n}\n',
    "no final newline": b'{\n  "permissions": {\n    "deny": []\n  }\n}',
    "four blanks": b'{\n    "permissions": {\n        "allow": [\n            "WebSearch"\n        ]\n    }\n}\n',
    "tabs and CRLF": b'{\r\n\t"permissions": {\r\n\t\t"allow": [\r\n\t\t\t"WebSearch"\r\n\t\t]\r\n\t}\r\n}\r\n',
    "one line": b'{"permissions": {"allow": ["WebSearch"]}, "z": 1}',
    "minified": b'{"a":{"b":[1,2]},"permissions":{"ask":["Bash(rm:*)"]}}',
    "blanks everywhere": b' \n{ "permissions" : { "allow" : [ "a" , "b" ] , "ask" : [ ] } , "z" : { } } \n',
    "empty lists": b'{\n  "permissions": {\n    "allow": [],\n    "ask": [\n    ]\n  }\n}\n',
    "empty permissions": b'{"permissions": {}}\n',
    "BOM": b'\xef\xbb\xbf{\n  "model": "opus"\n}\n',
    "strings that look like JSON": '{"ä": "[{\\"}", "permissions": {"allow": ["Bash(echo \\"]\\":*)"]}}'.encode(),
    "a key twice": b'{"permissions": {"deny": ["x"]}, "permissions": {"allow": ["y"]}}',
    "allowed before": json.dumps({"permissions": {"allow": ["WebSearch", ALLOW]}}, indent=2).encode(),
    "allowed before, nothing else": json.dumps({"permissions": {"allow": [ALLOW]}}, indent=2).encode(),
    "both before": json.dumps({"permissions": {"ask": [ASK], "allow": [ALLOW]}}, indent=2).encode(),
}
RULE_FILES: dict[str, bytes | None] = {
    "no file": None,
    "a rule": b'prefix_rule(pattern = ["git", "push"], decision = "prompt")\n',
    "a rule, CRLF, no final newline": b'# rules\r\nprefix_rule(pattern = ["git", "push"], decision = "prompt")',
}


def lay(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def tree(folder: Path) -> Tree:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_dir()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


def run(offline: Any, verb: str, program: str, project: Path, *more: str) -> Any:
    return offline.ok("agent", verb, program, "--dir", str(project), "--yes", "--json", *more).json


def allowed(project: Path) -> dict[str, list[str]]:
    settings = json.loads((project / SETTINGS).read_bytes().decode("utf-8-sig"))
    return {name: entries for name, entries in settings["permissions"].items() if name in ENTRIES}


# --- There and back -------------------------------------------------------------------------------------


def test_install_and_uninstall_restore_every_byte_of_414_projects(project: Path) -> None:
    variants = [("claude", page, grant) for page in PAGES.values() for grant in GRANTS.values()]
    variants += [("codex", page, rules) for page in PAGES.values() for rules in RULE_FILES.values()]
    restored = 0
    for program, page, grant in variants:
        folder = project / str(restored)
        folder.mkdir()
        lay(folder, {PAGE[program]: page, GRANT[program]: grant, "other/file.txt": b"untouched"})
        before = tree(folder), folders(folder)
        # An older block, a newer one, the same again, and back.
        apply(PROGRAMS[program].install(folder, "old-agent"))
        apply(PROGRAMS[program].install(folder, "pm-agent"))
        installed = tree(folder)
        assert {each.action for each in PROGRAMS[program].install(folder, "pm-agent")} == {"unchanged"}
        assert installed[PAGE[program]].count(b"hivebus receive -a pm-agent") == 1
        assert b"old-agent" not in installed[PAGE[program]]
        if program == "claude":
            kinds = allowed(folder)
            assert {name: kinds[name].count(entry) for name, entry in ENTRIES.items()} == {"allow": 1, "ask": 1}
        apply(PROGRAMS[program].uninstall(folder))
        assert (tree(folder), folders(folder)) == before, f"{program}: {page!r}, {grant!r}"
        assert {each.action for each in PROGRAMS[program].uninstall(folder)} == {"unchanged"}
        restored += 1
    assert restored == 414


@pytest.mark.parametrize("program", PAGE)
def test_the_commands_restore_every_byte(offline: Any, project: Path, program: str) -> None:
    lay(project, {PAGE[program]: b"# Rules\r\nBe kind.", SETTINGS: GRANTS["other entries"]})
    before = tree(project)
    assert run(offline, "install", program, project)["changes"][0]["action"] == "updated"
    assert tree(project) != before
    facts = run(offline, "uninstall", program, project)
    assert facts["schema"] == "hivebus.agent.uninstall/1"
    assert facts["dry_run"] is False
    assert tree(project) == before
    assert run(offline, "uninstall", program, project)["changes"][0]["action"] == "unchanged"


def test_saboteur_a_page_that_is_not_restored_is_noticed(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"no final newline"})
    run(offline, "install", "claude", project)
    sabotage = (
        "import hivebus.cli.agent_files.block as it; take = it.take\n"
        "it.take = lambda before, **more: take(before + b'\\n', **more)"
    )
    with offline.start("agent", "uninstall", "claude", "--dir", str(project), "--yes", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert tree(project) != {"CLAUDE.md": b"no final newline"}


@pytest.mark.parametrize("program", PAGE)
def test_what_others_wrote_meanwhile_stays(offline: Any, project: Path, program: str) -> None:
    lay(project, {PAGE[program]: b"# Rules\r\n"})
    run(offline, "install", program, project)
    page = project / PAGE[program]
    page.write_bytes(b"above\r\n" + page.read_bytes() + b"below\r\n")
    if program == "claude":
        settings = json.loads((project / SETTINGS).read_text())
        settings["permissions"]["allow"].insert(0, "WebSearch")
        settings["permissions"]["allow"].append("WebFetch")
        (project / SETTINGS).write_text(json.dumps(settings, indent=2))
    run(offline, "uninstall", program, project)
    assert page.read_bytes() == b"above\r\n# Rules\r\nbelow\r\n"
    if program == "claude":
        assert allowed(project) == {"allow": ["WebSearch", "WebFetch"]}
    else:
        assert not (project / ".codex").exists()


def test_both_programs_may_share_one_page(offline: Any, project: Path) -> None:
    lay(project, {"AGENTS.md": b"# Rules\n", SETTINGS: GRANTS["allowed before"]})
    (project / "CLAUDE.md").symlink_to("AGENTS.md")
    before = tree(project)
    run(offline, "install", "claude", project)
    run(offline, "install", "codex", project)
    assert (project / "CLAUDE.md").is_symlink()
    assert (project / "AGENTS.md").read_bytes().count(b"<!-- hivebus:begin -->") == 1
    run(offline, "uninstall", "codex", project)
    run(offline, "uninstall", "claude", project)
    assert (project / "CLAUDE.md").is_symlink()
    assert tree(project)["AGENTS.md"] == before["AGENTS.md"]


def test_mode_and_link_of_a_file_stay(offline: Any, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.md").write_bytes(b"# Rules\n")
    (tmp_path / "elsewhere.md").chmod(0o640)
    (project / "CLAUDE.md").symlink_to(tmp_path / "elsewhere.md")
    run(offline, "install", "claude", project)
    assert (project / "CLAUDE.md").is_symlink()
    assert b"hivebus receive" in (tmp_path / "elsewhere.md").read_bytes()
    assert (tmp_path / "elsewhere.md").stat().st_mode & 0o777 == 0o640
    run(offline, "uninstall", "claude", project)
    assert (tmp_path / "elsewhere.md").read_bytes() == b"# Rules\n"
    assert list(tmp_path.glob(".*.md.*")) == []


def test_without_a_block_what_is_allowed_is_not_ours(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules\n", SETTINGS: GRANTS["both before"]})
    before = tree(project)
    answer = offline.ok("agent", "uninstall", "claude", "--dir", str(project), "--yes")
    assert answer.rows == [["CLAUDE.md", "unchanged"], [SETTINGS, "unchanged"]]
    assert "nothing to change" in answer.err
    assert tree(project) == before


# --- Before anything is changed ----------------------------------------------------------------------------


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
    sabotage = "import hivebus.cli.agent_files.change as it; it.Change.back = lambda self: self.to(self.before)"
    with offline.start("agent", "install", "claude", "--dir", str(project), "--yes", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert (project / "CLAUDE.md").read_bytes() != b"# Rules"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_write_protected_file_stays_as_it_is(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules"})
    (project / "CLAUDE.md").chmod(0o400)
    answer = offline("agent", "install", "claude", "--dir", str(project), "--yes")
    assert answer.code == 78
    assert "CLAUDE.md cannot be written: it is write-protected" in answer.err


def test_a_file_that_somebody_changes_meanwhile_is_not_overwritten(offline: Any, project: Path) -> None:
    lay(project, {"CLAUDE.md": b"# Rules"})
    sabotage = (
        "import hivebus.cli.agent_files.change as it; write = it._write\n"
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
