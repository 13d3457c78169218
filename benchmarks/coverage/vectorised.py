"""The rule's intervals of means for many data sets at once, and the rule that they are held against.

The public functions take one data set; twenty thousand calls with their permutations, effects and sentences would take
hours. The forms here are the same formulas over rows, and `simulated.py` holds them against the public functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy import special

from suitecase.stats import clustered_difference, clustered_mean
from suitecase.stats.clusters import FEW_CLUSTERS, FEW_EFFECTIVE
from suitecase.stats.comparing import skewness_bound
from suitecase.stats.nested import FEW_SEEDS
from suitecase.stats.samples import Array

__all__ = [
    "Flags",
    "Found",
    "clustered",
    "clustered_groups",
    "gated_p",
    "gated_paired_p",
    "one_mean",
    "seeds",
    "two_means",
]

Flags = NDArray[np.bool_]
NORMAL_SKEWNESS, NORMAL_KURTOSIS, TOO_FEW = 2.0, 7.0, 8
"""crucible_bench 0.4.0 calls a sample normal enough if n < 8, or |skewness| < 2 and |excess kurtosis| < 7."""


@dataclass(frozen=True)
class Found:
    """What a rule says of many data sets, shape (sets,) each: the interval's ends, and whether it warns."""

    low: Array
    high: Array
    warned: Flags

    def covers(self, truth: float) -> Flags:
        """Whether each interval has the true value within its ends."""
        return (self.low <= truth) & (truth <= self.high)


def around(estimate: Array, se: Array, df: Array | float, warned: Flags) -> Found:
    half = np.asarray(special.stdtrit(df, 0.975), np.float64) * se
    return Found(estimate - half, estimate + half, warned)


def one_mean(x: Array) -> Found:
    """`compare_paired` of pairs whose differences are x, shape (sets, n)."""
    n = x.shape[1]
    return around(x.mean(axis=1), x.std(axis=1, ddof=1) / math.sqrt(n), n - 1, is_skewed(x))


def two_means(x: Array, y: Array) -> Found:
    """`compare`, by Welch's interval; shapes (sets, n) and (sets, m)."""
    n, m = x.shape[1], y.shape[1]
    of_x, of_y = x.var(axis=1, ddof=1) / n, y.var(axis=1, ddof=1) / m
    squared = of_x + of_y
    df = squared**2 / (of_x**2 / (n - 1) + of_y**2 / (m - 1))
    return around(x.mean(axis=1) - y.mean(axis=1), np.sqrt(squared), df, is_skewed(x) | is_skewed(y))


def clustered(x: Array, sizes: Sequence[int]) -> Found:
    """`compare_paired` of pairs in clusters; x has shape (sets, n), with the clusters one after the other."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    df = clustered_mean(x[0], labels).df[0]  # of the sizes alone
    se = np.sqrt((parts(x, sizes) ** 2).sum(axis=1))
    return around(x.mean(axis=1), se, df, is_skewed(x) | are_few(sizes))


def clustered_groups(x: Array, y: Array, sizes_x: Sequence[int], sizes_y: Sequence[int]) -> Found:
    """`compare` of groups in clusters, none of which lies in both."""
    labels = [np.repeat(np.arange(len(each)), each) for each in (sizes_x, sizes_y)]
    df = clustered_difference(x[0], y[0], labels[0], labels[1] + len(sizes_x)).df[0]
    se = np.sqrt((parts(x, sizes_x) ** 2).sum(axis=1) + (parts(y, sizes_y) ** 2).sum(axis=1))
    warned = is_skewed(x) | is_skewed(y) | are_few(sizes_x) | are_few(sizes_y)
    return around(x.mean(axis=1) - y.mean(axis=1), se, df, warned)


def parts(x: Array, sizes: Sequence[int]) -> Array:
    """What each cluster adds to the CR2 standard error, shape (sets, clusters)."""
    counts, n = np.asarray(sizes), x.shape[1]
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    residuals = np.add.reduceat(x - x.mean(axis=1, keepdims=True), starts, axis=1)
    return residuals / (n * np.sqrt(1 - counts / n))


def are_few(sizes: Sequence[int]) -> bool:
    return len(sizes) < FEW_CLUSTERS or sum(sizes) ** 2 / sum(size**2 for size in sizes) < FEW_EFFECTIVE


def seeds(x: Array, y: Array) -> Found:
    """`nested_difference` of two methods; the means of their seeds over the items, shapes (sets, seeds)."""
    found = two_means(x, y)
    return Found(found.low, found.high, np.full(len(x), min(x.shape[1], y.shape[1]) < FEW_SEEDS))


def is_skewed(x: Array) -> Flags:
    """For which rows the rule warns of skewness, or of too few values to see it."""
    bound = skewness_bound(x.shape[1])
    return np.abs(skewness(x)) >= bound if 0 < bound < math.inf else np.full(len(x), bound == 0)


def skewness(x: Array) -> Array:
    """G₁ of each row (Joanes & Gill 1998)."""
    n = x.shape[1]
    z = x - x.mean(axis=1, keepdims=True)
    squared = z * z
    return math.sqrt(n * (n - 1)) / (n - 2) * (squared * z).mean(axis=1) / squared.mean(axis=1) ** 1.5


def kurtosis(x: Array) -> Array:
    """G₂ of each row (Joanes & Gill 1998), 0 for normal values."""
    n = x.shape[1]
    z = x - x.mean(axis=1, keepdims=True)
    squared = z * z
    excess = (squared * squared).mean(axis=1) / squared.mean(axis=1) ** 2 - 3
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)


def passes_gate(x: Array) -> Flags:
    if x.shape[1] < TOO_FEW:
        return np.ones(len(x), bool)
    return (np.abs(skewness(x)) < NORMAL_SKEWNESS) & (np.abs(kurtosis(x)) < NORMAL_KURTOSIS)


def gated_p(x: Array, y: Array) -> Array:
    """crucible_bench's rule for two groups, with right p-values: Welch's if both pass the gate, else Mann–Whitney's."""
    n, m = x.shape[1], y.shape[1]
    p = np.asarray(cast(Any, scipy.stats).ttest_ind(x, y, axis=1, equal_var=False).pvalue)
    ranked = ~(passes_gate(x) & passes_gate(y))
    if ranked.any():
        both = np.concatenate((x[ranked], y[ranked]), axis=1)
        u = ranks(both)[:, :n].sum(axis=1) - n * (n + 1) / 2
        p[ranked] = corrected_p(u - n * m / 2, n * m * (n + m + 1) / 12)
    return p


def gated_paired_p(x: Array) -> Array:
    """The same rule for differences of pairs: the paired t-test's if they pass the gate, else Wilcoxon's."""
    n = x.shape[1]
    p = np.asarray(cast(Any, scipy.stats).ttest_1samp(x, 0.0, axis=1).pvalue)
    ranked = ~passes_gate(x)
    if ranked.any():
        v = (ranks(np.abs(x[ranked])) * (x[ranked] > 0)).sum(axis=1)
        p[ranked] = corrected_p(v - n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24)
    return p


def ranks(x: Array) -> Array:
    return np.asarray(cast(Any, scipy.stats).rankdata(x, axis=1))


def corrected_p(distance: Array, variance: float) -> Array:
    """The two-sided normal p-value with continuity correction."""
    return np.minimum(2 * special.ndtr(-np.maximum(np.abs(distance) - 0.5, 0) / math.sqrt(variance)), 1.0)
