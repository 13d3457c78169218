"""Hodges–Lehmann estimates: order statistics of all pairwise differences, and of all pairwise means.

An interval that belongs to a rank test ends at order statistics of the differences x_i − y_j (Mann–Whitney) or of the
means (x_i + x_j)/2, i ≤ j (Wilcoxon), since the test's statistic at a shift d counts those above d (Lehmann 1975,
chapters 2 and 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import scipy.optimize
from scipy.special import ndtri

from suitecase.stats.results import Alternative, Interval
from suitecase.stats.samples import Array

__all__ = [
    "exact_ranks",
    "median_ranks",
    "normal_ranks",
    "pairwise_differences",
    "rank_sum_cdf",
    "rank_sum_sd",
    "shift_interval",
    "signed_rank_cdf",
    "signed_rank_sd",
    "walsh_averages",
]

optimize = cast(Any, scipy.optimize)  # scipy ships no types

ENUMERABLE = 2**20
"""Up to so many pairs of distinct values are sorted; of more, order statistics are found by counting, to 1e-10 of the
range."""


def pairwise_differences(x: Array, y: Array, ranks: Sequence[int]) -> list[float]:
    """The k-th smallest of the len(x)·len(y) differences x_i − y_j, for each k of `ranks`, 1 being the smallest."""
    (values, counts), (others, other_counts) = tally(x), tally(y)
    if len(values) * len(others) <= ENUMERABLE:
        return weighted_order(np.subtract.outer(values, others), np.multiply.outer(counts, other_counts), ranks)
    above = np.concatenate((np.cumsum(other_counts[::-1])[::-1], [0.0]))

    def count(d: float) -> float:
        """How many differences are at most d: those with y ≥ x − d."""
        return float(counts @ above[np.searchsorted(others, values - d, "left")])

    return by_counting(count, float(values[0] - others[-1]), float(values[-1] - others[0]), ranks)


def walsh_averages(x: Array, ranks: Sequence[int]) -> list[float]:
    """The k-th smallest of the n(n + 1)/2 means (x_i + x_j)/2, i ≤ j, for each k of `ranks`, 1 being the smallest."""
    values, counts = tally(x)
    if len(values) ** 2 <= ENUMERABLE:
        first, second = np.triu_indices(len(values))
        weights = np.where(first == second, counts[first] * (counts[first] + 1) / 2, counts[first] * counts[second])
        return weighted_order((values[first] + values[second]) / 2, weights, ranks)
    below = np.concatenate(([0.0], np.cumsum(counts)))

    def count(d: float) -> float:
        """How many means are at most d; each pair is counted twice, and each value with itself once."""
        all_pairs = float(counts @ below[np.searchsorted(values, 2 * d - values, "right")])
        return (all_pairs + float(below[np.searchsorted(values, d, "right")])) / 2

    return by_counting(count, float(values[0]), float(values[-1]), ranks)


def median_ranks(total: int) -> tuple[int, int]:
    """The ranks of the one or two middle ones among so many; the median is their mean."""
    return (total + 1) // 2, total // 2 + 1


def tally(x: Array) -> tuple[Array, Array]:
    """The distinct values in ascending order, and how often each occurs."""
    values, counts = np.unique(x, return_counts=True)
    return values, counts.astype(np.float64)


def weighted_order(values: Array, weights: Array, ranks: Sequence[int]) -> list[float]:
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    upto = np.cumsum(weights.ravel()[order])
    return [float(flat[order[np.searchsorted(upto, rank - 0.5)]]) for rank in ranks]


def by_counting(count: Callable[[float], float], low: float, high: float, ranks: Sequence[int]) -> list[float]:
    """Where a count of values up to d passes each rank, by Brent's method between the smallest and the largest."""
    # Rounding might leave the largest value itself out of its count; beyond it, every rank is reached.
    beyond = high + (high - low) * 1e-9

    def value(rank: int) -> float:
        def excess(d: float) -> float:
            return count(d) - (rank - 0.5)

        return low if excess(low) > 0 else float(optimize.brentq(excess, low, beyond, xtol=1e-10 * (high - low)))

    return [value(rank) for rank in ranks]


def rank_sum_cdf(n: int, m: int) -> Array:
    """P(U ≤ u) for u = 0 … nm, where no values are tied and the groups of n and m don't differ.

    The counts are the coefficients of the Gaussian binomial ∏ (1 − q^(m + i)) / (1 − q^i), i = 1 … n (Mann & Whitney
    1947), in integers without bound.
    """
    counts = np.zeros(n * m + 1, dtype=object)
    counts[0] = 1
    for i in range(1, n + 1):
        if m + i <= n * m:
            counts[m + i :] = counts[m + i :] - counts[: -(m + i)]
        for start in range(min(i, n * m + 1)):
            counts[start::i] = np.cumsum(counts[start::i])
    total = counts.sum()
    return np.array([int(each) / total for each in np.cumsum(counts)])


def signed_rank_cdf(n: int) -> Array:
    """P(V ≤ v) for v = 0 … n(n + 1)/2, where no differences are tied or 0 and their median is 0; n ≤ 52.

    The counts of sets of ranks with each sum, by adding one rank at a time; exact up to 2⁵².
    """
    counts = np.zeros(n * (n + 1) // 2 + 1)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] = counts[rank:] + counts[:-rank]
    return np.cumsum(counts) / 2.0**n


def exact_ranks(cdf: Array, alternative: Alternative, level: float) -> tuple[tuple[int, int], float]:
    """Which order statistics bound the shift, from the statistic's distribution; and the level that they reach."""
    total = len(cdf) - 1
    sides = 2 if alternative == "two-sided" else 1
    quantile = max(int(np.searchsorted(cdf, (1 - level) / sides * (1 - 1e-12))), 1)
    return (quantile, total - quantile + 1), 1 - sides * float(cdf[quantile - 1])


def normal_ranks(
    total: int, mean: float, sd: float, alternative: Alternative, level: float
) -> tuple[tuple[int, int], float]:
    """The same by the normal approximation with continuity correction: where the statistic passes its quantile."""
    sides = 2 if alternative == "two-sided" else 1
    low = total - mean - 0.5 + float(ndtri((1 - level) / sides)) * sd
    rank = math.ceil(low)
    # So few values that even all of the differences don't reach the level.
    reached = level if rank >= 1 else 0.0
    rank = min(max(rank, 1), total)
    return (rank, total - rank + 1), reached


def shift_interval(
    values: Sequence[float], alternative: Alternative, reached: float, level: float, method: str
) -> tuple[Interval | None, tuple[str, ...]]:
    """The interval between two order statistics, with what a reader must know of its level."""
    """Between the first two values; `None` where no interval reaches any level; and what a reader must know of it."""
    low = -math.inf if alternative == "less" else values[0]
    high = math.inf if alternative == "greater" else values[1]
    if reached >= level - (1 - level) / 2:
        flat = "The interval has no width, since so many values are tied."
        return Interval(low, high, level, method), (flat,) * (low == high)
    if reached <= 0:
        return None, (f"So few values have no {100 * level:g} % interval.",)
    said = f"So few values have no {100 * level:g} % interval; the widest one reaches {100 * reached:.1f} %."
    return Interval(low, high, reached, method), (said,)


def rank_sum_sd(ties: list[np.ndarray[Any, np.dtype[np.int64]]], n: int, m: int) -> float:
    """The standard deviation of U under the null hypothesis, with correction for ties of these sizes."""
    cubes = sum(float((sizes.astype(np.float64) ** 3 - sizes).sum()) for sizes in ties)
    both = float(n + m)
    return math.sqrt(n * m / 12 * (both + 1 - cubes / (both * (both - 1))))


def signed_rank_sd(ties: np.ndarray[Any, np.dtype[np.int64]], n: int) -> float:
    """The standard deviation of V under the null hypothesis, with correction for ties of these sizes."""
    cubes = float((ties.astype(np.float64) ** 3 - ties).sum())
    return math.sqrt(n * (n + 1.0) * (2 * n + 1) / 24 - cubes / 48)
