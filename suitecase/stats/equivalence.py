"""Equivalence and non-inferiority of means, against a margin that was given before the data were seen.

Equivalence is claimed where the difference lies within the margin: by two one-sided t-tests (TOST), each at α = 1 −
level, whose larger p is reported (Schuirmann 1987). The interval has the level 1 − 2α, and lies within the margin
exactly if p < α.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeAlias

from suitecase.stats.means import MeanEstimate, difference_of, mean_of, t_test, t_test_one, t_test_paired
from suitecase.stats.results import TestResult
from suitecase.stats.samples import DataError, Values, check_level, groups_of, pairs_of, sample_of, size_of

__all__ = ["Margin", "non_inferiority", "tost", "tost_one", "tost_paired"]

Margin: TypeAlias = float | tuple[float, float]
"""How far a difference may be from 0 and not matter: δ for (−δ, δ), or the lower and the upper bound."""

SCHUIRMANN = "Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657–680"


def tost(a: Values, b: Values, margin: Margin, *, equal_variances: bool = False, level: float = 0.95) -> TestResult:
    """Whether two independent means are equivalent, by two one-sided Welch tests, or Student's.

    Args:
        a: Independent values, shape (n_a,), n_a ≥ 2.
        b: Independent values, shape (n_b,), n_b ≥ 2.
        margin: Which differences a − b don't matter, in the values' unit.
        equal_variances: Student's test, which pools the variances.
        level: 1 − α of each one-sided test, in (0.5, 1); the interval's level is 2·level − 1.

    Returns:
        With the larger of both p-values, and both in the details.

    Raises:
        DataError: For bad values, both groups constant, or a margin that isn't one.
    """
    both = checked_level(level)
    bounds = bounds_of(margin)
    x, y = groups_of({"a": a, "b": b}, least=2).values()
    base = t_test(x, y, equal_variances=equal_variances, level=both)
    return equivalent(base, difference_of(x, y, equal_variances=equal_variances), bounds)


def tost_paired(a: Values, b: Values, margin: Margin, *, level: float = 0.95) -> TestResult:
    """Whether the mean difference of pairs is equivalent to 0, by two one-sided paired t-tests.

    Args:
        a: Values, shape (n,), n ≥ 2.
        b: The partner of each, shape (n,).
        margin: Which mean differences don't matter, in the values' unit.
        level: As in `tost`.

    Returns:
        As `tost`.

    Raises:
        DataError: For bad values, unequal lengths, differences that are all the same, or a margin that isn't one.
    """
    both = checked_level(level)
    bounds = bounds_of(margin)
    x, y = pairs_of(a, b, least=2)
    return equivalent(t_test_paired(x, y, level=both), mean_of(x - y, "the differences", size_of(x, y)), bounds)


def tost_one(values: Values, margin: Margin, mean: float = 0.0, *, level: float = 0.95) -> TestResult:
    """Whether a mean is equivalent to a given one, by two one-sided t-tests.

    Args:
        values: Independent values, shape (n,), n ≥ 2.
        margin: Which distances from `mean` don't matter, in the values' unit.
        mean: The mean to be equivalent to.
        level: As in `tost`.

    Returns:
        As `tost`; estimate and interval are those of the mean itself.

    Raises:
        DataError: For bad values, values that are all the same, or a margin that isn't one.
    """
    both = checked_level(level)
    low, high = bounds_of(margin)
    x = sample_of(values, least=2)
    return equivalent(t_test_one(x, mean, level=both), mean_of(x), (mean + low, mean + high))


def non_inferiority(
    a: Values,
    b: Values,
    margin: float,
    *,
    better: Literal["higher", "lower"] = "higher",
    paired: bool = False,
    level: float = 0.95,
) -> TestResult:
    """Whether a is worse than b by less than a margin: a one-sided Welch test, or paired t-test.

    Args:
        a: Values of what is to be not inferior, shape (n_a,).
        b: Values of the baseline, shape (n_b,).
        margin: The loss that would matter, above 0, in the values' unit.
        better: Whether higher or lower values are wanted.
        paired: Whether each value of `a` has its partner in `b`.
        level: 1 − α, in (0, 1).

    Returns:
        With a one-sided interval, whose end is within the margin exactly if p < α.

    Raises:
        DataError: As `tost`, and if `better` is neither of both.
    """
    if better not in ("higher", "lower"):
        raise DataError(f'better={better!r}: it is "higher" or "lower".')
    check_level(level)
    loss = bounds_of(margin)[1]
    null, alternative = (-loss, "greater") if better == "higher" else (loss, "less")
    test = t_test_paired if paired else t_test
    found = test(a, b, difference=null, alternative=alternative, level=level)
    return replace(found, test=f"non-inferiority by {found.test}", details={**found.details, "margin": loss})


def equivalent(base: TestResult, found: MeanEstimate, bounds: tuple[float, float]) -> TestResult:
    """A t-test's result as that of two one-sided tests against the bounds."""
    low, high = bounds
    p_low, p_high = found.p("greater", low), found.p("less", high)
    return replace(
        base,
        test=f"equivalence (TOST) by {base.test}",
        statistic=found.t(low if p_low > p_high else high),
        p=max(p_low, p_high),
        references=(SCHUIRMANN, *base.references),
        details={
            **{name: value for name, value in base.details.items() if name != "null_value"},
            "margin_low": low,
            "margin_high": high,
            "p_above_low": p_low,
            "p_below_high": p_high,
        },
    )


def bounds_of(margin: Margin) -> tuple[float, float]:
    """The margin's lower and upper bound."""
    low, high = margin if isinstance(margin, tuple) else (-margin, margin)
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"margin={margin}: a number above 0 is needed, or two finite bounds, the lower one first.")
    return float(low), float(high)


def checked_level(level: float) -> float:
    """1 − 2α, the level of the interval that belongs to two one-sided tests at α = 1 − level."""
    check_level(level)
    if level <= 0.5:
        raise DataError(f"level={level}: two one-sided tests need one above 0.5, such as 0.95.")
    return 2 * level - 1
