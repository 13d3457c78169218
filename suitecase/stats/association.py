"""Correlations of pairs, with their intervals."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import scipy.stats
from scipy.special import ndtr, ndtri, stdtr

from suitecase.stats.effects import label_of
from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
from suitecase.stats.samples import (
    Array,
    DataError,
    Values,
    check_alternative,
    check_level,
    is_constant,
    pairs_of,
)

__all__ = ["kendall", "pearson", "spearman"]

stats = cast(Any, scipy.stats)  # scipy ships no types

BONETT_WRIGHT = "Bonett & Wright 2000, Psychometrika 65:23–28"

SPEARMAN_ENUMERABLE, SPEARMAN_SERIES = 9, 1290
"""Up to so many pairs without ties R enumerates all orders, and then uses the series of Best & Roberts (1975)."""

KENDALL_EXACT_BELOW = 50
"""R's rule: exact below so many pairs without ties."""


def pearson(a: Values, b: Values, *, alternative: Alternative = "two-sided", level: float = 0.95) -> TestResult:
    """Pearson's correlation, with Student's test of 0 and Fisher's z interval, as R's `cor.test`.

    Args:
        a: Values, shape (n,), n ≥ 3.
        b: The partner of each, shape (n,).
        alternative: Whether the true correlation isn't 0, is below or is above it.
        level: The interval's level, in (0, 1).

    Returns:
        Without an interval for 3 pairs, which Fisher's z gives no standard error.

    Raises:
        DataError: For bad values, unequal lengths, or a constant side.
    """
    x, y = varying_pairs(a, b, alternative, level)
    n = len(x)
    r = correlation(x, y)
    t = student_t(r, n)
    interval, warnings = fisher_interval(r, n, 1 / (n - 3) if n > 3 else math.nan, alternative, level, "Fisher z")
    return TestResult(
        test="Pearson correlation",
        statistic_name="t",
        statistic=t,
        df=(n - 2.0,),
        p=student_p(t, n - 2, alternative),
        alternative=alternative,
        n=(n,),
        estimate_name="r",
        estimate=r,
        interval=interval,
        effect=Effect("r", r, interval if alternative == "two-sided" else None, *label_of(r, "r")),
        references=("Fisher 1921, Metron 1:3–32",),
        warnings=warnings,
    )


def spearman(a: Values, b: Values, *, alternative: Alternative = "two-sided", level: float = 0.95) -> TestResult:
    """Spearman's rank correlation, by R's rule, with the interval of Bonett & Wright.

    Without ties, all orders are enumerated up to 9 pairs, and the Edgeworth series of Best & Roberts (1975) is used up
    to 1290, as in R; with ties, or more pairs, Student's t. The interval is Fisher's z with the variance
    (1 + ρ²/2)/(n − 3) (Bonett & Wright 2000), which R doesn't give.

    Args:
        a: Values, shape (n,), n ≥ 3.
        b: The partner of each, shape (n,).
        alternative: Whether the true correlation isn't 0, is below or is above it.
        level: The interval's level, in (0, 1).

    Raises:
        DataError: For bad values, unequal lengths, or a constant side.
    """
    x, y = varying_pairs(a, b, alternative, level)
    n = len(x)
    rho = correlation(stats.rankdata(x), stats.rankdata(y))
    tied = bool(len(np.unique(x)) < n or len(np.unique(y)) < n)
    if tied or n > SPEARMAN_SERIES:
        p = student_p(student_t(rho, n), n - 2, alternative)
    else:
        p = spearman_p(round((n**3 - n) * (1 - rho) / 6), n, alternative)
    variance = (1 + rho * rho / 2) / (n - 3) if n > 3 else math.nan
    interval, warnings = fisher_interval(rho, n, variance, alternative, level, "Bonett & Wright")
    return TestResult(
        test="Spearman correlation",
        statistic_name="S",
        statistic=(n**3 - n) * (1 - rho) / 6,
        p=p,
        alternative=alternative,
        n=(n,),
        estimate_name="ρ",
        estimate=rho,
        interval=interval,
        effect=Effect("ρ", rho, interval if alternative == "two-sided" else None, *label_of(rho, "r")),
        assumptions=ties_found(tied),
        references=("Best & Roberts 1975, Applied Statistics 24:377–379", BONETT_WRIGHT),
        warnings=warnings,
    )


def kendall(a: Values, b: Values, *, alternative: Alternative = "two-sided", level: float = 0.95) -> TestResult:
    """Kendall's rank correlation τ_b, by R's rule, with the interval of Bonett & Wright.

    Exact below 50 pairs without ties; otherwise the normal approximation with correction for ties. The interval is
    Fisher's z with the variance 0.437/(n − 4) (Fieller, Hartley & Pearson 1957; Bonett & Wright 2000), which R doesn't
    give.

    Args:
        a: Values, shape (n,), n ≥ 3.
        b: The partner of each, shape (n,).
        alternative: Whether the true correlation isn't 0, is below or is above it.
        level: The interval's level, in (0, 1).

    Raises:
        DataError: For bad values, unequal lengths, or a constant side.
    """
    x, y = varying_pairs(a, b, alternative, level)
    n = len(x)
    tied = bool(len(np.unique(x)) < n or len(np.unique(y)) < n)
    exact = n < KENDALL_EXACT_BELOW and not tied
    found = stats.kendalltau(x, y, alternative=alternative, method="exact" if exact else "asymptotic")
    tau = float(found.statistic)
    variance = 0.437 / (n - 4) if n > 4 else math.nan
    interval, warnings = fisher_interval(tau, n, variance, alternative, level, "Bonett & Wright")
    return TestResult(
        test="Kendall correlation" + (" (exact)" if exact else ""),
        p=float(found.pvalue),
        alternative=alternative,
        n=(n,),
        estimate_name="τ_b",
        estimate=tau,
        interval=interval,
        effect=Effect("τ_b", tau, interval if alternative == "two-sided" else None),
        assumptions=ties_found(tied),
        references=(
            "Kendall 1938, Biometrika 30:81–93",
            "Fieller, Hartley & Pearson 1957, Biometrika 44:470–481",
            BONETT_WRIGHT,
        ),
        warnings=warnings,
        details={"exact": float(exact)},
    )


def varying_pairs(a: Values, b: Values, alternative: Alternative, level: float) -> tuple[Array, Array]:
    check_alternative(alternative)
    check_level(level)
    x, y = pairs_of(a, b, least=3)
    constant = [name for name, values in (("a", x), ("b", y)) if is_constant(values)]
    if constant:
        raise DataError(f"{' and '.join(constant)}: all values are the same, so nothing can be correlated.")
    return x, y


def correlation(x: Array, y: Array) -> float:
    """Pearson's r, within [−1, 1] whatever the rounding."""
    dx, dy = x - x.mean(), y - y.mean()
    r = float(dx @ dy) / math.sqrt(float(dx @ dx)) / math.sqrt(float(dy @ dy))
    return max(-1.0, min(1.0, r))


def student_t(r: float, n: int) -> float:
    """t = r √((n − 2)/(1 − r²)); infinite for ±1."""
    return r * math.sqrt((n - 2) / (1 - r * r)) if abs(r) < 1 else math.copysign(math.inf, r)


def student_p(t: float, df: int, alternative: Alternative) -> float:
    if alternative == "two-sided":
        return 2 * float(stdtr(df, -abs(t)))
    return float(stdtr(df, t if alternative == "less" else -t))


def fisher_interval(
    r: float, n: int, variance: float, alternative: Alternative, level: float, method: str
) -> tuple[Interval | None, tuple[str, ...]]:
    """The interval on Fisher's scale, artanh r; and what to know of it."""
    if math.isnan(variance):
        return None, (f"{n} pairs are too few for an interval.",)
    if abs(r) == 1:
        return Interval(r, r, level, method), ("At a correlation of ±1 the interval has no width and says nothing.",)
    tail = (1 - level) / (2 if alternative == "two-sided" else 1)
    half = -float(ndtri(tail)) * math.sqrt(variance)
    low = -1.0 if alternative == "less" else math.tanh(math.atanh(r) - half)
    high = 1.0 if alternative == "greater" else math.tanh(math.atanh(r) + half)
    return Interval(low, high, level, method), ()


def spearman_p(s: int, n: int, alternative: Alternative) -> float:
    """The p-value of S = Σ(rank differences)², without ties; a large S is a negative correlation."""
    tail = spearman_enumerated if n <= SPEARMAN_ENUMERABLE else spearman_series
    above, below = tail(s, n), 1 - tail(s + 2, n)
    # R takes the upper tail only beyond the middle, and the other one at it.
    two_sided = 2 * (above if s > (n**3 - n) / 6 else below)
    return min({"two-sided": two_sided, "less": above, "greater": below}[alternative], 1.0)


def spearman_enumerated(s: int, n: int) -> float:
    """P(S ≥ s) over all orders, adding one position at a time to the sets of used ranks."""
    most = n * (n * n - 1) // 3
    counts = {0: np.eye(1, most + 1, dtype=np.int64)[0]}
    for position in range(n):
        longer: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}
        for used, sums in counts.items():
            for rank in range(n):
                if not used >> rank & 1:
                    step = (position - rank) ** 2
                    moved = np.concatenate((np.zeros(step, np.int64), sums[: most + 1 - step]))
                    longer[used | 1 << rank] = longer.get(used | 1 << rank, 0) + moved
        counts = longer
    (final,) = counts.values()
    return float(final[max(s, 0) :].sum()) / math.factorial(n)


def spearman_series(s: int, n: int) -> float:
    """P(S ≥ s) by the Edgeworth series of Best & Roberts (1975), algorithm AS 89, with its constants."""
    b = 1 / n
    x = (6 * (s - 1) * b / (n * n - 1) - 1) * math.sqrt(n - 1)
    y = x * x
    series = 0.0072 - 0.0831 * b + y * b * (0.0131 - 0.00046 * y)
    series = 0.0879 + 0.0151 * b - y * series
    series = -0.0758 + b * (0.1033 + 0.3932 * b) - y * b * series
    series = 0.2274 + b * (0.2531 + 0.1745 * b) + y * series
    return min(max(x * b * series / math.exp(y / 2) + float(ndtr(-x)), 0.0), 1.0)


def ties_found(tied: bool) -> tuple[Assumption, ...]:
    return (Assumption("no ties", "some values are tied" if tied else "none are tied", not tied),)
