"""Values held against a baseline's by the rule of automatic choice, over a whole family of comparisons at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from scipy.special import stdtrit

from suitecase.stats.choice import Choice, TestName, choose
from suitecase.stats.comparisons import Better, Comparison, Verdict
from suitecase.stats.corrections import Correction, adjust
from suitecase.stats.normality import describe
from suitecase.stats.paired_permutation import sign_flip_tests
from suitecase.stats.planning import minimum_detectable
from suitecase.stats.results import Interval, TestResult
from suitecase.stats.samples import Array, DataError, Values, check_level, codes_of, pairs_of, sample_of
from suitecase.stats.wording import p_text

__all__ = ["Side", "compare", "compare_many", "compare_paired", "compare_sides", "skewness_bound", "skewness_warning"]

FEW_TO_JUDGE = 15
ENOUGH_WHEN_SKEWED = 300
"""From so many values on the t interval covers well enough at any skewness met in practice (`docs/statistics.md`)."""


@dataclass(frozen=True)
class Side:
    """One condition's values of one metric.

    Attributes:
        name: The condition's.
        values: Its units' values, shape (n,); aligned with the other side's where they are pairs.
        clusters: For each value the label of its cluster, shape (n,); `None` if units are independent.
        missing: How many units have no value.
    """

    name: str
    values: Values
    clusters: Sequence[Hashable] | None = None
    missing: int = 0


@dataclass(frozen=True)
class Terms:
    """What holds for a whole family."""

    unit: str
    alpha: float
    correction: Correction
    family: str
    power: float
    margin: float | None


@dataclass(frozen=True)
class Asked:
    """One comparison before the correction is known; `margin` goes before the family's."""

    first: Side
    second: Side
    metric: str
    better: Better
    paired: bool
    a: Array
    b: Array
    choice: Choice | None
    found: TestResult | None
    problems: tuple[str, ...] = ()
    margin: float | None = None


def compare(
    a: Values,
    b: Values,
    *,
    names: tuple[str, str] = ("a", "b"),
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    margin: float | None = None,
    better: Better = "",
    test: TestName | None = None,
    transform: Literal["log"] | None = None,
    seed: int = 0,
) -> Comparison:
    """By how much `a` exceeds the baseline `b`, as two independent groups, and how sure that is.

    Args:
        a: Values, shape (n,). If all of both are 0 or 1 they are rates.
        b: The baseline's values, shape (m,).
        names: What the sentences call them.
        clusters: The label of each value's cluster, for `a` and for `b`.
        alpha: The error rate; the interval has the level 1 − alpha.
        power: For the least difference that could have been seen.
        margin: Differences smaller than this don't matter: given beforehand, it allows the verdict "equivalent".
        better: Which values are wanted.
        test: Instead of the rule's own test.
        transform: "log" compares geometric means; values must be positive.
        seed: Of the permutations.

    Raises:
        DataError: For values that can't be compared.
    """
    labels = clusters or (None, None)
    sides = (Side(names[0], a, labels[0]), Side(names[1], b, labels[1]))
    (found,) = compare_sides(
        [sides], paired=False, alpha=alpha, power=power, margin=margin, better=[better], test=test,
        transform=transform, seed=seed,
    )  # fmt: skip
    return raise_untested(found)


def compare_paired(
    a: Values,
    b: Values,
    *,
    names: tuple[str, str] = ("a", "b"),
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    margin: float | None = None,
    better: Better = "",
    test: TestName | None = None,
    transform: Literal["log"] | None = None,
    seed: int = 0,
) -> Comparison:
    """By how much `a[i]` exceeds `b[i]`: as `compare`, for pairs; `clusters` has one label for each pair.

    Raises:
        DataError: For values that can't be compared, or arrays of different lengths.
    """
    sides = (Side(names[0], a, clusters), Side(names[1], b, clusters))
    (found,) = compare_sides(
        [sides], paired=True, alpha=alpha, power=power, margin=margin, better=[better], test=test,
        transform=transform, seed=seed,
    )  # fmt: skip
    return raise_untested(found)


def compare_many(
    groups: Mapping[str, Values],
    *,
    baseline: str,
    paired: bool = False,
    correction: Correction = "holm",
    alpha: float = 0.05,
    power: float = 0.8,
    margin: float | None = None,
    better: Better = "",
    test: TestName | None = None,
    transform: Literal["log"] | None = None,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Every group against the baseline, corrected over all of them; no omnibus test stands before.

    Raises:
        DataError: For an unknown baseline, or values that can't be compared.
    """
    if baseline not in groups:
        raise DataError(f"There is no group {baseline!r} to compare with. There are: {', '.join(groups)}.")
    others = [name for name in groups if name != baseline]
    if not others:
        raise DataError(f"{baseline!r} is the only group: nothing to compare it with.")
    found = compare_sides(
        [(Side(name, groups[name]), Side(baseline, groups[baseline])) for name in others],
        paired=paired, correction=correction, alpha=alpha, power=power, margin=margin,
        better=[better for _ in others], test=test, transform=transform, seed=seed,
    )  # fmt: skip
    return tuple(found)


def compare_sides(
    sides: Sequence[tuple[Side, Side]],
    *,
    metrics: Sequence[str] = (),
    paired: bool | Sequence[bool] = False,
    unit: str = "value",
    alpha: float = 0.05,
    correction: Correction = "holm",
    family: str = "",
    power: float = 0.8,
    margin: float | None = None,
    better: Sequence[Better] = (),
    test: TestName | None = None,
    transform: Literal["log"] | None = None,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """All comparisons of a family, in their order; the p-values that are reported are adjusted over it.

    A comparison that can't be tested (constant values, one value) has the verdict "not tested", and doesn't count for
    the correction.

    Args:
        sides: The condition that is asked about and its baseline, for each comparison.
        metrics: Each comparison's metric; none for bare arrays.
        paired: Whether values are pairs, for all or for each.
        unit: What was repeated.
        alpha: The error rate that the family is held to.
        correction: How p-values are adjusted.
        family: What the correction is over, in words.
        power: For the least difference that could have been seen.
        margin: Differences smaller than this don't matter.
        better: Which values are wanted, for each.
        test: Instead of the rule's own test.
        transform: "log" compares geometric means.
        seed: Of the permutations.

    Raises:
        DataError: For values that aren't numbers, unequal pairs, a test that doesn't fit.
    """
    check_level(1 - alpha)
    pairing = [paired] * len(sides) if isinstance(paired, bool) else list(paired)
    wanted: list[Better] = list(better) or [""] * len(sides)
    asked = [
        ask(first, second, metric, want, pairs, test=test, transform=transform, alpha=alpha, seed=seed)
        for (first, second), metric, want, pairs in zip(
            sides, metrics or [""] * len(sides), wanted, pairing, strict=True
        )
    ]
    return conclude_all(asked, Terms(unit, alpha, correction, family, power, margin))


def conclude_all(asked: Sequence[Asked], terms: Terms) -> tuple[Comparison, ...]:
    """The comparisons of a family, by whichever tests they are, corrected over all that could be tested.

    Raises:
        DataError: For a level, a power or a margin out of range.
    """
    check_level(1 - terms.alpha)
    if not 0 < terms.power < 1:
        raise DataError(f"power={terms.power}: it lies between 0 and 1, such as 0.8.")
    for margin in {terms.margin, *(each.margin for each in asked)} - {None}:
        if not cast(float, margin) > 0:
            raise DataError(f"margin={margin}: the largest difference that doesn't matter is above 0.")
    tested = [each.found.p for each in asked if each.found]
    multipliers = iter(corrections_of(tested, terms.correction))
    terms = replace(terms, family=terms.family or f"{len(tested)} comparisons")
    besides = besides_of(asked)
    return tuple(
        conclude(each, next(multipliers) if each.found else 1.0, terms, beside)
        for each, beside in zip(asked, besides, strict=True)
    )


def besides_of(asked: Sequence[Asked]) -> list[TestResult | None]:
    """The test beside each comparison; sign flips are drawn once for all that have as many pairs and the same seed."""
    found = [each.choice.beside() if each.choice and each.choice.beside else None for each in asked]
    alike: dict[tuple[int, int], list[int]] = {}
    for i, each in enumerate(asked):
        if each.choice and each.choice.flip_seed is not None:
            alike.setdefault((len(each.a), each.choice.flip_seed), []).append(i)
    for (_, seed), indices in alike.items():
        differences = np.column_stack([asked[i].a - asked[i].b for i in indices])
        for i, test in zip(indices, sign_flip_tests(differences, seed=seed), strict=True):
            found[i] = test
    return found


def ask(
    first: Side,
    second: Side,
    metric: str,
    better: Better,
    paired: bool,
    *,
    test: TestName | None,
    transform: Literal["log"] | None,
    alpha: float,
    seed: int,
) -> Asked:
    """The test of one comparison, by the rule, and what it says without a correction."""
    if paired:
        a, b = pairs_of(first.values, second.values, (first.name, second.name))
    else:
        a, b = sample_of(first.values, first.name), sample_of(second.values, second.name)
    if transform == "log":
        a, b = logarithms(a, first.name), logarithms(b, second.name)
    clusters = None
    if first.clusters is not None and second.clusters is not None:
        for side, values in ((first, a), (second, b)):
            codes_of(cast(Sequence[Hashable], side.clusters), len(values), f"clusters of {side.name}")
        clusters = (first.clusters, second.clusters)
    choice = choose(a, b, paired=paired, clusters=clusters, test=test, seed=seed)
    about = (first, second, metric, better, paired, a, b)
    try:
        return Asked(*about, choice, choice.decide(1 - alpha))
    except DataError as error:
        return Asked(*about, None, None, error.problems)


def corrections_of(p: Sequence[float], method: Correction) -> list[float]:
    """By how much each p-value is multiplied, before it is capped at 1.

    Every method here is homogeneous (adjusting c·p gives c times as much as long as nothing is capped), so small
    multiples tell. The interval at the level 1 − alpha/multiplier excludes 0 exactly if the adjusted p is below alpha.
    """
    if not p:
        return []
    shrunk = 1e-3 / (len(p) ** 2)
    scaled = [max(each, 1e-300) * shrunk for each in p]
    return [float(after / before) for after, before in zip(adjust(scaled, method).p, scaled, strict=True)]


def conclude(asked: Asked, multiplier: float, terms: Terms, beside: TestResult | None) -> Comparison:
    """The comparison, at the level that the correction leaves to it."""
    n, means = (len(asked.a), len(asked.b)), (float(asked.a.mean()), float(asked.b.mean()))
    untested = Comparison(
        first=asked.first.name, second=asked.second.name, metric=asked.metric, unit=terms.unit, paired=asked.paired,
        n=n, means=means, difference=means[0] - means[1],
        interval=Interval(-math.inf, math.inf, 1 - terms.alpha, "none"), p=math.nan, p_adjusted=math.nan,
        alpha=terms.alpha, correction=terms.correction, family=terms.family, test=TestResult("none", math.nan, n),
        detectable=math.nan, power=terms.power, verdict="not tested", better=asked.better, warnings=asked.problems,
        missing=(asked.first.missing, asked.second.missing),
    )  # fmt: skip
    if asked.choice is None:
        return untested
    alpha = terms.alpha / multiplier
    test = asked.choice.decide(1 - alpha)
    clusters = [side.clusters for side in (asked.first, asked.second) if side.clusters is not None]
    margin = terms.margin if asked.margin is None else asked.margin
    return replace(
        untested, difference=test.estimate, p=test.p, p_adjusted=min(test.p * multiplier, 1.0), test=test,
        beside=beside, interval=test.interval or replace(untested.interval, level=1 - alpha), effect=test.effect,
        detectable=detectable_of(test, alpha, terms.power), verdict=verdict_of(asked, test, alpha, margin),
        fragile=beside is not None and (beside.p < alpha) != (test.p < alpha) and least_p(beside) < alpha,
        clusters=tuple(len(set(labels)) for labels in clusters), why=asked.choice.why,
        warnings=(*test.warnings, *silence_of(beside, test, alpha), *skewness_warnings(asked, test)),
    )  # fmt: skip


def verdict_of(asked: Asked, test: TestResult, alpha: float, margin: float | None) -> Verdict:
    """What may be claimed; "equivalent" by two one-sided tests, whose interval has the level 1 − 2 alpha."""
    if margin is not None and asked.choice is not None:
        inner = asked.choice.decide(1 - 2 * alpha).interval
        if inner is not None and -margin < inner.low and inner.high < margin:
            return "equivalent"
    if test.p >= alpha:
        return "no evidence of a difference"
    return "higher" if test.estimate > 0 else "lower"


def least_p(beside: TestResult) -> float:
    """The least p-value that a permutation test could have given: each arrangement has its mirror image."""
    return 2 / beside.details["arrangements"] if beside.details.get("exact") else 0.0


def silence_of(beside: TestResult | None, test: TestResult, alpha: float) -> tuple[str, ...]:
    """What to know where too few values let the test beside say nothing either way."""
    if beside is None or test.p >= alpha or least_p(beside) < alpha:
        return ()
    least = p_text(least_p(beside))
    return (f"With so few values no {beside.test} goes below {least}: it can neither confirm this nor doubt it.",)


def detectable_of(test: TestResult, alpha: float, power: float) -> float:
    """The least difference that is found with that power; the standard error is the one that the interval shows."""
    if test.interval is None or not math.isfinite(test.interval.high - test.interval.low):
        return math.nan
    df = test.df[-1] if test.df else math.inf
    quantile = float(stdtrit(df, 1 - alpha / 2))
    standard_error = (test.interval.high - test.interval.low) / (2 * quantile)
    return minimum_detectable(standard_error, df, alpha=alpha, power=power)


def skewness_warnings(asked: Asked, test: TestResult) -> tuple[str, ...]:
    """Where skewed values make a t-test's level unreliable.

    Groups of equal size cancel each other's skewness only if they have one shape and one spread, which no sample shows:
    of lognormal groups of 20 with three times the spread in one, Welch's test rejects 10 %, and where the samples'
    spreads look alike 37 %. So groups of equal size are warned about too.
    """
    if test.statistic_name != "t":
        return ()
    if asked.paired:
        found = [skewness_warning(asked.a - asked.b, "the differences")]
    elif max(len(asked.a), len(asked.b)) < FEW_TO_JUDGE:
        sides, n = f"{asked.first.name} and {asked.second.name}", f"{len(asked.a)} and {len(asked.b)}"
        found = [f"{sides}: {n} values don't show how skewed they are; the t interval counts on nearly normal ones."]
    else:
        found = [skewness_warning(asked.a, asked.first.name), skewness_warning(asked.b, asked.second.name)]
    return tuple(each for each in found if each)


def skewness_warning(values: Array, name: str) -> str:
    """What a reader must know about the t interval of these values' mean; empty if nothing."""
    n, bound = len(values), skewness_bound(len(values))
    if n < FEW_TO_JUDGE:
        return f"{name}: {n} values don't show how skewed they are; the t interval counts on nearly normal ones."
    if bound == math.inf:
        return ""
    found = describe(values).skewness
    if found is None or abs(found) < bound:
        return ""
    return f"{name}: skewed ({found:.1f}) with n = {n}; the t interval may cover less often than it says."


def skewness_bound(n: int) -> float:
    """The sample skewness from which n values are called skewed; 0 where they are too few to tell, ∞ where enough.

    0.5 + 0.48 ln(n / 15) lies below the sample skewness of at least 95 % of samples from distributions whose skewness
    is above 2 (simulated for χ²(1), lognormal(1), Weibull(0.7); `docs/statistics.md`).
    """
    if n < FEW_TO_JUDGE:
        return 0.0
    return 0.5 + 0.48 * math.log(n / FEW_TO_JUDGE) if n < ENOUGH_WHEN_SKEWED else math.inf


def logarithms(values: Array, name: str) -> Array:
    if np.any(values <= 0):
        raise DataError(f"{name}: {int(np.sum(values <= 0))} values aren't above 0, so they have no logarithm.")
    return np.log(values)


def raise_untested(found: Comparison) -> Comparison:
    if found.verdict == "not tested":
        raise DataError(found.warnings)
    return found
