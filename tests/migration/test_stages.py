"""The stages of agents: which moves there are, that two movers cannot both win, and what a sender knows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import Conflict, HivebusError, Unavailable, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import Directory, Endpoint, Entry
from hivebus_migration import stage_cache, stages
from hivebus_migration.stage_cache import StageCache
from hivebus_migration.stage_file import StageFile
from hivebus_migration.stages import Stage, Step, from_json, read_stages, stage_of, to_json

from .house import set_stage, until


class Register(MemoryTransport):
    """A directory that can be away."""

    away = False

    async def read(self, kind: str) -> Mapping[str, Entry]:
        if self.away:
            raise Unavailable("the server is away")
        return await super().read(kind)


async def register(namespace: str = "hb") -> Register:
    transport = Register(Endpoint(url="memory://", namespace=namespace))
    await transport.connect()
    return transport


async def move(directory: Directory, verb: str, to: str, *, dry_run: bool = False) -> Step:
    if verb == "start":
        return await stages.start(directory, "dev", by="me", dry_run=dry_run)
    if verb == "promote":
        return await stages.promote(directory, "dev", to, by="me", dry_run=dry_run)
    return await stages.rollback(directory, "dev", to, by="me", reason="why", dry_run=dry_run)


# --- The moves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "verb", "to"),
    [
        ("off", "start", "dualwrite"),
        ("dualwrite", "promote", "live"),
        ("live", "rollback", "dualwrite"),
        ("live", "rollback", "off"),
        ("dualwrite", "rollback", "off"),
    ],
)
async def test_these_moves_are_made(before: str, verb: str, to: str) -> None:
    directory = await register()
    if before != "off":
        await set_stage(directory, "dev", before, epoch=7)
    step = await move(directory, verb, to)
    found = (await read_stages(directory))["dev"]
    assert step.after == found
    assert (found.name, found.epoch, found.by) == (to, 1 if before == "off" else 8, "me")
    assert found.at is not None and found.at > 1e9
    assert found.reason == ("why" if verb == "rollback" else None)


@pytest.mark.parametrize(
    ("before", "verb", "to", "problem"),
    [
        ("live", "start", "dualwrite", "start is the step from off to dualwrite"),
        ("off", "promote", "live", "no promotion from there to live"),
        ("off", "promote", "dualwrite", "no promotion from there to dualwrite"),
        ("live", "promote", "dualwrite", "no promotion from there"),
        ("live", "promote", "off", "no promotion from there"),
        ("off", "rollback", "off", "a rollback leads to an earlier one"),
        ("dualwrite", "rollback", "dualwrite", "a rollback leads to an earlier one"),
        ("dualwrite", "rollback", "live", "a rollback leads to an earlier one"),
        ("dualwrite", "promote", "nowhere", "there is no stage 'nowhere'"),
    ],
)
async def test_these_moves_are_refused_and_change_nothing(before: str, verb: str, to: str, problem: str) -> None:
    directory = await register()
    if before != "off":
        await set_stage(directory, "dev", before)
    kept = await read_stages(directory)
    with pytest.raises(HivebusError, match=problem):
        await move(directory, verb, to)
    assert await read_stages(directory) == kept


@pytest.mark.parametrize("to", ["shadow", "rampdown", "complete"])
@pytest.mark.parametrize("verb", ["promote", "rollback"])
async def test_a_stage_of_a_later_release_is_known_and_not_offered(verb: str, to: str) -> None:
    directory = await register()
    await set_stage(directory, "dev", "dualwrite")
    with pytest.raises(Unsupported, match=f"the stage {to} is not offered by this release"):
        await move(directory, verb, to)


@pytest.mark.parametrize(("verb", "to"), [("start", "dualwrite"), ("promote", "live")])
async def test_whoever_is_there_already_stays_with_the_same_epoch(verb: str, to: str) -> None:
    directory = await register()
    await set_stage(directory, "dev", to, epoch=3)
    step = await move(directory, verb, to)
    assert step.before == step.after and step.after.epoch == 3


@pytest.mark.parametrize(("before", "verb", "to"), [("off", "start", "dualwrite"), ("live", "rollback", "off")])
async def test_a_dry_run_says_what_would_be_and_changes_nothing(before: str, verb: str, to: str) -> None:
    directory = await register()
    if before != "off":
        await set_stage(directory, "dev", before)
    kept = await read_stages(directory)
    step = await move(directory, verb, to, dry_run=True)
    assert (step.before.name, step.after.name) == (before, to)
    assert await read_stages(directory) == kept


async def test_an_agent_that_gets_a_stage_of_its_own_goes_on_counting_from_that_of_everyone() -> None:
    directory = await register()
    await set_stage(directory, "*", "dualwrite", epoch=4)
    step = await stages.promote(directory, "dev", "live", by="me")
    assert (step.before.name, step.after.name, step.after.epoch) == ("dualwrite", "live", 5)
    known = await read_stages(directory)
    assert [stage_of(agent, known).name for agent in ("dev", "ops")] == ["live", "dualwrite"]


# --- Two movers at once ------------------------------------------------------------------------------------


class Slow(Register):
    """A directory in which somebody else moves the agent after it was read and before it is written."""

    meanwhile = 0

    async def read(self, kind: str) -> Mapping[str, Entry]:
        entries = await super().read(kind)
        if self.meanwhile == 0:
            self.meanwhile = 1
            other = await register()
            await stages.rollback(other, "dev", "off", by="somebody else", reason="trouble")
        return entries


class Careless(Slow):
    """A directory that does not look at the version."""

    async def write(self, kind: str, name: str, value: Any, *, expect: int | None = None, ttl: Any = None) -> int:
        return await super().write(kind, name, value, expect=None, ttl=ttl)


async def promoted_meanwhile(directory: Slow) -> Stage:
    """Promote an agent that somebody else rolls back at that moment; return where it stands then."""
    await directory.connect()
    await set_stage(await register(), "dev", "dualwrite")
    try:
        await stages.promote(directory, "dev", "live", by="me")
    except Conflict:
        assert type(directory) is Slow
    return (await read_stages(await register()))["dev"]


async def test_of_two_movers_the_second_is_told_and_undoes_nothing() -> None:
    found = await promoted_meanwhile(Slow(Endpoint(url="memory://")))
    assert (found.name, found.by) == ("off", "somebody else")


async def test_saboteur_without_compare_and_set_a_rollback_is_undone_by_a_promotion() -> None:
    found = await promoted_meanwhile(Careless(Endpoint(url="memory://")))
    assert (found.name, found.by) == ("live", "me")


async def test_two_first_moves_at_once_are_one() -> None:
    directory = await register()
    results = await asyncio.gather(
        *(stages.start(directory, "dev", by=str(number)) for number in range(5)), return_exceptions=True
    )
    assert (await read_stages(directory))["dev"].epoch == 1
    assert all(isinstance(result, (Step, Conflict)) for result in results)


# --- What stands in the directory --------------------------------------------------------------------------


def test_a_stage_is_written_and_read_back() -> None:
    stage = Stage("live", 3, "me", 1700000000.5, "why")
    assert from_json(to_json(stage)) == stage
    assert to_json(stage)["stage"] == "live"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"stage": "live"},
        {"stage": "later", "epoch": 1},
        {"stage": "live", "epoch": "1"},
        {"stage": ["live"], "epoch": 1},
    ],
)
def test_what_is_no_stage_counts_as_no_entry(value: object) -> None:
    assert from_json(value) is None


def test_what_else_is_wrong_with_a_stage_is_left_out() -> None:
    assert from_json({"stage": "live", "epoch": 1, "by": 5, "at": "today"}) == Stage("live", 1)
    assert from_json({"stage": "live", "epoch": 1, "at": float("nan")}) == Stage("live", 1)


@pytest.mark.parametrize(
    ("name", "main_acts", "copies"),
    [
        ("off", False, False),
        ("dualwrite", False, True),
        ("shadow", False, True),
        ("live", True, True),
        ("rampdown", True, True),
        ("complete", True, False),
    ],
)
def test_a_stage_of_a_later_release_is_acted_on_by_an_earlier_one(name: str, main_acts: bool, copies: bool) -> None:
    assert (Stage(name).main_acts, Stage(name).copies) == (main_acts, copies)


# --- What a sender knows -----------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_cache, "REFRESH_EVERY", 0.01)


@pytest.fixture
def file(tmp_path: Path) -> StageFile:
    return StageFile(tmp_path / "state" / "ledger.db", namespace="hb")


@pytest.mark.usefixtures("quick")
async def test_a_change_is_learnt_in_the_background(file: StageFile) -> None:
    directory = await register()
    cache = StageCache(lambda: directory, file)
    await cache.start()
    assert cache.of("dev") == Stage()
    await set_stage(directory, "dev", "live")
    await until(lambda: cache.of("dev").name == "live")
    await cache.close()


@pytest.mark.usefixtures("quick")
async def test_the_last_known_stages_hold_while_the_directory_is_away(file: StageFile) -> None:
    directory = await register()
    await set_stage(directory, "dev", "live")
    cache = StageCache(lambda: directory, file)
    await cache.start()
    directory.away = True
    await asyncio.sleep(0.05)
    assert cache.of("dev").name == "live"
    await cache.close()


@pytest.mark.usefixtures("quick")
async def test_another_process_knows_them_too_while_the_directory_is_away(file: StageFile) -> None:
    directory = await register()
    await set_stage(directory, "dev", "live", epoch=2)
    first = StageCache(lambda: directory, file)
    await first.start()
    await first.close()
    directory.away = True
    second = StageCache(lambda: directory, StageFile(file.path.with_name("ledger.db"), namespace="hb"))
    await second.start()
    assert (second.of("dev").name, second.of("dev").epoch, second.of("ops").name) == ("live", 2, "off")
    directory.away = False
    await set_stage(directory, "dev", "dualwrite", epoch=3)
    await until(lambda: second.of("dev").epoch == 3)
    await second.close()


async def test_what_was_never_known_is_off(file: StageFile) -> None:
    directory = await register()
    directory.away = True
    cache = StageCache(lambda: directory, file)
    await cache.start()
    assert cache.of("dev") == Stage()
    await cache.close()


async def test_a_directory_that_hangs_is_away(file: StageFile, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Register):
        async def read(self, kind: str) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr(stage_cache, "PATIENCE", 0.05)
    file.write({"dev": Stage("dualwrite", 1)})
    cache = StageCache(lambda: Hanging(Endpoint(url="memory://")), file)
    await cache.start()
    assert cache.of("dev").name == "dualwrite"
    await cache.close()


def test_two_buses_on_one_ledger_have_files_of_their_own(tmp_path: Path) -> None:
    one, two = (StageFile(tmp_path / "ledger.db", namespace=name) for name in ("one", "two"))
    one.write({"dev": Stage("live", 1)})
    assert two.read() is None


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b'{"dev": 1}'])
def test_a_broken_file_is_no_file(file: StageFile, text: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(text)
    assert not file.read()


def test_a_file_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = StageFile(tmp_path / "file" / "ledger.db", namespace="hb")
    file.write({"dev": Stage("live", 1)})
    assert file.read() is None


def test_a_file_that_is_right_is_left_alone(file: StageFile) -> None:
    file.write({"dev": Stage("live", 1)})
    before = file.path.stat().st_ino
    file.write({"dev": Stage("live", 1)})
    assert file.path.stat().st_ino == before
    file.write({"dev": Stage("off", 2)})
    assert file.read() == {"dev": Stage("off", 2)}
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]
