"""The server is killed and paused under traffic: what it acknowledged is there, and everybody finds it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..streams.own_server import OwnServer
from .fleet import Fleet

Make = Callable[..., Fleet]


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(make_fleet: Make) -> None:
    fleet = make_fleet(lease=2.0)
    crew = [fleet.consumer(f"c{n}", work=0.002) for n in range(2)]
    producers = [fleet.producer(f"p{n}", count=1800) for n in range(2)]
    for n in range(3):
        fleet.await_traffic(*crew, acknowledged=(n + 1) * 300)
        fleet.fault("server killed")
        fleet.server.kill()
        fleet.server.start()
        fleet.fault("server back")

    fleet.await_drained(*producers)
    verdict = fleet.verdict()
    fleet.assert_alive(*crew)
    assert len(verdict.acknowledged) == 3600
    assert (verdict.lost, verdict.unexpected, verdict.unexplained) == (set(), set(), set())
    assert fleet.broker_duplicates() == set() and fleet.dead_letters() == {}


def test_saboteur_a_server_that_keeps_nothing_loses_what_it_acknowledged_and_the_judge_sees_it(
    forgetful_server: OwnServer, tmp_path: Path
) -> None:
    fleet = Fleet(forgetful_server, tmp_path, lease=1.0, bus={})
    try:
        fleet.await_end(fleet.producer("p", count=50))
        fleet.server.kill()
        fleet.server.start()
        fleet.consumer("c")
        fleet.await_drained(fleet.producer("q", count=1))

        assert len(fleet.verdict().lost) >= 50
    finally:
        fleet.close()


def test_a_server_that_is_paused_delays_everything_and_loses_nothing(make_fleet: Make) -> None:
    fleet = make_fleet(lease=1.0)
    crew = [fleet.consumer(f"c{n}", work=0.02) for n in range(2)]
    producer = fleet.producer("p", count=1500)
    fleet.await_traffic(*crew, acknowledged=200)
    fleet.fault("server paused")
    fleet.server.pause()
    time.sleep(3)
    fleet.server.resume()
    fleet.fault("server goes on")

    fleet.await_drained(producer)
    verdict = fleet.verdict()
    fleet.assert_alive(*crew)
    assert len(verdict.acknowledged) == 1500
    assert (verdict.lost, verdict.unexpected, verdict.unexplained) == (set(), set(), set())
    assert fleet.broker_duplicates() == set() and fleet.dead_letters() == {}
