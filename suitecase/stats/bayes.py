"""Simple Bayesian counterparts: posteriors of rates and means, by integration, so that no seed moves them.

They stand beside a comparison for readers who want "how probable is it that A is better"; they never give the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import optimize, special

from suitecase.stats.quadrature import over_beta, over_t
from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import DataError, Values, check_level, sample_of
from suitecase.stats.wording import level_text, number_text

__all__ = [
    "Posterior",
    "posterior_of_mean",
    "posterior_of_means",
    "posterior_of_paired_rates",
    "posterior_of_rate",
    "posterior_of_rates",
]


@dataclass(frozen=True)
class Posterior(Result):
    """What the data and a prior say of a quantity. It never gives a verdict.

    Attributes:
        name: What it is: "rate", "rate difference", "mean", "mean difference".
        mean: The posterior mean; of means, the estimate.
        interval: The credible interval with equal tails.
        margin: What `above` is about.
        above: The probability that the quantity is above `margin`.
        n: Units of each group, or pairs.
        prior: The prior, in words.
    """

    name: str
    mean: float
    interval: Interval
    margin: float
    above: float
    n: tuple[int, ...]
    prior: str

    def sentence(self) -> str:
        """The posterior in one line."""
        ends = f"[{number_text(self.interval.low)}, {number_text(self.interval.high)}]"
        return (
            f"{self.name} = {number_text(self.mean)}, {level_text(self.interval.level)} credible interval {ends}, "
            f"P(above {number_text(self.margin)}) = {number_text(self.above)}; prior: {self.prior}."
        )


def check_counts(prior: float, level: float, **counts: tuple[int, int]) -> None:
    """Refuse counts, a prior or a level that can't be."""
    check_level(level)
    problems = [
        f"{name}={k} of {n}: whole numbers from 0 to all, of 1 or more."
        for name, (k, n) in counts.items()
        if not (0 <= k <= n and n >= 1 and k == int(k) and n == int(n))
    ]
    if not 0.5 <= prior < math.inf:
        problems.append(f"prior={prior}: ½ (Jeffreys) or more; 1 is uniform.")
    if problems:
        raise DataError(problems)


def posterior_of_rate(
    successes: int, n: int, *, margin: float = 0.5, prior: float = 1.0, level: float = 0.95
) -> Posterior:
    """The posterior of a rate: Beta(successes + prior, failures + prior).

    >>> posterior_of_rate(8, 10).interval.low
    0.4822441476...

    Args:
        successes: How many succeeded.
        n: Of how many.
        margin: The rate that `above` is about.
        prior: Both parameters of the Beta prior: 1 is uniform, ½ Jeffreys's.
        level: Of the credible interval.

    Raises:
        DataError: For counts, a prior or a level that can't be.
    """
    check_counts(prior, level, successes=(successes, n))
    a, b = successes + prior, n - successes + prior
    low, high = (float(special.betaincinv(a, b, tail)) for tail in ((1 - level) / 2, (1 + level) / 2))
    above = float(special.betainc(b, a, min(max(1 - margin, 0.0), 1.0)))
    interval = Interval(low, high, level, f"Beta({a:g}, {b:g})")
    return Posterior("rate", a / (a + b), interval, margin, above, (n,), f"Beta({prior:g}, {prior:g})")


def posterior_of_rates(
    first: tuple[int, int],
    second: tuple[int, int],
    *,
    margin: float = 0.0,
    prior: float = 1.0,
    level: float = 0.95,
) -> Posterior:
    """The posterior of the difference of two independent rates, first minus second.

    Args:
        first: Successes and trials of the first.
        second: Of the second.
        margin: `above` is the probability that the first exceeds the second by more than this.
        prior: Both parameters of both Beta priors.
        level: Of the credible interval.

    Raises:
        DataError: As `posterior_of_rate`.
    """
    check_counts(prior, level, first=first, second=second)
    a, b = ((k + prior, n - k + prior) for k, n in (first, second))
    # The narrower one is integrated over, so that the other's distribution function is smooth on its points; where that
    # is 0 or 1 is left out, since it has a kink there.
    if beta_variance(*a) <= beta_variance(*b):

        def below(d: float) -> float:
            points, weights = over_beta(*a, max(d, 0), min(1 + d, 1))
            smaller = float(special.betainc(*a, min(max(d, 0.0), 1.0)))
            return smaller + float(weights @ special.betainc(b[1], b[0], np.clip(1 - (points - d), 0, 1)))
    else:

        def below(d: float) -> float:
            points, weights = over_beta(*b, max(-d, 0), min(1 - d, 1))
            larger = float(special.betainc(b[1], b[0], min(max(d, 0.0), 1.0)))
            return larger + float(weights @ special.betainc(*a, np.clip(points + d, 0, 1)))

    mean = a[0] / sum(a) - b[0] / sum(b)
    words = f"Beta({prior:g}, {prior:g}) for each"
    return difference("rate difference", mean, below, (-1.0, 1.0), margin, level, (first[1], second[1]), words)


def posterior_of_paired_rates(
    first_only: int, second_only: int, n: int, *, margin: float = 0.0, prior: float = 1.0, level: float = 0.95
) -> Posterior:
    """The posterior of the difference of two paired rates, from the pairs in which just one of the two is right.

    The 2 × 2 table is multinomial with a Dirichlet prior. The share of discordant pairs and the first's share of those
    are then independent Betas, so one integral gives what others sample.

    Args:
        first_only: Pairs in which the first alone is right.
        second_only: Pairs in which the second alone is.
        n: All pairs.
        margin: `above` is the probability that the first exceeds the second by more than this.
        prior: Of each of the four cells.
        level: Of the credible interval.

    Raises:
        DataError: As `posterior_of_rate`.
    """
    check_counts(prior, level, first_only=(first_only, n), second_only=(second_only, n))
    if first_only + second_only > n:
        raise DataError(f"{first_only} and {second_only} discordant pairs are more than n={n}.")
    a, b = first_only + prior, second_only + prior
    discordant = (a + b, n - first_only - second_only + 2 * prior)

    def below(d: float) -> float:
        """A discordant share under |d| can't give a difference beyond it."""
        share, weights = over_beta(*discordant, least=abs(d))
        under = float(special.betainc(*discordant, min(d, 1.0))) if d > 0 else 0.0
        return under + float(weights @ special.betainc(a, b, np.clip((d / share + 1) / 2, 0, 1)))

    mean = (first_only - second_only) / (n + 4 * prior)
    words = f"Dirichlet({prior:g}, {prior:g}, {prior:g}, {prior:g})"
    return difference("rate difference", mean, below, (-1.0, 1.0), margin, level, (n,), words)


def posterior_of_mean(values: Values, *, margin: float = 0.0, level: float = 0.95) -> Posterior:
    """The posterior of a normal mean with the prior 1/σ²: Student's t(n − 1), so its interval is the t interval.

    For pairs, give the differences.

    Raises:
        DataError: For fewer than 2 values, or values that are all the same.
    """
    check_level(level)
    mean, error, df, n = summary(values, "values")
    low, high = (mean + error * float(special.stdtrit(df, tail)) for tail in ((1 - level) / 2, (1 + level) / 2))
    above = float(special.stdtr(df, (mean - margin) / error))
    return Posterior("mean", mean, Interval(low, high, level, f"t({df:g})"), margin, above, (n,), "1/σ²")


def posterior_of_means(first: Values, second: Values, *, margin: float = 0.0, level: float = 0.95) -> Posterior:
    """The posterior of the difference of two normal means, variances unknown and not equal (Behrens & Fisher).

    The difference of two Student posteriors with the prior 1/σ² each; its interval is a little wider than Welch's.

    Raises:
        DataError: For fewer than 2 values in a group, or values that are all the same.
    """
    check_level(level)
    (m1, e1, df1, n1), (m2, e2, df2, n2) = summary(first, "first"), summary(second, "second")
    (e_in, df_in), (e_out, df_out) = ((e1, df1), (e2, df2)) if e1 <= e2 else ((e2, df2), (e1, df1))
    points, weights = over_t(df_in)

    def below(d: float) -> float:
        return float(weights @ special.stdtr(df_out, (d - (m1 - m2) + e_in * points) / e_out))

    reach = 1.0
    while below(m1 - m2 - reach * e_out) > (1 - level) / 4:
        reach *= 2
    ends = (m1 - m2 - reach * e_out, m1 - m2 + reach * e_out)
    return difference("mean difference", m1 - m2, below, ends, margin, level, (n1, n2), "1/σ² for each")


def summary(values: Values, name: str) -> tuple[float, float, float, int]:
    """Mean, its standard error, degrees of freedom, n."""
    x = sample_of(values, name, least=2)
    error = float(x.std(ddof=1)) / math.sqrt(len(x))
    if error <= 1e-14 * float(np.abs(x).max()):
        raise DataError(f"{name} has one value only, {x[0]:g}, so nothing is known of its variance.")
    return float(x.mean()), error, float(len(x) - 1), len(x)


def difference(
    name: str,
    mean: float,
    below: Callable[[float], float],
    ends: tuple[float, float],
    margin: float,
    level: float,
    n: tuple[int, ...],
    prior: str,
) -> Posterior:
    """The posterior with this distribution function, whose quantiles lie between the ends."""

    def quantile(tail: float) -> float:
        def lacking(d: float) -> float:
            return below(d) - tail

        # The unit may be any, so the tolerance is relative to the ends.
        return float(cast(Any, optimize).brentq(lacking, *ends, xtol=1e-13 * (ends[1] - ends[0])))

    interval = Interval(quantile((1 - level) / 2), quantile((1 + level) / 2), level, "posterior, equal tails")
    above = min(max(1 - below(margin), 0.0), 1.0)
    return Posterior(name, mean, interval, margin, above, n, prior)


def beta_variance(a: float, b: float) -> float:
    return a * b / ((a + b) ** 2 * (a + b + 1))
