"""Pace: slow handlers get what runs at once, fast ones a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hivebus import pace
from hivebus.pace import LONGEST, Pace


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(pace, "monotonic", lambda: seconds)

    set_to(0)
    return set_to


def test_before_anything_is_known_only_what_runs_at_once_is_taken(at: Callable[[float], None]) -> None:
    assert Pace(concurrency=4).window() == 4


def test_slow_handlers_never_have_anything_taken_ahead(at: Callable[[float], None]) -> None:
    slow = Pace(concurrency=4)
    for second in range(1, 10):
        at(second)
        slow.handled()
        assert slow.window() == 4


def test_fast_handlers_get_ahead_what_they_handle_in_ten_milliseconds(at: Callable[[float], None]) -> None:
    fast = Pace(concurrency=4)
    for _ in range(1000):
        fast.handled()
    at(0.1)
    assert fast.window() == 104


def test_nobody_gets_more_than_the_longest(at: Callable[[float], None]) -> None:
    fast = Pace(concurrency=4)
    for _ in range(10_000):
        fast.handled()
    at(0.05)
    assert fast.window() == LONGEST


def test_handlers_that_become_slow_have_less_taken_ahead_soon(at: Callable[[float], None]) -> None:
    tiring = Pace(concurrency=1)
    for _ in range(1000):
        tiring.handled()
    at(0.1)
    assert tiring.window() == 101
    at(1)
    assert tiring.window() == 1
