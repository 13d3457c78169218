"""Confidence intervals of one quantity: means, quantiles, and by bootstrap any other statistic."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from scipy import stats
from scipy.special import bdtr, stdtrit

from suitecase.stats.resampling import bootstrap_means, check_draws, percentile_ends
from suitecase.stats.results import Interval
from suitecase.stats.samples import Array, DataError, Groups, Values, check_level, groups_of, pairs_of, sample_of
from suitecase.stats.wording import level_text

__all__ = ["BootstrapMethod", "bootstrap_interval", "mean_interval", "median_interval", "quantile_interval"]

BootstrapMethod: TypeAlias = Literal["percentile", "bca", "studentised", "smooth"]
METHODS = {"percentile": "percentile", "bca": "BCa", "studentised": "studentised", "smooth": "smooth percentile"}


def mean_interval(values: Values, *, level: float = 0.95) -> Interval:
    """Student's t interval of a mean.

    Raises:
        DataError: For fewer than 2 values, or values that are all the same, which can't say how far a mean varies.
    """
    check_level(level)
    x = varying(sample_of(values, least=2))
    mean = float(x.mean())
    half = float(stdtrit(len(x) - 1, (1 + level) / 2)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean - half, mean + half, level, "t")


def median_interval(values: Values, *, level: float = 0.95) -> Interval:
    """The interval of a median between two order statistics, for any distribution; as `quantile_interval` at 0.5."""
    return quantile_interval(values, 0.5, level=level)


def quantile_interval(values: Values, q: float, *, level: float = 0.95) -> Interval:
    """The interval of a quantile between two order statistics, for any distribution (Conover 1999, 3.2).

    How many values lie below the quantile is binomial; each end leaves out at most (1 − level)/2. The level that the
    two ends reach, at least the one asked for, stands in the interval's `method`.

    Args:
        values: Shape (n,).
        q: Which quantile, in (0, 1).
        level: The confidence level, in (0, 1).

    Raises:
        DataError: For q out of range, or too few values for the level: 6 for a median at 95 %.
    """
    check_level(level)
    check_quantile(q)
    x = np.sort(sample_of(values))
    n, tail = len(x), (1 - level) / 2
    low, high = binomial_end(n, q, tail), n + 1 - binomial_end(n, 1 - q, tail)
    if low < 1 or high > n:
        needed = math.ceil(math.log(tail) / math.log(max(q, 1 - q)) - 1e-9)
        raise DataError(
            f"{n} values can't give a {level_text(level)} interval of the {q:g} quantile: {needed} are needed."
        )
    achieved = float(bdtr(high - 1, n, q) - bdtr(low - 1, n, q))
    return Interval(
        float(x[low - 1]), float(x[high - 1]), level, f"order statistics, {level_text(round(achieved, 4))} achieved"
    )


def binomial_end(n: int, q: float, tail: float) -> int:
    """The highest rank that n values' quantile is above with a probability of at least 1 − tail; 0 if none is."""
    rank = int(cast(Any, stats.binom).ppf(tail, n, q))  # the smallest with P(below ≤ rank) ≥ tail
    return rank + 1 if float(bdtr(rank, n, q)) <= tail else rank


def bootstrap_interval(
    data: Values | Groups,
    statistic: Literal["mean"] | Callable[..., Any] = "mean",
    *,
    method: BootstrapMethod = "percentile",
    paired: bool = False,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The bootstrap interval of a statistic of one group or several.

    "percentile" reads the ends off the draws; "bca" corrects their bias and skewness (Efron 1987), and isn't
    reliable for small samples; "studentised", for means, is the bootstrap-t for skewed data (Hall 1988); "smooth" adds
    normal noise with Silverman's (1986, 3.31) width to each resampled value, which widens the interval of few values.

    Args:
        data: One group, shape (n,), or named groups, or a sequence of groups.
        statistic: "mean", of two groups the first's minus the second's; or a function that is called with an
            array of each group and gives one number. If it takes `axis`, it is called with many resamples at once.
        method: The kind of interval.
        paired: Whether the groups are measurements of the same items, which are resampled together.
        level: The confidence level, in (0, 1).
        draws: How many resamples.
        seed: What they are drawn from.

    Raises:
        DataError: For constant or too little data, "studentised" of another statistic than the mean, "smooth" of
            discrete data (whole numbers, or fewer than half of the values distinct), or more than 10¹⁰ items × draws.
    """
    check_level(level)
    if method not in METHODS:
        raise DataError(f"method={method!r}: it is one of {', '.join(map(repr, METHODS))}.")
    groups = samples_of(data, paired)
    check_draws(draws, sum(map(len, groups)))
    if statistic == "mean" and paired and len(groups) == 2:
        groups, paired = [groups[0] - groups[1]], False
    if all(float(np.ptp(group)) == 0 for group in groups):
        raise DataError("each group is constant, so a bootstrap draws the same again and again.")
    if method == "smooth":
        check_continuous(groups)
    if statistic == "mean" and method != "bca":
        ends = mean_ends(groups, method, level, draws, seed)
    elif method == "studentised":
        raise DataError("the studentised bootstrap is for means: take percentile for another statistic.")
    else:
        ends = statistic_ends(groups, mean_of if statistic == "mean" else statistic, method, paired, level, draws, seed)
    if not all(map(math.isfinite, ends)):
        raise DataError(f"the {METHODS[method]} bootstrap has no finite interval here: the groups vary too little.")
    return Interval(*ends, level, f"{METHODS[method]} bootstrap, {draws:,} draws, seed {seed}")


def mean_ends(groups: list[Array], method: str, level: float, draws: int, seed: int) -> tuple[float, float]:
    """The interval of a mean, or of the difference of two, from the draws of means and of mean squares."""
    if len(groups) > 2:
        raise DataError(f"{len(groups)} groups: a mean is of one, or its difference of two.")
    seeds = np.random.SeedSequence(seed).generate_state(2 * len(groups))
    estimate, shift, variance, observed = 0.0, np.zeros(draws), np.zeros(draws), 0.0
    for sign, number, x in zip((1, -1), seeds, groups, strict=False):
        n, centred = len(x), x - x.mean()
        drawn = bootstrap_means(np.column_stack((centred, centred**2)), draws=draws, seed=int(number))
        estimate += sign * float(x.mean())
        shift += sign * drawn[:, 0]
        variance += np.maximum(drawn[:, 1] - drawn[:, 0] ** 2, 0) / (n - 1)
        observed += float(x.var(ddof=1)) / n
    if method == "smooth":
        noise = sum(bandwidth(x) ** 2 / len(x) for x in groups)  # the mean of n normal numbers is one normal number
        shift += math.sqrt(noise) * np.random.default_rng(int(seeds[-1])).standard_normal(draws)
    if method != "studentised":
        low, high = percentile_ends(shift, level)
        return estimate + low, estimate + high
    flat = variance <= 1e-20 * observed
    t = np.where(
        flat, np.where(shift == 0, 0, np.copysign(np.inf, shift)), shift / np.sqrt(np.where(flat, 1, variance))
    )
    low, high = percentile_ends(t, level)
    return estimate - high * math.sqrt(observed), estimate - low * math.sqrt(observed)


def statistic_ends(
    groups: list[Array],
    statistic: Callable[..., Any],
    method: str,
    paired: bool,
    level: float,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """The interval of any statistic, by scipy."""
    rng = np.random.default_rng(seed)
    widths = [bandwidth(group) if method == "smooth" else 0.0 for group in groups]
    noise = np.random.default_rng([seed, 1])

    def smoothed(*samples: Array, **axis: int) -> Any:
        jittered = (x + h * noise.standard_normal(x.shape) for x, h in zip(samples, widths, strict=True))
        return statistic(*jittered, **axis)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate draws become NaN, which is refused below
        found = cast(Any, stats).bootstrap(
            tuple(groups),
            smoothed if method == "smooth" else statistic,
            n_resamples=draws,
            batch=max(2**21 // sum(map(len, groups)), 1),
            vectorized=takes_axis(statistic),
            paired=paired,
            confidence_level=level,
            method="BCa" if method == "bca" else "percentile",
            rng=rng,
        )
    if not np.isfinite(found.bootstrap_distribution).all():
        raise DataError("the statistic isn't finite for some resamples: take one that is defined for all of them.")
    if method == "bca":
        return float(found.confidence_interval.low), float(found.confidence_interval.high)
    return percentile_ends(found.bootstrap_distribution, level)


def samples_of(data: Values | Groups, paired: bool) -> list[Array]:
    """One group or several, each of at least 2 values."""
    several = isinstance(data, Mapping) or (len(data) > 0 and not np.isscalar(data[0]))
    groups = list(groups_of(cast(Groups, data), least=2, least_groups=1).values()) if several else []
    if not several:
        groups = [sample_of(cast(Values, data), least=2)]
    if paired:
        if len(groups) < 2:
            raise DataError("paired: several groups are needed, and there is one.")
        for group in groups[1:]:
            pairs_of(groups[0], group, names=("the first group", "another"))
    return groups


def mean_of(*samples: Array, axis: int = -1) -> Any:
    """The mean of one group, or the first's minus the second's."""
    means = [sample.mean(axis=axis) for sample in samples]
    return means[0] if len(means) == 1 else means[0] - means[1]


def takes_axis(statistic: Callable[..., Any]) -> bool:
    try:
        return "axis" in inspect.signature(statistic).parameters
    except ValueError:  # a builtin that doesn't tell
        return False


def bandwidth(x: Array) -> float:
    """Silverman's (1986, equation 3.31) width of a normal kernel."""
    low, high = np.quantile(x, (0.25, 0.75))
    spreads = [spread for spread in (float(x.std(ddof=1)), float(high - low) / 1.34) if spread > 0]
    return 0.9 * min(spreads, default=0.0) * len(x) ** -0.2


def check_continuous(groups: Sequence[Array]) -> None:
    for x in groups:
        distinct = len(np.unique(x))
        if distinct < len(x) / 2 or bool((x == np.round(x)).all()):
            raise DataError(
                f"{distinct} distinct values of {len(x)} look discrete, and a smooth bootstrap is for continuous ones: "
                "take percentile."
            )


def check_quantile(q: float) -> None:
    """Refuse a quantile outside of (0, 1)."""
    if not 0 < q < 1:
        raise DataError(f"q={q}: a quantile lies between 0 and 1, such as 0.99.")


def varying(x: Array) -> Array:
    if float(np.ptp(x)) == 0:
        raise DataError(f"all {len(x)} values are {x[0]:g}: they can't say how far their mean varies.")
    return x
