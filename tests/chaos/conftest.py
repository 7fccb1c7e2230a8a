"""Drills on both kinds of servers, with ordinary workers or sabotaged ones; all of them are gone after the test."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.plan import Plan

from .saboteur import PROGRAM

Make = Callable[..., Exercise]


@pytest.fixture(params=["redis", "valkey"])
def program(request: pytest.FixtureRequest) -> str:
    """Each kind of server in turn."""
    return str(request.getfixturevalue(f"{request.param}_program"))


@pytest.fixture
def make_exercise(redis_program: str) -> Iterator[Make]:
    """Set a drill up; on Redis unless another program is named."""
    made: list[Exercise] = []

    def make(program: str = redis_program, *, sabotage: str = "", level: str = "fsync", **plan: float) -> Exercise:
        worker = {"worker": (sys.executable, str(PROGRAM), sabotage)} if sabotage else {}
        folder = Path(tempfile.mkdtemp(prefix="hb-drill-"))
        made.append(Exercise(folder, program=program, level=level, plan=Plan(url="", **plan), **worker))
        return made[-1]

    yield make
    for exercise in made:
        exercise.close()
