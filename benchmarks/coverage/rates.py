"""Rates, exactly: the coverage at a true value is the sum of the probabilities of the counts whose interval has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import scipy.stats
from scipy import special

from suitecase.stats import paired_rate_interval, rate_difference_interval, rate_interval
from suitecase.stats.samples import Array

__all__ = ["RateDesign", "RateFound", "rate_designs"]

stats = cast(Any, scipy.stats)  # scipy ships no types

SLACK = 1e-9
"""An interval's end that equals the true value but for rounding has it within."""


@dataclass(frozen=True)
class RateFound:
    """Coverage over a grid of true rates.

    Attributes:
        mean: Over the grid.
        least: The smallest, and `at` which rates.
        at: In words.
        error_mean: The type I error where both rates are equal, its mean over them; `None` for one rate.
        error_most: And its largest value.
    """

    mean: float
    least: float
    at: str
    error_mean: float | None = None
    error_most: float | None = None


@dataclass(frozen=True)
class RateDesign:
    """One kind of interval at one number of trials."""

    name: str
    n: str
    find: Callable[[], RateFound]


def rate_designs(quick: bool) -> list[RateDesign]:
    """One rate by Wilson, two by Miettinen and Nurminen, paired ones by Tango; over rates from 0.5 to 0.99."""
    one = (5, 10, 20) if quick else (5, 10, 20, 30, 50, 100, 300, 1000)
    two = ((10, 10),) if quick else ((10, 10), (20, 20), (50, 50), (20, 80), (100, 100))
    paired = (10,) if quick else (10, 20, 50, 100)
    grid = np.linspace(0.5, 0.99, 8 if quick else 50)
    fine = np.linspace(0.5, 0.99, 50 if quick else 4901)
    return [
        *(RateDesign("one rate, Wilson", str(n), partial(one_rate, n, fine)) for n in one),
        *(RateDesign("two rates, Miettinen–Nurminen", f"{n}, {m}", partial(two_rates, n, m, grid)) for n, m in two),
        *(
            RateDesign(f"paired rates, Tango, correlation {r:g}", str(n), partial(paired_rates, n, r, grid))
            for r in (0.0, 0.5)
            for n in paired
        ),
    ]


def one_rate(n: int, grid: Array) -> RateFound:
    """Coverage at each true rate of the grid, by the binomial probabilities of 0 to n successes."""
    intervals = [rate_interval(successes, n) for successes in range(n + 1)]
    low, high = (np.array(ends)[:, None] for ends in zip(*((each.low, each.high) for each in intervals), strict=True))
    chances = binomial(n, grid)
    coverage = (chances * ((low <= grid + SLACK) & (grid <= high + SLACK))).sum(axis=0)
    worst = int(coverage.argmin())
    return RateFound(float(coverage.mean()), float(coverage[worst]), f"{grid[worst]:.3g}")


def two_rates(n: int, m: int, grid: Array) -> RateFound:
    """Coverage of the difference at each pair of true rates."""
    intervals = [rate_difference_interval(k, n, j, m) for k in range(n + 1) for j in range(m + 1)]
    low, high = (np.array([getattr(each, end) for each in intervals]).reshape(n + 1, m + 1) for end in ("low", "high"))
    of_n, of_m = binomial(n, grid), binomial(m, grid)
    coverage = np.empty((len(grid), len(grid)))
    for i, p in enumerate(grid):
        for j, q in enumerate(grid):
            inside = (low <= p - q + SLACK) & (p - q <= high + SLACK)
            coverage[i, j] = of_n[:, i] @ inside @ of_m[:, j]
    return over_two(coverage, grid)


def paired_rates(n: int, correlation: float, grid: Array) -> RateFound:
    """Coverage of the difference of paired rates, by the trinomial probabilities of the discordant pairs."""
    counts = [(x, y) for x in range(n + 1) for y in range(n + 1 - x)]
    intervals = [paired_rate_interval([[n - x - y, x], [y, 0]]) for x, y in counts]
    low, high = np.array([each.low for each in intervals]), np.array([each.high for each in intervals])
    x, y = np.array(counts).T
    ways = special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(y + 1) - special.gammaln(n - x - y + 1)
    coverage = np.empty((len(grid), len(grid)))
    for i, p in enumerate(grid):
        for j, q in enumerate(grid):
            both = p * q + correlation * np.sqrt(p * (1 - p) * q * (1 - q))
            both = min(both, p, q)  # so far apart, rates can't be correlated as much
            only_p, only_q = p - both, q - both
            logs = special.xlogy(x, only_p) + special.xlogy(y, only_q) + special.xlogy(n - x - y, 1 - only_p - only_q)
            inside = (low <= p - q + SLACK) & (p - q <= high + SLACK)
            coverage[i, j] = np.exp(ways + logs) @ inside
    return over_two(coverage, grid)


def over_two(coverage: Array, grid: Array) -> RateFound:
    i, j = np.unravel_index(int(coverage.argmin()), coverage.shape)
    errors = 1 - np.diag(coverage)
    return RateFound(
        float(coverage.mean()), float(coverage.min()), f"{grid[i]:.2g}, {grid[j]:.2g}", float(errors.mean()),
        float(errors.max()),
    )  # fmt: skip


def binomial(n: int, grid: Array) -> Array:
    """The probability of each count at each rate, shape (n + 1, rates)."""
    return np.asarray(stats.binom.pmf(np.arange(n + 1)[:, None], n, grid))
