"""The short chaos run: every kind of fault that there is, under traffic, and not a message is harmed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import FAULTS, choose
from hivebus_redis.drill.ledger import count
from hivebus_redis.drill.report import lines_of
from hivebus_redis.drill.schedule import Schedule
from hivebus_redis.drill.story import run

SECONDS = 20.0
EVERY = 0.1
FAULTS_AT_LEAST = 76
ACCEPTED = 20_000
SENDS_AT_LEAST = 21_000
"""What returns twice for one message counts twice here."""


@pytest.mark.timeout(200)
def test_no_message_is_lost_doubled_or_wronged_whatever_dies(
    make_exercise: Callable[..., Exercise], program: str
) -> None:
    exercise = make_exercise(program, seed=4)
    assert exercise.server.disk, "power cuts need a C compiler: apt-get install gcc"

    outcome = run(
        exercise,
        seconds=SECONDS,
        faults=choose([]),
        every=EVERY,
        faults_at_least=FAULTS_AT_LEAST,
        sends_at_least=SENDS_AT_LEAST,
    )

    report, figures = "\n".join(lines_of(outcome)), outcome.figures
    assert outcome.findings == [], report
    assert figures.acked >= ACCEPTED, report
    assert sum(times for kind, times in figures.faults_by_kind.items() if not kind.startswith("reader.")) >= 75, report
    assert len(figures.faults_by_kind) >= 30, report
    assert (figures.lost, figures.phantom, figures.broker_duplicates) == (0, 0, 0), report
    assert figures.consumer_recovery["measured"] and figures.server_recovery["measured"], report
    assert (figures.innocents, figures.duplicated_unexplained) == (0, 0), report
    # Every message was asked about, and `status` agreed with the books: I11 holds.
    assert outcome.evidence.states.keys() == outcome.evidence.sent.keys(), report


def test_a_schedule_goes_on_until_there_was_enough_and_not_for_ever(make_exercise: Callable[..., Exercise]) -> None:
    exercise = make_exercise()
    schedule = Schedule(exercise, choose(["message.sent_twice"]), every=0.5, seed=1)

    # In its time it has two or three.
    schedule.run(1.0, is_enough=lambda faults: faults >= 4)
    assert count(exercise.books, "f") >= 4
    schedule.run(0.1, is_enough=lambda faults: False)


def test_the_faults_are_more_than_half_of_the_catalogue() -> None:
    assert len({fault.row for fault in FAULTS.values()} - {0}) >= 24
