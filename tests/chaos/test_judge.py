"""The judges see what they must: every kind of breach, in books that are written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivebus_redis.drill.evidence import Evidence, gather
from hivebus_redis.drill.invariants import INVARIANTS, TITLES, judge
from hivebus_redis.drill.ledger import Book, Line, digest, read
from hivebus_redis.drill.remains import Remains

LEASE = 1.0
NOTHING_LEFT = Remains(dead={}, stored={}, unsettled={}, consumers=0, clients=1)
FINE = """
    T 1.0 a plain work 2 x 0
    A 1.1 a stored 0.1
    P 1.3 a 2/1/1/a 1.2 1 0      @c.1
    D 1.4 a 2/1/1/a x            @c.1
    H 1.5 a 2/1/1/a              @c.1
    K 1.7 a 2/1/1/a done 1.6     @c.1
"""


def books(text: str) -> list[Line]:
    """Return lines: ``KIND time id words @who``."""
    lines = []
    for row in filter(None, map(str.strip, text.splitlines())):
        before, _, who = row.partition("@")
        kind, at, message_id, *words = before.split()
        lines.append(Line(kind, float(at), message_id, tuple(words), who or "p.1"))
    return sorted(lines, key=lambda line: line.at)


def evidence(text: str, *, states: dict[str, str] | None = None, drained: bool = True, **remains: object) -> Evidence:
    """Return the evidence in books that were written by hand."""
    left = NOTHING_LEFT if not remains else Remains(**{**_fields(NOTHING_LEFT), **remains})
    return gather(books(text), level="fsync", lease=LEASE, remains=left, drained=drained, states=states or {})


def _fields(remains: Remains) -> dict[str, object]:
    return {name: getattr(remains, name) for name in remains.__dataclass_fields__}


def breaches(*words: object, **more: object) -> set[str]:
    """Return the names of the invariants that do not hold."""
    return {finding.invariant for finding in judge(evidence(*words, **more))}


def test_a_message_that_was_sent_handled_and_acknowledged_is_fine() -> None:
    assert breaches(FINE, states={"a": "acknowledged"}, stored={"a": 1}) == set()


AGAIN = """
    P 3.3 a 2/1/2/a 3.2 2 0      @c.2
    D 3.4 a 2/1/2/a x            @c.2
    H 3.5 a 2/1/2/a              @c.2
"""
NOT_ACKED = "\n".join(FINE.splitlines()[:-1])
ORDERED = """
    T 1.0 low-1 brief order 1 x 0
    A 1.1 low-1 stored 0
    T 1.2 high-1 brief order 4 x 0
    A 1.3 high-1 stored 0
"""


@pytest.mark.parametrize(
    ("wrong", "text", "more"),
    [
        ("I1", "T 1 a plain work 2 x 0\n A 2 a stored 0", {}),
        ("I1", FINE, {"drained": False}),
        ("I1", "T 1 a plain work 2 x 0\n U 2 a Unknown", {}),
        ("I2", FINE + "D 2 ghost 2/2/1/ghost x @c.1", {}),
        ("I2", FINE.replace("a 2/1/1/a x ", "a 2/1/1/a y "), {}),
        ("I3", FINE, {"stored": {"a": 2}}),
        ("I4", NOT_ACKED + AGAIN, {}),
        ("I4", NOT_ACKED + AGAIN + "f 2 - consumer.kill consumer:other.9", {}),
        ("I4", NOT_ACKED + AGAIN + "f 2 - line.reset line", {}),
        ("I4", NOT_ACKED + AGAIN + "f 2 - handler.fails message", {}),
        ("I5", FINE + AGAIN, {}),
        ("I6", NOT_ACKED + AGAIN.replace("3.", "1.") + "f 1.45 - consumer.kill consumer:c.1", {}),
        ("I6", NOT_ACKED + AGAIN + "L 3.9 a 2/1/1/a 3.8 @c.1 \n f 2 - consumer.kill consumer:c.1", {}),
        ("I7", FINE, {"dead": {"a": ("work", "crash_loop")}}),
        ("I7", "T 1 a poison work 2 x 0\n A 2 a stored 0", {"dead": {"a": ("work", "max_retries")}}),
        ("I7", FINE.replace("plain", "poison"), {}),
        ("I8", FINE.replace("plain work 2 x 0", "delayed work 2 x 5"), {}),
        ("I8", FINE.replace("plain work 2 x 0", "delayed order 2 x 0.1").replace("D 1.4", "D 9.9"), {}),
        (
            "I9",
            ORDERED + "P 2 low-1 1/1/1/l 1.5 1 0 @o.1\n D 2.1 low-1 1/1/1/l x @o.1\n H 2.2 low-1 1/1/1/l @o.1\n"
            "P 3 high-1 4/1/1/h 2.5 1 0 @o.1\n D 3.1 high-1 4/1/1/h x @o.1\n H 3.2 high-1 4/1/1/h @o.1",
            {},
        ),
        (
            "I10",
            ORDERED.replace("order 4", "order 1") + "P 2 high-1 1/2/1/h 1.15 1 0 @o.1\n D 2.1 high-1 1/2/1/h x @o.1\n"
            "P 2 low-1 1/1/1/l 1.15 1 0 @o.1\n D 2.3 low-1 1/1/1/l x @o.1",
            {},
        ),
        ("I11", FINE, {"states": {"a": "queued"}}),
        ("I12", FINE + "C 9 - receive 9.0 8.0 @c.1", {}),
        ("I12", FINE + "X 9 - c.1 ended with 1", {}),
        ("I13", NOT_ACKED + AGAIN.replace("3.", "9.") + "f 1.6 - consumer.kill consumer:c.1", {}),
        ("I13", FINE + AGAIN.replace("3.", "5.") + "f 1.45 - server.kill server", {}),
        ("I14", FINE, {"consumers": 1}),
        ("I14", FINE, {"clients": 2}),
    ],
)  # fmt: skip
def test_saboteur_a_breach_in_the_books_is_seen(wrong: str, text: str, more: dict[str, object]) -> None:
    if wrong == "I13":
        text = text.replace("H 1.5 a", "M 1.5 a").replace("K 1.7 a", "M 1.7 a")
    assert wrong in breaches(text, **more)


@pytest.mark.parametrize(
    "fault",
    [
        "f 1.6 - consumer.kill consumer:c.1",
        "f 1.0 - server.pause server\n F 1.2 - server.pause server 1.0",
        "f 1.3 - consumer.pause consumer:c.1\n F 2.9 - consumer.pause consumer:c.1 1.3",
    ],
)
def test_a_fault_in_between_explains_that_a_message_is_handled_twice(fault: str) -> None:
    assert breaches(NOT_ACKED + AGAIN + fault) == set()


def test_a_dead_letter_and_an_unsure_send_that_arrived_are_accounted_for() -> None:
    dead = "T 1 b failing work 2 x 0\n U 2 b Unknown\n A 3 b stored 0"
    states = {"a": "acknowledged", "b": "dead_lettered"}
    assert breaches(FINE + dead, dead={"b": ("work", "max_retries: Failure")}, states=states) == set()


def test_a_call_is_not_late_whose_process_was_paused() -> None:
    pause = "f 3 - consumer.pause consumer:c.1\n F 8 - consumer.pause consumer:c.1 3"
    assert "I12" not in breaches(FINE + pause + "\nC 9 - receive 9.0 8.0 @c.1")


def test_every_invariant_has_a_name_and_somebody_who_judges_it() -> None:
    assert INVARIANTS.keys() == TITLES.keys() == {f"I{number}" for number in range(1, 15)}


def test_books_of_many_processes_are_read_in_order_of_time_and_half_a_line_is_none(tmp_path: Path) -> None:
    one, two = Book(tmp_path, "one"), Book(tmp_path, "two")
    one.write("T", "a", "plain", 0.5)
    two.write("D", "a")
    one.write("A", "a", "stored")
    one.close()
    two.close()
    with (tmp_path / two.who).open("a") as file:
        file.write("H 99")

    found = [(line.kind, line.id, line.words, line.who) for line in read(tmp_path)]
    assert found == [
        ("T", "a", ("plain", "0.500000"), one.who),
        ("D", "a", (), two.who),
        ("A", "a", ("stored",), one.who),
    ]
    assert digest("one") != digest("another")
