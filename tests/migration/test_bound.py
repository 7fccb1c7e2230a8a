"""What a sample cannot rule out: the numbers that gates and sentences stand on."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebus_migration.bound import chance_of_at_most, loss_upper_bound, mcnemar
from hivebus_migration.wording import percent

SMALLEST = [
    *((0.01, lost, of) for lost, of in enumerate((299, 473, 628, 773))),
    *((0.001, lost, of) for lost, of in enumerate((2995, 4742, 6294, 7752))),
]


@pytest.mark.parametrize(("goal", "lost", "of"), SMALLEST)
def test_a_goal_is_reached_with_so_many_messages_and_not_with_one_less(goal: float, lost: int, of: int) -> None:
    assert loss_upper_bound(lost=lost, of=of) <= goal < loss_upper_bound(lost=lost, of=of - 1)


@pytest.mark.parametrize(("lost", "of"), [(2, 6303), (3, 7754)])
def test_the_numbers_that_are_safe_and_not_minimal_reach_their_goal_too(lost: int, of: int) -> None:
    assert loss_upper_bound(lost=lost, of=of) <= 0.001


def test_the_bound_is_rounded_up() -> None:
    assert loss_upper_bound(lost=0, of=3214) == 0.000932  # exactly 0.00093168
    assert percent(0.000932) == "0.094 %"
    assert percent(loss_upper_bound(lost=0, of=299)) == "0.997 %"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.000 %"), (0.000001, "0.001 %"), (0.00001, "0.001 %"), (0.000011, "0.002 %"), (0.00997, "0.997 %"),
     (0.01, "1.00 %"), (0.010001, "1.01 %"), (0.5, "50.00 %"), (1.0, "100.00 %")],
)  # fmt: skip
def test_a_share_in_percent_is_never_smaller_than_it_is(share: float, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(("lost", "of"), [(0, 0), (0, 1), (1, 1), (7, 7)])
def test_without_a_delivery_or_with_one_alone_nearly_everything_is_possible(lost: int, of: int) -> None:
    assert loss_upper_bound(lost=lost, of=of) == (0.95 if (lost, of) == (0, 1) else 1.0)


@pytest.mark.parametrize(("lost", "of"), [(0, 10**7), (50_000, 10**6), (999_999, 10**6), (500_000, 10**6)])
def test_large_samples_have_a_bound_too(lost: int, of: int) -> None:
    assert lost / of < loss_upper_bound(lost=lost, of=of) <= min(1.0, lost / of + 0.002)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda of: st.tuples(st.integers(0, of - 1), st.just(of))))
def test_the_bound_is_where_so_few_losses_become_improbable(sample: tuple[int, int]) -> None:
    lost, of = sample
    bound = loss_upper_bound(lost=lost, of=of)
    assert exact_chance(lost, of, bound) <= 0.05 + 1e-12 < exact_chance(lost, of, bound - 1.1e-6)


@pytest.mark.parametrize(
    ("first", "second", "p"), [(6, 0, 0.03125), (5, 0, 0.0625), (0, 0, 1.0), (3, 3, 1.0), (10, 2, 0.03857421875)]
)
def test_only_more_than_five_to_nothing_is_more_than_chance(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_chance_does_not_overflow_where_there_are_many() -> None:
    assert mcnemar(50_000, 50_500) == pytest.approx(0.115, abs=0.001)
    assert mcnemar(100_000, 0) == 0.0
    assert chance_of_at_most(3, of=3, share=0.5) == 1.0


def exact_chance(lost: int, of: int, share: float) -> float:
    """Return the binomial chance of so few losses, term by term."""
    return sum(comb(of, each) * share**each * (1 - share) ** (of - each) for each in range(lost + 1))
