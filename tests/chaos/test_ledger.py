"""The judge sees what it must: each kind of loss and doubling, in books that are written for it."""

from __future__ import annotations

from pathlib import Path

from .ledger import Book, Line, broker_duplicates, in_hands, judge, read


def lines(*words: str) -> list[Line]:
    """Return lines a second apart: ``"T a"`` is a send of a that begins."""
    parts = [each.split() for each in words]
    return [Line(kind, float(at), message_id, "") for at, (kind, message_id) in enumerate(parts)]


def test_a_message_that_was_sent_and_handled_is_fine() -> None:
    verdict = judge(lines("T a", "A a", "D a", "H a"))

    assert (verdict.lost, verdict.unexpected, verdict.duplicated) == (set(), set(), {})
    assert verdict.sent == verdict.acknowledged == verdict.handled == {"a"}


def test_saboteur_a_message_that_vanishes_is_lost() -> None:
    assert judge(lines("T a", "A a", "T b", "A b", "D b", "H b")).lost == {"a"}


def test_saboteur_a_handler_that_begins_and_never_ends_has_lost_its_message() -> None:
    assert judge(lines("T a", "A a", "D a")).lost == {"a"}


def test_a_dead_letter_is_not_lost() -> None:
    assert judge(lines("T a", "A a"), accounted_for={"a"}).lost == set()


def test_a_send_that_never_returned_promised_nothing() -> None:
    assert judge(lines("T a", "U a")).lost == set()
    assert judge(lines("T a")).lost == set()


def test_saboteur_a_message_that_nobody_sent_is_unexpected() -> None:
    assert judge(lines("T a", "A a", "D a", "H a", "D ghost")).unexpected == {"ghost"}


def test_saboteur_a_message_that_is_handled_twice_for_no_reason_is_unexplained() -> None:
    verdict = judge(lines("F -", "T a", "A a", "D a", "H a", "D a", "H a", "F -"))

    assert verdict.duplicated == {"a": 2} and verdict.unexplained == {"a"}


def test_a_kill_between_two_handlings_explains_them() -> None:
    verdict = judge(lines("T a", "A a", "D a", "H a", "F -", "D a", "H a"))

    assert verdict.duplicated == {"a": 2} and verdict.unexplained == set()


def test_saboteur_one_kill_does_not_explain_three_handlings() -> None:
    verdict = judge(lines("T a", "A a", "D a", "H a", "F -", "D a", "H a", "D a", "H a"))

    assert verdict.duplicated == {"a": 3} and verdict.unexplained == {"a"}


def test_saboteur_an_id_that_is_stored_twice_is_seen() -> None:
    assert broker_duplicates(["a", "b", "a"]) == {"a"}


def test_what_was_begun_and_not_ended_was_in_somebodys_hands() -> None:
    assert in_hands(lines("D a", "D b", "H a")) == {"b"}


def test_books_of_many_processes_are_read_in_order_of_time_and_half_a_line_is_none(tmp_path: Path) -> None:
    one, two = Book(tmp_path, "one"), Book(tmp_path, "two")
    one.write("T", "a")
    two.write("D", "a")
    one.write("A", "a", "stored by a server")
    one.close()
    two.close()
    with (tmp_path / "two").open("a") as file:
        file.write("H 99")

    assert [(line.kind, line.id, line.note) for line in read(tmp_path)] == [
        ("T", "a", ""),
        ("D", "a", ""),
        ("A", "a", "stored by a server"),
    ]
