"""A fleet of agents as processes on a server of its own, with the books that they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..streams.own_server import DURABLE, OwnServer
from .fleet import Fleet


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """A server that has every write on disk before it answers, of each kind in turn."""
    server = OwnServer(request.getfixturevalue(f"{request.param}_program"), *DURABLE)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def forgetful_server(redis_program: str) -> Iterator[OwnServer]:
    """A server that keeps nothing when it dies."""
    server = OwnServer(redis_program, "--appendonly", "no")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def make_fleet(server: OwnServer, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Man a fleet; every process of it is gone after the test."""
    fleets: list[Fleet] = []

    def make(*, lease: float = 1.0, **bus: float) -> Fleet:
        fleets.append(Fleet(server, tmp_path, lease=lease, bus=bus))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
