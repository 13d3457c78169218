"""Rates of successes in independent trials: the interval of one, its test, and the difference of two.

Five repeats of one question are not five trials: average them per question first, or count them by `clusters`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, cast

from scipy import special, stats

from suitecase.stats.counts import check_counts, check_question
from suitecase.stats.effects import label_of
from suitecase.stats.effects_of_rates import angle, cohens_h, rates_at_difference
from suitecase.stats.estimates import wilson_interval
from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
from suitecase.stats.samples import DataError
from suitecase.stats.scores import normal_p, ratio_of, score_interval

__all__ = ["DifferenceMethod", "RateMethod", "one_rate", "rate_difference_interval", "rate_interval", "two_rates"]

RateMethod: TypeAlias = Literal["wilson", "clopper-pearson", "jeffreys"]
DifferenceMethod: TypeAlias = Literal["miettinen-nurminen", "newcombe"]

FEW = 5
"""Expected successes or failures below which a normal approximation is doubted (Cochran 1954)."""


def rate_interval(
    successes: float,
    n: float,
    *,
    method: RateMethod = "wilson",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Interval:
    """The confidence interval of a rate, in [0, 1].

    The textbook's rate ± 1.96 standard errors isn't offered: it has no width at 0/n and n/n, where small evaluations
    land, and covers 40 % instead of 95 % for 10 trials at a rate of 0.95.

    Args:
        successes: How many trials succeeded, a whole number in [0, n].
        n: How many independent trials there were.
        method: "wilson" inverts the score test, and covers `level` on average over rates. "clopper-pearson" inverts
            the exact test, and covers at least `level` at every rate. "jeffreys" has equal tails of the posterior
            Beta(successes + ½, n − successes + ½), with the end 0 at 0/n and 1 at n/n.
        alternative: "greater" gives a lower end only, "less" an upper end only.
        level: The confidence level.

    Raises:
        DataError: For counts that can't be, or a level outside of (0, 1).

    Source:
        Wilson (1927), J. Am. Stat. Assoc. 22:209–212. Clopper & Pearson (1934), Biometrika 26:404–413. Jeffreys and
        the comparison of all: Brown, Cai & DasGupta (2001), Stat. Sci. 16:101–133.
    """
    check_counts(("successes", successes, "n", n))
    check_question(level, alternative)
    tail = (1 - level) / 2 if alternative == "two-sided" else 1 - level
    if method == "wilson":
        low, high = wilson_ends(successes, n, alternative, level)
    elif method == "clopper-pearson":
        low, high = beta_ends(successes, n, tail, 0.0)
    elif method == "jeffreys":
        low, high = beta_ends(successes, n, tail, 0.5)
    else:
        raise DataError(f"method={method!r}: it is 'wilson', 'clopper-pearson' or 'jeffreys'.")
    # By definition; rounding can miss them by 1e-17.
    low = 0.0 if alternative == "less" or successes == 0 else low
    high = 1.0 if alternative == "greater" or successes == n else high
    return Interval(low, high, level, "-".join(part.capitalize() for part in method.split("-")).replace("-", "–"))


def wilson_ends(successes: float, n: float, alternative: Alternative, level: float) -> tuple[float, float]:
    found = wilson_interval(successes / n, n, level if alternative == "two-sided" else 2 * level - 1)
    return found.low, found.high


def beta_ends(successes: float, n: float, tail: float, prior: float) -> tuple[float, float]:
    """Quantiles of beta distributions: Clopper–Pearson's without a prior, else those of the posterior."""
    shift = 0.0 if prior else 1.0
    failures = n - successes
    low = special.betaincinv(successes + prior, failures + prior + shift, tail) if successes > 0 else 0.0
    high = special.betainccinv(successes + prior + shift, failures + prior, tail) if failures > 0 else 1.0
    return float(low), float(high)


def one_rate(
    successes: int,
    n: int,
    null: float = 0.5,
    *,
    method: Literal["score", "exact"] = "score",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Is a rate other than the null value?

    "score" and Wilson's interval always agree: p < 1 − level just where the interval excludes the null value.
    "exact" is R's `binom.test`: its two-sided p adds up all outcomes that are no likelier than the observed one, while
    the Clopper–Pearson interval beside it has equal tails; where the two disagree, a warning says so.

    Args:
        successes: How many trials succeeded.
        n: How many independent trials there were.
        null: The rate to compare with, in (0, 1).
        method: "score" (as R's `prop.test` without correction; z² is its statistic) or "exact".
        alternative: What is asked of the rate.
        level: The interval's confidence level.

    Raises:
        DataError: For counts that can't be, or a null value or level outside of (0, 1).

    Source:
        Wilson (1927), J. Am. Stat. Assoc. 22:209–212. Clopper & Pearson (1934), Biometrika 26:404–413.
    """
    check_counts(("successes", successes, "n", n))
    check_question(level, alternative)
    if not 0 < null < 1:
        raise DataError(f"null={null}: a rate to compare with lies between 0 and 1.")
    rate = successes / n
    few = min(n * null, n * (1 - null))
    warnings: list[str] = []
    if method == "score":
        z = ratio_of(rate - null, null * (1 - null) / n)
        p = normal_p(z, alternative)
        interval = rate_interval(successes, n, alternative=alternative, level=level)
        if few < FEW:
            warnings.append(f"Only {few:.3g} successes or failures are expected: method='exact' is safer.")
    elif method == "exact":
        z = math.nan
        p = float(cast(Any, stats).binomtest(int(successes), int(n), null, alternative).pvalue)
        interval = rate_interval(successes, n, method="clopper-pearson", alternative=alternative, level=level)
        if (p < 1 - level) == (null in interval):
            warnings.append("The exact p-value and the Clopper–Pearson interval disagree here; the p-value is sharper.")
    else:
        raise DataError(f"method={method!r}: it is 'score' or 'exact'.")
    zero = angle(null)
    ends = Interval(angle(interval.low) - zero, angle(interval.high) - zero, level, interval.method)
    h = angle(rate) - zero
    return TestResult(
        test="score test of a rate" if method == "score" else "exact binomial test",
        statistic_name="z" if method == "score" else "",
        statistic=z,
        p=p,
        alternative=alternative,
        n=(int(n),),
        estimate_name="rate",
        estimate=rate,
        interval=interval,
        effect=Effect("Cohen h", h, ends, *label_of(h, "h")),
        assumptions=(
            Assumption("independent trials", "not checked: repeats of one question are not trials of their own"),
            Assumption("enough trials", f"{few:.3g} successes or failures expected at the least", few >= FEW),
        ),
        references=("Wilson (1927)",) if method == "score" else ("Clopper & Pearson (1934)",),
        warnings=tuple(warnings),
        details={"null": null},
    )


def two_rates(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Do the rates of two independent groups differ? Miettinen and Nurminen's score test and its interval.

    The two always agree: p < 1 − level just where the interval excludes the null difference. For non-inferiority by 5
    points ask `null=-0.05, alternative="greater"`.

    Args:
        k1: Successes of the first group.
        n1: Its trials.
        k2: Successes of the second group.
        n2: Its trials.
        null: The difference (first minus second) to compare with, in (−1, 1).
        alternative: What is asked of the difference.
        level: The interval's confidence level.

    Returns:
        The statistic z (without the factor (N − 1)/N, z² is that of R's `prop.test` without correction), the
        difference, its interval, and Cohen's h, whose score interval agrees with p too where the null value is 0.

    Raises:
        DataError: For counts that can't be, or a null value or level out of range.

    Source:
        Miettinen & Nurminen (1985), Stat. Med. 4:213–226.
    """
    check_counts(("k1", k1, "n1", n1), ("k2", k2, "n2", n2))
    check_question(level, alternative)
    if not -1 < null < 1:
        raise DataError(f"null={null}: a difference to compare with lies between −1 and 1.")
    z = difference_z(k1, n1, k2, n2, null)
    p1, p2 = rates_at_difference(k1, n1, k2, n2, null)
    few = min(n1 * p1, n1 * (1 - p1), n2 * p2, n2 * (1 - p2))
    warnings: list[str] = []
    if few < FEW:
        warnings.append(
            f"Only {few:.3g} successes or failures are expected in a group: p is approximate; beside it see Fisher's."
        )
    return TestResult(
        test="Miettinen–Nurminen score test",
        statistic_name="z",
        statistic=z,
        p=normal_p(z, alternative),
        alternative=alternative,
        n=(int(n1), int(n2)),
        estimate_name="difference of rates",
        estimate=k1 / n1 - k2 / n2,
        interval=rate_difference_interval(k1, n1, k2, n2, alternative=alternative, level=level),
        effect=cohens_h(k1, n1, k2, n2, alternative=alternative, level=level),
        assumptions=(
            Assumption("independent trials", "not checked: pairs or repeats of one question need another test"),
            Assumption("enough trials", f"{few:.3g} successes or failures expected at the least", few >= FEW),
        ),
        references=("Miettinen & Nurminen (1985)",),
        warnings=tuple(warnings),
        details={"null": null, "rate_1": k1 / n1, "rate_2": k2 / n2},
    )


def rate_difference_interval(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    *,
    method: DifferenceMethod = "miettinen-nurminen",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Interval:
    """The confidence interval of a difference of two independent rates, first minus second, in [−1, 1].

    Args:
        k1: Successes of the first group.
        n1: Its trials.
        k2: Successes of the second group.
        n2: Its trials.
        method: "miettinen-nurminen" inverts the score test of `two_rates`. "newcombe" joins the two Wilson intervals;
            no test belongs to it.
        alternative: "greater" gives a lower end only, "less" an upper end only.
        level: The confidence level.

    Raises:
        DataError: For counts that can't be, or a level outside of (0, 1).

    Source:
        Miettinen & Nurminen (1985), Stat. Med. 4:213–226. Newcombe (1998), Stat. Med. 17:873–890, method 10.
    """
    check_counts(("k1", k1, "n1", n1), ("k2", k2, "n2", n2))
    check_question(level, alternative)
    difference = k1 / n1 - k2 / n2
    if method == "miettinen-nurminen":
        return score_interval(
            lambda null: difference_z(k1, n1, k2, n2, null),
            (-1.0, 1.0),
            difference,
            level,
            alternative,
            "Miettinen–Nurminen",
        )
    if method != "newcombe":
        raise DataError(f"method={method!r}: it is 'miettinen-nurminen' or 'newcombe'.")
    (low1, high1), (low2, high2) = (wilson_ends(k, n, alternative, level) for k, n in ((k1, n1), (k2, n2)))
    p1, p2 = k1 / n1, k2 / n2
    low = -1.0 if alternative == "less" else difference - math.hypot(p1 - low1, high2 - p2)
    high = 1.0 if alternative == "greater" else difference + math.hypot(high1 - p1, p2 - low2)
    return Interval(max(-1.0, low), min(1.0, high), level, "Newcombe")


def difference_z(k1: int, n1: int, k2: int, n2: int, null: float) -> float:
    """Miettinen and Nurminen's statistic for a difference of `null`."""
    if 1 - abs(null) == 1:  # no two rates near 1 differ by so little
        null = 0.0
    p1, p2 = rates_at_difference(k1, n1, k2, n2, null)
    n = n1 + n2
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * n / (n - 1)
    return ratio_of(k1 / n1 - k2 / n2 - null, variance)
