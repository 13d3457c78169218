"""Pairs of successes and failures, counted, and the tests that only the discordant pairs decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from scipy import special, stats

from suitecase.stats.counts import Table, binary_of, table_of
from suitecase.stats.rates import rate_interval
from suitecase.stats.results import Alternative, Effect, Interval
from suitecase.stats.samples import DataError, Values, pairs_of
from suitecase.stats.scores import root_of

__all__ = ["McNemarMethod", "Pairs", "cohens_g", "corrected_z", "exact_p", "mid_p", "pairs_counted"]

McNemarMethod: TypeAlias = Literal["score", "mid-p", "exact", "corrected"]


@dataclass(frozen=True)
class Pairs:
    """How many pairs there are, and how many have a success in the first or the second alone."""

    n: int
    only_a: int
    only_b: int
    both: int

    @property
    def discordant(self) -> int:
        return self.only_a + self.only_b

    @property
    def difference(self) -> float:
        return (self.only_a - self.only_b) / self.n


def pairs_counted(a: Values | Table, b: Values | None) -> Pairs:
    if b is None:
        table = table_of(cast(Table, a), "a", (2, 2))
        n = int(table.sum())
        if n == 0:
            raise DataError("a has no pairs: all four counts are 0.")
        return Pairs(n, int(table[0, 1]), int(table[1, 0]), int(table[0, 0]))
    first, second = pairs_of(binary_of(cast(Values, a), "a"), binary_of(b, "b"))
    both = int(first @ second)
    return Pairs(len(first), int(first.sum()) - both, int(second.sum()) - both, both)


def exact_p(pairs: Pairs, alternative: Alternative) -> float:
    if not pairs.discordant:
        return 1.0
    return float(cast(Any, stats).binomtest(pairs.only_a, pairs.discordant, 0.5, alternative).pvalue)


def mid_p(pairs: Pairs, alternative: Alternative) -> float:
    """The exact p-value, with the observed outcome counted by half."""
    m, x = pairs.discordant, pairs.only_a
    if alternative == "greater":
        return mid_tail(m - x, m, 0.5)
    if alternative == "less":
        return mid_tail(x, m, 0.5)
    return min(1.0, 2 * mid_tail(min(x, m - x), m, 0.5))


def mid_tail(x: int, m: int, rate: float) -> float:
    """P(X < x) + ½·P(X = x) of a binomial X."""
    return float(special.bdtr(x - 1, m, rate) + special.bdtr(x, m, rate)) / 2 if x else float((1 - rate) ** m) / 2


def corrected_z(pairs: Pairs, alternative: Alternative) -> float:
    x, y = pairs.only_a, pairs.only_b
    if x == y:
        return 0.0
    towards = {"two-sided": math.copysign(1, x - y), "less": -1.0, "greater": 1.0}[alternative]
    return (x - y - towards) / math.sqrt(x + y)


def cohens_g(pairs: Pairs, method: McNemarMethod, alternative: Alternative, level: float) -> Effect | None:
    """Cohen's g with the interval that belongs to the test's p; none without discordant pairs."""
    x, m = pairs.only_a, pairs.discordant
    if not m:
        return None
    interval = None
    if method in ("score", "exact"):
        name = "wilson" if method == "score" else "clopper-pearson"
        interval = rate_interval(x, m, method=name, alternative=alternative, level=level)
    elif method == "mid-p":
        interval = mid_p_interval(x, m, alternative, level)
    if interval:
        interval = Interval(interval.low - 0.5, interval.high - 0.5, level, interval.method)
    g = x / m - 0.5
    size = abs(g)
    label = "negligible" if size < 0.05 else "small" if size < 0.15 else "medium" if size < 0.25 else "large"
    return Effect("Cohen g", g, interval, label, "Cohen 1988")


def mid_p_interval(x: int, m: int, alternative: Alternative, level: float) -> Interval:
    """The rates that a mid-p test of one rate doesn't reject."""
    tail = (1 - level) / 2 if alternative == "two-sided" else 1 - level

    def end(count: int) -> float:  # the rate at which so few successes become rare
        return root_of(lambda rate: mid_tail(count, m, rate) - tail, 0.0, 1.0)

    low = 0.0 if alternative == "less" or x == 0 else 1 - end(m - x)
    high = 1.0 if alternative == "greater" or x == m else end(x)
    return Interval(low, high, level, "mid-p")
