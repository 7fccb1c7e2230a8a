"""A protection is taken away, and the drill must fail by the invariant that it protects: ten of ten."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivebus_redis.drill import server
from hivebus_redis.drill.exercise import SERVER, Exercise
from hivebus_redis.drill.server import DrillServer
from hivebus_redis.drill.story import Outcome, finish

from .steps import await_lines, cut_power_before_a_sync, inflict

Make = Callable[..., Exercise]
PATIENCE = 2.0
"""Seconds for what cannot be drained any more."""


def end(exercise: Exercise, *, patience: float = PATIENCE) -> Outcome:
    """End the drill and judge it."""
    return finish(exercise, began=time.monotonic(), patience=patience)


def breaches(exercise: Exercise) -> set[str]:
    """End the drill, and return the names of the invariants that do not hold."""
    return {finding.invariant for finding in end(exercise).findings}


# --- What is done, with a protection and without it ------------------------------------------------


def lose_answers(exercise: Exercise) -> None:
    """Let a producer send over a line that loses what the server says for a moment."""
    exercise.consumer("c")
    exercise.producer("p-line", by_line=True)
    await_lines(exercise, "A", 20, "p-line.*")
    began = exercise.fault_begins("line.answers_lost", "line")
    exercise.line.backward = False
    time.sleep(0.2)
    exercise.line.heal()
    exercise.fault_ends("line.answers_lost", "line", began)
    await_lines(exercise, "A", 100, "p-line.*")


def kill_a_busy_consumer(exercise: Exercise) -> None:
    """Kill a consumer while its handlers run."""
    exercise.post("lengthy", times=20)
    victim = exercise.consumer("c")
    await_lines(exercise, "D", 1)
    inflict(exercise, "consumer.kill", victim.name)


def read_what_waits(exercise: Exercise) -> None:
    """Send before anybody reads."""
    exercise.producer("p", count=400)
    await_lines(exercise, "A", 400)
    exercise.consumer("c")


def read_while_they_send(exercise: Exercise) -> None:
    """Read what comes."""
    exercise.consumer("c")
    exercise.producer("p", count=400)
    await_lines(exercise, "A", 400)


def pause_beyond_the_lease(exercise: Exercise) -> None:
    """Pause a consumer until another has its message, and let it go on while its handler still runs."""
    both = {each.who: each for each in (exercise.consumer("one"), exercise.consumer("other"))}
    with exercise.server.client() as client:
        exercise.await_that(lambda: client.zcard("hb:{work}:lease") == 2, "both are at work")
    exercise.post("outlasting")
    await_lines(exercise, "D", 1)
    first = next(line.who for line in exercise.lines() if line.kind == "D")
    began = exercise.fault_begins("consumer.pause", f"consumer:{first}")
    both[first].signal(signal.SIGSTOP)
    await_lines(exercise, "D", 2)
    both[first].signal(signal.SIGCONT)
    exercise.fault_ends("consumer.pause", f"consumer:{first}", began)
    exercise.drain(patience=PATIENCE)


def poison_among_bystanders(exercise: Exercise) -> None:
    """Let a message kill its process while others run in it."""
    exercise.post("lengthy", times=4)
    exercise.post("poison")
    exercise.post("lengthy", times=4)
    exercise.consumer("c", concurrency=16)


@pytest.mark.parametrize(
    "story",
    [lose_answers, kill_a_busy_consumer, read_what_waits, read_while_they_send, pause_beyond_the_lease,
     poison_among_bystanders],
)  # fmt: skip
def test_with_its_protections_nothing_is_wrong(make_exercise: Make, story: Callable[[Exercise], None]) -> None:
    exercise = make_exercise(sabotage="changes_nothing", lease=0.5, max_crashes=1, rate=400)
    story(exercise)

    # It ends when all is settled, and a new process takes its time on a busy machine.
    assert end(exercise, patience=20 * PATIENCE).findings == []


# --- The ten ---------------------------------------------------------------------------------------


def test_saboteur_a_publisher_without_deduplication_stores_twice_what_lost_its_answer(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="without_known_ids", rate=400)
    lose_answers(exercise)

    assert "I3" in breaches(exercise)


def test_saboteur_a_stream_with_a_length_limit_loses_what_nobody_has_read(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="with_maxlen")
    read_what_waits(exercise)

    assert "I1" in breaches(exercise)


def test_saboteur_an_ack_before_the_handling_loses_what_a_killed_consumer_held(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="acks_before_handling", lease=0.4)
    kill_a_busy_consumer(exercise)

    assert "I1" in breaches(exercise)


def test_saboteur_a_group_that_begins_at_the_end_loses_what_was_sent_before_anybody_read(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="group_at_the_end")
    read_what_waits(exercise)

    assert "I1" in breaches(exercise)


def test_saboteur_a_group_that_forgets_a_dead_consumer_loses_what_it_held(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="forgets_dead_consumers", lease=0.4)
    kill_a_busy_consumer(exercise)

    assert "I1" in breaches(exercise)


def test_saboteur_a_reader_that_is_cancelled_and_never_looks_again_loses_sight(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="cancels_its_readers", lease=0.4)
    read_while_they_send(exercise)

    assert "I1" in breaches(exercise)


def test_saboteur_a_server_that_syncs_once_a_second_loses_to_a_power_cut_what_it_acknowledged(
    make_exercise: Make,
) -> None:
    exercise = make_exercise(level="memory")
    exercise.level = "fsync"  # what was promised, and is not what is there
    cut_power_before_a_sync(exercise, sent=400)
    exercise.consumer("c")

    outcome = end(exercise, patience=20 * PATIENCE)
    assert "I1" in {finding.invariant for finding in outcome.findings} and outcome.figures.lost > 0


def test_saboteur_a_renewal_that_asks_for_no_owner_keeps_what_is_somebody_elses(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="renews_whatever_it_is_asked_to", lease=0.5)
    pause_beyond_the_lease(exercise)

    assert "I6" in breaches(exercise)


def test_saboteur_a_count_of_crashes_that_counts_bystanders_gives_up_innocents(make_exercise: Make) -> None:
    exercise = make_exercise(sabotage="counts_every_delivery_as_a_crash", lease=0.4, max_crashes=1)
    poison_among_bystanders(exercise)

    assert "I7" in breaches(exercise)


# --- The server dies in the middle of a write: what is not finished is cut, or is not ----------------


def die_in_a_write_and_again_later(exercise: Exercise) -> None:
    """Let the server die in a transaction that would empty it, and once more behind whole ones."""
    for number in (1, 2):
        exercise.producer(f"p{number}", count=100)
        await_lines(exercise, "A", 100 * number)
        inflict(exercise, "server.torn_write" if number == 1 else "server.kill", SERVER)
    exercise.consumer("c")
    await_lines(exercise, "H", 1)


def test_of_a_transaction_that_a_server_died_in_nothing_is_ever_run(make_exercise: Make) -> None:
    exercise = make_exercise()
    die_in_a_write_and_again_later(exercise)

    assert end(exercise, patience=20 * PATIENCE).findings == []


@pytest.mark.usefixtures("careless_program")
def test_saboteur_what_is_not_cut_is_run_at_the_next_start(
    make_exercise: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "cut_unfinished", lambda _: 0)
    exercise = make_exercise()
    die_in_a_write_and_again_later(exercise)

    assert "I1" in breaches(exercise)


# --- A replica takes over: with WAIT, and without it -----------------------------------------------


@pytest.fixture
def replica(exercise: Exercise, redis_program: str) -> Iterator[DrillServer]:
    """A replica of the exercise's server, over the line."""
    with exercise.server.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
    port = exercise.line.url.rpartition(":")[2]
    replica = DrillServer(redis_program, exercise.folder / "replica", settings=["--replicaof", "127.0.0.1", port])
    replica.start()
    with replica.client() as client:
        exercise.await_that(lambda: client.info("replication")["master_link_status"] == "up", "it is a replica")
    yield replica
    replica.kill()


@pytest.fixture
def exercise(make_exercise: Make, request: pytest.FixtureRequest) -> Exercise:
    """A drill whose producers ask for the durability level in the test's parameters."""
    return make_exercise(rate=300, durability=getattr(request, "param", None))


def test_saboteur_a_replica_that_nobody_waits_for_loses_at_the_failover_what_it_never_got(
    exercise: Exercise, replica: DrillServer
) -> None:
    exercise.producer("p")
    await_lines(exercise, "A", 20)
    fail_over(exercise, replica, sends=20)
    exercise.consumer("c")
    await_lines(exercise, "H", 20)

    assert "I1" in breaches(exercise)


@pytest.mark.parametrize("exercise", ["replicated"], indirect=True)
def test_a_replica_that_is_waited_for_has_all_that_was_acknowledged(exercise: Exercise, replica: DrillServer) -> None:
    producer = exercise.producer("p")
    await_lines(exercise, "A", 100)
    fail_over(exercise, replica, sends=0)
    producer.leaving = True
    producer.end(signal.SIGKILL)  # there is no replica left to wait for
    exercise.consumer("c")
    await_lines(exercise, "H", 100)

    figures = end(exercise).figures
    assert (figures.lost, figures.phantom, figures.broker_duplicates) == (0, 0, 0)
    assert figures.acked >= 100


def fail_over(exercise: Exercise, replica: DrillServer, *, sends: int) -> None:
    """Cut the replica off, let the primary go on until so many more are acked, and put the replica in its place."""
    began = exercise.fault_begins("server.failover", SERVER)
    exercise.line.backward = False
    known = len([line for line in exercise.lines() if line.kind == "A"])
    await_lines(exercise, "A", known + sends)
    time.sleep(0.2)
    primary = Path(exercise.server.socket)
    exercise.server.kill()
    with replica.client() as client:
        client.replicaof("NO", "ONE")
    primary.unlink(missing_ok=True)
    primary.symlink_to(replica.socket)
    exercise.server = replica
    exercise.fault_ends("server.failover", SERVER, began)
