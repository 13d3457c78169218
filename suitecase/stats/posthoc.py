"""After an omnibus test: which groups differ from which, corrected for how many pairs there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
from scipy import stats
from scipy.special import ndtr, stdtr

from suitecase.stats.corrections import Correction, Family, adjust
from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import Array, DataError, Groups, check_level, groups_of
from suitecase.stats.wording import number_text, p_text

__all__ = ["PairResult", "dunn", "dunnett", "games_howell", "tukey"]


@dataclass(frozen=True)
class PairResult(Result):
    """What a test found about two of several groups.

    Attributes:
        test: The test's usual name, such as "Tukey HSD".
        first: A group's name.
        second: Another's.
        difference: The first's mean minus the second's; of Dunn's test, of the mean ranks.
        interval: The simultaneous confidence interval; Dunn's test has none.
        p: The p-value, adjusted for all pairs of the family.
        p_raw: The p-value of this pair alone.
        family: Which pairs were adjusted together, and how.
        references: Where the method is published.
    """

    test: str
    first: str
    second: str
    difference: float
    interval: Interval | None
    p: float
    p_raw: float
    family: Family
    references: tuple[str, ...]

    def sentence(self) -> str:
        """The result in one line, with what the p-value is adjusted for."""
        ends = f", {self.interval}" if self.interval else ""
        pairs = len(self.family.members)
        return (
            f"{self.test}: {self.first} − {self.second} = {number_text(self.difference)}{ends}, "
            f"adjusted {p_text(self.p)} ({self.family.method}, {pairs} pair{'s' * (pairs != 1)})."
        )


def tukey(groups: Groups, *, level: float = 0.95) -> tuple[PairResult, ...]:
    """Tukey's honest significant differences of all pairs, for groups of equal variance (Tukey 1949, Kramer 1956).

    An interval excludes 0 exactly when its p is below 1 − level. `p_raw` is of the t-test with the pooled variance.

    Raises:
        DataError: For fewer than 2 groups, fewer than 2 values in one, or groups that are all constant.
    """
    found = groups_of(groups, least=2)
    pooled, df = pooled_variance(found)

    def error(x: Array, y: Array) -> tuple[float, float]:
        return pooled * (1 / len(x) + 1 / len(y)), df

    return range_results("Tukey HSD", found, error, level, ("Tukey 1949", "Kramer 1956"))


def games_howell(groups: Groups, *, level: float = 0.95) -> tuple[PairResult, ...]:
    """Differences of all pairs for groups of unequal variance, by the studentised range with Welch's degrees of freedom
    (Games & Howell 1976).

    An interval excludes 0 exactly when its p is below 1 − level. `p_raw` is of Welch's t-test.

    Raises:
        DataError: For fewer than 2 groups, fewer than 2 values in one, or constant groups.
    """
    found = groups_of(groups, least=2)
    flat = [name for name, x in found.items() if np.ptp(x) == 0]
    if flat:
        raise DataError([f"{name} is constant: Games–Howell needs the variance of each group." for name in flat])

    def error(x: Array, y: Array) -> tuple[float, float]:
        u, v = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
        return u + v, (u + v) ** 2 / (u * u / (len(x) - 1) + v * v / (len(y) - 1))

    return range_results("Games–Howell", found, error, level, ("Games & Howell 1976",))


def dunnett(groups: Groups, baseline: str, *, level: float = 0.95, seed: int = 0) -> tuple[PairResult, ...]:
    """Differences of each group from a baseline, for groups of equal variance (Dunnett 1955).

    The multivariate t distribution is integrated with random numbers from the seed: a p-value is right to about
    0.0005. `p_raw` is of the t-test with the variance pooled over all groups.

    Args:
        groups: Named groups, or groups in their order, which are then named "group 1", "group 2", …
        baseline: The name of the group that the others are compared with; it stands second.
        level: The level at which all intervals hold together, in (0, 1).
        seed: What the integration draws from.

    Raises:
        DataError: For an unknown baseline, fewer than 2 values in a group, or groups that are all constant.
    """
    check_level(level)
    found = groups_of(groups, least=2)
    if baseline not in found:
        raise DataError(f"there is no group {baseline!r}: there are {', '.join(map(repr, found))}.")
    pooled, df = pooled_variance(found)
    control = found[baseline]
    others = {name: x for name, x in found.items() if name != baseline}
    result = cast(Any, stats).dunnett(*others.values(), control=control, rng=np.random.default_rng(seed))
    ends = result.confidence_interval(confidence_level=level)
    family = Family(f"pairs with {baseline}", "Dunnett", tuple(f"{name} − {baseline}" for name in others))
    return tuple(
        PairResult(
            test="Dunnett",
            first=name,
            second=baseline,
            difference=float(x.mean() - control.mean()),
            interval=Interval(float(ends.low[i]), float(ends.high[i]), level, "Dunnett"),
            p=float(result.pvalue[i]),
            p_raw=t_p(float(x.mean() - control.mean()), pooled * (1 / len(x) + 1 / len(control)), df),
            family=family,
            references=("Dunnett 1955",),
        )
        for i, (name, x) in enumerate(others.items())
    )


def dunn(groups: Groups, correction: Correction = "holm") -> tuple[PairResult, ...]:
    """Dunn's comparisons of mean ranks of all pairs, with the ranks of Kruskal–Wallis and its ties (Dunn 1964).

    Raises:
        DataError: For fewer than 2 groups, an empty one, or values that are all the same.
    """
    found = groups_of(groups)
    values = np.concatenate(list(found.values()))
    if np.ptp(values) == 0:
        raise DataError(f"all {len(values)} values are the same, so their ranks don't differ.")
    n = len(values)
    ties = np.unique(values, return_counts=True)[1].astype(np.float64)
    variance = (n * (n + 1) - float((ties**3 - ties).sum()) / (n - 1)) / 12
    splits = np.cumsum([len(x) for x in found.values()])[:-1]
    ranks = np.split(np.asarray(cast(Any, stats).rankdata(values), dtype=np.float64), splits)
    by_name = dict(zip(found, ranks, strict=True))
    pairs = list(combinations(by_name, 2))
    differences = [float(by_name[first].mean() - by_name[second].mean()) for first, second in pairs]
    errors = [math.sqrt(variance * (1 / len(found[first]) + 1 / len(found[second]))) for first, second in pairs]
    raw = [2 * float(ndtr(-abs(each / error))) for each, error in zip(differences, errors, strict=True)]
    adjusted = adjust(
        {f"{first} − {second}": p for (first, second), p in zip(pairs, raw, strict=True)},
        correction,
        family="all pairs",
    )
    return tuple(
        PairResult("Dunn", *pair, difference, None, p, p_raw, adjusted.family, ("Dunn 1964", *adjusted.references))
        for pair, difference, p, p_raw in zip(pairs, differences, adjusted.p, raw, strict=True)
    )


def range_results(
    test: str,
    groups: dict[str, Array],
    error: Callable[[Array, Array], tuple[float, float]],
    level: float,
    references: tuple[str, ...],
) -> tuple[PairResult, ...]:
    """The results of all pairs by the studentised range, from the variance of each difference and its df."""
    check_level(level)
    distribution = cast(Any, stats).studentized_range
    pairs = list(combinations(groups, 2))
    family = Family("all pairs", test, tuple(f"{first} − {second}" for first, second in pairs))
    critical: dict[float, float] = {}
    results: list[PairResult] = []
    for first, second in pairs:
        x, y = groups[first], groups[second]
        difference = float(x.mean() - y.mean())
        variance, df = error(x, y)
        if df not in critical:
            critical[df] = float(distribution.ppf(level, len(groups), df))
        scale = math.sqrt(variance / 2)
        half = critical[df] * scale
        results.append(
            PairResult(
                test=test,
                first=first,
                second=second,
                difference=difference,
                interval=Interval(difference - half, difference + half, level, test),
                p=float(np.clip(distribution.sf(abs(difference) / scale, len(groups), df), 0, 1)),
                p_raw=t_p(difference, variance, df),
                family=family,
                references=references,
            )
        )
    return tuple(results)


def pooled_variance(groups: dict[str, Array]) -> tuple[float, int]:
    """The variance within groups, and its degrees of freedom."""
    if all(np.ptp(x) == 0 for x in groups.values()):
        raise DataError("all groups are constant, so there is no variance to compare their means by.")
    df = sum(map(len, groups.values())) - len(groups)
    return sum(float(x.var(ddof=1)) * (len(x) - 1) for x in groups.values()) / df, df


def t_p(difference: float, variance: float, df: float) -> float:
    """The two-sided p-value of a difference whose estimate has this variance."""
    return 2 * float(stdtr(df, -abs(difference) / math.sqrt(variance)))
