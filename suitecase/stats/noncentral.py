"""Intervals for the noncentrality of a t or F statistic: where the intervals of most effect sizes come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from scipy import optimize, stats
from scipy.special import chdtri, fdtr, ndtri

from suitecase.stats.samples import DataError, check_level

__all__ = ["f_noncentrality", "t_noncentrality"]


LARGEST_T = 1e4
"""Above it, the noncentral t distribution is no longer computed (scipy 1.17 gives NaN from about 5 × 10⁴ on)."""


def t_noncentrality(t: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """The ends of a confidence interval for the noncentrality of t, exact for normal data (Steiger & Fouladi 1997).

    The interval excludes 0 exactly when the two-sided t-test has p < 1 − level. For |t| above 10⁴ each end lies as far
    from t as the variance's own interval and the normal quantile say together, the square root of the sum of their
    squares; what that end covers is right to 10⁻⁶.

    Args:
        t: The statistic.
        df: Its degrees of freedom, positive.
        level: The confidence level, in (0, 1).
    """
    check_level(level)
    if t < 0:
        low, high = t_noncentrality(-t, df, level)
        return -high, -low
    tail = (1 - level) / 2

    def end(probability: float) -> float:
        z = float(ndtri(1 - probability))
        if t > LARGEST_T:
            spread = t * (math.sqrt(float(chdtri(df, probability)) / df) - 1)
            return t + math.copysign(math.hypot(spread, z), z)
        error = math.sqrt(1 + t * t / (2 * df))
        return root(lambda ncp: t_cdf(t, df, ncp) - probability, t + z * error, error)

    return end(1 - tail), end(tail)


def t_cdf(t: float, df: float, ncp: float) -> float:
    """P(T ≤ t) for t ≥ 0; scipy has NaN instead of 1 for a noncentrality far below 0."""
    found = float(cast(Any, stats.nct).cdf(t, df, ncp))
    return 1.0 if math.isnan(found) and ncp < 0 else found


def f_noncentrality(f: float, df1: float, df2: float, level: float = 0.9) -> tuple[float, float]:
    """The ends of a confidence interval for the noncentrality of F (Steiger 2004), cut at 0.

    Raises:
        DataError: For F below 0, infinite or NaN, or degrees of freedom that aren't positive.
    """
    check_level(level)
    if not (0 <= f < math.inf and 0 < df1 < math.inf and 0 < df2 < math.inf):
        raise DataError(f"F = {f} with {df1} and {df2} degrees of freedom: F is at least 0, its df are above 0.")
    tail = (1 - level) / 2

    def above(ncp: float, probability: float) -> float:
        cdf = fdtr(df1, df2, f) if ncp == 0 else cast(Any, stats.ncf).cdf(f, df1, df2, ncp)
        return float(cdf) - probability

    def end(probability: float) -> float:
        if above(0, probability) <= 0:
            return 0.0
        high = max(2 * f * df1, 8.0)
        while above(high, probability) > 0:
            high *= 2
        return float(cast(Any, optimize).brentq(above, 0, high, args=(probability,), xtol=1e-12, rtol=1e-12))

    return end(1 - tail), end(tail)


def root(function: Callable[[float], float], guess: float, step: float) -> float:
    """Where a decreasing function is 0, looked for around a guess."""
    low, high = guess - step, guess + step
    while function(low) < 0:
        low, step = low - step, 2 * step
    while function(high) > 0:
        high, step = high + step, 2 * step
    return float(cast(Any, optimize).brentq(function, low, high, xtol=1e-12, rtol=1e-12))
