"""`hivebus compat install` and `uninstall`: old code gets the new bus, and the project back every byte."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

from hivebus.cli.changes import apply
from hivebus_migration.compat import installing
from hivebus_migration.compat.project_files import is_ours, project_files

from .projects import OLD, SCRIPT, compat, compat_ok, lay, python, tree

CONTENTS: tuple[bytes | None, ...] = (None, b"", b"print(1)\n", b"print(1)\r\n# \xff")


def test_install_and_uninstall_restore_every_byte_of_64_projects(tmp_path: Path) -> None:
    names = ("message_bus/__init__.py", "message_bus/agent_communicator.py", SCRIPT)
    restored = 0
    for contents in itertools.product(CONTENTS, repeat=len(names)):
        files = {name: content for name, content in zip(names, contents, strict=True) if content is not None}
        project = lay(tmp_path / str(restored), {**files, "src/main.py": b"x\n"})
        before = tree(project)
        apply(installing.install(project))
        assert {each.action for each in installing.install(project)} == {"unchanged"}
        assert {name: (project / f"{name}.tmux-legacy").read_bytes() for name in files} == files
        assert all((project / name).read_bytes() == content for name, content in project_files().items())
        apply(installing.uninstall(project))
        assert tree(project) == before, contents
        assert {each.action for each in installing.uninstall(project)} == {"unchanged"}
        restored += 1
    assert restored == 64


def test_saboteur_a_file_that_is_not_restored_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = lay(tmp_path / "project", OLD)
    before = tree(project)
    # Nothing is kept of what is replaced.
    monkeypatch.setattr(installing, "_keep", lambda file, kept: kept)
    apply(installing.install(project))
    apply(installing.uninstall(project))
    assert tree(project) != before


def test_the_commands_restore_every_byte_and_mode(tmp_path: Path) -> None:
    project = lay(tmp_path / "project", OLD)
    (project / SCRIPT).chmod(0o750)
    before = tree(project)
    done = compat_ok("install", project)
    assert {name for name, action in done.items() if action == "updated"} == {
        "message_bus/__init__.py",
        "message_bus/message_bus.py",
        SCRIPT,
    }
    for name in (SCRIPT, f"{SCRIPT}.tmux-legacy"):
        assert (project / name).stat().st_mode & 0o777 == 0o750
    # Used, so that Python leaves behind what it has compiled.
    assert python(project, "-c", "import message_bus.agent_communicator, message_bus.message_protocol").returncode == 0
    assert list(project.rglob("*.pyc"))
    compat_ok("uninstall", project)
    for cache in project.rglob("__pycache__"):
        # What was there before may be used, too.
        assert {each.name.partition(".")[0] for each in cache.iterdir()} <= {"__init__", "message_bus"}
        for each in cache.iterdir():
            each.unlink()
        cache.rmdir()
    assert tree(project) == before
    assert (project / SCRIPT).stat().st_mode & 0o777 == 0o750


def test_nothing_is_left_of_a_package_that_was_not_there(tmp_path: Path) -> None:
    compat_ok("install", tmp_path)
    assert python(tmp_path, "-c", "import message_bus.agent_communicator").returncode == 0
    compat_ok("uninstall", tmp_path)
    assert tree(tmp_path) == {}
    assert "No module named 'message_bus'" in python(tmp_path, "-c", "import message_bus").stderr


def test_a_dry_run_shows_the_diff_and_changes_nothing(tmp_path: Path) -> None:
    project = lay(tmp_path / "project", OLD)
    before = tree(project)
    done = compat("install", "--dir", str(project), "--dry-run")
    assert done.returncode == 0
    assert f"--- {SCRIPT}\n+++ {SCRIPT}\n" in done.stdout
    assert f"--- /dev/null\n+++ {SCRIPT}.tmux-legacy\n" in done.stdout
    assert "-print('📡')" in done.stdout
    assert tree(project) == before
    compat_ok("install", project)
    installed = tree(project)
    done = compat("uninstall", "--dir", str(project), "--dry-run")
    assert f"--- {SCRIPT}.tmux-legacy\n+++ /dev/null\n" in done.stdout
    assert tree(project) == installed


def test_where_nobody_can_be_asked_it_wants_yes(tmp_path: Path) -> None:
    done = compat("install", "--dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "add --yes, or --dry-run" in done.stderr
    assert tree(tmp_path) == {}
    done = compat("install", "--dir", str(tmp_path), "--yes")
    assert "next: python message_bus/tmux_replacement.py" in done.stderr
    assert compat("uninstall", "--dir", str(tmp_path)).returncode == 2
    assert compat("install", "--dir", str(tmp_path)).returncode == 0


def test_files_of_an_older_release_are_brought_up_to_date(tmp_path: Path) -> None:
    from hivebus_migration.compat.project_files import _marked

    older = _marked('"""As it was once."""\n', shebang="#!/usr/bin/env python3\n")
    assert is_ours(older)
    lay(tmp_path, {SCRIPT: older})
    assert compat_ok("install", tmp_path)[SCRIPT] == "updated"
    assert not (tmp_path / f"{SCRIPT}.tmux-legacy").exists()
    lay(tmp_path, {SCRIPT: older})
    compat_ok("uninstall", tmp_path)
    assert tree(tmp_path) == {}


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    project = lay(tmp_path / "project", OLD)
    before = tree(project)
    install = installing.install(project)
    # Killed after the old file was kept, and before the new one was written.
    apply(install[:1])
    compat_ok("install", project)
    uninstall = installing.uninstall(project)
    # Killed after the old file was put back, and before the kept one was removed.
    apply(uninstall[:1])
    compat_ok("uninstall", project)
    assert tree(project) == before
    compat_ok("install", project)
    (project / SCRIPT).unlink()
    compat_ok("uninstall", project)
    assert tree(project) == before


# --- What is refused, and nothing is changed -------------------------------------------------------------


def refused(verb: str, project: Path) -> str:
    before = tree(project)
    done = compat(verb, "--dir", str(project), "--yes")
    assert (done.returncode, done.stdout) == (78, "")
    assert "  next: " in done.stderr
    assert tree(project) == before
    return done.stderr


def test_what_somebody_wrote_into_our_files_is_not_lost(tmp_path: Path) -> None:
    compat_ok("install", tmp_path)
    with (tmp_path / SCRIPT).open("a") as file:
        file.write("# mine\n")
    assert not is_ours((tmp_path / SCRIPT).read_bytes())
    for verb in ("install", "uninstall"):
        assert "agent_communicate.py was changed since hivebus compat install wrote it" in refused(verb, tmp_path)


def test_what_somebody_put_in_the_place_of_our_files_is_not_lost(tmp_path: Path) -> None:
    project = lay(tmp_path / "project", OLD)
    compat_ok("install", project)
    (project / SCRIPT).write_bytes(b"print('mine')\n")
    for verb in ("install", "uninstall"):
        assert f"there is {SCRIPT}.tmux-legacy, too" in refused(verb, project)


def test_a_file_of_others_stays_where_nothing_was_replaced(tmp_path: Path) -> None:
    project = lay(tmp_path / "project", OLD)
    assert set(compat_ok("uninstall", project).values()) == {"unchanged"}


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {f"{SCRIPT}/x": b""})
    assert "agent_communicate.py cannot be read: Is a directory" in refused("install", tmp_path)


# --- What was installed runs -----------------------------------------------------------------------------


def test_the_package_has_the_modules_and_names_of_before(tmp_path: Path) -> None:
    compat_ok("install", tmp_path)
    done = python(
        tmp_path,
        "-W",
        "error",
        "-c",
        "from message_bus import AgentCommunicator, AgentMessage, MessageType, MessagePriority, MessageBusConfig\n"
        "from message_bus import MessageBus, SimpleAgentCommunicator, DeliveryOptions, MessageDeliveryStatus\n"
        "from message_bus import create_task_assignment, create_status_update, create_emergency_alert\n"
        "from message_bus.message_bus import MessageBus as same, MessageBusConfig\n"
        "from message_bus.message_protocol import AgentMessage, DeliveryOptions, create_task_assignment\n"
        "from message_bus.agent_communicator import AgentCommunicator, SimpleAgentCommunicator, send_to_agent\n"
        "from inspect import iscoroutinefunction as is_async\n"
        "from scripts.agent_communicate import send_to_agent as blocking\n"
        "assert same is MessageBus\n"
        "print(is_async(send_to_agent), is_async(blocking))",
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_a_python_without_hivebus_says_so_with_the_words_of_before(tmp_path: Path) -> None:
    compat_ok("install", tmp_path)
    done = python(tmp_path, "-S", "-E", SCRIPT, "pm-agent", "x", program=os.path.realpath(sys.executable))
    assert done.returncode == 1
    assert done.stdout.startswith("❌ Communication failed: ")
    assert "has no hivebus" in done.stdout
    done = python(
        tmp_path, "-S", "-E", "-c", "import scripts.agent_communicate", program=os.path.realpath(sys.executable)
    )
    assert "ModuleNotFoundError" in done.stderr
