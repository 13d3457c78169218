"""t-tests of one mean, of two, and of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

from suitecase.stats.effects import cohens_d_one_sample, cohens_dz, hedges_correction, hedges_g
from suitecase.stats.results import Alternative, Assumption, Interval, TestResult
from suitecase.stats.samples import (
    Array,
    DataError,
    Values,
    check_alternative,
    check_finite,
    check_level,
    groups_of,
    is_constant,
    pairs_of,
    sample_of,
    size_of,
)
from suitecase.stats.variances import equal_variances as equal_variances_found
from suitecase.stats.wording import number_text

__all__ = ["MeanEstimate", "mean_of", "t_test", "t_test_one", "t_test_paired"]

SKEWNESS_BOUND = 0.2
"""How skewed the distribution of an estimate may be: n > 25 G₁², Cochran's rule for a mean (Cochran 1977, 2.15), says
that G₁/√n, which is the skewness of the mean, stays below 1/5."""

LEAST_FOR_SKEWNESS = 20
"""Below so many values the sample's skewness says too little of the population's."""

STUDENT = "Student 1908, Biometrika 6:1–25"
WELCH = "Welch 1947, Biometrika 34:28–35"


@dataclass(frozen=True)
class MeanEstimate:
    """An estimate that is t-distributed: what every t-test is made of.

    Attributes:
        value: The mean, or the difference of means.
        se: Its standard error, above 0.
        df: The degrees of freedom of that standard error.
        skewness: The skewness of the estimate's own distribution, from the third moments of the values.
    """

    value: float
    se: float
    df: float
    skewness: float

    def t(self, null: float = 0.0) -> float:
        """How many standard errors it lies above the null value."""
        return (self.value - null) / self.se

    def p(self, alternative: Alternative = "two-sided", null: float = 0.0) -> float:
        """The p-value of Student's distribution."""
        t = self.t(null)
        if alternative == "two-sided":
            return min(2 * float(stdtr(self.df, -abs(t))), 1.0)
        return float(stdtr(self.df, t if alternative == "less" else -t))

    def interval(self, level: float = 0.95, alternative: Alternative = "two-sided", method: str = "t") -> Interval:
        """The interval that excludes a null value exactly if the test of it has p < 1 − level."""
        tail = (1 - level) / 2 if alternative == "two-sided" else 1 - level
        half = -float(stdtrit(self.df, tail)) * self.se
        low = -math.inf if alternative == "less" else self.value - half
        high = math.inf if alternative == "greater" else self.value + half
        return Interval(low, high, level, method)


def t_test_one(
    values: Values, mean: float = 0.0, *, alternative: Alternative = "two-sided", level: float = 0.95
) -> TestResult:
    """Student's t-test of one mean.

    Args:
        values: Independent values, shape (n,), n ≥ 2.
        mean: The mean under the null hypothesis.
        alternative: Whether the true mean isn't, is below or is above `mean`.
        level: The level of the intervals, in (0, 1).

    Raises:
        DataError: For bad values, or values that are all the same.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(mean, "mean")
    x = sample_of(values, least=2)
    found = mean_of(x)
    return TestResult(
        test="one-sample t-test",
        statistic_name="t",
        statistic=found.t(mean),
        df=(found.df,),
        p=found.p(alternative, mean),
        alternative=alternative,
        n=(len(x),),
        estimate_name="mean",
        estimate=found.value,
        interval=found.interval(level, alternative),
        effect=cohens_d_one_sample(x, mean, level=level),
        assumptions=(nearly_normal(found, len(x)),),
        references=(STUDENT,),
        details={"se": found.se, "null_value": mean},
    )


def t_test(
    a: Values,
    b: Values,
    *,
    equal_variances: bool = False,
    difference: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Welch's t-test of two independent means, or Student's.

    Args:
        a: Independent values, shape (n_a,), n_a ≥ 2.
        b: Independent values, shape (n_b,), n_b ≥ 2.
        equal_variances: Student's test, which pools the variances. Welch's loses next to nothing where they are equal
            and is right where they aren't, so it is the default; a test of variances must not choose between the two.
        difference: The difference a − b under the null hypothesis.
        alternative: Whether the true difference isn't, is below or is above `difference`.
        level: The level of the intervals, in (0, 1).

    Returns:
        With Hedges g (exact J) as the effect; Cohen's d stands in the details.

    Raises:
        DataError: For bad values, or if both groups are constant.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(difference, "difference")
    x, y = groups_of({"a": a, "b": b}, least=2).values()
    found = difference_of(x, y, equal_variances=equal_variances)
    effect = hedges_g(x, y, level=level)
    assumptions = [nearly_normal(found, min(len(x), len(y)))]
    if equal_variances:
        assumptions.append(equal_variances_found({"a": x, "b": y}))
    return TestResult(
        test="Student's t-test" if equal_variances else "Welch's t-test",
        statistic_name="t",
        statistic=found.t(difference),
        df=(found.df,),
        p=found.p(alternative, difference),
        alternative=alternative,
        n=(len(x), len(y)),
        estimate_name="mean difference",
        estimate=found.value,
        interval=found.interval(level, alternative, "t" if equal_variances else "Welch"),
        effect=effect,
        assumptions=tuple(assumptions),
        references=(STUDENT if equal_variances else WELCH,),
        details={
            "mean_a": float(x.mean()),
            "mean_b": float(y.mean()),
            "sd_a": float(x.std(ddof=1)),
            "sd_b": float(y.std(ddof=1)),
            "se": found.se,
            "cohens_d": effect.value / hedges_correction(len(x) + len(y) - 2),
            "null_value": difference,
        },
    )


def t_test_paired(
    a: Values,
    b: Values,
    *,
    difference: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Student's t-test of the mean difference of pairs.

    Args:
        a: Values, shape (n,), n ≥ 2; pairs are independent of each other.
        b: The partner of each value of `a`, shape (n,).
        difference: The mean of a − b under the null hypothesis.
        alternative: Whether the true mean difference isn't, is below or is above `difference`.
        level: The level of the intervals, in (0, 1).

    Returns:
        With d_z as the effect; the correlation of the pairs, which is what pairing gains, stands in the details.

    Raises:
        DataError: For bad values, unequal lengths, or differences that are all the same.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(difference, "difference")
    x, y = pairs_of(a, b, least=2)
    found = mean_of(x - y, "the differences", size_of(x, y))
    return TestResult(
        test="paired t-test",
        statistic_name="t",
        statistic=found.t(difference),
        df=(found.df,),
        p=found.p(alternative, difference),
        alternative=alternative,
        n=(len(x),),
        estimate_name="mean difference",
        estimate=found.value,
        interval=found.interval(level, alternative),
        effect=cohens_dz(x, y, level=level),
        assumptions=(nearly_normal(found, len(x)),),
        references=(STUDENT,),
        details={
            "mean_a": float(x.mean()),
            "mean_b": float(y.mean()),
            "sd_difference": found.se * math.sqrt(len(x)),
            "se": found.se,
            "null_value": difference,
        }
        | correlation_of(x, y),
    )


def mean_of(values: Array, name: str = "the values", size: float | None = None) -> MeanEstimate:
    """The mean of independent values, shape (n,), n ≥ 2.

    Args:
        values: The values.
        name: What an error calls them.
        size: How large the numbers are that they were computed from; less spread than these numbers' rounding is none.

    Raises:
        DataError: If they are all the same.
    """
    n = len(values)
    if is_constant(values, size):
        raise DataError(f"{name} are all the same, so a t-test has no standard error.")
    mean = float(values.mean())
    centred = values - mean
    variance = float(centred @ centred) / (n - 1)
    third = float((centred * centred) @ centred) / n
    return MeanEstimate(mean, math.sqrt(variance / n), n - 1, third / variance**1.5 / math.sqrt(n))


def difference_of(x: Array, y: Array, *, equal_variances: bool = False) -> MeanEstimate:
    """The difference of the means of two independent groups, of 2 values or more each.

    Raises:
        DataError: If both groups are constant.
    """
    n, m = len(x), len(y)
    centred = x - x.mean(), y - y.mean()
    if all(is_constant(each, size_of(x, y)) for each in centred):
        raise DataError("both groups are constant, so a t-test has no standard error.")
    sums = [float(each @ each) for each in centred]
    if equal_variances:
        df: float = n + m - 2
        squared = sum(sums) / df * (1 / n + 1 / m)
    else:
        of_x, of_y = sums[0] / (n - 1) / n, sums[1] / (m - 1) / m
        squared = of_x + of_y
        # By shares, since squares of small variances would underflow.
        df = 1 / ((of_x / squared) ** 2 / (n - 1) + (of_y / squared) ** 2 / (m - 1))
    thirds = [float((each * each) @ each) / len(each) ** 3 for each in centred]
    return MeanEstimate(float(x.mean() - y.mean()), math.sqrt(squared), df, (thirds[0] - thirds[1]) / squared**1.5)


def nearly_normal(found: MeanEstimate, n: int) -> Assumption:
    """That the estimate is nearly normal: as skewed as Cochran's rule allows, or less."""
    finding = f"its skewness is estimated as {number_text(found.skewness, 2)} (at most {SKEWNESS_BOUND} is harmless)"
    if n < LEAST_FOR_SKEWNESS:
        return Assumption("nearly normal estimate", f"{finding}, from too few values to tell (n = {n})")
    return Assumption("nearly normal estimate", finding, abs(found.skewness) <= SKEWNESS_BOUND)


def correlation_of(x: Array, y: Array) -> dict[str, float]:
    """Pearson's r of the pairs; nothing if one side is constant."""
    dx, dy = x - x.mean(), y - y.mean()
    squares = float(dx @ dx), float(dy @ dy)
    if is_constant(x) or is_constant(y):
        return {}
    return {"correlation": float(dx @ dy) / math.sqrt(squares[0]) / math.sqrt(squares[1])}
