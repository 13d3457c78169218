"""Rates of successes and failures that come in clusters."""

from __future__ import annotations

from scipy import special

from suitecase.stats.clusters import REFERENCES, Labels, assumptions_of, clusters_of, warnings_of
from suitecase.stats.counts import binary_of, check_question
from suitecase.stats.results import Alternative, Interval, TestResult
from suitecase.stats.samples import DataError, Values, codes_of

__all__ = ["clustered_rate"]


def clustered_rate(
    values: Values,
    clusters: Labels,
    null: float = 0.5,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> TestResult:
    """The rate of clustered successes and failures, with Korn and Graubard's interval.

    It is Clopper and Pearson's interval for the effective number of trials: rate·(1 − rate)/variance (CR2), times
    (t(n − 1)/t(G − 1))² of the quantiles, and never more than n. If all values are equal, no variance can be seen: then
    each cluster counts as one trial, (Σm)²/Σm² of them, and a warning says so.

    Args:
        values: Successes (1) and failures (0), shape (n,).
        clusters: The cluster of each.
        null: The rate to compare with, in (0, 1).
        alternative: What is asked of the rate.
        level: The interval's confidence level.

    Returns:
        The rate, its interval, and a p-value that agrees with it: twice the smaller tail of the null value's binomial
        distribution with the effective number of trials. `details` has "effective_n", "clusters", "effective_clusters".

    Raises:
        DataError: For other values than 0 and 1, fewer than two clusters, or a null value or level out of range.

    Source:
        Korn & Graubard (1998), Survey Methodology 24:193–201. At most n: Parker et al. (2017), Vital Health Stat.
        2(175).
    """
    array = binary_of(values)
    check_question(level, alternative)
    if not 0 < null < 1:
        raise DataError(f"null={null}: a rate to compare with lies between 0 and 1.")
    codes = codes_of(clusters, len(array))
    found = clusters_of(array, codes, int(codes.max()) + 1, "values")
    rate, tail = found.mean, (1 - level) / 2 if alternative == "two-sided" else 1 - level
    warnings = list(warnings_of(found))
    if 0 < rate < 1:
        parts = found.weights * found.residuals
        variance = float(parts @ parts)
        shrinkage = (special.stdtrit(found.n - 1, tail) / special.stdtrit(found.count - 1, tail)) ** 2
        effective = min(found.n, rate * (1 - rate) / variance * float(shrinkage)) if variance > 0 else found.n
    else:
        effective = found.effective
        warnings.append("All values are equal, so how alike clusters are can't be seen: each counts as one trial.")
    successes, failures = rate * effective, (1 - rate) * effective
    low = 0.0 if alternative == "less" or rate == 0 else float(special.betaincinv(successes, failures + 1, tail))
    high = 1.0 if alternative == "greater" or rate == 1 else float(special.betainccinv(successes + 1, failures, tail))
    at_least = 1.0 if rate == 0 else float(special.betainc(successes, failures + 1, null))
    at_most = 1.0 if rate == 1 else float(special.betaincc(successes + 1, failures, null))
    p = {"two-sided": min(1.0, 2 * min(at_least, at_most)), "greater": at_least, "less": at_most}[alternative]
    return TestResult(
        test="exact test of a clustered rate",
        p=p,
        alternative=alternative,
        n=(found.n,),
        estimate_name="rate",
        estimate=rate,
        interval=Interval(low, high, level, "Korn–Graubard"),
        assumptions=assumptions_of(found),
        references=("Korn & Graubard (1998)", *REFERENCES),
        warnings=tuple(warnings),
        details={
            "null": null,
            "effective_n": effective,
            "clusters": found.count,
            "effective_clusters": found.effective,
        },
    )
