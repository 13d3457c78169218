"""Means and differences of values that come in clusters, such as questions about one passage.

A cluster's values resemble each other, so n of them say less than n independent ones. The standard error is CR2 (Bell &
McCaffrey 2002): each cluster's summed residual, divided by √(1 − m/n) for a cluster with m of the n values. That is the
closed form of the general matrix formula for means, since a cluster's hat matrix is 1/n everywhere, and needs one pass.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from suitecase.stats.counts import check_question
from suitecase.stats.results import Alternative, Assumption, Interval, TestResult
from suitecase.stats.samples import Array, DataError, Values, codes_of, pairs_of, sample_of

__all__ = [
    "REFERENCES",
    "Clusters",
    "Labels",
    "assumptions_of",
    "clustered_difference",
    "clustered_mean",
    "clustered_paired_difference",
    "clusters_of",
    "t_interval",
    "t_p",
    "warnings_of",
]

Labels: TypeAlias = Sequence[Hashable] | NDArray[Any]
"""For each value the name of its cluster, shape (n,)."""

FEW_CLUSTERS = 20
FEW_EFFECTIVE = 15
"""Clusters, and effective clusters (Σm)²/Σm², below which t(G − 1) intervals were seen to cover too little."""

REFERENCES = ("Bell & McCaffrey (2002)",)


@dataclass(frozen=True)
class Clusters:
    """What a mean needs to know of its clusters: sizes and summed residuals, shape (G,), 0 for those it has none of."""

    n: int
    mean: float
    sizes: Array
    residuals: Array
    naive: float
    count: int

    @property
    def effective(self) -> float:
        """(Σm)²/Σm²: with so many clusters of one size the mean would be as sure."""
        return self.n**2 / float(self.sizes @ self.sizes)

    @property
    def weights(self) -> Array:
        """What a cluster's summed residual is multiplied by in the CR2 standard error, shape (G,)."""
        return 1 / (self.n * np.sqrt(1 - self.sizes / self.n))


def clusters_of(values: Array, codes: NDArray[np.intp], groups: int, name: str) -> Clusters:
    sizes = np.bincount(codes, minlength=groups).astype(np.float64)
    count = int(np.count_nonzero(sizes))
    if count < 2:
        raise DataError(f"All of {name} is one cluster: nothing is known about the spread between clusters.")
    mean = float(values.mean())
    centred = values - mean
    residuals = np.bincount(codes, weights=centred, minlength=groups).astype(np.float64)
    n = len(values)
    return Clusters(n, mean, sizes, residuals, math.sqrt(float(centred @ centred) / (n - 1) / n), count)


def clustered_mean(
    values: Values,
    clusters: Labels,
    null: float = 0.0,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The mean of clustered values, and whether it is other than the null value.

    Args:
        values: Numbers, shape (n,).
        clusters: The cluster of each.
        null: The mean to compare with.
        alternative: What is asked of the mean.
        level: The interval's confidence level.

    Returns:
        t with Bell and McCaffrey's degrees of freedom, at most G − 1 for G clusters, the mean and its interval. In
        `details` the standard errors: "se" (CR2), "se_cr1" (times G/(G − 1), as R's `vcovCL`), "se_cr0", "se_naive"
        (clusters ignored); "clusters", "effective_clusters", and "satterthwaite_df", before it is capped.

    Raises:
        DataError: For fewer than two clusters, or clusters that all have the same mean: then no spread is seen.

    Source:
        Bell & McCaffrey (2002), Survey Methodology 28:169–181. Liang & Zeger (1986), Biometrika 73:13–22.
    """
    array = sample_of(values, least=2)
    check_question(level, alternative)
    codes = codes_of(clusters, len(array))
    return mean_result("clustered t-test of a mean", "mean", array, codes, null, alternative, level)


def clustered_paired_difference(
    a: Values,
    b: Values,
    clusters: Labels,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The mean difference of pairs that come in clusters: `clustered_mean` of a − b.

    Args:
        a: Values of the first condition, shape (n,).
        b: Those of the second, for the same items in the same order.
        clusters: The cluster of each item.
        null: The difference (first minus second) to compare with.
        alternative: What is asked of the difference.
        level: The interval's confidence level.

    Raises:
        DataError: As `clustered_mean`, and for unequal lengths.

    Source:
        As `clustered_mean`.
    """
    first, second = pairs_of(a, b, least=2)
    check_question(level, alternative)
    codes = codes_of(clusters, len(first))
    return mean_result("clustered paired t-test", "mean difference", first - second, codes, null, alternative, level)


def clustered_difference(
    a: Values,
    b: Values,
    clusters_a: Labels,
    clusters_b: Labels,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The difference of the means of two groups of clustered values that aren't paired.

    A label that occurs in both groups is one cluster: what its values share cancels in the difference, or adds up.

    Args:
        a: Values of the first group, shape (n,).
        b: Those of the second, shape (m,).
        clusters_a: The cluster of each value of a.
        clusters_b: The cluster of each value of b.
        null: The difference (first minus second) to compare with.
        alternative: What is asked of the difference.
        level: The interval's confidence level.

    Returns:
        t with Bell and McCaffrey's degrees of freedom, at most G − 1 for G clusters altogether (G − 1 alone would count
        the clusters of a large group for a small one); the difference and its interval; `details` as `clustered_mean`.

    Raises:
        DataError: For fewer than two clusters in a group, or no spread between clusters.

    Source:
        Bell & McCaffrey (2002), Survey Methodology 28:169–181.
    """
    arrays = sample_of(a, "a", 2), sample_of(b, "b", 2)
    check_question(level, alternative)
    listed = [*listed_labels(clusters_a, len(arrays[0]), "clusters_a")]
    listed += listed_labels(clusters_b, len(arrays[1]), "clusters_b")
    codes = codes_of(listed, len(listed))
    groups = int(codes.max()) + 1
    first = clusters_of(arrays[0], codes[: len(arrays[0])], groups, "a")
    second = clusters_of(arrays[1], codes[len(arrays[0]) :], groups, "b")
    parts = first.weights * first.residuals - second.weights * second.residuals
    plain_parts = first.residuals / first.n - second.residuals / second.n
    se = standard_error(parts, *arrays)
    cr0 = math.sqrt(float(plain_parts @ plain_parts))
    freedom = satterthwaite(first, second)
    df = min(freedom, groups - 1.0)
    difference, n = first.mean - second.mean, first.n + second.n
    t = (difference - null) / se
    return TestResult(
        test="clustered t-test of two groups",
        statistic_name="t",
        statistic=t,
        df=(df,),
        p=t_p(t, df, alternative),
        alternative=alternative,
        n=(first.n, second.n),
        estimate_name="difference of means",
        estimate=difference,
        interval=t_interval(difference, se, df, alternative, level),
        assumptions=(*assumptions_of(first, " in a"), *assumptions_of(second, " in b")),
        references=REFERENCES,
        warnings=(*warnings_of(first, " in a"), *warnings_of(second, " in b")),
        details={
            "null": null,
            "se": se,
            "se_cr1": cr0 * math.sqrt(groups / (groups - 1) * (n - 1) / (n - 2)),
            "se_cr0": cr0,
            "se_naive": math.hypot(first.naive, second.naive),
            "clusters": groups,
            "clusters_1": first.count,
            "clusters_2": second.count,
            "effective_clusters_1": first.effective,
            "effective_clusters_2": second.effective,
            "satterthwaite_df": freedom,
        },
    )


def mean_result(
    test: str,
    estimate_name: str,
    values: Array,
    codes: NDArray[np.intp],
    null: float,
    alternative: Alternative,
    level: float,
) -> TestResult:
    found = clusters_of(values, codes, int(codes.max()) + 1, "values")
    se = standard_error(found.weights * found.residuals, values)
    cr0 = math.sqrt(float(found.residuals @ found.residuals)) / found.n
    freedom = satterthwaite(found)
    df = min(found.count - 1.0, freedom)
    t = (found.mean - null) / se
    return TestResult(
        test=test,
        statistic_name="t",
        statistic=t,
        df=(df,),
        p=t_p(t, df, alternative),
        alternative=alternative,
        n=(found.n,),
        estimate_name=estimate_name,
        estimate=found.mean,
        interval=t_interval(found.mean, se, df, alternative, level),
        assumptions=assumptions_of(found),
        references=REFERENCES,
        warnings=warnings_of(found),
        details={
            "null": null,
            "se": se,
            "se_cr1": cr0 * math.sqrt(found.count / (found.count - 1)),
            "se_cr0": cr0,
            "se_naive": found.naive,
            "clusters": found.count,
            "effective_clusters": found.effective,
            "satterthwaite_df": freedom,
        },
    )


def satterthwaite(*groups: Clusters) -> float:
    """Bell and McCaffrey's degrees of freedom (tr B)²/tr B², B the covariance of the clusters' parts for equal spread.

    B is diagonal but for one outer product for each group, so both traces need one pass over the clusters.
    """
    diagonal = np.zeros(len(groups[0].sizes))
    outer: list[Array] = []
    for each in groups:
        diagonal += each.weights**2 * each.sizes
        outer.append(each.weights * each.sizes / math.sqrt(each.n))
    trace = float(diagonal.sum()) - sum(float(v @ v) for v in outer)
    squares = float(diagonal @ diagonal) - 2 * sum(float(diagonal @ (v * v)) for v in outer)
    squares += sum(float(v @ w) ** 2 for v in outer for w in outer)
    return trace**2 / squares


def standard_error(parts: Array, *values: Array) -> float:
    se = math.sqrt(float(parts @ parts))
    # Sums of equal values differ by rounding, which is no spread.
    if se <= 1e-14 * max(float(np.abs(each).max()) for each in values):
        raise DataError("All clusters have the same mean: without any spread between them there is no standard error.")
    return se


def t_p(t: float, df: float, alternative: Alternative) -> float:
    if alternative == "two-sided":
        return float(2 * special.stdtr(df, -abs(t)))
    return float(special.stdtr(df, t if alternative == "less" else -t))


def t_interval(
    estimate: float, se: float, df: float, alternative: Alternative, level: float, method: str = "t, CR2"
) -> Interval:
    spread = -float(special.stdtrit(df, (1 - level) / 2 if alternative == "two-sided" else 1 - level)) * se
    low = -math.inf if alternative == "less" else estimate - spread
    high = math.inf if alternative == "greater" else estimate + spread
    return Interval(low, high, level, method)


def warnings_of(found: Clusters, where: str = "") -> tuple[str, ...]:
    if found.count >= FEW_CLUSTERS and found.effective >= FEW_EFFECTIVE:
        return ()
    return (
        (
            f"Only {found.count} clusters{where}, worth {found.effective:.3g} of equal size: "
            f"below {FEW_CLUSTERS}, or {FEW_EFFECTIVE} of equal size, intervals may be too narrow."
        ),
    )


def assumptions_of(found: Clusters, where: str = "") -> tuple[Assumption, ...]:
    enough = found.count >= FEW_CLUSTERS and found.effective >= FEW_EFFECTIVE
    return (
        Assumption("independent clusters" + where, "not checked: what clusters share belongs in larger clusters"),
        Assumption(
            "enough clusters" + where,
            f"{found.count}, effectively {found.effective:.3g}, with {int(found.sizes[found.sizes > 0].min())} to "
            f"{int(found.sizes.max())} values each",
            enough,
        ),
    )


def listed_labels(labels: Labels, n: int, name: str) -> list[Hashable]:
    codes_of(labels, n, name)
    return labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
