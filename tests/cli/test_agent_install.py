"""`hivebus agent install` and `uninstall`: what is somebody else's stays byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hivebus.cli.agent_files.programs import ENTRIES, PROGRAMS, SETTINGS
from hivebus.cli.changes import apply

from .agent_projects import GRANT, GRANTS, PAGE, PAGES, RULE_FILES, allowed, folders, lay, run, tree


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
