"""How many losses a sample cannot rule out."""

from __future__ import annotations

from math import comb


def loss_upper_bound(*, lost: int, of: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound (Clopper and Pearson) on the true share of losses.

    0 of 3,214 lost does not mean that nothing is ever lost, but that less than 0.094 % is, with 95 %
    confidence. 1.0 when nothing was counted.
    """
    if of == 0 or lost >= of:
        return 1.0
    low, high = lost / of, 1.0
    # The chance of so few losses falls as the true share grows: halve the interval around it.
    for _ in range(60):
        middle = (low + high) / 2
        if _chance_of_at_most(lost, of, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _chance_of_at_most(lost: int, of: int, share: float) -> float:
    return sum(comb(of, each) * share**each * (1 - share) ** (of - each) for each in range(lost + 1))
