"""Differences averaged over strata, such as benchmarks, each of which counts the same however many items it has."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

from scipy import special

from suitecase.stats.results import Interval, TestResult
from suitecase.stats.samples import Array, DataError, Values, check_level, pairs_of, sample_of

__all__ = ["Stratum", "stratified_difference"]


@dataclass(frozen=True)
class Stratum:
    """Values of two conditions in one stratum.

    Attributes:
        name: What errors call it.
        first: The first condition's values, shape (n,).
        second: The second's, shape (m,), aligned with the first's where they are pairs.
        paired: Whether they are.
        clusters: The label of each value's cluster, for both; `None` if values are independent.
    """

    name: str
    first: Values
    second: Values
    paired: bool = False
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None


def stratified_difference(strata: Sequence[Stratum], *, null: float = 0.0, level: float = 0.95) -> TestResult:
    """The difference of means (first minus second), averaged over strata with equal weights: the macro average.

    Strata are taken as given: the interval speaks about new values in these strata, not about new strata. With S strata
    the squared standard error is Σ SE²ₛ / S²; the degrees of freedom are those of Welch and Satterthwaite over all
    independent parts. A stratum in which nothing varies adds nothing to it.

    Args:
        strata: At least two.
        null: The difference to compare with.
        level: The interval's confidence level.

    Returns:
        t, its degrees of freedom, the average difference and its interval; in `details` "se" and "strata".

    Raises:
        DataError: For fewer than two strata, fewer than two values on a side, or if nothing varies in any stratum.

    Source:
        Cochran (1977), Sampling Techniques, 3rd ed., sections 5.3 and 5.4.
    """
    check_level(level)
    if len(strata) < 2:
        raise DataError(f"{len(strata)} strata: an average over strata needs at least two.")
    found = [parts_of(each) for each in strata]
    parts = [part for _, of_stratum in found for part in of_stratum]
    variance = math.fsum(part for part, _ in parts) / len(strata) ** 2
    if variance == 0:
        raise DataError("No value varies within any stratum: the average difference has no standard error.")
    se = math.sqrt(variance)
    df = math.fsum(part for part, _ in parts) ** 2 / math.fsum(part**2 / df for part, df in parts)
    estimate = math.fsum(difference for difference, _ in found) / len(strata)
    t = (estimate - null) / se
    half = float(cast(float, special.stdtrit(df, (1 + level) / 2))) * se
    return TestResult(
        test="t-test of the average over strata",
        p=float(cast(float, 2 * special.stdtr(df, -abs(t)))),
        n=(sum(len(each.first) for each in strata), sum(len(each.second) for each in strata)),
        statistic_name="t",
        statistic=t,
        df=(df,),
        estimate_name="mean difference, averaged over strata",
        estimate=estimate,
        interval=Interval(estimate - half, estimate + half, level, "t, stratified"),
        references=("Cochran (1977)", "Satterthwaite (1946)"),
        details={"se": se, "strata": len(strata), "null": null},
    )


def parts_of(stratum: Stratum) -> tuple[float, list[tuple[float, float]]]:
    """The difference in a stratum, and of each independent part its squared standard error and degrees of freedom."""
    names = (f"{stratum.name}, first", f"{stratum.name}, second")
    if stratum.clusters is not None:
        return clustered_part(stratum)
    if stratum.paired:
        a, b = pairs_of(stratum.first, stratum.second, names, least=2)
        return part_of([a - b])
    return part_of([sample_of(stratum.first, names[0], 2), sample_of(stratum.second, names[1], 2)])


def part_of(samples: Sequence[Array]) -> tuple[float, list[tuple[float, float]]]:
    means = [float(each.mean()) for each in samples]
    parts = [(float(each.var(ddof=1)) / len(each), len(each) - 1.0) for each in samples]
    return means[0] - sum(means[1:]), parts


def clustered_part(stratum: Stratum) -> tuple[float, list[tuple[float, float]]]:
    from suitecase.stats.clusters import clustered_difference, clustered_paired_difference

    assert stratum.clusters is not None
    first, second = stratum.clusters
    found = (
        clustered_paired_difference(stratum.first, stratum.second, first)
        if stratum.paired
        else clustered_difference(stratum.first, stratum.second, first, second)
    )
    return found.estimate, [(found.details["se"] ** 2, found.df[0])]
