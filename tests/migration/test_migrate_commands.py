"""`hivebus migrate`: one step of one or several agents, and where everybody stands."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest

from hivebus.cli import run
from hivebus.transport import Endpoint
from hivebus_migration import main_road
from hivebus_migration.commands import COMMANDS, migrate
from hivebus_migration.facts import Attempt, Intent, Sighting, Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.stages import Stage, read_stages
from hivebus_redis.streams import RedisStreams, open_streams

from .commands import Hivebus, eventually
from .house import outgoing, set_stage

TMUX = "tmux://agent-hive?socket=hivebus-test-nobody"
"""It is never contacted: the stages are kept by the other side."""


class Room:
    """A bus of the test's own, and what its commands print."""

    def __init__(self, url: str, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.namespace = namespace
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str) -> int:
        """Run a command of `migrate`; return its exit code."""
        code = run(["migrate", *words])
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return code

    def rows(self, *words: str) -> list[list[str]]:
        """Return the rows that a command prints; it must succeed."""
        assert self(*words) == 0, self.err
        return [line.split("\t") for line in self.out.splitlines()]

    def json(self, *words: str) -> Any:
        """Return the document that a command prints; it must succeed."""
        assert self(*words, "--json") == 0, self.err
        return json.loads(self.out)

    def on_server(self, work: Callable[[RedisStreams], Coroutine[Any, Any, Any]]) -> Any:
        """Do something by another connection."""

        async def do() -> Any:
            transport = open_streams(Endpoint(url=self.url, namespace=self.namespace))
            await transport.connect()
            try:
                return await work(transport)
            finally:
                await transport.close()

        return asyncio.run(do())

    def stages(self) -> dict[str, Stage]:
        found: dict[str, Stage] = self.on_server(read_stages)
        return found

    def set(self, agent: str, stage: str, *, epoch: int = 1) -> None:
        self.on_server(lambda transport: set_stage(transport, agent, stage, epoch=epoch))

    def write_to(self, *agents: str) -> None:
        """Make inboxes."""
        self.on_server(lambda transport: transport.publish([outgoing(agent) for agent in agents]))


@pytest.fixture
def room(redis_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Room:
    namespace = f"t{uuid4().hex[:12]}"
    monkeypatch.setenv("HIVEBUS_URL", redis_server.url)
    monkeypatch.setenv("HIVEBUS_NAMESPACE", namespace)
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", TMUX)
    return Room(redis_server.url, namespace, capsys)


# --- Moving ------------------------------------------------------------------------------------------------


def test_an_agent_goes_all_the_way_and_back(room: Room) -> None:
    assert room.rows("start", "dev") == [["dev", "off", "dualwrite", "1", "moved"]]
    assert room.rows("promote", "dev", "--to", "live") == [["dev", "dualwrite", "live", "2", "moved"]]
    assert room.rows("rollback", "dev", "--to", "off", "--reason", "slow") == [["dev", "live", "off", "3", "moved"]]
    stage = room.stages()["dev"]
    assert (stage.name, stage.epoch, stage.reason) == ("off", 3, "slow")


def test_json_says_the_same(room: Room) -> None:
    assert room.json("start", "dev", "ops", "dev") == {
        "schema": "hivebus.migrate.start/1",
        "dry_run": False,
        "agents": [
            {"agent": name, "from": "off", "to": "dualwrite", "epoch": 1, "changed": True} for name in ("dev", "ops")
        ],
    }
    again = room.json("start", "dev")["agents"]
    assert again == [{"agent": "dev", "from": "dualwrite", "to": "dualwrite", "epoch": 1, "changed": False}]


def test_who_moved_an_agent_is_kept(room: Room) -> None:
    room("start", "dev", "--agent", "pm-agent")
    room("start", "ops")
    stages = room.stages()
    assert stages["dev"].by == "pm-agent"
    assert "@" in str(stages["ops"].by)


def test_a_user_without_a_name_may_move_agents_too(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(main_road.getpass, "getuser", nobody)
    room.rows("start", "dev")
    assert str(room.stages()["dev"].by).startswith("unknown@")


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["promote", "dev", "--to", "live"], 1, "hivebus migrate start dev"),
        (["rollback", "dev", "--to", "off", "--reason", "x"], 1, "a rollback leads to an earlier one"),
        (["promote", "dev", "--to", "shadow"], 78, "not offered by this release"),
        (["promote", "dev", "--to", "elsewhere"], 1, "there is no stage 'elsewhere'"),
        (["start", "No Such Name"], 65, "AGENT"),
        (["start"], 2, "name agents, or give --all"),
        (["start", "dev", "--all"], 2, "name agents, or give --all"),
        (["promote", "dev"], 2, "--to"),
        (["rollback", "dev", "--to", "off"], 2, "--reason"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_what_cannot_be_done_says_so_and_changes_nothing(room: Room, words: list[str], code: int, problem: str) -> None:
    assert room(*words) == code
    assert problem in room.err
    assert room.stages() == {}


def test_one_that_cannot_be_moved_does_not_keep_the_others(room: Room) -> None:
    room.set("dev", "dualwrite")
    assert room("promote", "ops", "dev", "--to", "live") == 1
    assert room.out.split() == ["dev", "dualwrite", "live", "2", "moved"]
    assert "error: ops is in stage off" in room.err
    assert {name: stage.name for name, stage in room.stages().items()} == {"dev": "live"}


def test_a_dry_run_says_what_would_be(room: Room) -> None:
    assert room.rows("start", "dev", "--dry-run") == [["dev", "off", "dualwrite", "1", "would move"]]
    assert room.stages() == {}


def test_an_alias_is_moved_by_its_name(room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".hivebus.toml").write_text('[aliases]\n"Dev Agent" = "dev"\n')
    assert room.rows("start", "Dev Agent")[0][0] == "dev"


# --- Everybody ---------------------------------------------------------------------------------------------


def test_everybody_is_who_has_an_inbox_or_a_stage(room: Room) -> None:
    room.write_to("dev", "ops", "qa~shadow")
    room.set("old", "off", epoch=4)
    room.set("far", "live")
    assert room.rows("start", "--all", "--yes") == [
        ["dev", "off", "dualwrite", "1", "moved"],
        ["old", "off", "dualwrite", "5", "moved"],
        ["ops", "off", "dualwrite", "1", "moved"],
        ["qa", "off", "dualwrite", "1", "moved"],
    ]
    assert room.stages()["far"].name == "live"


def test_for_everybody_somebody_must_say_yes(room: Room) -> None:
    room.write_to("dev")
    assert room("start", "--all") == 2
    assert "add --yes" in room.err
    assert room.stages() == {}
    assert room.rows("start", "--all", "--dry-run") == [["dev", "off", "dualwrite", "1", "would move"]]


def test_everybody_may_be_nobody(room: Room) -> None:
    assert room.rows("start", "--all") == []
    assert "no agent has an inbox or a stage yet" in room.err


def test_a_star_stands_for_all_that_are_to_come(room: Room) -> None:
    assert room.rows("start", "*") == [["*", "off", "dualwrite", "1", "moved"]]
    assert room.rows("start", "dev") == [["dev", "dualwrite", "dualwrite", "1", "stays"]]


# --- Without two roads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["start", "dev"], ["promote", "dev", "--to", "live"], ["status"]])
def test_with_one_road_only_it_says_what_to_set(room: Room, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.delenv("HIVEBUS_LEGACY_URL")
    assert room(*words) == 78
    assert "HIVEBUS_LEGACY_URL=tmux://" in room.err


def test_two_urls_of_one_road_are_no_two_roads(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", "redis://elsewhere")
    assert room("start", "dev") == 78
    assert "both redis" in room.err


def test_a_main_road_without_a_directory_cannot_hold_stages(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_URL", TMUX)
    monkeypatch.setenv("HIVEBUS_LEGACY_URL", "memory://")
    assert room("start", "dev") == 78
    assert "keeps no directory" in room.err


def test_a_server_that_is_away_is_unreachable(room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIVEBUS_URL", f"unix://{tmp_path}/none.sock")
    assert room("start", "dev") == 69
    assert room("status") == 69


# --- Looking -----------------------------------------------------------------------------------------------


def test_the_status_shows_every_agent(room: Room) -> None:
    room.write_to("ops")
    room.rows("start", "dev", "--agent", "pm-agent")
    rows = room.rows("status")
    assert [row[:3] for row in rows] == [["dev", "dualwrite", "1"], ["ops", "off", "0"]]
    assert [row[4:] for row in rows] == [["pm-agent", "-", "-"], ["-", "-", "-"]]
    document = room.json("status")
    assert document["schema"] == "hivebus.migrate.status/1" and document["fresh"] is True
    first, second = document["agents"]
    assert (first["agent"], first["stage"], first["epoch"], first["by"]) == ("dev", "dualwrite", 1, "pm-agent")
    assert first["since"].endswith("Z") and second["since"] is None
    assert first["legs"] == {}


def test_the_status_of_nobody_says_how_to_begin(room: Room) -> None:
    assert room.rows("status") == []
    assert "hivebus migrate start AGENT" in room.err


def test_the_status_counts_what_both_roads_delivered(
    room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HIVEBUS_LEDGER", str(tmp_path / "ledger.db"))
    at = now()
    old = at._replace(wall=at.wall - 10**11, mono=at.mono - 10**11)
    legs = {"redis": "f", "tmux": "f"}
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.note(*(Witness("dev", leg, "taken", old) for leg in legs))
        for number in range(3):
            intent = Intent(f"m{number}", "dev", "pm", "s", number, "event", 2, 9, "dualwrite", 1, "tmux", legs, old)
            ledger.note(intent, *(Attempt(f"m{number}", "dev", leg, "safe", "accepted", None, 0.1) for leg in legs))
            ledger.note(Sighting(f"m{number}", "redis", "dev", "taken", "f", old))
        ledger.note(Sighting("m0", "tmux", "dev", "taken", "f", old))
    ((agent, stage, *_, redis, tmux),) = room.rows("status")
    assert (agent, stage, redis, tmux) == ("dev", "off", "3/3", "1/3")
    (facts,) = room.json("status")["agents"]
    assert facts["legs"]["tmux"] == {"sent": 3, "claimed": 3, "proven": 1, "lost": 2, "unknown": 0, "pending": 0}
    ((*_, redis, tmux),) = room.rows("status", "--since", "0") or [["-", "-"]]
    assert (redis, tmux) == ("-", "-")


def test_a_broken_ledger_costs_the_counts_and_nothing_else(
    room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no ledger" * 1000)
    monkeypatch.setenv("HIVEBUS_LEDGER", str(tmp_path / "ledger.db"))
    room.rows("start", "dev")
    assert room.rows("status")[0][:2] == ["dev", "dualwrite"]
    assert "no counts" in room.err


def test_while_the_server_is_away_the_stages_that_were_known_here_are_shown(
    hivebus: Hivebus, redis_server: Any
) -> None:
    hivebus.ok("migrate", "start", "dev")
    hivebus.ok("send", "dev", "hello", "--agent", "pm")
    hivebus.env["HIVEBUS_URL"] = f"unix://{hivebus.home}/none.sock"
    done = hivebus("migrate", "status", "--json")
    document = json.loads(done.stdout)
    assert document["fresh"] is False
    assert [(each["agent"], each["stage"]) for each in document["agents"]] == [("dev", "dualwrite")]
    assert "these are the stages that this machine last knew" in done.stderr
    assert hivebus("migrate", "promote", "dev", "--to", "live").returncode == 69


def test_a_watch_goes_on_until_it_is_interrupted(hivebus: Hivebus) -> None:
    hivebus.ok("migrate", "start", "dev")
    program = hivebus.start("migrate", "status", "--watch", "0.2", "--json")
    try:
        eventually(lambda: len(program.printed) >= 2, what="two documents")
    finally:
        code = program.end(signal.SIGINT)
    assert code == 0
    assert {json.loads(line)["schema"] for line in program.printed} == {"hivebus.migrate.status/1"}


# --- Help --------------------------------------------------------------------------------------------------


def help_of(command: click.Command, name: str) -> str:
    with click.Context(command, info_name=name) as context:
        return command.get_help(context)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "report"])
def test_every_help_has_two_examples_that_are_commands(name: str) -> None:
    with click.Context(migrate) as context:
        command = migrate.get_command(context, name)
    assert command is not None and command.name == name
    examples = help_of(command, name).partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 2 and all("hivebus migrate" in example for example in examples)


def test_the_help_names_every_command() -> None:
    text = help_of(migrate, "migrate")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert len(text.partition("Examples:\n")[2].strip().splitlines()) == 2


def test_the_commands_are_found_as_those_of_any_plugin(hivebus: Hivebus) -> None:
    assert "migrate" in hivebus.ok("--help")
    assert "promote" in hivebus.ok("migrate", "--help")
    assert "SIGTERM" in hivebus.ok("bridge", "run", "--help")


def test_a_bus_with_two_roads_names_both(hivebus: Hivebus) -> None:
    hivebus.ok("migrate", "start", "dev")
    document = json.loads(hivebus.ok("send", "dev", "hello", "--agent", "pm", "--json"))
    assert document["legs"] == {"files": "accepted", "redis": None}
