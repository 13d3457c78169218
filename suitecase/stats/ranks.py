"""Rank tests, with R's rules for exact p-values and R's intervals."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import scipy.stats

from suitecase.stats.effects import cliffs_delta, label_of, rank_biserial
from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
from suitecase.stats.samples import (
    DataError,
    Groups,
    Values,
    blocks_of,
    check_alternative,
    check_finite,
    check_level,
    groups_of,
    pairs_of,
    sample_of,
)
from suitecase.stats.shifts import (
    exact_ranks,
    median_ranks,
    normal_ranks,
    pairwise_differences,
    rank_sum_cdf,
    rank_sum_sd,
    shift_interval,
    signed_rank_cdf,
    signed_rank_sd,
    walsh_averages,
)

__all__ = ["friedman", "kruskal_wallis", "mann_whitney", "sign_test", "wilcoxon"]

stats = cast(Any, scipy.stats)  # scipy ships no types

EXACT_BELOW = 50
"""R's rule: exact where each group, or the number of differences that aren't 0, is below, and nothing is tied."""


def mann_whitney(
    a: Values,
    b: Values,
    *,
    difference: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The Mann–Whitney test, which is Wilcoxon's rank-sum test, as R's `wilcox.test(a, b, conf.int = TRUE)`.

    Exact where both groups have fewer than 50 values and none are tied; otherwise the normal approximation with
    correction for ties and for continuity. It asks whether P(a > b) = P(a < b), not whether means or medians are equal.

    Args:
        a: Independent values, shape (n_a,).
        b: Independent values, shape (n_b,).
        difference: The shift a − b under the null hypothesis.
        alternative: Whether a, moved by `difference`, isn't like b, is below or is above it.
        level: The intervals' level, in (0, 1).

    Returns:
        W counts the pairs with a > b, ties as ½ (R's W, often called U of the first sample). The estimate is the median
        of all differences a_i − b_j (Hodges & Lehmann 1963), with the interval that belongs to the test; it is a shift
        only if both groups have the same shape. R finds both to 1e-4 only where the normal approximation is used; these
        are what it approaches. The effect is Cliff's δ.

    Raises:
        DataError: For bad values, or if all values are equal.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(difference, "difference")
    x, y = groups_of({"a": a, "b": b}, least=1).values()
    n, m = len(x), len(y)
    both = np.concatenate((x - difference, y))
    sizes = np.unique(both, return_counts=True)[1]
    if len(sizes) == 1:
        raise DataError("all values are equal, so there is nothing to rank.")
    exact = n < EXACT_BELOW and m < EXACT_BELOW and len(sizes) == n + m
    found = stats.mannwhitneyu(both[:n], y, alternative=alternative, method="exact" if exact else "asymptotic")
    if exact:
        ranks, reached = exact_ranks(rank_sum_cdf(n, m), alternative, level)
    else:
        within = rank_sum_sd([np.unique(each, return_counts=True)[1] for each in (x, y)], n, m)
        ranks, reached = normal_ranks(n * m, n * m / 2, within, alternative, level)
    values = pairwise_differences(x, y, (*ranks, *median_ranks(n * m)))
    interval, warnings = shift_interval(values, alternative, reached, level, "Hodges–Lehmann")
    return TestResult(
        test="Mann–Whitney test" + (" (exact)" if exact else ""),
        statistic_name="W",
        statistic=float(found.statistic),
        p=float(found.pvalue),
        alternative=alternative,
        n=(n, m),
        estimate_name="median of differences",
        estimate=(values[-2] + values[-1]) / 2,
        interval=interval,
        effect=cliffs_delta(x, y, level=level) if min(n, m) > 1 else None,
        references=(
            "Mann & Whitney 1947, Ann. Math. Stat. 18:50–60",
            "Hodges & Lehmann 1963, Ann. Math. Stat. 34:598–611",
        ),
        warnings=warnings,
        details={"exact": float(exact), "tied": float(n + m - len(sizes)), "null_value": difference},
    )


def wilcoxon(
    a: Values,
    b: Values | None = None,
    *,
    difference: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Wilcoxon's signed-rank test of pairs or one sample, as R's `wilcox.test(a, b, paired = TRUE, conf.int = TRUE)`.

    Differences of 0 are dropped. Exact where none were, fewer than 50 are left and no two are equally far from 0;
    otherwise the normal approximation with correction for ties and for continuity. It takes the differences as
    distributed symmetrically; `sign_test` doesn't.

    Args:
        a: Values, shape (n,).
        b: The partner of each, shape (n,); without it, `a` is one sample of differences.
        difference: The median of a − b under the null hypothesis.
        alternative: Whether the true median isn't, is below or is above `difference`.
        level: The intervals' level, in (0, 1).

    Returns:
        V is the sum of the ranks of the differences above 0. The estimate is the median of the means of all pairs of
        differences (Hodges & Lehmann 1963), with the interval that belongs to the test. The effect is the matched-pairs
        rank-biserial correlation.

    Raises:
        DataError: For bad values, unequal lengths, or if all differences are 0.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(difference, "difference")
    values = sample_of(a, "a") if b is None else np.subtract(*pairs_of(a, b))
    differences = values - difference
    kept = differences[differences != 0]
    n = len(kept)
    if not n:
        raise DataError("all differences are 0, so there is nothing to rank.")
    magnitudes = np.abs(kept)
    distinct = len(np.unique(magnitudes))
    exact = n < EXACT_BELOW and n == len(differences) == distinct
    found = stats.wilcoxon(kept, alternative=alternative, correction=True, method="exact" if exact else "asymptotic")
    total = n * (n + 1) // 2
    if exact:
        ranks, reached = exact_ranks(signed_rank_cdf(n), alternative, level)
    else:
        within = signed_rank_sd(np.unique(kept, return_counts=True)[1], n)
        ranks, reached = normal_ranks(total, total / 2, within, alternative, level)
    averages = walsh_averages(kept + difference, (*ranks, *median_ranks(total)))
    interval, warnings = shift_interval(averages, alternative, reached, level, "Hodges–Lehmann")
    return TestResult(
        test="Wilcoxon signed-rank test" + (" (exact)" if exact else ""),
        statistic_name="V",
        statistic=float(stats.rankdata(magnitudes)[kept > 0].sum()),
        p=float(found.pvalue),
        alternative=alternative,
        n=(len(differences),),
        estimate_name="pseudomedian" if b is None else "pseudomedian of differences",
        estimate=(averages[-2] + averages[-1]) / 2,
        interval=interval,
        effect=rank_biserial(differences, np.zeros(len(differences)), level=level) if n > 1 else None,
        references=("Wilcoxon 1945, Biometrics Bulletin 1:80–83", "Hodges & Lehmann 1963, Ann. Math. Stat. 34:598–611"),
        warnings=warnings,
        details={
            "exact": float(exact),
            "zeros": float(len(differences) - n),
            "tied": float(n - distinct),
            "null_value": difference,
        },
    )


def sign_test(
    a: Values,
    b: Values | None = None,
    *,
    difference: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The sign test: whether differences above and below a value are equally likely, by the exact binomial.

    Differences of 0 are dropped. It takes nothing for granted but that the pairs are independent.

    Args:
        a: Values, shape (n,).
        b: The partner of each, shape (n,); without it, `a` is one sample of differences.
        difference: The median of a − b under the null hypothesis.
        alternative: Whether the true median isn't, is below or is above `difference`.
        level: The intervals' level, in (0, 1).

    Returns:
        S counts the differences above `difference`. The estimate is the median difference between order statistics of
        all differences, so that the interval's coverage is `level` or more (Conover 1999, 3.2); the effect is the share
        of S, with its Clopper–Pearson interval.

    Raises:
        DataError: For bad values, unequal lengths, or if all differences are 0.
    """
    check_alternative(alternative)
    check_level(level)
    check_finite(difference, "difference")
    differences = np.sort(sample_of(a, "a") if b is None else np.subtract(*pairs_of(a, b)))
    above, below = int((differences > difference).sum()), int((differences < difference).sum())
    if not above + below:
        raise DataError("all differences are 0, so there is no sign to count.")
    found = stats.binomtest(above, above + below, alternative=alternative)
    share = found.proportion_ci(level)
    n = len(differences)
    sides = 2 if alternative == "two-sided" else 1
    rank = int(stats.binom.ppf((1 - level) / sides * (1 - 1e-12), n, 0.5))
    reached = 1 - sides * float(stats.binom.cdf(max(rank, 1) - 1, n, 0.5))
    ends = float(differences[max(rank, 1) - 1]), float(differences[n - max(rank, 1)])
    interval, warnings = shift_interval(ends, alternative, reached, level, "order statistics")
    return TestResult(
        test="sign test",
        statistic_name="S",
        statistic=float(above),
        p=float(found.pvalue),
        alternative=alternative,
        n=(n,),
        estimate_name="median" if b is None else "median difference",
        estimate=float(np.median(differences)),
        interval=interval,
        effect=Effect(
            "share above",
            above / (above + below),
            Interval(float(share.low), float(share.high), level, "Clopper–Pearson"),
        ),
        references=("Conover 1999, Practical Nonparametric Statistics, 3.2 and 3.4",),
        warnings=warnings,
        details={"above": float(above), "below": float(below), "zeros": float(n - above - below)}
        | {"null_value": difference, "reached_level": reached},
    )


def kruskal_wallis(groups: Groups) -> TestResult:
    """The Kruskal–Wallis test, with correction for ties and the χ² approximation, as in R.

    Args:
        groups: Two or more groups of independent values.

    Returns:
        With ε² = H / (n − 1) as the effect (Tomczak & Tomczak 2014).

    Raises:
        DataError: For bad values, or if all values are equal.
    """
    named = groups_of(groups)
    arrays = list(named.values())
    n = sum(map(len, arrays))
    if all(float(np.ptp(each)) == 0 and each[0] == arrays[0][0] for each in arrays):
        raise DataError("all values are equal, so there is nothing to rank.")
    found = stats.kruskal(*arrays)
    effect = float(found.statistic) / (n - 1)
    small = min(map(len, arrays))
    return TestResult(
        test="Kruskal–Wallis test",
        statistic_name="H",
        statistic=float(found.statistic),
        df=(len(arrays) - 1.0,),
        p=float(found.pvalue),
        n=tuple(map(len, arrays)),
        effect=Effect("rank ε²", effect, None, *label_of(effect, "eta squared")),
        assumptions=(Assumption("groups large enough for χ²", f"the smallest has {small} values", small >= 5),),
        references=("Kruskal & Wallis 1952, J. Am. Stat. Assoc. 47:583–621",),
        details={f"median_{name}": float(np.median(values)) for name, values in named.items()},
    )


def friedman(conditions: Groups) -> TestResult:
    """The Friedman test, with correction for ties and the χ² approximation, as in R.

    Args:
        conditions: Of each of 3 conditions or more one value per block, the blocks in the same order.

    Returns:
        With Kendall's W = χ² / (n(k − 1)), the agreement of the blocks in [0, 1], as the effect (Kendall & Smith 1939).

    Raises:
        DataError: For bad values, unequal lengths, or if in every block all values are equal.
    """
    names, table = blocks_of(conditions, least_conditions=3)
    n, k = table.shape
    if not np.ptp(table, axis=1).any():
        raise DataError("in every block all values are equal, so there is nothing to rank.")
    found = stats.friedmanchisquare(*table.T)
    agreement = float(found.statistic) / (n * (k - 1))
    ranks = stats.rankdata(table, axis=1).mean(axis=0)
    return TestResult(
        test="Friedman test",
        statistic_name="χ²",
        statistic=float(found.statistic),
        df=(k - 1.0,),
        p=float(found.pvalue),
        n=(n,),
        effect=Effect("Kendall W", agreement),
        assumptions=(Assumption("blocks enough for χ²", f"{n} blocks of {k} conditions", n * k >= 30),),
        references=("Friedman 1937, J. Am. Stat. Assoc. 32:675–701",),
        details={f"mean_rank_{name}": float(rank) for name, rank in zip(names, ranks, strict=True)},
    )
