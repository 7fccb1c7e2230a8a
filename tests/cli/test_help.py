"""The help, the errors, and what starting a command costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

import click
import pytest

from hivebus.cli.exit_codes import CODES, ExitCode, exit_code_of
from hivebus.cli.group import SECTIONS
from hivebus.errors import HivebusError, InvalidMessage, Refused

TABLE = {name: entry for commands in SECTIONS.values() for name, entry in commands.items()}
HEAVY = ("pydantic", "asyncio", "redis", "pluggy", "rich", "importlib.metadata", "hiredis", "ssl")


def built_in(name: str) -> click.Command:
    module, _, attribute = TABLE[name][0].partition(":")
    found: click.Command = getattr(import_module(module), attribute)
    return found


def everything() -> list[str]:
    names = []
    for name in TABLE:
        command = built_in(name)
        names += [f"{name} {each}" for each in command.commands] if isinstance(command, click.Group) else []
        names.append(name)
    return names


@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_what_the_command_itself_says(name: str) -> None:
    assert built_in(name).get_short_help_str(limit=200).rstrip(".") == TABLE[name][1].rstrip(".")
    assert built_in(name).name == name


@pytest.mark.parametrize("name", everything())
def test_every_help_has_two_examples_that_are_commands(name: str) -> None:
    command = built_in(name.split()[0])
    if " " in name:
        assert isinstance(command, click.Group)
        command = command.commands[name.split()[1]]
    with click.Context(command, info_name=name) as context:
        text = command.get_help(context)
    examples = text.partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 2
    assert all("hivebus" in example for example in examples)


def test_help_groups_the_commands_and_names_those_of_plugins(offline: Any) -> None:
    for args in ([], ["--help"]):
        text = offline.ok(*args).out
        for section in SECTIONS:
            assert f"{section}:\n" in text
        for name in (*TABLE, "up", "down", "logs"):
            assert f"\n  {name} " in text


def test_help_imports_nothing_that_commands_need(offline: Any) -> None:
    offline.ok("--help")
    assert imported(offline, "--help") == []


def test_send_imports_nothing_heavy(hivebus: Any) -> None:
    hivebus.send("pm-agent", "first, so that the index of plugins is there")
    assert imported(hivebus, "send", "pm-agent", "text", "--agent", "me") == []
    assert len(hivebus.ok("inbox", "-a", "pm-agent", "--json").json["messages"]) == 2


def test_saboteur_a_heavy_import_is_noticed(hivebus: Any) -> None:
    assert "asyncio" in imported(hivebus, "queues")


def imported(cli: Any, *args: str) -> list[str]:
    script = (
        "import sys, atexit; from hivebus.cli import main; sys.argv[:] = ['hivebus', *sys.argv[1:]];"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)); main()"
    )
    # -S and -I keep test tools from importing things into the process that is measured.
    env = {name: value for name, value in cli.env.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
        env=env,
        cwd=cli.cwd,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(done.stderr.splitlines()[-1].replace("'", '"'))
    return found


def test_an_unknown_command_is_told_what_was_meant(offline: Any) -> None:
    answer = offline("recieve")
    assert answer.code == 2
    assert "did you mean receive" in answer.err


def test_an_unknown_option_is_a_usage_error(offline: Any) -> None:
    answer = offline("--bogus")
    assert answer.code == 2
    assert "--bogus" in answer.err


def test_a_group_without_a_command_shows_its_help(offline: Any) -> None:
    answer = offline("dlq")
    assert (answer.code, answer.out) == (2, "")
    assert "list" in answer.err


def test_every_error_has_an_exit_code() -> None:
    def kinds(kind: type[HivebusError]) -> list[type[HivebusError]]:
        return [kind, *(each for child in kind.__subclasses__() for each in kinds(child))]

    covered = [kind for kind, _ in CODES]
    assert all(any(issubclass(kind, each) for each in covered) for kind in kinds(HivebusError))
    assert exit_code_of(InvalidMessage(field="f", value=1, rule="r")) == ExitCode.INVALID_MESSAGE
    assert exit_code_of(Refused("full")) == ExitCode.TRY_LATER


def test_a_bug_is_70_and_shows_where(offline: Any) -> None:
    script = (
        "import sys; from hivebus.cli import app, main; sys.argv[:] = ['hivebus', 'config', 'show', *sys.argv[1:]];"
        "app.App.settings = property(lambda self: 1 / 0); main()"
    )

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", script, *args]
        return subprocess.run(words, capture_output=True, text=True, env=offline.env, timeout=60, check=False)

    told = run()
    assert told.returncode == 70
    assert "ZeroDivisionError" in told.stderr
    assert "report it" in told.stderr
    assert json.loads(run("--json").stderr)["error"]["exit"] == 70


def test_a_full_inbox_is_75(hivebus: Any, behind: Any) -> None:
    behind.config_set("maxmemory", "1")
    try:
        answer = hivebus("send", "pm-agent", "x", "--agent", "me", "--json")
    finally:
        behind.config_set("maxmemory", "0")
    assert answer.code == 75
    assert json.loads(answer.err)["error"]["code"] == "broker_full"


def test_a_pipe_that_closes_early_is_no_noise(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x")
    with hivebus.start("queues", "--watch", "200ms", "--json") as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr.read() == ""
    assert process.returncode == 141
