"""Tests of whether groups vary alike."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import scipy.stats
from scipy.special import fdtr, fdtrc, fdtri

from suitecase.stats.results import Alternative, Assumption, Interval, TestResult
from suitecase.stats.samples import (
    Array,
    DataError,
    Groups,
    Values,
    check_alternative,
    check_level,
    groups_of,
    is_constant,
    size_of,
)
from suitecase.stats.wording import number_text, p_text

__all__ = ["bartlett", "brown_forsythe", "equal_variances", "f_test", "fligner", "levene"]

stats = cast(Any, scipy.stats)  # scipy ships no types


def levene(groups: Groups) -> TestResult:
    """Levene's test of equal variances: a one-way analysis of variance of the distances from each group's mean.

    It rejects too often for skewed values (Brown & Forsythe 1974): prefer `brown_forsythe`.

    Args:
        groups: Two or more groups of 2 values or more each.

    Raises:
        DataError: For bad values, or if in every group all values are equally far from its mean.
    """
    return from_centres("Levene's test", groups, "mean", "Levene 1960, in Olkin (ed.), 278–292")


def brown_forsythe(groups: Groups) -> TestResult:
    """Levene's test with the distances from each group's median, which holds its level for skewed values too.

    Args:
        groups: Two or more groups of 2 values or more each.

    Raises:
        DataError: For bad values, or if in every group all values are equally far from its median.
    """
    return from_centres(
        "Brown–Forsythe test", groups, "median", "Brown & Forsythe 1974, J. Am. Stat. Assoc. 69:364–367"
    )


def from_centres(test: str, groups: Groups, center: str, reference: str) -> TestResult:
    named = groups_of(groups, least=2)
    arrays = list(named.values())
    middles = [np.mean(each) if center == "mean" else np.median(each) for each in arrays]
    distances = [np.abs(each - middle) for each, middle in zip(arrays, middles, strict=True)]
    if all(is_constant(far, size_of(each)) for far, each in zip(distances, arrays, strict=True)):
        raise DataError(
            f"in every group all values are equally far from its {center}, so the {test} has nothing to compare with."
        )
    found = stats.levene(*arrays, center=center)
    df = (len(arrays) - 1.0, float(sum(map(len, arrays)) - len(arrays)))
    return TestResult(
        test=test,
        statistic_name="F",
        statistic=float(found.statistic),
        df=df,
        p=float(found.pvalue),
        n=tuple(map(len, arrays)),
        references=(reference,),
        details=deviations(named),
    )


def f_test(
    a: Values,
    b: Values,
    *,
    ratio: float = 1.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The F-test of two variances' ratio. It is right for normal values only, however large the samples.

    Args:
        a: Independent values, shape (n_a,), n_a ≥ 2.
        b: Independent values, shape (n_b,), n_b ≥ 2.
        ratio: var(a) / var(b) under the null hypothesis, above 0.
        alternative: Whether the true ratio isn't, is below or is above `ratio`.
        level: The interval's level, in (0, 1).

    Raises:
        DataError: For bad values, or a constant group.
    """
    check_alternative(alternative)
    check_level(level)
    if not (ratio > 0 and math.isfinite(ratio)):
        raise DataError(f"ratio={ratio}: the ratio of two variances is above 0.")
    named = groups_of({"a": a, "b": b}, least=2)
    refuse_constant(named, "an F-test")
    x, y = named.values()
    df = len(x) - 1.0, len(y) - 1.0
    estimate = float(x.var(ddof=1)) / float(y.var(ddof=1))
    statistic = estimate / ratio
    below, above = float(fdtr(*df, statistic)), float(fdtrc(*df, statistic))
    tail = (1 - level) / (2 if alternative == "two-sided" else 1)
    low = 0.0 if alternative == "less" else estimate / float(fdtri(*df, 1 - tail))
    high = math.inf if alternative == "greater" else estimate / float(fdtri(*df, tail))
    return TestResult(
        test="F-test of two variances",
        statistic_name="F",
        statistic=statistic,
        df=df,
        p={"two-sided": min(2 * min(below, above), 1.0), "less": below, "greater": above}[alternative],
        alternative=alternative,
        n=(len(x), len(y)),
        estimate_name="ratio of variances",
        estimate=estimate,
        interval=Interval(low, high, level, "F"),
        references=("Snedecor & Cochran 1989, 6.12",),
        warnings=("The F-test of variances is right for normal values only, at any sample size.",),
        details=deviations(named) | {"null_value": ratio},
    )


def bartlett(groups: Groups) -> TestResult:
    """Bartlett's test of equal variances. It is right for normal values only.

    Args:
        groups: Two or more groups of 2 values or more each.

    Raises:
        DataError: For bad values, or a constant group.
    """
    named = groups_of(groups, least=2)
    refuse_constant(named, "Bartlett's test")
    found = stats.bartlett(*named.values())
    return TestResult(
        test="Bartlett's test",
        statistic_name="χ²",
        statistic=float(found.statistic),
        df=(len(named) - 1.0,),
        p=float(found.pvalue),
        n=tuple(map(len, named.values())),
        references=("Bartlett 1937, Proc. R. Soc. A 160:268–282",),
        warnings=("Bartlett's test is right for normal values only, at any sample size.",),
        details=deviations(named),
    )


def fligner(groups: Groups) -> TestResult:
    """The Fligner–Killeen test of equal variances, by ranks of the distances from each group's median.

    Args:
        groups: Two or more groups of 2 values or more each.

    Raises:
        DataError: For bad values, or if all values are equally far from their group's median.
    """
    named = groups_of(groups, least=2)
    distances = np.concatenate([np.abs(each - np.median(each)) for each in named.values()])
    if is_constant(distances, size_of(*named.values())):
        raise DataError("all values are equally far from their group's median, so there is nothing to rank.")
    found = stats.fligner(*named.values())
    return TestResult(
        test="Fligner–Killeen test",
        statistic_name="χ²",
        statistic=float(found.statistic),
        df=(len(named) - 1.0,),
        p=float(found.pvalue),
        n=tuple(map(len, named.values())),
        references=("Fligner & Killeen 1976, J. Am. Stat. Assoc. 71:210–213",),
        details=deviations(named),
    )


def equal_variances(named: dict[str, Array]) -> Assumption:
    """That groups vary alike, by their standard deviations and the Brown–Forsythe test."""
    sds = sorted(float(values.std(ddof=1)) for values in named.values() if len(values) > 1)
    if not sds:
        return Assumption("equal variances", "groups of one value can't tell")
    finding = f"standard deviations from {number_text(sds[0])} to {number_text(sds[-1])}"
    try:
        p = brown_forsythe(named).p
    except DataError:  # groups of one value, or all values equally far from their medians
        return Assumption("equal variances", finding)
    return Assumption("equal variances", f"{finding}; Brown–Forsythe {p_text(p)}", p >= 0.05)


def deviations(named: dict[str, Array]) -> dict[str, float]:
    """Each group's standard deviation."""
    return {f"sd_{name}": float(values.std(ddof=1)) for name, values in named.items()}


def refuse_constant(named: dict[str, Array], what: str) -> None:
    constant = [name for name, values in named.items() if is_constant(values)]
    if constant:
        which = f"{', '.join(constant)} {'is' if len(constant) == 1 else 'are'} constant"
        raise DataError(f"{which}, and {what} needs groups that vary.")
