"""Score tests: the p-value of a z, and the interval of just those null values that the test doesn't reject."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from scipy import optimize, special

from suitecase.stats.results import Alternative, Interval

__all__ = ["normal_p", "quantile", "ratio_of", "root_of", "score_interval"]


def normal_p(z: float, alternative: Alternative = "two-sided") -> float:
    """The probability of a standard normal value as far out as z, in the direction asked."""
    if alternative == "two-sided":
        return float(2 * special.ndtr(-abs(z)))
    return float(special.ndtr(z if alternative == "less" else -z))


def quantile(level: float, alternative: Alternative = "two-sided") -> float:
    """The standard normal quantile that an interval of this level needs: 1.96 for a two-sided one of 95 %."""
    tail = (1 - level) / 2 if alternative == "two-sided" else 1 - level
    return float(-special.ndtri(tail))


def ratio_of(distance: float, variance: float) -> float:
    """A distance in standard errors: 0 if there is no distance, infinite if there is one without any variance."""
    if distance == 0:
        return 0.0
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def root_of(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that has different signs at both ends is 0."""
    return float(cast(Any, optimize).brentq(function, low, high, xtol=1e-14, rtol=1e-14, maxiter=500))


def score_interval(
    z: Callable[[float], float],
    within: tuple[float, float],
    estimate: float,
    level: float,
    alternative: Alternative,
    method: str,
) -> Interval:
    """The null values that a score test doesn't reject at α = 1 − level.

    Args:
        z: The test's statistic for a null value; it falls as the null value grows.
        within: The parameter's lowest and highest value.
        estimate: Where z is 0.
        level: The confidence level.
        alternative: "greater" gives a lower end only, "less" an upper end only; the other end is the parameter's.
        method: The interval's usual name.
    """
    critical = quantile(level, alternative)
    lowest, highest = within

    def end(outer: float, threshold: float) -> float:
        # No quantile of a level below 1 reaches 50, which stands for the infinite z of a null value without variance.
        def beyond(null: float) -> float:
            return min(max(z(null), -50.0), 50.0) - threshold

        at_estimate, at_outer = beyond(estimate), beyond(outer)
        if at_outer * at_estimate >= 0:  # even the outermost value isn't rejected
            return outer
        return root_of(beyond, min(estimate, outer), max(estimate, outer))

    low = lowest if alternative == "less" else end(lowest, critical)
    high = highest if alternative == "greater" else end(highest, -critical)
    return Interval(low, high, level, method)
