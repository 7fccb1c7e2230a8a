"""How long it takes until work goes on, and what readers, lines and poison may not cost: each with its figure."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hivebus_redis.drill.exercise import SERVER, Exercise
from hivebus_redis.drill.invariants.running import consumer_recoveries, server_recoveries
from hivebus_redis.drill.story import Outcome, finish

from .steps import await_lines, cut_power_before_a_sync, inflict

Make = Callable[..., Exercise]


def end(exercise: Exercise) -> Outcome:
    """End the drill and judge it."""
    return finish(exercise, began=time.monotonic())


def test_what_a_dead_consumer_held_is_back_a_second_after_its_lease_and_all_of_it_within_five(
    make_exercise: Make, program: str
) -> None:
    exercise = make_exercise(program, lease=1.0)
    crew = [exercise.consumer(f"c{number}") for number in range(2)]
    with exercise.server.client() as client:
        exercise.await_that(lambda: client.zcard("hb:{work}:lease") == 2, "both are at work")
    for each in crew:
        exercise.post("lengthy", times=100)
        await_lines(exercise, "D", 4, f"{each.name}.*")
        inflict(exercise, "consumer.kill", each.name)
        time.sleep(exercise.plan.lease + 0.5)  # the next kill must not disturb this one

    outcome = end(exercise)
    assert outcome.findings == []
    times = consumer_recoveries(outcome.evidence)
    assert times, "something was held by a consumer that was killed"
    assert max(each.first for each in times) <= exercise.plan.lease + 1.0
    assert max(each.last for each in times) <= exercise.plan.lease + 5.0


def test_work_goes_on_within_two_seconds_of_a_restart_of_the_server(make_exercise: Make, program: str) -> None:
    exercise = make_exercise(program, lease=0.4)
    exercise.consumer("c")
    exercise.producer("p")
    await_lines(exercise, "H", 100)
    for count in (1, 2):
        inflict(exercise, "server.kill", SERVER)
        await_lines(exercise, "H", 100 + 300 * count)
        time.sleep(exercise.plan.lease + 0.5)  # the next kill must not disturb this one

    outcome = end(exercise)
    assert outcome.findings == []
    times = server_recoveries(outcome.evidence)
    assert len(times) == 2
    assert max(each.first for each in times) <= 2.0


@pytest.mark.parametrize("max_crashes", [3])
def test_a_message_that_kills_its_process_after_a_millisecond_is_given_up_after_exactly_max_crashes(
    make_exercise: Make, program: str, max_crashes: int
) -> None:
    exercise = make_exercise(program, lease=0.5, max_crashes=max_crashes)
    exercise.post("brief", times=25)
    (poison,) = exercise.post("poison")
    exercise.post("brief", times=25)
    exercise.consumer("c", concurrency=51)

    outcome = end(exercise)
    assert outcome.findings == []
    with exercise.server.client() as client:
        ((_, letter),) = client.xrange("hb:{work}:dlq")
    assert (letter["i"], letter["r"], letter["c"]) == (poison.id, "crash_loop", str(max_crashes))
    # Its first death is a suspicion: fifty others ran beside it. From then on it ran alone.
    assert len(outcome.evidence.begun[poison.id]) == 1 + max_crashes
    assert sum(each.startswith("brief") for each in outcome.evidence.done) == 50


def test_four_hundred_readers_that_are_stopped_or_cancelled_lose_nothing(make_exercise: Make) -> None:
    exercise = make_exercise(rate=500, lease=1.0)
    exercise.producer("p")
    readers = [exercise.restless(f"r{number}", rounds=100) for number in range(4)]
    exercise.await_that(lambda: not any(each.is_alive for each in readers), "every reader was stopped or cancelled")
    exercise.consumer("c")

    outcome = end(exercise)
    assert outcome.findings == []
    assert sum(kind.startswith("reader.") * count for kind, count in outcome.figures.faults_by_kind.items()) == 400
    assert outcome.figures.lost == 0 and outcome.figures.handled == outcome.figures.acked > 500


def test_a_send_whose_answer_is_lost_on_the_network_leaves_one_entry(make_exercise: Make, program: str) -> None:
    exercise = make_exercise(program, rate=400)
    exercise.producer("p-line", by_line=True)
    await_lines(exercise, "A", 20)
    began = exercise.fault_begins("line.answers_lost", "line")
    exercise.line.backward = False
    time.sleep(0.3)
    exercise.line.heal()
    exercise.fault_ends("line.answers_lost", "line", began)
    await_lines(exercise, "A", 100)
    exercise.consumer("c")

    outcome = end(exercise)
    assert outcome.findings == []
    again = [line.id for line in exercise.lines("p-line.*") if line.kind == "A" and line.words[0] == "duplicate"]
    assert again, "at least one was stored, and its sender did not hear of it"
    assert all(outcome.evidence.remains.stored[each] == 1 for each in again)


def test_what_a_power_cut_costs_at_the_level_memory_is_counted_and_not_held_against_it(make_exercise: Make) -> None:
    exercise = make_exercise(level="memory")
    cut_power_before_a_sync(exercise, sent=600)
    exercise.consumer("c")

    outcome = end(exercise)
    assert outcome.figures.lost > 0
    assert outcome.findings == [] and "I1" not in outcome.judged


@pytest.mark.parametrize("fault", ["server.forbid", "server.flush_functions"])
def test_an_ack_that_the_server_refuses_for_a_moment_is_not_given_up(make_exercise: Make, fault: str) -> None:
    exercise = make_exercise(lease=1.0, rate=400)
    exercise.consumer("c")
    exercise.producer("p", count=400)
    await_lines(exercise, "K", 20)
    for _ in range(2):
        inflict(exercise, fault, SERVER)
    await_lines(exercise, "A", 400)

    assert end(exercise).findings == []
