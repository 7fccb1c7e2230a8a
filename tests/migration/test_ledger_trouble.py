"""Whatever is wrong with the ledger's file, sending goes on; what could not be written is counted, and shown."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hivebus_migration import ledger_file, missing
from hivebus_migration.comparison import compare
from hivebus_migration.facts import Gap, now
from hivebus_migration.ledger import WRITER, Ledger
from hivebus_migration.missing import beside
from hivebus_migration.records import read_records
from hivebus_migration.report import make_report
from hivebus_migration.report_text import report_text

from .scenes import sighting, witness, write
from .writers import Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file as a program that stands still in the middle of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def note(ledger: Ledger, count: int, *, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        ledger.note(sighting(number, "tmux"))


def give_up(ledger: Ledger) -> None:
    """Close a ledger that cannot be written, and wait for its writer, which a busy machine may hold up."""
    ledger.close(within=0.1)
    for thread in threading.enumerate():
        if thread.name == WRITER:
            thread.join(60)


def gaps(path: Path) -> dict[str, int]:
    """Return how many facts missing, by reason."""
    found: dict[str, int] = {}
    for each in read_records(path).gaps:
        found[each.reason] = found.get(each.reason, 0) + each.facts
    return found


def shown(path: Path) -> str:
    return report_text(make_report(path, since=3600, deadline=30, now=now()))


# --- Locked ---------------------------------------------------------------------------------------


def test_facts_wait_while_another_program_holds_the_file(path: Path) -> None:
    write(path, witness("dev", "tmux"))
    with Ledger(path) as ledger:
        with locked(path):
            note(ledger, 3000)  # returns, although nothing can be written
            assert not ledger.flush(within=0.1)
        assert ledger.flush(within=30)
        assert ledger.missing == 0
    records = read_records(path)
    assert (len(records.sightings), records.gaps) == (3000, [])


def check_that_what_found_no_room_is_a_gap(path: Path) -> None:
    write(path, witness("dev", "tmux"))
    with Ledger(path, room=100) as ledger:
        with locked(path):
            note(ledger, 350)
            assert not ledger.flush(within=0.1)
            assert ledger.missing == 250
        assert ledger.flush(within=30)  # it was said above that something is missing
        note(ledger, 10, begin=350)
        assert ledger.flush(within=30)
    assert len(read_records(path).sightings) == 110
    # Those that come before the first write has failed find no room for no known reason.
    assert sum(gaps(path).values()) == 250
    assert sum(map(int, re.findall(r"(\d+) facts missing", shown(path)))) == 250


def test_what_finds_no_room_while_the_file_is_locked_is_counted_and_noted(path: Path) -> None:
    check_that_what_found_no_room_is_a_gap(path)


def test_saboteur_a_ledger_that_counts_no_missing_facts_is_found_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing.Missing, "add", lambda *_: None)
    with pytest.raises(AssertionError):
        check_that_what_found_no_room_is_a_gap(path)


def check_that_an_end_while_locked_leaves_a_gap(path: Path) -> None:
    write(path, witness("dev", "tmux"))
    with locked(path):
        ledger = Ledger(path)
        note(ledger, 20)
        give_up(ledger)
        assert ledger.missing == 20
    assert gaps(path) == {"locked": 20}
    assert "20 facts missing (locked)" in shown(path)


def test_a_process_that_ends_while_the_file_is_locked_leaves_a_note_beside_it(path: Path) -> None:
    check_that_an_end_while_locked_leaves_a_gap(path)
    assert beside(path).stat().st_mode & 0o777 == 0o600


def test_saboteur_a_ledger_that_leaves_no_note_is_found_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "_append", lambda *_: None)
    with pytest.raises(AssertionError):
        check_that_an_end_while_locked_leaves_a_gap(path)


def test_notes_of_several_processes_add_up_and_a_torn_line_is_skipped(path: Path) -> None:
    for _ in range(2):
        if beside(path).exists():
            beside(path).write_text(beside(path).read_text() + '[7, "torn\n[]\n{}\n')
        check = Ledger(path)
        write(path, witness("dev", "tmux"))
        with locked(path):
            note(check, 20)
            give_up(check)
    assert gaps(path) == {"locked": 40}


def test_a_note_is_removed_when_it_is_older_than_what_a_ledger_keeps(path: Path) -> None:
    check_that_an_end_while_locked_leaves_a_gap(path)
    long_ago = beside(path).stat().st_mtime - missing.KEEP_SECONDS - 60
    os.utime(beside(path), (long_ago, long_ago))
    write(path, witness("dev", "tmux"))
    assert not beside(path).exists()


def test_the_ledger_is_read_while_another_program_holds_it(path: Path) -> None:
    write(path, witness("dev", "tmux"))
    with locked(path):
        assert len(read_records(path).witnesses) == 1


# --- No disk --------------------------------------------------------------------------------------

FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv[2])
ledger = Ledger(path, room=room)
ledger.note(*message(0))
assert ledger.flush(within=60)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + 40_000, resource.RLIM_INFINITY))
for number in range(1, 2000):
    ledger.note(*message(number))
assert not ledger.flush(within=1)
say("full")
hear("more")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
complete = ledger.flush(within=60)
ledger.close(within=60)
say(f"{complete} {ledger.missing}")
"""


def test_facts_wait_while_the_disk_is_full(path: Path) -> None:
    with Writer(path, FULL, name="50000") as writer:
        writer.hear("full")
        writer.say("more")
        writer.hear("True 0")
        assert writer.end() == 0
    records = read_records(path)
    assert (len(records.intents), len(records.attempts), records.gaps) == (2000, 4000, [])


def test_what_finds_no_room_while_the_disk_is_full_is_counted_and_noted(path: Path) -> None:
    with Writer(path, FULL, name="3000") as writer:
        writer.hear("full")
        writer.say("more")
        said = writer.process.stdout.readline().split()  # type: ignore[union-attr]
        assert writer.end() == 0
    records = read_records(path)
    written = len(records.intents) + len(records.attempts)
    assert said == ["True", str(6000 - written)]
    assert sum(gaps(path).values()) == 6000 - written > 0


# --- Folder and file ------------------------------------------------------------------------------


def vanish(path: Path) -> None:
    shutil.rmtree(path.parent)


def check_that_a_vanished_folder_is_made_again(path: Path) -> None:
    with Ledger(path) as ledger:
        note(ledger, 5)
        assert ledger.flush(within=30)
        vanish(path)
        note(ledger, 7, begin=5)
        assert ledger.flush(within=30)
    assert len(read_records(path).sightings) == 7
    assert gaps(path) == {"file_replaced": 5}


def test_a_folder_that_vanishes_is_made_again_and_what_was_in_it_is_a_gap(path: Path) -> None:
    check_that_a_vanished_folder_is_made_again(path)


def test_saboteur_a_ledger_that_does_not_look_after_its_file_is_found_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_file.LedgerFile, "_leave_if_replaced", lambda self: None)
    with pytest.raises(Exception, match="there is no ledger"):
        check_that_a_vanished_folder_is_made_again(path)


def test_a_file_that_is_moved_away_is_begun_anew(path: Path) -> None:
    with Ledger(path) as ledger:
        note(ledger, 5)
        assert ledger.flush(within=30)
        path.rename(path.with_name("old.db"))
        note(ledger, 7, begin=5)
        assert ledger.flush(within=30)
    assert (len(read_records(path).sightings), gaps(path)) == (7, {"file_replaced": 5})


def in_the_way_of_the_folder(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")


def in_the_way_of_the_file(path: Path) -> None:
    path.mkdir(parents=True)


def damage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and was never one. " * 100)


def remove(path: Path) -> None:
    if path.parent.is_dir():
        vanish(path)
    else:
        path.parent.unlink()


@pytest.mark.parametrize("trouble", [in_the_way_of_the_folder, in_the_way_of_the_file, damage])
def test_facts_wait_until_what_is_in_the_way_is_gone(path: Path, trouble: Any) -> None:
    trouble(path)
    with Ledger(path, room=50) as ledger:
        note(ledger, 60)
        assert not ledger.flush(within=0.1)
        remove(path)
        assert ledger.flush(within=30)
        assert ledger.missing == 10
    assert (len(read_records(path).sightings), sum(gaps(path).values())) == (50, 10)


def test_a_process_that_can_note_nothing_anywhere_still_ends(path: Path) -> None:
    in_the_way_of_the_folder(path)
    ledger = Ledger(path)
    note(ledger, 5)
    give_up(ledger)
    assert ledger.missing == 5


def test_a_file_that_is_damaged_in_the_middle_harms_nobody_who_sends(path: Path) -> None:
    write(path, *(sighting(number, "tmux") for number in range(500)))
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    ledger = Ledger(path)
    note(ledger, 5, begin=500)
    assert not ledger.flush(within=1)
    give_up(ledger)
    assert ledger.missing == 5
    (left,) = missing.left_behind(path)
    assert (left.facts, left.reason) == (5, "damaged")


# --- What a gap means -----------------------------------------------------------------------------


def test_a_gap_is_reported_in_its_window_and_not_for_ever(path: Path) -> None:
    at = now()
    long_ago = at._replace(wall=at.wall - 86_400 * 10**9)
    write(path, Gap(3, "locked", long_ago, long_ago), Gap(4, "disk_full", long_ago, at))
    since = at.wall - 3600 * 10**9
    assert [each.facts for each in read_records(path, since=since).gaps] == [4]
    assert [each.facts for each in compare(read_records(path), now=at).gaps] == [3, 4]
