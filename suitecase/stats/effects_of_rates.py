"""How far two independent rates lie apart: Cohen's h, the odds ratio and the risk ratio, each with a score interval.

The score intervals hold those values that Miettinen and Nurminen's test doesn't reject. "No difference" is the same
hypothesis for all three and for the difference of rates, so all four intervals exclude it just where p < 1 − level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from suitecase.stats.counts import check_counts, check_question
from suitecase.stats.effects import label_of
from suitecase.stats.results import Alternative, Effect, Interval
from suitecase.stats.samples import DataError
from suitecase.stats.scores import quantile, ratio_of, root_of, score_interval

__all__ = ["EffectMethod", "angle", "cohens_h", "odds_ratio", "rates_at_difference", "risk_ratio"]

EffectMethod: TypeAlias = Literal["score", "wald"]

LOG_RATIO_MOST = 60.0
"""Beyond e⁶⁰ a ratio of counts counts as infinite."""


def angle(rate: float) -> float:
    """2·arcsin √rate, in [0, π]: the scale on which the variance of a rate is 1/n."""
    return 2 * math.asin(math.sqrt(rate))


def cohens_h(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    *,
    method: EffectMethod = "score",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Effect:
    """Cohen's h: the difference of 2·arcsin √rate, first minus second, in [−π, π].

    Args:
        k1: Successes of the first group.
        n1: Its trials.
        k2: Successes of the second group.
        n2: Its trials.
        method: "score" agrees with the test of `two_rates`; "wald" is h ± z·√(1/n1 + 1/n2).
        alternative: "greater" gives the interval a lower end only, "less" an upper end only.
        level: The interval's confidence level.

    Raises:
        DataError: For counts that can't be, or a level outside of (0, 1).

    Source:
        Cohen (1988), Statistical Power Analysis, ch. 6. The score interval is Miettinen & Nurminen (1985) with h as
        the parameter.
    """
    check_effect(k1, n1, k2, n2, method, alternative, level)
    h = angle(k1 / n1) - angle(k2 / n2)
    within = (-math.pi, math.pi)
    if method == "score":
        interval = score_interval(lambda null: h_z(k1, n1, k2, n2, null), within, h, level, alternative, "score")
    else:
        interval = wald_interval(h, math.sqrt(1 / n1 + 1 / n2), within, level, alternative)
    return Effect("Cohen h", h, interval, *label_of(h, "h"))


def odds_ratio(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    *,
    method: EffectMethod = "score",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Effect:
    """The odds of success of the first group over those of the second, in [0, ∞].

    It has no label: bounds for small and large depend on the rates themselves (Chen, Cohen & Chen 2010).

    Args:
        k1: Successes of the first group.
        n1: Its trials.
        k2: Successes of the second group.
        n2: Its trials.
        method: "score" agrees with the test of `two_rates`, and can do with empty cells; "wald" is Woolf's.
        alternative: "greater" gives the interval a lower end only, "less" an upper end only.
        level: The interval's confidence level.

    Raises:
        DataError: If both groups have no success, or no failure; with "wald", if any cell is empty.

    Source:
        Miettinen & Nurminen (1985), Stat. Med. 4:213–226. Woolf (1955), Ann. Hum. Genet. 19:251–253.
    """
    check_effect(k1, n1, k2, n2, method, alternative, level)
    f1, f2 = n1 - k1, n2 - k2
    if k1 + k2 in (0, n1 + n2):
        what = "success" if k1 + k2 == 0 else "failure"
        raise DataError(f"Neither group has a {what}, so the ratio of their odds isn't defined.")
    value = k1 * f2 / (f1 * k2) if f1 * k2 else math.inf
    if method == "wald":
        if not k1 * f1 * k2 * f2:
            raise DataError("A group without any success or failure has no Wald interval: use method='score'.")
        error = math.sqrt(1 / k1 + 1 / f1 + 1 / k2 + 1 / f2)
        return Effect("odds ratio", value, wald_ratio(value, error, level, alternative))
    interval = ratio_interval(lambda null: odds_ratio_z(k1, n1, k2, n2, null), value, level, alternative)
    return Effect("odds ratio", value, interval)


def risk_ratio(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    *,
    method: EffectMethod = "score",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Effect:
    """The first group's rate of successes over the second's, in [0, ∞].

    Args:
        k1: Successes of the first group.
        n1: Its trials.
        k2: Successes of the second group.
        n2: Its trials.
        method: "score" agrees with the test of `two_rates`, and can do without successes in one group; "wald" is
            Katz's.
        alternative: "greater" gives the interval a lower end only, "less" an upper end only.
        level: The interval's confidence level.

    Raises:
        DataError: If neither group has a success; with "wald", if one has none.

    Source:
        Miettinen & Nurminen (1985), Stat. Med. 4:213–226. Katz et al. (1978), Biometrics 34:469–474.
    """
    check_effect(k1, n1, k2, n2, method, alternative, level)
    if k1 + k2 == 0:
        raise DataError("Neither group has a success, so the ratio of their rates isn't defined.")
    value = k1 * n2 / (n1 * k2) if k2 else math.inf
    if method == "wald":
        if not k1 * k2:
            raise DataError("A group without any success has no Wald interval: use method='score'.")
        error = math.sqrt(1 / k1 - 1 / n1 + 1 / k2 - 1 / n2)
        return Effect("risk ratio", value, wald_ratio(value, error, level, alternative))
    interval = ratio_interval(lambda null: risk_ratio_z(k1, n1, k2, n2, null), value, level, alternative)
    return Effect("risk ratio", value, interval)


def check_effect(
    k1: int, n1: int, k2: int, n2: int, method: EffectMethod, alternative: Alternative, level: float
) -> None:
    check_counts(("k1", k1, "n1", n1), ("k2", k2, "n2", n2))
    check_question(level, alternative)
    if method not in ("score", "wald"):
        raise DataError(f"method={method!r}: it is 'score' or 'wald'.")


def wald_interval(
    value: float, error: float, within: tuple[float, float], level: float, alternative: Alternative
) -> Interval:
    spread = quantile(level, alternative) * error
    low = within[0] if alternative == "less" else max(within[0], value - spread)
    high = within[1] if alternative == "greater" else min(within[1], value + spread)
    return Interval(low, high, level, "Wald")


def wald_ratio(value: float, error: float, level: float, alternative: Alternative) -> Interval:
    logs = wald_interval(math.log(value), error, (-math.inf, math.inf), level, alternative)
    return Interval(math.exp(logs.low), math.exp(logs.high), level, "Wald")


def ratio_interval(z: Callable[[float], float], value: float, level: float, alternative: Alternative) -> Interval:
    """The score interval of a ratio, searched on the scale of logarithms."""
    most = LOG_RATIO_MOST
    log_value = -most if value == 0 else most if math.isinf(value) else math.log(value)
    logs = score_interval(lambda log: z(math.exp(log)), (-most, most), log_value, level, alternative, "score")
    low = 0.0 if logs.low <= -most else math.exp(logs.low)
    return Interval(low, math.inf if logs.high >= most else math.exp(logs.high), level, "score")


def small_sample(n: int) -> float:
    """Miettinen and Nurminen's factor, which makes the variance of two groups together unbiased."""
    return n / (n - 1)


def h_z(k1: int, n1: int, k2: int, n2: int, null: float) -> float:
    """The score statistic for angles φ = arcsin √rate that differ by null/2."""
    shift = null / 2
    edge = 1e-12
    lowest, highest = max(0.0, -shift) + edge, min(math.pi / 2, math.pi / 2 - shift) - edge

    def slope(phi: float) -> float:  # half the log-likelihood's, which is concave
        return pull(k1, n1, phi + shift) + pull(k2, n2, phi)

    if lowest >= highest or slope(lowest) <= 0:
        phi = max(0.0, -shift)
    elif slope(highest) >= 0:
        phi = min(math.pi / 2, math.pi / 2 - shift)
    else:
        phi = root_of(slope, lowest, highest)
    distance = angular_residual(k1 / n1, phi + shift) - angular_residual(k2 / n2, phi)
    return ratio_of(distance, (1 / n1 + 1 / n2) * small_sample(n1 + n2))


def pull(k: int, n: int, phi: float) -> float:
    up = k / math.tan(phi) if k else 0.0
    return up - ((n - k) * math.tan(phi) if n > k else 0.0)


def angular_residual(rate: float, phi: float) -> float:
    """An observed rate minus sin²φ, in units of its standard deviation for one trial."""
    distance = rate - math.sin(phi) ** 2
    return ratio_of(distance if abs(distance) > 1e-15 else 0.0, (math.sin(2 * phi) / 2) ** 2)


def odds_ratio_z(k1: int, n1: int, k2: int, n2: int, null: float) -> float:
    if null < 1:  # so that no rate is rounded to 1, however far the null value is from the data
        return -odds_ratio_z(k2, n2, k1, n1, 1 / null)
    a, k = n2 * (null - 1), k1 + k2
    b = n1 * null + n2 - k * (null - 1)
    # The root of a·x² + b·x − k in [0, 1], written so that nothing cancels.
    root = math.sqrt(b * b + 4 * a * k)
    p2 = 2 * k / (b + root) if b > 0 else (root - b) / (2 * a)
    scale = 1 + p2 * (null - 1)
    p1, q1 = null * p2 / scale, (1 - p2) / scale
    v1, v2 = n1 * p1 * q1, n2 * p2 * (1 - p2)
    # Both residuals are the same but for their sign; the rarer outcome's has more digits.
    distance = residual(k1, n1, p1, q1) if v1 < v2 else -residual(k2, n2, p2, 1 - p2)
    return ratio_of(distance, small_sample(n1 + n2) * v1 * v2 / (v1 + v2) if v1 + v2 else 0.0)


def residual(k: int, n: int, p: float, q: float) -> float:
    return k - n * p if p < q else n * q - (n - k)


def risk_ratio_z(k1: int, n1: int, k2: int, n2: int, null: float) -> float:
    n, k = n1 + n2, k1 + k2
    b = n1 * null + k1 + n2 + k2 * null
    p2 = 2 * k / (b + math.sqrt(max(b * b - 4 * n * null * k, 0.0)))
    p1 = min(null * p2, 1.0)
    p2 = min(p2, 1.0)
    variance = p1 * (1 - p1) / n1 + null**2 * p2 * (1 - p2) / n2
    return ratio_of(k1 / n1 - null * k2 / n2, variance * small_sample(n))


def rates_at_difference(k1: int, n1: int, k2: int, n2: int, difference: float) -> tuple[float, float]:
    """The likeliest two rates among those with this difference.

    Source:
        Miettinen & Nurminen (1985), Stat. Med. 4:213–226, appendix 1, in the closed form of Farrington & Manning
        (1990), Stat. Med. 9:1447–1454; two Newton steps restore the digits that it loses near 0 and 1.
    """
    n, k = n1 + n2, k1 + k2
    if difference == 0:
        return k / n, k / n
    square = (n1 + 2 * n2) * difference - n - k
    linear = (n2 * difference - n - 2 * k2) * difference + k
    constant = k2 * difference * (1 - difference)
    q = (square / (3 * n)) ** 3 - square * linear / (6 * n**2) + constant / (2 * n)
    p = math.copysign(math.sqrt(max((square / (3 * n)) ** 2 - linear / (3 * n), 0.0)), q)
    turn = (math.pi + math.acos(min(max(q / p**3, -1.0), 1.0))) / 3 if p else 0.0
    lowest, highest = max(0.0, -difference), min(1.0, 1 - difference)
    x = min(max(2 * p * math.cos(turn) - square / (3 * n), lowest), highest)
    for _ in range(2):
        y = x + difference
        slope = (k1 - n1 * y) * x * (1 - x) + (k2 - n2 * x) * y * (1 - y)
        bend = (k1 - n1 * y) * (1 - 2 * x) - n1 * x * (1 - x) + (k2 - n2 * x) * (1 - 2 * y) - n2 * y * (1 - y)
        x = min(max(x - slope / bend, lowest), highest) if bend else x
    return min(max(x + difference, 0.0), 1.0), x
