"""A producer that is killed sends again what it does not know about: everything arrives, and nothing twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from .fleet import Fleet, sabotage

Make = Callable[..., Fleet]


def test_a_producer_that_is_killed_and_sends_its_ids_again_stores_each_once(make_fleet: Make) -> None:
    fleet = make_fleet()
    producer = send_with_kills(fleet)

    assert fleet.broker_duplicates() == set()
    fleet.consumer("c", work=0.0, concurrency=16)
    fleet.await_drained(producer)
    verdict = fleet.verdict()
    assert verdict.acknowledged == verdict.handled == {f"p-{n}" for n in range(1500)}
    assert (verdict.lost, verdict.unexpected, dict(verdict.duplicated)) == (set(), set(), {})


def test_saboteur_a_server_that_does_not_look_at_known_ids_stores_them_twice(make_fleet: Make) -> None:
    fleet = make_fleet()
    sabotage(fleet, "if is_known[key] then", "if false then")
    fleet.await_end(fleet.producer("p", count=50))
    for book in fleet.folder.glob("p.*"):
        book.unlink()  # as if it had been killed before it could note down a single answer
    fleet.await_end(fleet.producer("p", count=50))

    assert len(fleet.broker_duplicates()) == 50


def send_with_kills(fleet: Fleet) -> subprocess.Popen[bytes]:
    """Kill a producer three times, and let it go on each time until it is through."""
    producer = fleet.producer("p", count=1500, at_once=50, pause=0.02)
    for n in range(3):
        target = (n + 1) * 300
        fleet.await_that(lambda at_least=target: len(fleet.verdict().acknowledged) >= at_least, "it sends")
        fleet.kill(producer)
        producer = fleet.producer("p", count=1500, at_once=50, pause=0.02)
    fleet.await_end(producer)
    return producer
