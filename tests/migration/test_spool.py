"""The spool: copies wait for the process that writes a leg, each is taken once, and deleted when it is done."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from hivebus.errors import Unavailable
from hivebus_migration import spool as spool_module
from hivebus_migration.facts import Attempt, Spooled
from hivebus_migration.ledger import Ledger
from hivebus_migration.spool import Done, Spool, Waiting

from .scenes import at, write
from .writers import Writer

BODY = b'{"body": "a secret that must not stay"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def copy(number: int, *, leg: str = "tmux", ttl: float | None = None) -> Spooled:
    return Spooled(leg, "dev~shadow", f"m{number}", "agent.dev.event", 3, ttl, BODY, at(number))


def test_a_copy_is_taken_as_it_was_left(path: Path) -> None:
    write(path, copy(1, ttl=2.5), copy(2))
    with Spool(path) as spool:
        assert [each.copy for each in spool.take("tmux")] == [copy(1, ttl=2.5), copy(2)]


def test_copies_are_taken_oldest_first_and_no_more_than_asked_for(path: Path) -> None:
    write(path, *map(copy, range(10)))
    with Spool(path) as spool:
        assert spool.count("tmux") == 10
        assert [each.copy.message_id for each in spool.take("tmux", limit=3)] == ["m0", "m1", "m2"]
        assert spool.count("tmux") == 7
        assert [each.copy.message_id for each in spool.take("tmux", limit=100)] == [f"m{each}" for each in range(3, 10)]
        assert spool.take("tmux") == []


def done(*copies: Waiting) -> list[Done]:
    """Say that a leg took the copies."""
    return [
        Done(each.row, Attempt(each.copy.message_id, "dev", "tmux", "safe", "accepted", None, 0.1)) for each in copies
    ]


def left_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM spool").fetchone()[0])


def attempted(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as file:
        return [row[0] for row in file.execute("SELECT message_id FROM attempt")]


def test_what_is_done_is_deleted_and_noted_as_the_next_are_taken(path: Path) -> None:
    write(path, *map(copy, range(3)))
    with Spool(path) as spool:
        (first,) = spool.take("tmux", limit=1)
        assert [each.copy.message_id for each in spool.take("tmux", limit=1, done=done(first))] == ["m1"]
        assert (left_in(path), attempted(path)) == (2, ["m0"])


def test_what_cannot_be_deleted_is_not_noted_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, copy(0))
    with Spool(path) as spool:
        taken = spool.take("tmux")
        with monkeypatch.context() as broken:
            broken.setattr(spool_module, "_DONE", "DELETE FROM nothing WHERE id = ?")
            with pytest.raises(Unavailable):
                spool.done(done(*taken))
        assert (left_in(path), attempted(path)) == (1, [])
        spool.done(done(*taken))
        assert (left_in(path), attempted(path)) == (0, ["m0"])


def lost_in_a_new_file(path: Path) -> int:
    """Replace the file while a copy is in hand, finish that, and return how many copies of the new file are missing."""
    write(path, copy(0))
    with Spool(path) as spool:
        (old,) = spool.take("tmux")
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    write(path, copy(1), copy(2))
    with Spool(path) as spool:
        return 2 - len(spool.take("tmux", done=done(old)))


def test_what_is_done_in_a_file_that_was_replaced_deletes_nothing_in_the_new_one(path: Path) -> None:
    assert lost_in_a_new_file(path) == 0


def test_saboteur_rows_that_are_deleted_by_their_number_alone_take_others_with_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_DONE", "DELETE FROM spool WHERE id = ?")
    assert lost_in_a_new_file(path) == 1


def test_a_leg_has_its_own_copies(path: Path) -> None:
    write(path, copy(1), copy(2, leg="files"))
    with Spool(path) as spool:
        assert [each.copy.message_id for each in spool.take("files")] == ["m2"]
        assert spool.count("tmux") == 1


def test_a_spool_that_nobody_left_anything_in_is_empty(path: Path) -> None:
    with Spool(path) as spool:
        assert (spool.take("tmux"), spool.abandoned("tmux"), spool.count("tmux")) == ([], [], 0)


def check_that_every_copy_is_taken_once(path: Path) -> None:
    write(path, *map(copy, range(400)))
    taken: list[str] = []

    def take() -> None:
        with Spool(path) as spool:
            while got := spool.take("tmux", limit=7):
                taken.extend(each.copy.message_id for each in got)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(taken) == sorted(f"m{number}" for number in range(400))


def test_of_several_takers_one_gets_a_copy(path: Path) -> None:
    check_that_every_copy_is_taken_once(path)


def test_saboteur_a_spool_that_does_not_say_who_took_a_copy_is_found_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the mark nothing would ever stop to be taken: let it stop after a while.
    unmarked = spool_module._TAKE.replace("taken_by = :taker", "taken_by = iif(random() > 0, :taker, NULL)")
    assert unmarked != spool_module._TAKE
    monkeypatch.setattr(spool_module, "_TAKE", unmarked)
    with pytest.raises(AssertionError):
        check_that_every_copy_is_taken_once(path)


def test_what_a_taker_that_died_had_in_hand_is_known_and_not_handed_out_again(path: Path) -> None:
    write(path, *map(copy, range(5)))
    program = """
from hivebus_migration.spool import Done, Spool
spool = Spool(path)
spool.done([Done(each.row, message(0)[-1]) for each in spool.take("tmux", limit=1)])
spool.take("tmux", limit=2)
say("taken")
hear("die")
"""
    with Writer(path, program) as taker:
        taker.hear("taken")
        taker.process.kill()
        taker.end()
    with Spool(path) as spool:
        assert [each.copy.message_id for each in spool.take("tmux")] == ["m3", "m4"]
        left = spool.abandoned("tmux")
        assert [each.copy.message_id for each in left] == ["m1", "m2"]
        spool.done(done(*left))
        assert spool.abandoned("tmux") == []


def check_that_nothing_stays(path: Path) -> None:
    write(path, *map(copy, range(50)))
    assert BODY in path.read_bytes()
    with Spool(path) as spool:
        spool.done(done(*spool.take("tmux")))
    files = list(path.parent.iterdir())
    assert [each.name for each in files if BODY in each.read_bytes()] == []


def test_what_is_done_leaves_nothing_in_the_file(path: Path) -> None:
    check_that_nothing_stays(path)


def test_saboteur_a_file_that_only_forgets_where_a_body_was_is_found_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(at: Path) -> sqlite3.Connection:
        connection = opened(at)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    opened = spool_module.open_file
    monkeypatch.setattr(spool_module, "open_file", careless)
    with pytest.raises(AssertionError):
        check_that_nothing_stays(path)


def test_a_locked_spool_is_unavailable_and_nothing_is_taken(path: Path) -> None:
    write(path, *map(copy, range(3)))
    with Spool(path) as spool:
        taken = spool.take("tmux", limit=1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable, match="the spool in .* cannot be used"):
                spool.take("tmux")
            with pytest.raises(Unavailable):
                spool.done(done(*taken))
            with pytest.raises(Unavailable):
                spool.take("tmux", done=done(*taken))
        assert len(spool.take("tmux")) == 2


def test_a_spool_that_is_in_nobodys_reach_is_unavailable(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    with Spool(path) as spool, pytest.raises(Unavailable):
        spool.take("tmux")


def test_many_large_copies_leave_less_room_for_others(path: Path) -> None:
    large = copy(1)._replace(data=b"x" * 512 * 60)
    with Ledger(path, room=100) as ledger:
        ledger.note(large, large._replace(message_id="m2"))
        assert ledger.missing == 2
        ledger.note(large)
        assert ledger.flush(within=30) is False
        assert ledger.missing == 2
