"""Items within seeds: what is said about a method must come from how its seeds differ, not from its many items.

Training the same method with another seed gives another system. A system's mean over the items is one value; intervals
rest on the spread of these values, so that a thousand more items don't make up for a missing seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from suitecase.stats.clusters import Labels, t_interval, t_p
from suitecase.stats.counts import check_question
from suitecase.stats.results import Alternative, Assumption, TestResult
from suitecase.stats.samples import Array, DataError, Values, codes_of, sample_of

__all__ = ["nested_difference", "nested_mean"]

FEW_SEEDS = 5
"""Seeds of a condition below which intervals are wide and rest on normality."""


@dataclass(frozen=True)
class Seeds:
    """The means over items of a condition's seeds, shape (seeds,), and what is known about their spread."""

    means: Array
    n: int
    within: float
    name: str

    @property
    def count(self) -> int:
        return len(self.means)

    @property
    def mean(self) -> float:
        return float(self.means.mean())

    @property
    def between(self) -> float:
        """The standard deviation of the seeds' means."""
        return float(self.means.std(ddof=1))

    @property
    def variance(self) -> float:
        """Of the mean over seeds."""
        return self.between**2 / self.count


def seeds_of(values: Values, seeds: Labels, name: str, labels_name: str) -> Seeds:
    array = sample_of(values, name, least=2)
    codes = codes_of(seeds, len(array), labels_name)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise DataError(
            f"{name} has one seed only: nothing is known about how seeds differ. Run more seeds, or compare items, "
            "which speaks about these systems and not about the method."
        )
    means = np.bincount(codes, weights=array) / sizes
    residuals = array - means[codes]
    freedom = len(array) - len(sizes)
    within = math.sqrt(float(residuals @ residuals) / freedom) if freedom else math.nan
    return Seeds(means, len(array), within, name)


def nested_mean(
    values: Values,
    seeds: Labels,
    null: float = 0.0,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The mean of a method over its seeds, each with its items.

    Seeds count alike, however many items each has. The interval is about other seeds on these items.

    Args:
        values: An item's value for a seed, shape (n,).
        seeds: The seed of each value.
        null: The mean to compare with.
        alternative: What is asked of the mean.
        level: The interval's confidence level.

    Returns:
        t with seeds − 1 degrees of freedom, the mean of the seeds' means and its interval. In `details` the standard
        deviation between seeds' means ("sd_between") and of items within seeds ("sd_within", not known with one item a
        seed), and "seeds".

    Raises:
        DataError: For fewer than two seeds, or seeds that all have the same mean.

    Source:
        Miller (2024), arXiv:2411.00640, section 3, on what the variance of an evaluation consists of.
    """
    check_question(level, alternative)
    found = seeds_of(values, seeds, "values", "seeds")
    se, df = standard_error((found,)), found.count - 1
    t = (found.mean - null) / se
    return TestResult(
        test="t-test of seeds' means",
        statistic_name="t",
        statistic=t,
        df=(df,),
        p=t_p(t, df, alternative),
        alternative=alternative,
        n=(found.count,),
        estimate_name="mean over seeds",
        estimate=found.mean,
        interval=t_interval(found.mean, se, df, alternative, level, "t, seeds"),
        assumptions=(assumption_of(found),),
        references=("Student (1908)",),
        warnings=warnings_of((found,)),
        details={
            "null": null,
            "se": se,
            "seeds": found.count,
            "items": found.n,
            "sd_between": found.between,
            "sd_within": found.within,
        },
    )


def nested_difference(
    a: Values,
    b: Values,
    seeds_a: Labels,
    seeds_b: Labels,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The difference of two methods over their seeds, each with its items: Welch's t-test of the seeds' means.

    The same seed number in both is not a pair: it starts two trainings that have little else in common.

    Args:
        a: An item's value for a seed of the first method, shape (n,).
        b: Those of the second method, shape (m,).
        seeds_a: The seed of each value of a.
        seeds_b: The seed of each value of b.
        null: The difference (first minus second) to compare with.
        alternative: What is asked of the difference.
        level: The interval's confidence level.

    Returns:
        t with Welch's degrees of freedom, the difference of the means over seeds and its interval; `details` as
        `nested_mean`, for both.

    Raises:
        DataError: For fewer than two seeds in a method, or if no seed differs from the others of its method.

    Source:
        Welch (1947), Biometrika 34:28–35.
    """
    check_question(level, alternative)
    first, second = seeds_of(a, seeds_a, "a", "seeds_a"), seeds_of(b, seeds_b, "b", "seeds_b")
    se = standard_error((first, second))
    shares = [each.variance / se**2 for each in (first, second)]
    df = 1 / sum(share**2 / (each.count - 1) for share, each in zip(shares, (first, second), strict=True))
    difference = first.mean - second.mean
    t = (difference - null) / se
    return TestResult(
        test="Welch's t-test of seeds' means",
        statistic_name="t",
        statistic=t,
        df=(df,),
        p=t_p(t, df, alternative),
        alternative=alternative,
        n=(first.count, second.count),
        estimate_name="difference of means over seeds",
        estimate=difference,
        interval=t_interval(difference, se, df, alternative, level, "Welch t, seeds"),
        assumptions=(assumption_of(first, " of a"), assumption_of(second, " of b")),
        references=("Welch (1947)",),
        warnings=warnings_of((first, second)),
        details={
            "null": null,
            "se": se,
            "seeds_1": first.count,
            "seeds_2": second.count,
            "items_1": first.n,
            "items_2": second.n,
            "sd_between_1": first.between,
            "sd_between_2": second.between,
            "sd_within_1": first.within,
            "sd_within_2": second.within,
        },
    )


def standard_error(methods: tuple[Seeds, ...]) -> float:
    se = math.sqrt(sum(each.variance for each in methods))
    # Means of equal values differ by rounding, which is no spread.
    if se <= 1e-14 * max(float(np.abs(each.means).max()) for each in methods):
        raise DataError("All seeds have the same mean: without any spread between them there is no standard error.")
    return se


def assumption_of(found: Seeds, where: str = "") -> Assumption:
    spread = f"standard deviation between seeds {found.between:.3g}"
    if not math.isnan(found.within):
        spread += f", of items within seeds {found.within:.3g}"
    return Assumption(f"means of seeds{where} are normal", f"{found.count} seeds can't tell; {spread}")


def warnings_of(methods: tuple[Seeds, ...]) -> tuple[str, ...]:
    return tuple(
        f"{each.name} has only {each.count} seeds: its spread is hardly known, and the interval rests on normality "
        f"(t = {-float(special.stdtrit(each.count - 1, 0.025)):.3g} instead of 1.96 standard errors)."
        for each in methods
        if each.count < FEW_SEEDS
    )
