"""Retries: growing delays, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hivebus.retry import is_exhausted, retry_delay


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_the_delay_doubles_from_its_base_up_to_an_hour() -> None:
    delays = [retry_delay(failures=failures, base=30, uniform=middle) for failures in range(1, 10)]
    assert delays == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_base_beyond_an_hour_is_an_hour_too() -> None:
    assert retry_delay(failures=1, base=86_400, uniform=middle) == 3600


def test_without_a_base_there_is_no_delay() -> None:
    assert retry_delay(failures=5, base=0) == 0


@given(st.integers(1, 10**9), st.floats(0, 86_400))
def test_the_delay_stays_within_a_fifth_of_its_middle_and_never_overflows(failures: int, base: float) -> None:
    aim = retry_delay(failures=failures, base=base, uniform=middle)
    low = retry_delay(failures=failures, base=base, uniform=lambda low, high: low)
    high = retry_delay(failures=failures, base=base, uniform=lambda low, high: high)
    assert low == aim * 0.8
    assert high == aim * 1.2
    assert low <= retry_delay(failures=failures, base=base) <= high <= 3600 * 1.2


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert len({retry_delay(failures=1, base=30) for _ in range(100)}) > 90


def test_a_message_is_given_up_after_its_last_retry() -> None:
    assert [is_exhausted(failures=failures, max_retries=3) for failures in (1, 2, 3, 4)] == [False, False, False, True]
    assert is_exhausted(failures=1, max_retries=0)
