"""Intervals for the noncentrality of a t or F statistic: where the intervals of most effect sizes come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from scipy import optimize, stats
from scipy.special import fdtr, ndtri

from suitecase.stats.samples import DataError, check_level

__all__ = ["f_noncentrality", "t_noncentrality"]


def t_noncentrality(t: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """The ends of a confidence interval for the noncentrality of t, exact for normal data (Steiger & Fouladi 1997).

    The interval excludes 0 exactly when the two-sided t-test has p < 1 − level. Where the distribution can't be
    computed, the normal approximation t ± z √(1 + t²/2df) is used (Hedges & Olkin 1985), which is within
    1 % of the interval's width for df ≥ 1,000.

    Args:
        t: The statistic.
        df: Its degrees of freedom, positive.
        level: The confidence level, in (0, 1).
    """
    check_level(level)
    tail = (1 - level) / 2
    error = math.sqrt(1 + t * t / (2 * df))

    def end(probability: float) -> float:
        guess = t - float(ndtri(probability)) * error
        found = root(lambda ncp: float(cast(Any, stats.nct).cdf(t, df, ncp)) - probability, guess, error)
        return guess if found is None else found

    return end(1 - tail), end(tail)


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


def root(function: Callable[[float], float], guess: float, step: float) -> float | None:
    """Where a decreasing function is 0, looked for around a guess; `None` if it can't be computed there."""
    low, high = guess - step, guess + step
    for _ in range(60):
        below, above = function(low), function(high)
        if math.isnan(below) or math.isnan(above):
            return None
        if below >= 0 >= above:
            return float(cast(Any, optimize).brentq(function, low, high, xtol=1e-12, rtol=1e-12))
        step *= 2
        low, high = (low - step, high) if below < 0 else (low, high + step)
    return None
