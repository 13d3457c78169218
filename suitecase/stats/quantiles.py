"""Quantiles of two groups compared, such as the 99th percentile of a latency."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from suitecase.stats.intervals import check_quantile
from suitecase.stats.resampling import BLOCK, check_draws, item_counts, percentile_ends, percentile_p
from suitecase.stats.results import Interval, TestResult
from suitecase.stats.samples import Array, DataError, Values, check_level, codes_of, pairs_of, sample_of

__all__ = ["QuantileDraws", "quantile_difference", "quantile_draws"]

FEWEST_BEYOND = 10
"""Below so many values beyond the quantile the bootstrap says little about it, and is refused."""
FEW_BEYOND = 30
"""Below so many there is a warning."""
FEWEST_CLUSTERS, FEW_CLUSTERS = 10, 30
"""The same for clusters, which are what is drawn where there are some."""

Labels: TypeAlias = Sequence[Hashable] | NDArray[Any]


def quantile_difference(
    a: Values,
    b: Values,
    q: float,
    *,
    paired: bool = False,
    level: float = 0.95,
    clusters: tuple[Labels, Labels] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> TestResult:
    """The difference of two groups' quantiles, with a percentile bootstrap interval and the p-value it implies.

    Quantiles are interpolated linearly (Hyndman & Fan 1996, type 7). Resamples are exact, but only what may become
    the quantile is drawn, so the time hardly grows with the number of values.

    Args:
        a: The first group, shape (n,).
        b: The second, shape (m,).
        q: Which quantile, in (0, 1).
        paired: Whether a and b are measurements of the same items, which are then resampled together.
        level: The interval's level, in (0, 1).
        clusters: For each value of a and of b the label of its cluster. Whole clusters are drawn then (Davison &
            Hinkley 1997, 3.8): of pairs those of a, for both; else those of each group by themselves.
        draws: How many resamples.
        seed: What they are drawn from.

    Raises:
        DataError: For q out of range, unequal lengths of pairs, labels that don't fit, or fewer than 10 values beyond
            the quantile on its thinner side, or 10 clusters; below 30 of either there is a warning.
    """
    check_level(level)
    return quantile_draws(a, b, q, paired=paired, clusters=clusters, draws=draws, seed=seed).at(level)


@dataclass(frozen=True)
class QuantileDraws:
    """The bootstrap distribution of a difference of quantiles, from which intervals of any level are read."""

    quantile: float
    paired: bool
    n: tuple[int, ...]
    beyond: int
    estimate: float
    drawn: Array
    seed: int
    clusters: int | None = None

    def at(self, level: float) -> TestResult:
        """The result with an interval of that level."""
        few = f"Only {self.beyond} values lie beyond the {self.quantile:g} quantile, so its interval is rough."
        kind = "clustered " * (self.clusters is not None) + "paired " * self.paired
        warnings = (few,) * (self.beyond < FEW_BEYOND)
        details = {"quantile": self.quantile, "beyond": self.beyond, "draws": len(self.drawn), "seed": self.seed}
        if self.clusters is not None:
            details["clusters"] = self.clusters
            warnings += (f"Only {self.clusters} clusters are drawn, so its interval is rough.",) * (
                self.clusters < FEW_CLUSTERS
            )
        return TestResult(
            test=f"{kind}bootstrap comparison of {self.quantile:g} quantiles",
            p=percentile_p(self.drawn),
            n=self.n,
            estimate_name=f"difference of {self.quantile:g} quantiles",
            estimate=self.estimate,
            interval=Interval(*percentile_ends(self.drawn, level), level, "percentile bootstrap"),
            references=("Davison & Hinkley 1997", "Hyndman & Fan 1996"),
            warnings=warnings,
            details=details,
        )


def quantile_draws(
    a: Values,
    b: Values,
    q: float,
    *,
    paired: bool = False,
    clusters: tuple[Labels, Labels] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> QuantileDraws:
    """The draws behind `quantile_difference`, with its arguments and errors."""
    check_quantile(q)
    check_draws(draws, 1)
    x, y = pairs_of(a, b) if paired else (sample_of(a, "a"), sample_of(b, "b"))
    beyond = math.floor(min(len(x), len(y)) * min(q, 1 - q) + 1e-9)
    if beyond < FEWEST_BEYOND:
        raise DataError(
            f"{min(len(x), len(y))} values have {beyond} beyond their {q:g} quantile, and a comparison needs "
            f"{FEWEST_BEYOND}: {math.ceil(FEWEST_BEYOND / min(q, 1 - q) - 1e-9)} values, or a more central quantile."
        )
    rng = np.random.default_rng(seed)
    fewest: int | None = None
    if clusters is not None:
        codes = codes_of(clusters[0], len(x), "clusters of a"), codes_of(clusters[1], len(y), "clusters of b")
        fewest = min(int(each.max()) + 1 for each in codes)
        if fewest < FEWEST_CLUSTERS:
            raise DataError(
                f"{fewest} clusters can't be drawn from: a comparison of quantiles needs {FEWEST_CLUSTERS}."
            )
        x_drawn, y_drawn = clustered_quantiles((x, y), codes, q, paired, draws, rng)
    elif paired:
        x_drawn, y_drawn = paired_quantiles(x, y, q, draws, rng)
    else:
        x_drawn, y_drawn = quantiles(x, q, draws, rng), quantiles(y, q, draws, rng)
    n = (len(x),) if paired else (len(x), len(y))
    estimate = float(np.quantile(x, q) - np.quantile(y, q))
    return QuantileDraws(q, paired, n, beyond, estimate, x_drawn - y_drawn, seed, fewest)


def quantiles(x: Array, q: float, draws: int, rng: np.random.Generator) -> Array:
    """The quantile in each resample, shape (draws,).

    A resample picks the value of rank ⌈nU⌉ for each of n uniform numbers, so its k-th smallest value has the rank of
    the k-th smallest U, which is a beta variable; the one after it is the smallest of those that remain.
    """
    ordered, n = np.sort(x), len(x)
    k, share = position(n, q)
    first = rng.beta(k + 1, n - k, draws)
    second = 1 - (1 - first) * rng.random(draws) ** (1 / (n - k - 1))
    low, high = (ordered[np.minimum((n * each).astype(np.intp), n - 1)] for each in (first, second))
    return low + share * (high - low)


def paired_quantiles(x: Array, y: Array, q: float, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Both quantiles in each resample of the pairs, shape (draws,) each.

    Only items whose x or y may become the quantile are told apart; the others are lumped by whether they lie below or
    above, as what a resample draws of them changes nothing else. What may not has a probability below 10⁻¹².
    """
    n = len(x)
    k, share = position(n, q)
    lowest = max(math.floor(n * float(betaincinv(k + 1, n - k, 1e-12))) - 1, 0)
    highest = min(math.ceil(n * (1 - float(betaincinv(n - k - 1, k + 2, 1e-12)))) + 1, n - 1)
    ranks = [np.clip(np.argsort(np.argsort(each, kind="stable")), lowest, highest) for each in (x, y)]
    cells, counts = np.unique(np.column_stack(ranks), axis=0, return_counts=True)
    found = np.empty((2, draws))
    rows = max(BLOCK // len(cells), 1)
    orders = [np.argsort(cells[:, i], kind="stable") for i in (0, 1)]
    sorted_values = [np.sort(each) for each in (x, y)]
    for start in range(0, draws, rows):
        drawn = rng.multinomial(n, counts / n, min(rows, draws - start))
        for i, (order, values) in enumerate(zip(orders, sorted_values, strict=True)):
            reached = np.cumsum(drawn[:, order], axis=1)
            low, high = (values[cells[order[(reached <= rank).sum(axis=1)], i]] for rank in (k, k + 1))
            found[i, start : start + len(drawn)] = low + share * (high - low)
    return found[0], found[1]


def clustered_quantiles(
    groups: tuple[Array, Array],
    codes: tuple[NDArray[np.intp], NDArray[np.intp]],
    q: float,
    paired: bool,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Both quantiles in each resample of whole clusters, shape (draws,) each; pairs are drawn together."""
    if paired:
        seeds = [int(rng.integers(2**63))] * 2
        codes = (codes[0], codes[0])
    else:
        seeds = [int(each) for each in rng.integers(2**63, size=2)]
    found: list[Array] = []
    for values, of_value, seed in zip(groups, codes, seeds, strict=True):
        order = np.argsort(values, kind="stable")
        ordered, sorted_codes = values[order], of_value[order]
        parts: list[Array] = []
        for counts in item_counts(int(of_value.max()) + 1, draws, np.random.default_rng(seed)):
            rows = max(BLOCK // len(values), 1)
            for start in range(0, len(counts), rows):
                reached = np.cumsum(counts[start : start + rows][:, sorted_codes], axis=1)
                place = (reached[:, -1] - 1) * q
                k = np.floor(place)
                low, high = (
                    ordered[np.minimum((reached <= rank[:, None]).sum(axis=1), len(values) - 1)] for rank in (k, k + 1)
                )
                parts.append(low + (place - k) * (high - low))
        found.append(np.concatenate(parts))
    return found[0], found[1]


def position(n: int, q: float) -> tuple[int, float]:
    """Where the quantile lies among n ordered values: after which (from 0), and how far towards the next."""
    k = min(math.floor((n - 1) * q), n - 2)
    return k, (n - 1) * q - k
