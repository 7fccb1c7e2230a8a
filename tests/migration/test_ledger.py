"""The ledger takes facts from many threads and processes, and keeps them as they are."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from hivebus_migration import ledger as ledger_module
from hivebus_migration import ledger_file, schema
from hivebus_migration.comparison import compare
from hivebus_migration.facts import Fact, Gap, Intent, Spooled, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.ledger_file import KEEP_DAYS, open_file
from hivebus_migration.records import Records, read_records

from .scenes import Scene, at, attempt, both_delivered, intent, sighting, witness, write
from .writers import Writer

DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found)


# --- What is noted is read ------------------------------------------------------------------------


def test_every_kind_of_fact_is_read_as_it_was_noted(path: Path) -> None:
    facts: list[Fact] = [
        intent(1, legs={"redis": "a", "tmux": "b"}),
        attempt(1, "tmux", outcome="refused", reason="dead_pane"),
        sighting(1, "redis", fingerprint=None),
        witness("dev", "tmux"),
        Gap(3, "locked", at(1), at(2)),
    ]
    write(path, *facts)
    assert read_records(path) == Records(*([each] for each in facts))


def test_nothing_is_opened_before_the_first_fact(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger.flush()
        assert not path.parent.exists()
        ledger.note(witness("dev", "tmux"))
        assert ledger.flush(within=30)
    assert path.exists()


def test_file_and_folder_are_for_their_owner_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.note(witness("dev", "tmux"))
        assert ledger.flush(within=30)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_ledger_that_was_closed_is_opened_again_by_the_next_fact(path: Path) -> None:
    ledger = Ledger(path)
    for number in range(3):
        ledger.note(witness("dev", "tmux", at=at(number)))
        ledger.close(within=30)
        ledger.close()
        assert count(path, "witness") == number + 1


def test_facts_are_written_without_a_flush(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.note(witness("dev", "tmux"))
        deadline = time.monotonic() + 30
        while not (path.exists() and ledger.flush(within=0.0)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert count(path, "witness") == 1


def test_facts_of_many_are_written_in_few_transactions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    written = ledger_file.LedgerFile.write

    def counting(self: ledger_file.LedgerFile, facts: list[Fact]) -> None:
        batches.append(len(facts))
        written(self, facts)

    monkeypatch.setattr(ledger_file.LedgerFile, "write", counting)
    with Ledger(path) as ledger:
        for number in range(5000):
            ledger.note(sighting(number, "tmux"))
        assert ledger.flush(within=30)
    assert sum(batches) == 5000
    assert max(batches) <= ledger_module.BATCH
    assert len(batches) < 100


def written_before_the_next_write(path: Path, *, linger: float) -> int:
    """Note one fact, and more once that is written; return how many are written without being asked for."""
    open_file(path).close()
    with Ledger(path, linger=linger) as ledger:
        ledger.note(sighting(0, "tmux"))
        deadline = time.monotonic() + 30
        while count(path, "sighting") < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        for number in range(1, 20):
            ledger.note(sighting(number, "tmux"))
        time.sleep(0.2)
        found = count(path, "sighting")
        assert ledger.flush(within=30)
    assert count(path, "sighting") == 20
    return found


def test_what_comes_behind_a_quiet_time_is_written_at_once_and_more_of_it_together(path: Path) -> None:
    assert written_before_the_next_write(path, linger=3600) == 1


def test_saboteur_a_ledger_that_never_waits_writes_what_could_have_waited(path: Path) -> None:
    assert written_before_the_next_write(path, linger=0) > 1


def check_that_a_message_sent_again_is_one_message(path: Path) -> None:
    write(path, intent(1, sent=1), attempt(1, "tmux"))
    write(path, intent(1, sent=5), attempt(1, "tmux"), intent(1, "qa"))
    assert [(each.agent, each.at) for each in read_records(path).intents] == [("dev", at(1)), ("qa", at(1))]
    assert count(path, "attempt") == 2


def test_a_message_that_is_sent_again_is_one_message(path: Path) -> None:
    check_that_a_message_sent_again_is_one_message(path)


def test_saboteur_a_ledger_that_replaces_what_it_knows_is_found_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing = schema.statement(Intent).replace("IGNORE", "REPLACE")
    monkeypatch.setitem(schema._STATEMENTS, Intent, replacing)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        check_that_a_message_sent_again_is_one_message(path)


def test_a_fact_that_no_row_can_hold_costs_only_itself(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.note(*(sighting(number, "tmux") for number in range(50)))
        ledger.note(sighting(50, "tmux", fingerprint="\ud800"), sighting(51, "tmux", fingerprint=object()))
        ledger.note(*(sighting(number, "tmux") for number in range(52, 100)))
        assert not ledger.flush(within=30)
        assert ledger.missing == 2
    records = read_records(path)
    assert len(records.sightings) == 98
    assert sum(gap.facts for gap in records.gaps if gap.reason == "unwritable") == 2


# --- Many at once ---------------------------------------------------------------------------------


def test_eight_processes_append_to_one_file_and_nothing_is_lost(path: Path) -> None:
    program = """
with Ledger(path) as ledger:
    hear("go")
    for number in range(400):
        ledger.note(*message(number))
        if number % 50 == 0:
            time.sleep(0.01)
    say(f"{ledger.flush(within=60)} {ledger.missing}")
"""
    writers = [Writer(path, program, name=f"w{number}") for number in range(8)]
    try:
        for each in writers:
            each.say("go")
        for each in writers:
            each.hear("True 0")
            assert each.end() == 0
    finally:
        for each in writers:
            each.__exit__()
    records = read_records(path)
    assert Counter(each.session for each in records.intents) == {f"w{number}": 400 for number in range(8)}
    assert len(records.attempts) == 2 * 8 * 400
    assert (records.gaps, count(path, "intent")) == ([], 3200)


def test_threads_share_a_ledger(path: Path) -> None:
    with Ledger(path) as ledger:

        def note(begin: int) -> None:
            for number in range(begin, begin + 500):
                ledger.note(sighting(number, "tmux"))

        threads = [threading.Thread(target=note, args=(500 * number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert ledger.flush(within=30)
    assert len({each.message_id for each in read_records(path).sightings}) == 4000


def test_a_writer_that_is_killed_loses_what_was_not_flushed_from_both_legs(path: Path) -> None:
    program = """
ledger = Ledger(path)
for number in range(100):
    ledger.note(*message(number))
assert ledger.flush(within=60)
say("flushed")
hear("locked")
for number in range(100, 130):
    ledger.note(*message(number))
say("noted")
hear("die")
"""
    with Writer(path, program) as writer:
        writer.hear("flushed")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            writer.say("locked")
            writer.hear("noted")
            writer.process.kill()
            assert writer.end() == -9
    # The far ends saw all of them: other processes wrote that down.
    seen = [sighting(0, leg, message_id=f"w-{number}", at=now()) for number in range(130) for leg in ("redis", "tmux")]
    write(path, *(each._replace(fingerprint="f") for each in seen))
    found = compare(read_records(path), now=now())
    assert {leg: (row.tally.sent, row.tally.proven) for leg, row in found.legs.items()} == {
        "redis": (100, 100), "tmux": (100, 100),
    }  # fmt: skip
    assert found.strangers == 60


def test_a_fork_begins_a_ledger_of_its_own(path: Path) -> None:
    program = """
ledger = Ledger(path)
for number in range(50):
    ledger.note(*message(number))
assert ledger.flush(within=60)
ledger.note(*message(50))
child = os.fork()
if child == 0:
    name = "child"
    for number in range(50):
        ledger.note(*message(number))
    os._exit(0 if ledger.flush(within=60) else 1)
for number in range(51, 100):
    ledger.note(*message(number))
assert os.waitpid(child, 0)[1] == 0
ledger.close(within=60)
say(str(ledger.missing))
"""
    with Writer(path, program) as writer:
        writer.hear("0")
        assert writer.end() == 0
    records = read_records(path)
    assert Counter(each.session for each in records.intents) == {"w": 100, "child": 50}
    assert len(records.attempts) == 300


def test_no_connection_is_carried_into_a_fork(path: Path) -> None:
    program = """
ledger = Ledger(path)
ledger.note(*message(0))
assert ledger.flush(within=60)
child = os.fork()
if child == 0:
    held = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")]
    os._exit(int(any(str(path) in each for each in held)))
say(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""  # noqa: E501
    with Writer(path, program) as writer:
        writer.hear("0")


ASK_FOR_THE_LOCK = """
import fcntl
# SQLite holds a shared lock on these bytes of a file that it has open.
with open(path, "rb+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
        say("free")
    except OSError:
        say("held")
"""


def check_that_two_ledgers_of_one_process_keep_their_locks(path: Path) -> None:
    with Ledger(path) as first, Ledger(path) as second:
        for ledger in (first, second):
            ledger.note(witness("dev", "tmux"))
            assert ledger.flush(within=30)
        with Writer(path, ASK_FOR_THE_LOCK) as writer:
            writer.hear("held")


def test_two_ledgers_of_one_process_keep_their_locks(path: Path) -> None:
    check_that_two_ledgers_of_one_process_keep_their_locks(path)


def test_saboteur_to_close_a_file_that_is_open_elsewhere_ends_its_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_file, "_make_file", lambda path: os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600)))
    with pytest.raises(AssertionError, match="free"):
        check_that_two_ledgers_of_one_process_keep_their_locks(path)


def test_who_ends_without_closing_still_leaves_its_facts(path: Path) -> None:
    with Writer(path, "ledger = Ledger(path); ledger.note(*message(1))") as writer:
        assert writer.end() == 0
    assert [each.message_id for each in read_records(path).intents] == ["w-1"]


# --- What is kept ---------------------------------------------------------------------------------


def age(path: Path, table: str, *, days: float) -> None:
    """Make all rows of a table look as if they had been written so many days earlier."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET noted = noted - ?", (round(days * DAY * 1e9),))


def whole_scene(path: Path) -> Scene:
    scene = both_delivered()
    scene.gaps = [Gap(1, "locked", at(0), at(1))]
    scene.write(path)
    write(path, Spooled("tmux", "dev", "m", "k", 2, None, b"x", now()))
    return scene


TABLES = ("intent", "attempt", "sighting", "gap", "spool")


def test_facts_older_than_thirty_days_are_forgotten_when_the_file_is_opened(path: Path) -> None:
    whole_scene(path)
    for table in (*TABLES, "witness"):
        age(path, table, days=KEEP_DAYS + 1.5)
    write(path, intent(900), attempt(900, "tmux"), sighting(900, "tmux"), Gap(1, "locked", at(0), at(1)))
    assert {table: count(path, table) for table in TABLES} == {
        "intent": 1, "attempt": 1, "sighting": 1, "gap": 1, "spool": 0,
    }  # fmt: skip


def test_the_last_witness_of_a_reader_is_kept_however_old(path: Path) -> None:
    whole_scene(path)
    write(path, witness("dev", "tmux", at=at(5)), witness("dev", "tmux", level="acked", at=at(6)))
    for table in (*TABLES, "witness"):
        age(path, table, days=400)
    write(path, intent(900))
    kept = {(each.agent, each.leg, each.level): each.at for each in read_records(path).witnesses}
    assert len(kept) == 5
    assert kept["dev", "tmux", "taken"] == at(5)


def test_what_is_not_yet_too_old_is_kept(path: Path) -> None:
    whole_scene(path)
    before = {table: count(path, table) for table in TABLES}
    for table in TABLES:
        age(path, table, days=KEEP_DAYS - 1)
    write(path, witness("dev", "tmux"))
    assert {table: count(path, table) for table in TABLES} == before


def test_old_facts_are_looked_for_no_more_than_once_a_day(path: Path) -> None:
    whole_scene(path)
    for table in TABLES:
        age(path, table, days=KEEP_DAYS + 0.5)
    write(path, witness("dev", "tmux"))
    assert count(path, "intent") == 30


def test_a_file_of_a_newer_release_is_left_alone(path: Path) -> None:
    with closing(open_file(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with Ledger(path) as ledger:
        ledger.note(witness("dev", "tmux"))
        assert not ledger.flush(within=0.5)
        ledger.close(within=0.0)
    assert count(path, "witness") == 0
