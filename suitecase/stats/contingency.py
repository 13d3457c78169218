"""Contingency tables: χ² and Fisher's test of independence, and Cramér's V."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from suitecase.stats.counts import Table, check_question, table_of
from suitecase.stats.effects import label_of
from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
from suitecase.stats.samples import DataError, check_level
from suitecase.stats.scores import root_of

__all__ = ["chi_square", "cramers_v", "fisher_exact"]


def chi_square(table: Table, *, correction: bool = False, level: float = 0.95) -> TestResult:
    """Pearson's χ² test: are rows and columns independent?

    For two groups and two outcomes it is R's `prop.test`, and `two_rates` says more.

    Args:
        table: Counts, shape (rows, columns), at least 2 × 2, no row and no column empty.
        correction: Yates' continuity correction, for 2 × 2 tables only; R's default. It makes p too large.
        level: The confidence level that belongs to the test, 1 − α.

    Returns:
        χ², its df and p; Cramér's V with an interval of level 2·level − 1, whose lower end is above 0 just where the
        test without correction has p < 1 − level (Steiger 2004); in `details` the bias-corrected V (Bergsma 2013) and
        the smallest expected count.

    Raises:
        DataError: For what isn't such a table, or a level that isn't in (0.5, 1).

    Source:
        Pearson (1900). Yates (1934), J. R. Stat. Soc. Suppl. 1:217–235. Expected counts under 5: Cochran (1954),
        Biometrics 10:417–451. Steiger (2004), Psychol. Methods 9:164–182.
    """
    counts = full_table(table)
    check_test_level(level)
    is_small = counts.shape == (2, 2)
    if correction and not is_small:
        raise DataError(f"Yates' correction is for 2 × 2 tables, and this one is {shape_text(counts)}.")
    found = cast(Any, stats).chi2_contingency(counts, correction=correction)
    expected = cast(NDArray[np.float64], found.expected_freq)
    low = int(np.count_nonzero(expected < 5))
    warnings: list[str] = []
    if low:
        warnings.append(
            f"{low} of {counts.size} expected counts are under 5 (smallest {expected.min():.3g}): "
            "χ² is approximate; Fisher's test is not."
        )
    return TestResult(
        test="χ² test of independence" + " with Yates' correction" * correction,
        statistic_name="χ²",
        statistic=float(found.statistic),
        df=(int(found.dof),),
        p=float(found.pvalue),
        n=(int(counts.sum()),),
        effect=cramers_v(counts, level=2 * level - 1),
        assumptions=(
            Assumption("independent observations", "not checked: each may be counted in one cell only"),
            Assumption("expected counts of 5 and more", f"{low} of {counts.size} are under 5", not low),
        ),
        references=("Pearson (1900)",) + ("Yates (1934)",) * correction,
        warnings=tuple(warnings),
        details={"bias_corrected_v": bias_corrected_v(counts), "least_expected": float(expected.min())},
    )


def fisher_exact(
    table: Table,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    draws: int = 9_999,
    seed: int = 0,
) -> TestResult:
    """Fisher's exact test: are rows and columns independent, given their sums?

    A 2 × 2 table gives what R's `fisher.test` gives: the two-sided p adds up all tables no likelier than the observed
    one, the odds ratio is the conditional maximum likelihood estimate, and its interval has equal tails. Where p and
    interval disagree, which R doesn't tell, a warning says so. A larger table is compared with `draws` random tables of
    the same sums (p = (those no likelier + 1)/(draws + 1)).

    Args:
        table: Counts, shape (rows, columns), at least 2 × 2, no row and no column empty.
        alternative: What is asked of the odds ratio; only for 2 × 2 tables.
        level: The confidence level.
        draws: How many random tables a larger table is compared with.
        seed: Of these.

    Returns:
        p; for 2 × 2 tables the odds ratio and its interval, for larger ones Cramér's V, and `draws` and `seed` in
        `details`.

    Raises:
        DataError: For what isn't such a table, or an alternative for a larger one.

    Source:
        Fisher (1935), J. R. Stat. Soc. 98:39–82. Random tables: Patefield (1981), Appl. Stat. 30:91–97. Its p: Phipson
        & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39.
    """
    counts = full_table(table)
    check_question(level, alternative)
    if counts.shape == (2, 2):
        return fisher_small(counts, alternative, level)
    check_test_level(level)
    if alternative != "two-sided":
        raise DataError(f"alternative={alternative!r}: only a 2 × 2 table has a direction, not one of more cells.")
    method = cast(Any, stats).MonteCarloMethod(n_resamples=draws, rng=np.random.default_rng(seed))
    p = float(cast(Any, stats).fisher_exact(counts, method=method).pvalue)
    error = math.sqrt(p * (1 - p) / draws)
    return TestResult(
        test="Fisher's exact test (Monte Carlo)",
        p=p,
        n=(int(counts.sum()),),
        effect=cramers_v(counts, level=2 * level - 1),
        references=("Fisher (1935)", "Patefield (1981)"),
        warnings=(f"p comes from {draws:,} random tables (seed {seed}); its standard error is {error:.2g}.",),
        details={"draws": draws, "seed": seed, "p_standard_error": error},
    )


def fisher_small(counts: NDArray[np.int64], alternative: Alternative, level: float) -> TestResult:
    p = min(1.0, float(cast(Any, stats).fisher_exact(counts, alternative=alternative).pvalue))
    ratio = cast(Any, stats).contingency.odds_ratio(counts, kind="conditional")
    ends = ratio.confidence_interval(confidence_level=level, alternative=alternative)
    interval = Interval(float(ends.low), float(ends.high), level, "conditional, exact")
    warnings: list[str] = []
    if (p < 1 - level) == (1 in interval):
        warnings.append("The p-value and the interval, which has equal tails, disagree here; the p-value is sharper.")
    return TestResult(
        test="Fisher's exact test",
        p=p,
        alternative=alternative,
        n=(int(counts[0].sum()), int(counts[1].sum())),
        estimate_name="odds ratio (conditional)",
        estimate=float(ratio.statistic),
        interval=interval,
        assumptions=(Assumption("independent observations", "not checked: each may be counted in one cell only"),),
        references=("Fisher (1935)",),
        warnings=tuple(warnings),
    )


def cramers_v(table: Table, *, level: float = 0.9) -> Effect:
    """Cramér's V of a table: how far rows and columns are from independent, in [0, 1].

    Args:
        table: Counts, shape (rows, columns), at least 2 × 2, no row and no column empty.
        level: The interval's confidence level. χ² has one tail, so 90 % is the level whose interval excludes 0 just
            where p < .05 (Steiger 2004).

    Returns:
        V, its interval from noncentral χ² distributions, and what Cohen (1988) calls w = V·√(min(rows, columns) − 1).
        V is biased upwards for small counts; its interval is not, and may then lie below it.

    Raises:
        DataError: For what isn't such a table, or a level outside of (0, 1).

    Source:
        Cramér (1946), p. 282. Interval: Steiger & Fouladi (1997), as Smithson (2003), ch. 4, without the degrees of
        freedom that he adds to the noncentrality, so that 0 is possible. Labels: Cohen (1988), ch. 7.
    """
    counts = full_table(table)
    check_level(level)
    chi2 = chi2_of(counts)
    least = min(counts.shape) - 1
    scale = float(counts.sum()) * least
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    v = min(1.0, math.sqrt(chi2 / scale))
    low, high = (noncentrality(chi2, df, tail) for tail in ((1 + level) / 2, (1 - level) / 2))
    interval = Interval(
        min(1.0, math.sqrt(low / scale)), min(1.0, math.sqrt(high / scale)), level, f"noncentral χ², {100 * level:g} %"
    )
    return Effect("Cramér V", v, interval, *label_of(v * math.sqrt(least), "w"))


def noncentrality(chi2: float, df: int, cdf: float) -> float:
    """For which noncentrality the distribution has so much of its mass below the statistic; 0 if for none."""
    if special.chdtr(df, chi2) <= cdf:
        return 0.0
    # The mean of the distribution is df + λ, its variance 2·df + 4·λ: 40 standard deviations bracket every level.
    most = chi2 + 40 * math.sqrt(2 * df + 4 * chi2) + 3_200
    return root_of(lambda nc: float(special.chndtr(chi2, df, nc)) - cdf, 0.0, most)


def bias_corrected_v(counts: NDArray[np.int64]) -> float:
    """Bergsma (2013), J. Korean Stat. Soc. 42:323–328."""
    n = float(counts.sum())
    rows, columns = counts.shape
    excess = max(0.0, chi2_of(counts) / n - (rows - 1) * (columns - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return math.sqrt(excess / least) if least > 0 else 0.0


def chi2_of(counts: NDArray[np.int64]) -> float:
    return float(cast(Any, stats).chi2_contingency(counts, correction=False).statistic)


def full_table(table: Table) -> NDArray[np.int64]:
    """A table whose rows and columns all have some count; another has no defined χ²."""
    counts = table_of(table)
    problems = [
        f"{name} {number} of the table is empty: leave it out."
        for axis, name in ((1, "Row"), (0, "Column"))
        for number in np.flatnonzero(counts.sum(axis=axis) == 0) + 1
    ]
    if problems:
        raise DataError(problems)
    return counts


def check_test_level(level: float) -> None:
    check_level(level)
    if level <= 0.5:
        raise DataError(f"level={level}: the level of a test, 1 − α, lies above 0.5.")


def shape_text(counts: NDArray[np.int64]) -> str:
    return " × ".join(map(str, counts.shape))
