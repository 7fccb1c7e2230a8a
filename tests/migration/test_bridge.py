"""The bridge: writes the legacy leg for all processes of a machine, each copy once, and reads the shadow inboxes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import ConfigError, HivebusError
from hivebus.transport import Outgoing
from hivebus_migration import bridge as bridge_module
from hivebus_migration import bridge_lock, shadow_reader, spool_writer
from hivebus_migration.bridge import Bridge, Summary
from hivebus_migration.bridge_lock import BridgeLock, is_bridged, lock_path
from hivebus_migration.facts import Fact, Intent, Moment, Spooled, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import fingerprint
from hivebus_migration.spool import Spool
from hivebus_migration.spool_writer import SpoolWriter

from .commands import Hivebus, Program, eventually
from .files_leg import contents, ids
from .house import Files, House, outgoing, server, set_stage, until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_reader, "LOOK_EVERY", 0.02)


class Running:
    """A bridge at work.

    Attributes:
        bridge: it; summary: what it did, once it has ended.
    """

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.summary: Summary | None = None


@asynccontextmanager
async def bridged(house: House, *, legacy: Files | None = None) -> AsyncIterator[Running]:
    """Let a bridge run beside the house's own transports for the length of the block, with the lock."""
    roads: dict[str, Any] = {"memory": await server(), "files": legacy or Files(house.legacy.endpoint)}
    running = Running(Bridge(roads, ledger=house.ledger))
    stop, ready = asyncio.Event(), asyncio.Event()
    with BridgeLock(house.ledger):
        work = asyncio.create_task(running.bridge.run(stop, ready=ready.set))
        try:
            async with asyncio.timeout(20):
                await ready.wait()
            yield running
        finally:
            stop.set()
            async with asyncio.timeout(20):
                running.summary = await work


async def until_attempts(house: House, count: int) -> None:
    await until(lambda: house.ledger.exists() and len(house.attempts("files")) >= count, what=f"{count} attempts")


# --- Copies ------------------------------------------------------------------------------------------------


async def test_with_a_bridge_the_sender_leaves_its_copies_and_the_bridge_writes_them_in_order(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    await set_stage(await server(), "ops", "live")
    async with bridged(house) as running, house.connected() as joined:
        for number in range(50):
            await joined.publish([outgoing("dev", number), outgoing("ops", number)])
        assert house.legacy.batches == []
        await until(lambda: len(contents(house.folder, "ops~shadow")) == 50, what="all copies are written")
        await until(lambda: len(contents(house.folder, "dev~shadow")) == 50, what="all copies are written")
    assert contents(house.folder, "dev~shadow") == contents(house.folder, "ops~shadow") == list(range(50))
    assert running.summary == Summary(written=100, failed=0, seen=0)
    assert house.outcomes("files") == [("accepted", None)] * 100
    with Spool(house.ledger) as spool:
        assert spool.count("files") == 0 and spool.abandoned("files") == []


async def test_what_the_legacy_leg_acts_on_is_written_by_the_sender_itself(house: House) -> None:
    async with bridged(house), house.connected() as joined:
        await joined.publish([outgoing()])
        assert house.legacy.inboxes_written == ["dev"]


async def test_without_a_bridge_the_sender_writes_its_copies_itself(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    async with house.connected() as joined:
        await joined.publish([outgoing()])
    assert house.legacy.inboxes_written == ["dev~shadow"]


async def test_a_copy_of_a_delayed_message_is_not_left_to_a_spool_that_knows_no_delay(house: House) -> None:
    await set_stage(await server(), "dev", "live")
    async with bridged(house) as running, house.connected() as joined:
        await joined.publish([outgoing(delay=60)])
    assert house.outcomes("files") == [("refused", "unsupported")]
    assert running.summary and running.summary.written == 0


async def test_a_window_that_hangs_does_not_hold_up_the_others(house: House) -> None:
    class OneHangs(Files):
        async def publish(self, batch: Any) -> Any:
            if batch[0].inbox == "dev~shadow":
                await gate.wait()
            return await super().publish(batch)

    gate = asyncio.Event()
    await set_stage(await server(), "*", "live")
    async with bridged(house, legacy=OneHangs(house.legacy.endpoint)), house.connected() as joined:
        await joined.publish([outgoing("dev"), outgoing("ops")])
        await until(lambda: ids(house.folder, "ops~shadow"), what="the other window has its copy")
        assert ids(house.folder, "dev~shadow") == []
        gate.set()
    assert len(ids(house.folder, "dev~shadow")) == 1


async def test_a_copy_that_is_too_old_is_given_up(house: House) -> None:
    at = now()
    old, foreign, young = outgoing(), outgoing(), outgoing()
    with Ledger(house.ledger) as ledger:
        ledger.note(*spooled(old, at=at._replace(mono=at.mono - 31 * 10**9)))
        ledger.note(*spooled(foreign, at=at._replace(boot="another")))
        ledger.note(*spooled(young, at=at))
    async with bridged(house) as running:
        await until_attempts(house, 3)
    assert ids(house.folder, "dev~shadow") == [young.message_id]
    assert house.outcomes("files") == [("accepted", None), *[("refused", "expired")] * 2]
    assert running.summary == Summary(written=1, failed=2, seen=0)


async def test_what_a_bridge_had_in_hand_when_it_died_is_not_written_again(house: House) -> None:
    with Ledger(house.ledger) as ledger:
        ledger.note(*spooled(outgoing(), at=now()))
    with Spool(house.ledger) as died:
        assert len(died.take("files")) == 1
    async with bridged(house):
        await until_attempts(house, 1)
    assert ids(house.folder, "dev~shadow") == []
    assert house.outcomes("files") == [("unknown", "abandoned")]


async def test_while_the_legacy_leg_is_away_copies_wait(house: House) -> None:
    legacy = Files(house.legacy.endpoint)
    legacy.away = True
    item = outgoing()
    async with bridged(house, legacy=legacy):
        with Ledger(house.ledger) as ledger:
            ledger.note(*spooled(item, at=now()))
        with Spool(house.ledger) as spool:
            await until(lambda: spool.count("files") == 0, what="it was taken")
        assert house.attempts("files") == []
        legacy.away = False
        await until(lambda: ids(house.folder, "dev~shadow") == [item.message_id], what="it was written")


async def test_what_is_left_when_it_stops_is_given_up_and_written_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "CLOSE_WITHIN", 0.05)
    legacy = Files(house.legacy.endpoint)
    legacy.held = asyncio.Event()
    async with bridged(house, legacy=legacy):
        with Ledger(house.ledger) as ledger:
            ledger.note(*spooled(outgoing(), at=now()))
        async with asyncio.timeout(20):
            await legacy.entered.wait()
    assert house.outcomes("files") == [("unknown", "closed")]
    with Spool(house.ledger) as spool:
        assert spool.abandoned("files") == []


async def test_a_ledger_that_is_locked_for_a_while_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_writer, "PAUSE", 0.02)
    with Ledger(house.ledger) as ledger:
        ledger.note(*spooled(outgoing(), at=now()))
    with closing(sqlite3.connect(house.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with bridged(house):
            await asyncio.sleep(0.1)
            assert ids(house.folder, "dev~shadow") == []
            other.execute("ROLLBACK")
            await until(lambda: ids(house.folder, "dev~shadow"), what="it was written")


async def missing_after_an_end_while_locked(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lock the ledger while a copy is written, end the bridge, and return how many facts are known to be missing."""
    monkeypatch.setattr(bridge_module, "FLUSH_WITHIN", 0.1)
    legacy = Files(house.legacy.endpoint)
    legacy.held = asyncio.Event()
    with Ledger(house.ledger) as ledger:
        ledger.note(*spooled(outgoing(), at=now()))
    with closing(sqlite3.connect(house.ledger, isolation_level=None)) as other:
        async with bridged(house, legacy=legacy):
            await legacy.entered.wait()
            other.execute("BEGIN IMMEDIATE")
            legacy.held.set()
            await until(lambda: ids(house.folder, "dev~shadow"), what="it was written")
        other.execute("ROLLBACK")
    return sum(each.facts for each in house.records().gaps)


async def test_what_it_cannot_note_at_its_end_is_known_to_be_missing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await missing_after_an_end_while_locked(house, monkeypatch) == 1


async def test_saboteur_a_bridge_that_tells_nobody_else_leaves_no_gap(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(Ledger):
        def note(self, *facts: Fact) -> None:
            """Write nothing down."""

    monkeypatch.setattr(
        bridge_module, "SpoolWriter", lambda legacy, spool, ledger: SpoolWriter(legacy, spool, Forgetful(ledger.path))
    )
    assert await missing_after_an_end_while_locked(house, monkeypatch) == 0


async def test_a_ledger_that_was_replaced_is_followed(house: House) -> None:
    async with bridged(house):
        for number in range(3):
            with Ledger(house.ledger) as ledger:
                ledger.note(*spooled(outgoing(content=number), at=now()))
            await until_attempts(house, 1)
            assert contents(house.folder, "dev~shadow") == list(range(number + 1))
            # Only now, when nobody is about to open it: SQLite's helper files are found by their names.
            for each in ("-wal", "-shm", ""):
                house.ledger.with_name(f"ledger.db{each}").unlink(missing_ok=True)


async def test_a_wrong_setting_ends_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(self: Files) -> Any:
        raise ConfigError("no such socket name")

    monkeypatch.setattr(Files, "connect", connect)
    bridge = Bridge({"memory": await server(), "files": house.legacy}, ledger=house.ledger)
    with pytest.raises(ConfigError, match="no such socket name"):
        await bridge.run(asyncio.Event(), ready=lambda: None)


async def test_a_bug_ends_it_instead_of_leaving_half_a_bridge(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(self: Spool, leg: str) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(Spool, "count", count)
    bridge = Bridge({"memory": await server(), "files": house.legacy}, ledger=house.ledger)
    async with asyncio.timeout(20):
        with pytest.raises(ZeroDivisionError):
            await bridge.run(asyncio.Event(), ready=lambda: None)


async def test_it_reads_the_shadow_inboxes_meanwhile(house: House) -> None:
    await set_stage(await server(), "dev", "dualwrite")
    async with bridged(house) as running, house.connected() as joined:
        await joined.publish([outgoing() for _ in range(3)])
        await until(lambda: running.bridge._readers.seen == 3, what="all copies were seen")
    assert running.summary == Summary(written=0, failed=0, seen=3)


def spooled(item: Outgoing, *, at: Moment) -> tuple[Intent, Spooled]:
    """Return what a sender writes down that leaves a copy to the bridge."""
    legs = dict.fromkeys(("memory", "files"), fingerprint(item.data))
    intent = Intent(
        item.message_id, item.inbox, "pm", "session", 1, "event", 2, len(item.data), "live", 1, "memory", legs, at
    )
    copy = Spooled("files", f"{item.inbox}~shadow", item.message_id, item.routing_key, 2, None, item.data, at)
    return intent, copy


# --- One bridge --------------------------------------------------------------------------------------------


def test_of_two_bridges_the_second_is_told_who_the_first_is(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_lock, "PROBED_WITHIN", 0.1)
    assert not is_bridged(house.ledger)
    with BridgeLock(house.ledger):
        assert is_bridged(house.ledger)
        with pytest.raises(HivebusError, match=f"another bridge is running: process {os.getpid()}"):
            BridgeLock(house.ledger).__enter__()
        assert is_bridged(house.ledger)
    assert not is_bridged(house.ledger)
    with BridgeLock(house.ledger):
        pass


def test_saboteur_without_the_lock_two_bridges_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_lock, "_locked", lambda file, how: True)
    with BridgeLock(house.ledger), BridgeLock(house.ledger):
        assert not is_bridged(house.ledger)


def test_a_sender_that_asks_at_that_moment_does_not_keep_a_bridge_from_starting(house: House) -> None:
    lock_path(house.ledger).touch()
    file = os.open(lock_path(house.ledger), os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_SH)
    # Another sender is not taken for a bridge either.
    assert not is_bridged(house.ledger)
    loop = asyncio.new_event_loop()
    loop.run_in_executor(None, lambda: (fcntl.flock(file, fcntl.LOCK_UN), os.close(file)))
    with BridgeLock(house.ledger):
        assert is_bridged(house.ledger)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


# --- As a process ------------------------------------------------------------------------------------------


@pytest.fixture
def bridge(hivebus: Hivebus) -> Any:
    program = hivebus.start("bridge", "run", "--json")
    program.until_said("the bridge is ready")
    yield program
    if program.process.poll() is None:
        program.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_written_down(hivebus: Hivebus, bridge: Program, number: int) -> None:
    hivebus.ok("migrate", "start", "dev")
    hivebus.ok("migrate", "start", "ops")
    hivebus.ok("migrate", "promote", "dev", "--to", "live")
    hivebus.ok("send", "dev", "mirrored", "--agent", "pm")
    hivebus.ok("send", "ops", "compared", "--agent", "pm")
    eventually(lambda: contents(hivebus.folder, "dev~shadow"), what="the copy is written")
    eventually(lambda: sightings(hivebus), what="the other copy is seen")
    assert bridge.end(number) == 0
    assert json.loads(bridge.printed[-1]) == {"schema": "hivebus.bridge.run/1", "written": 1, "failed": 0, "seen": 1}
    assert contents(hivebus.folder, "dev~shadow") == ["mirrored"]
    assert contents(hivebus.folder, "ops") == ["compared"]


def test_it_gives_way_to_agents(bridge: Program) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, bridge.process.pid) == min(19, mine + 10)


def test_a_server_that_it_starts_gives_way_to_nobody(hivebus: Hivebus) -> None:
    del hivebus.env["HIVEBUS_URL"]
    program = hivebus.start("bridge", "run")
    try:
        program.until_said("the bridge is ready")
        started = json.loads(hivebus.ok("up", "--json"))["pid"]
        assert os.getpriority(os.PRIO_PROCESS, started) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        program.end()
        hivebus.ok("down")


def test_a_second_one_exits_with_1_and_names_the_first(hivebus: Hivebus, bridge: Program) -> None:
    done = hivebus("bridge", "run")
    assert done.returncode == 1
    assert f"another bridge is running: process {bridge.process.pid}" in done.stderr


def test_one_that_is_killed_leaves_its_place_to_the_next(hivebus: Hivebus, bridge: Program) -> None:
    bridge.kill()
    again = hivebus.start("bridge", "run")
    again.until_said("the bridge is ready")
    assert again.end() == 0
    assert again.printed == ["wrote 0 copies, 0 failed; saw 0 in shadow inboxes\n"]


def test_it_waits_for_either_side(hivebus: Hivebus) -> None:
    hivebus.folder.rmdir()
    url, hivebus.env["HIVEBUS_URL"] = hivebus.env["HIVEBUS_URL"], f"unix://{hivebus.home}/late.sock"
    program = hivebus.start("bridge", "run")
    program.until_said("the bridge is ready")
    assert "redis away, files away" in program.said[-1]
    os.symlink(url.removeprefix("unix://"), hivebus.home / "late.sock")
    hivebus.folder.mkdir()
    try:
        hivebus.ok("migrate", "start", "dev")
        hivebus.ok("send", "dev", "compared", "--agent", "pm")
        eventually(lambda: sightings(hivebus), what="the copy is seen")
    finally:
        assert program.end() == 0


def test_without_a_second_road_it_says_what_to_set(hivebus: Hivebus) -> None:
    del hivebus.env["HIVEBUS_LEGACY_URL"]
    done = hivebus("bridge", "run")
    assert done.returncode == 78
    assert "HIVEBUS_LEGACY_URL=tmux://" in done.stderr


def sightings(hivebus: Hivebus) -> list[Any]:
    with closing(sqlite3.connect(f"file:{hivebus.ledger}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT * FROM sighting").fetchall()
