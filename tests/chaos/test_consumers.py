"""Consumers are killed, paused and sent home under traffic: nothing is lost, and what they held is back in time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import hivebus

from .fleet import Fleet, sabotage, terminate
from .ledger import in_hands

Make = Callable[..., Fleet]
FIRST_BACK = 1.0
ALL_BACK = 5.0
"""Seconds after the lease: the promise itself, so it is measured."""


def kill_with_work_in_hands(fleet: Fleet, victim: subprocess.Popen[bytes]) -> tuple[float, frozenset[str]]:
    """Kill a consumer while it handles several messages; return when, and which they were."""
    fleet.await_that(lambda: len(in_hands(fleet.book_of(victim))) >= 3, "the victim is busy")
    at = fleet.kill(victim)
    return at, in_hands(fleet.book_of(victim))


def seconds_until_back(fleet: Fleet, killed_at: float, messages: frozenset[str]) -> tuple[float, float]:
    """Return after how long the first message was begun again, and after how long the last was done."""

    def done() -> dict[str, float]:
        return {line.id: line.at for line in fleet.lines() if line.kind == "H" and line.id in messages}

    fleet.await_that(lambda: done().keys() == messages, "everything the victim held is handled")
    again = [line.at for line in fleet.lines() if line.kind == "D" and line.id in messages and line.at > killed_at]
    return min(again) - killed_at, max(done().values()) - killed_at


def test_what_killed_consumers_held_is_back_in_time_and_nothing_is_lost(make_fleet: Make) -> None:
    fleet = make_fleet(lease=1.0)
    consumers = [fleet.consumer(f"c{n}", work=0.1) for n in range(3)]
    producer = fleet.producer("p", count=900, pause=0.15)

    for n, victim in enumerate(consumers[:2]):
        killed_at, held = kill_with_work_in_hands(fleet, victim)
        fleet.consumer(f"heir{n}", work=0.1)
        first, last = seconds_until_back(fleet, killed_at, held)
        assert held
        assert first <= fleet.lease + FIRST_BACK
        assert last <= fleet.lease + ALL_BACK

    fleet.await_drained(producer)
    verdict = fleet.verdict()
    assert len(verdict.handled) == 900
    assert (verdict.lost, verdict.unexpected, verdict.unexplained) == (set(), set(), set())
    assert fleet.broker_duplicates() == set() and fleet.dead_letters() == {}


def test_a_consumer_that_is_sent_home_under_load_hands_back_and_doubles_nothing(make_fleet: Make) -> None:
    fleet = make_fleet(lease=30.0)
    leaving, staying = fleet.consumer("leaving", work=0.05), fleet.consumer("staying", work=0.05)
    producer = fleet.producer("p", count=300)
    fleet.await_that(lambda: len(in_hands(fleet.book_of(leaving))) >= 3, "it is busy")

    assert terminate(leaving) == 0

    assert in_hands(fleet.book_of(leaving)) == set(), "what had begun was ended"
    with fleet.server.client() as client:
        assert client.zcard("hb:{pm}:lease") == 1, "it has left, and nobody waits for its lease to end"
    fleet.await_drained(producer)
    verdict = fleet.verdict()
    assert staying.poll() is None
    assert len(verdict.handled) == 300
    assert (verdict.lost, verdict.unexpected, dict(verdict.duplicated)) == (set(), set(), {})


def test_saboteur_a_server_that_takes_nothing_from_the_dead_loses_what_they_held(make_fleet: Make) -> None:
    fleet = make_fleet(lease=0.3)
    sabotage(fleet, "    take_over(k, dead, now)\n", "")
    victim = fleet.consumer("victim", work=0.1)
    fleet.producer("p", count=100)
    _, held = kill_with_work_in_hands(fleet, victim)
    fleet.consumer("heir", work=0.001)

    fleet.await_that(lambda: fleet.pending() == len(fleet.verdict().lost), "everything else is handled")
    assert held <= fleet.verdict().lost


def test_saboteur_a_consumer_that_acks_before_it_handles_loses_messages_and_the_judge_sees_it(make_fleet: Make) -> None:
    fleet = make_fleet(lease=0.5)
    victim = fleet.consumer("careless", work=0.05, careless=True)
    producer = fleet.producer("p", count=60)
    fleet.await_that(lambda: in_hands(fleet.book_of(victim)), "it has acked and not handled")
    fleet.kill(victim)
    fleet.consumer("heir", work=0.001, concurrency=1)
    fleet.await_drained(producer)

    fleet.await_that(lambda: len(fleet.verdict().handled) >= 59, "the rest is handled")
    assert len(fleet.verdict().lost) == 1


def test_a_message_that_kills_its_process_ends_as_a_dead_letter_and_takes_no_innocent_along(make_fleet: Make) -> None:
    fleet = make_fleet(lease=0.5, max_crashes=3)
    fleet.await_end(fleet.producer("p", count=60))
    poison(fleet, "poison-1", "poison-2")
    crews = {name: fleet.consumer(name, work=0.02, concurrency=4) for name in ("c1", "c2")}

    def done() -> bool:
        for name, process in crews.items():
            if process.poll() is not None:
                assert process.returncode == 13
                fleet.fault("poisoned")
                crews[name] = fleet.consumer(name, work=0.02, concurrency=4)
        return fleet.pending() == 0

    fleet.await_that(done, "both are given up")
    verdict = fleet.verdict()
    assert fleet.dead_letters() == {"poison-1": "crash_loop", "poison-2": "crash_loop"}
    assert {f"p-{n}" for n in range(60)} <= verdict.handled
    assert (verdict.lost, verdict.unexpected - {"poison-1", "poison-2"}, verdict.unexplained) == (set(), set(), set())
    crashes = [line.id for line in fleet.lines() if line.kind == "D" and line.id.startswith("poison")]
    assert 2 * 3 <= len(crashes) <= 2 * (1 + 3 + 1), "each is suspected, and then given its three chances alone"


def poison(fleet: Fleet, *ids: str) -> None:
    """Send messages that kill whoever handles them."""
    for each in ids:
        hivebus.send("pm", "poison", from_agent="villain", url=fleet.server.url, namespace="hb", message_id=each)
