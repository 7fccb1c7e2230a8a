"""How many losses a sample cannot rule out, and whether two roads differ by more than chance."""

from __future__ import annotations

from math import ceil, exp, expm1, lgamma, log, log1p

STEP = 1e6
"""Bounds are rounded up to a millionth."""


def loss_upper_bound(*, lost: int, of: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound (Clopper and Pearson) on the true share of losses, rounded up.

    0 of 3,214 lost does not mean that nothing is ever lost, but that less than 0.094 % is, with 95 %
    confidence. 1.0 when nothing was counted.
    """
    if of == 0 or lost >= of:
        return 1.0
    return min(1.0, ceil(_upper_bound(lost, of, 1 - confidence) * STEP) / STEP)


def mcnemar(first: int, second: int) -> float:
    """Return the exact two-sided p of McNemar: how easily chance splits the messages that only one road delivered so.

    6 to 0 is 0.031; 5 to 0 is no proof of anything.
    """
    fewer, together = min(first, second), first + second
    return min(1.0, 2 * chance_of_at_most(fewer, of=together, share=0.5))


def chance_of_at_most(count: int, *, of: int, share: float) -> float:
    """Return the binomial chance of *count* or fewer, where *count* is no more than is to be expected."""
    if count >= of:
        return 1.0
    # The terms shrink from the last one down, so that their sum is soon complete.
    term = _chance_of(count, of, share)
    total = 0.0
    for each in range(count, -1, -1):
        total += term
        if term < total * 1e-17:
            break
        term *= each / (of - each + 1) * (1 - share) / share
    return min(1.0, total)


def _upper_bound(lost: int, of: int, doubt: float) -> float:
    if lost == 0:
        return -expm1(log(doubt) / of)
    low, high = lost / of, 1.0
    # The chance of so few losses falls as the true share grows: halve the interval around it.
    for _ in range(60):
        middle = (low + high) / 2
        if chance_of_at_most(lost, of=of, share=middle) > doubt:
            low = middle
        else:
            high = middle
    return high


def _chance_of(count: int, of: int, share: float) -> float:
    ways = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
    return exp(ways + count * log(share) + (of - count) * log1p(-share))
