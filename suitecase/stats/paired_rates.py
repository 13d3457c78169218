"""Rates of the same items under two or more conditions: McNemar's tests, Tango's interval, Cochran's Q.

Data are two arrays of 0 and 1 in the same order of items, or one table of counts `[[both, only a], [only b, neither]]`.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from suitecase.stats.counts import Table, binary_of, check_question
from suitecase.stats.discordant import (
    McNemarMethod,
    Pairs,
    cohens_g,
    corrected_z,
    exact_p,
    mid_p,
    pairs_counted,
)
from suitecase.stats.results import Alternative, Assumption, Interval, TestResult
from suitecase.stats.samples import DataError, Groups, Values, groups_of
from suitecase.stats.scores import normal_p, quantile, ratio_of, score_interval

__all__ = ["PairedMethod", "cochran_q", "mcnemar", "paired_rate_interval", "two_paired_rates"]

PairedMethod: TypeAlias = Literal["tango", "bonett-price"]

FEW_DISCORDANT = 10
"""Discordant pairs below which the mid-p value is shown beside the score test's (Fagerland et al. 2013)."""


def two_paired_rates(
    a: Values | Table,
    b: Values | None = None,
    *,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """Do two rates of the same items differ? Tango's score test and interval.

    With `null=0` it is McNemar's test without correction. Test and interval always agree: p < 1 − level just where the
    interval excludes the null difference. For non-inferiority by 5 points ask `null=-0.05, alternative="greater"`.

    Args:
        a: Successes (1) and failures (0) of the first condition, shape (n,); or the table
            `[[both, only a], [only b, neither]]`, and no `b`.
        b: Those of the second condition, for the same items in the same order.
        null: The difference (first minus second) to compare with, in (−1, 1).
        alternative: What is asked of the difference.
        level: The interval's confidence level.

    Returns:
        The statistic z, the difference of rates, its interval, and Cohen's g: by how much the share of pairs that only
        the first wins, among pairs that only one wins, lies above ½. Its Wilson interval agrees with p too, where the
        null value is 0. Below 10 such pairs the mid-p value stands in `details` and in a warning.

    Raises:
        DataError: For other values than 0 and 1, unequal lengths, or a null value or level out of range.

    Source:
        Tango (1998), Stat. Med. 17:891–908. McNemar (1947), Psychometrika 12:153–157. Mid-p: Fagerland, Lydersen &
        Laake (2013), BMC Med. Res. Methodol. 13:91. g: Cohen (1988), ch. 5.
    """
    pairs = pairs_counted(a, b)
    check_question(level, alternative)
    if not -1 < null < 1:
        raise DataError(f"null={null}: a difference to compare with lies between −1 and 1.")
    z = tango_z(pairs, null)
    p = normal_p(z, alternative)
    details = details_of(pairs) | {"null": null}
    warnings = warnings_of(pairs)
    if null == 0 and pairs.discordant < FEW_DISCORDANT:
        details["mid_p"] = mid_p(pairs, alternative)
        if pairs.discordant:
            warnings.append(
                f"Only {pairs.discordant} of {pairs.n} pairs differ, so the score test is approximate: "
                f"mid-p = {details['mid_p']:.3g}."
            )
    return TestResult(
        test="Tango's score test" if null else "McNemar's score test",
        statistic_name="z",
        statistic=z,
        p=p,
        alternative=alternative,
        n=(pairs.n,),
        estimate_name="difference of paired rates",
        estimate=pairs.difference,
        interval=tango_interval(pairs, alternative, level),
        effect=cohens_g(pairs, "score", alternative, level),
        assumptions=assumptions_of(pairs),
        references=("Tango (1998)", "McNemar (1947)"),
        warnings=tuple(warnings),
        details=details,
    )


def mcnemar(
    a: Values | Table,
    b: Values | None = None,
    *,
    method: McNemarMethod = "score",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """McNemar's test that two rates of the same items are equal.

    Args:
        a: As for `two_paired_rates`.
        b: As for `two_paired_rates`.
        method: "score" is `two_paired_rates`. "exact" is the sign test of the discordant pairs, whose level is often
            far below α; "mid-p" counts only half of the observed outcome, and keeps α almost always. "corrected" is R's
            `mcnemar.test`, with Edwards' continuity correction; it is the most conservative.
        alternative: What is asked of the difference.
        level: The confidence level of intervals.

    Returns:
        For "score" what `two_paired_rates` gives; for the others p, χ² ("corrected"), and Cohen's g with the interval
        that belongs to the same p. They have no interval of the difference, since Tango's could contradict them.

    Raises:
        DataError: As `two_paired_rates`.

    Source:
        McNemar (1947); Edwards (1948), Psychometrika 13:185–187; Fagerland, Lydersen & Laake (2013), BMC Med. Res.
        Methodol. 13:91.
    """
    if method == "score":
        return two_paired_rates(a, b, alternative=alternative, level=level)
    pairs = pairs_counted(a, b)
    check_question(level, alternative)
    statistic, names = math.nan, ("McNemar (1947)", "Fagerland et al. (2013)")
    if method == "exact":
        p = exact_p(pairs, alternative)
    elif method == "mid-p":
        p = mid_p(pairs, alternative)
    elif method == "corrected":
        z = corrected_z(pairs, alternative)
        p, statistic, names = normal_p(z, alternative), z**2, ("McNemar (1947)", "Edwards (1948)")
    else:
        raise DataError(f"method={method!r}: it is 'score', 'mid-p', 'exact' or 'corrected'.")
    return TestResult(
        test={"exact": "exact McNemar test", "mid-p": "McNemar's mid-p test"}.get(
            method, "McNemar's test with continuity correction"
        ),
        statistic_name="χ²" if method == "corrected" else "",
        statistic=statistic,
        df=(1,) if method == "corrected" else (),
        p=p,
        alternative=alternative,
        n=(pairs.n,),
        estimate_name="difference of paired rates",
        estimate=pairs.difference,
        effect=cohens_g(pairs, method, alternative, level),
        assumptions=assumptions_of(pairs),
        references=names,
        warnings=tuple(warnings_of(pairs)),
        details=details_of(pairs),
    )


def paired_rate_interval(
    a: Values | Table,
    b: Values | None = None,
    *,
    method: PairedMethod = "tango",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Interval:
    """The confidence interval of a difference of paired rates, first minus second, in [−1, 1].

    Args:
        a: As for `two_paired_rates`.
        b: As for `two_paired_rates`.
        method: "tango" inverts the score test, and agrees with McNemar's score p. "bonett-price" is Wald's interval
            after one more pair of either discordant kind; no test belongs to it.
        alternative: "greater" gives a lower end only, "less" an upper end only.
        level: The confidence level.

    Raises:
        DataError: As `two_paired_rates`.

    Source:
        Tango (1998), Stat. Med. 17:891–908. Bonett & Price (2012), J. Educ. Behav. Stat. 37:479–488.
    """
    pairs = pairs_counted(a, b)
    check_question(level, alternative)
    if method == "tango":
        return tango_interval(pairs, alternative, level)
    if method != "bonett-price":
        raise DataError(f"method={method!r}: it is 'tango' or 'bonett-price'.")
    n = pairs.n + 2
    only_a, only_b = (pairs.only_a + 1) / n, (pairs.only_b + 1) / n
    centre = only_a - only_b
    spread = quantile(level, alternative) * math.sqrt((only_a + only_b - centre**2) / n)
    low = -1.0 if alternative == "less" else max(-1.0, centre - spread)
    high = 1.0 if alternative == "greater" else min(1.0, centre + spread)
    return Interval(low, high, level, "Bonett–Price")


def cochran_q(groups: Groups) -> TestResult:
    """Cochran's Q: do k conditions have the same rate on the same items? With two it is McNemar's score test.

    Items on which all conditions agree say nothing; if there are no others, Q is 0 and p is 1.

    Args:
        groups: For each condition an array of 0 and 1, all with the same items in the same order, shape (n,) each.

    Raises:
        DataError: For other values than 0 and 1, unequal lengths, or fewer than two conditions.

    Source:
        Cochran (1950), Biometrika 37:256–266. The bound of 24: Tate & Brown (1970), J. Am. Stat. Assoc. 65:155–160.
    """
    named = {name: binary_of(values, name) for name, values in groups_of(groups).items()}
    if len({len(each) for each in named.values()}) > 1:
        sizes = ", ".join(f"{name} has {len(each)}" for name, each in named.items())
        raise DataError(f"The conditions need the same items, but {sizes} values.")
    data = np.stack(list(named.values()))
    k, n = data.shape
    columns, rows = data.sum(axis=1), data.sum(axis=0)
    informative = int(np.count_nonzero((rows > 0) & (rows < k)))
    q = 0.0
    if informative:
        q = float((k - 1) * (k * (columns**2).sum() - columns.sum() ** 2) / (k * rows.sum() - (rows**2).sum()))
    warnings: list[str] = []
    if not informative:
        warnings.append("All conditions agree on every item, which says nothing about a difference.")
    elif informative * k < 24:
        warnings.append(f"Only {informative} of {n} items tell conditions apart: the χ² approximation is rough.")
    return TestResult(
        test="Cochran's Q",
        statistic_name="Q",
        statistic=q,
        df=(k - 1,),
        p=float(special.chdtrc(k - 1, q)),
        n=(n,),
        assumptions=(
            Assumption(
                "enough items that differ", f"{informative} of {n} items tell conditions apart", informative * k >= 24
            ),
        ),
        references=("Cochran (1950)",),
        warnings=tuple(warnings),
        details={f"rate of {name}": float(each.mean()) for name, each in named.items()},
    )


def tango_z(pairs: Pairs, null: float) -> float:
    """Tango's statistic (1998, equations 8 to 10)."""
    n, x, y = pairs.n, pairs.only_a, pairs.only_b
    b = -x - y + (2 * n - x + y) * null
    c = -y * null * (1 - null)
    root = math.sqrt(max(b * b - 8 * n * c, 0.0))
    # The likeliest rate of "only b", of the two ways to write the root the one in which nothing cancels.
    only_b = (root - b) / (4 * n) if b <= 0 else -2 * c / (b + root)
    return ratio_of((x - y) / n - null, (2 * only_b + null * (1 - null)) / n)


def tango_interval(pairs: Pairs, alternative: Alternative, level: float) -> Interval:
    return score_interval(lambda null: tango_z(pairs, null), (-1.0, 1.0), pairs.difference, level, alternative, "Tango")


def details_of(pairs: Pairs) -> dict[str, float]:
    return {
        "rate_1": (pairs.both + pairs.only_a) / pairs.n,
        "rate_2": (pairs.both + pairs.only_b) / pairs.n,
        "only_1": pairs.only_a,
        "only_2": pairs.only_b,
    }


def warnings_of(pairs: Pairs) -> list[str]:
    return [] if pairs.discordant else ["Both agree on every item, which says nothing about a difference."]


def assumptions_of(pairs: Pairs) -> tuple[Assumption, ...]:
    return (
        Assumption("independent pairs", "not checked: items of one passage or file belong in clusters"),
        Assumption(
            "enough discordant pairs",
            f"{pairs.discordant} of {pairs.n} pairs differ",
            pairs.discordant >= FEW_DISCORDANT,
        ),
    )
