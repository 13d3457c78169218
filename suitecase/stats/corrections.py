"""Many comparisons at once: p-values and intervals that hold for the whole family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike

from suitecase.stats.resampling import check_draws, item_counts, sign_flips
from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import Array, DataError, check_level

__all__ = ["Adjustment", "Correction", "Family", "MaxT", "adjust", "max_t"]

Correction: TypeAlias = Literal["holm", "bh", "by", "bonferroni", "hommel", "none"]

CORRECTIONS: dict[str, tuple[str, str]] = {
    "holm": ("holm", "Holm 1979"),
    "bh": ("fdr_bh", "Benjamini & Hochberg 1995"),
    "by": ("fdr_by", "Benjamini & Yekutieli 2001"),
    "bonferroni": ("bonferroni", "Dunn 1961"),
    "hommel": ("hommel", "Hommel 1988"),
    "none": ("", ""),
}
"""What statsmodels calls each correction, and who published it."""


@dataclass(frozen=True)
class Family(Result):
    """The comparisons that are corrected together.

    Attributes:
        name: What they are, such as "3 metrics × 4 conditions".
        method: How they are corrected, such as "holm".
        members: The name of each, in order.
    """

    name: str
    method: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Adjustment(Result):
    """P-values before and after the correction, in the family's order.

    Attributes:
        family: What was corrected together, and how.
        p: The adjusted p-values, in [0, 1]: at most α where the correction rejects at α.
        p_raw: The p-values that were given.
        references: Where the correction is published.
    """

    family: Family
    p: tuple[float, ...]
    p_raw: tuple[float, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaxT(Result):
    """Tests of several mean differences over the same items, corrected with their correlations.

    Attributes:
        family: What was tested together, and how.
        estimates: The mean differences.
        statistics: Their t statistics.
        p: The adjusted p-values.
        p_raw: The p-value of each comparison by itself, from the same draws.
        intervals: Simultaneous intervals: each excludes 0 exactly when its adjusted p is at most 1 − level. Empty for
            the step-down procedure, which has none.
        n: How many items.
        draws: How many resamples.
        seed: What they were drawn from.
        references: Where the method is published.
    """

    family: Family
    estimates: tuple[float, ...]
    statistics: tuple[float, ...]
    p: tuple[float, ...]
    p_raw: tuple[float, ...]
    intervals: tuple[Interval, ...]
    n: int
    draws: int
    seed: int
    references: tuple[str, ...]


def adjust(
    p: Mapping[str, float] | Sequence[float], method: Correction = "holm", *, family: str = "comparisons"
) -> Adjustment:
    """Correct p-values for how many there are, as R's `p.adjust`.

    Args:
        p: The p-values, by name or in order; without names they are numbered from 1.
        method: "holm", "bonferroni" and "hommel" bound the chance of any false rejection ("hommel" for independent or
            positively dependent tests); "bh" and "by" the share of false ones among the rejected ("by" under any
            dependence). "none" leaves them.
        family: What these comparisons are.

    Raises:
        DataError: For no p-values, an unknown method, or p-values that are NaN or not in [0, 1].
    """
    if method not in CORRECTIONS:
        raise DataError(f"method={method!r}: it is one of {', '.join(map(repr, CORRECTIONS))}.")
    named = p if isinstance(p, Mapping) else {str(i): each for i, each in enumerate(p, 1)}
    if not named:
        raise DataError(f"{family}: there are no p-values to correct.")
    raw = {str(name): float(each) for name, each in named.items()}
    wrong = [
        f"p = {each} of {name!r}: a p-value lies between 0 and 1." for name, each in raw.items() if not 0 <= each <= 1
    ]
    if wrong:
        raise DataError(wrong)
    theirs, reference = CORRECTIONS[method]
    adjusted = tuple(raw.values())
    if theirs:
        from statsmodels.stats import multitest

        found = cast(Any, multitest).multipletests(list(adjusted), method=theirs)[1]
        adjusted = tuple(min(float(each), 1.0) for each in found)
    references = (reference,) if reference else ()
    return Adjustment(Family(family, method, tuple(raw)), adjusted, tuple(raw.values()), references)


def max_t(
    differences: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    resample: Literal["sign flips", "bootstrap"] = "sign flips",
    step_down: bool = False,
    family: str = "comparisons",
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> MaxT:
    """Test many mean differences over the same items by the largest t among them (Westfall & Young 1993).

    As the items are resampled for all comparisons at once, comparisons that move together cost less than by Holm.
    Sign flips are exact where differences are symmetric; the studentised bootstrap (Romano & Wolf 2005) needs no
    symmetry and many items. P-values count the observed data as one more draw, so they are never 0.

    Args:
        differences: Each item's difference in each comparison, shape (items, comparisons).
        names: The comparisons' names; numbered from 1 if not given.
        resample: "sign flips" or "bootstrap".
        step_down: Leave out the comparisons already rejected (Westfall & Young 1993, algorithm 2.8): smaller p-values,
            no intervals.
        family: What these comparisons are.
        level: The level at which all intervals hold together, in (0, 1).
        draws: How many resamples.
        seed: What they are drawn from.

    Raises:
        DataError: For another shape, values that aren't finite, fewer than 2 items, a comparison whose differences
            are all the same, names that aren't as many, or too few draws for the level.
    """
    check_level(level)
    values, members = comparisons_of(differences, names)
    check_draws(draws, len(values))
    n, rng = len(values), np.random.default_rng(seed)
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(n)
    t = means / errors
    drawn = np.abs(flipped_t(values, draws, rng) if resample == "sign flips" else bootstrapped_t(values, draws, rng))
    drawn *= 1 + 1e-10  # a draw that equals the observed t but for rounding counts as large as it
    raw = tail_shares(drawn, np.abs(t))
    largest = drawn.max(axis=1)
    ends: tuple[Interval, ...] = ()
    if step_down:
        p = stepped_down(drawn, np.abs(t))
    else:
        p = tail_shares(largest[:, None], np.abs(t))
        critical = critical_value(largest, level)
        ends = tuple(
            Interval(float(mean - critical * error), float(mean + critical * error), level, "simultaneous max-T")
            for mean, error in zip(means, errors, strict=True)
        )
    method = f"max-T by {resample}" + ", step-down" * step_down
    return MaxT(
        family=Family(family, method, members),
        estimates=tuple(means.tolist()),
        statistics=tuple(t.tolist()),
        p=tuple(p.tolist()),
        p_raw=tuple(raw.tolist()),
        intervals=ends,
        n=n,
        draws=draws,
        seed=seed,
        references=("Westfall & Young 1993", *(("Romano & Wolf 2005",) if resample == "bootstrap" else ())),
    )


def comparisons_of(differences: ArrayLike, names: Sequence[str] | None) -> tuple[Array, tuple[str, ...]]:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise DataError(f"shape {values.shape}: a matrix of at least 2 items × 1 comparison is needed.")
    members = tuple(str(i) for i in range(1, values.shape[1] + 1)) if names is None else tuple(map(str, names))
    if len(members) != values.shape[1]:
        raise DataError(f"{len(members)} names for {values.shape[1]} comparisons: each needs one.")
    problems = [
        f"{name}: {int((~np.isfinite(column)).sum())} differences are NaN or infinite: drop those items."
        if not np.isfinite(column).all()
        else f"{name}: all {len(column)} differences are {column[0]:g}, so there is no standard error."
        for name, column in zip(members, values.T, strict=True)
        if not np.isfinite(column).all() or np.ptp(column) == 0
    ]
    if problems:
        raise DataError(problems)
    return values, members


def flipped_t(values: Array, draws: int, rng: np.random.Generator) -> Array:
    """t of each comparison when each item's sign is drawn, which leaves the squares as they are."""
    n = len(values)
    means = np.concatenate([signs @ values for signs in sign_flips(n, draws, rng)]) / n
    squares = (values**2).mean(axis=0)
    return means / np.sqrt(np.maximum(squares - means**2, np.finfo(float).eps * squares) / (n - 1))


def bootstrapped_t(values: Array, draws: int, rng: np.random.Generator) -> Array:
    """t of each resample's means about the observed ones."""
    n, k = values.shape
    centred = values - values.mean(axis=0)
    both = np.concatenate((centred, centred**2), axis=1)
    drawn = np.concatenate([counts @ both for counts in item_counts(n, draws, rng)]) / n
    means, squares = drawn[:, :k], drawn[:, k:]
    smallest = np.finfo(float).eps * (centred**2).mean(axis=0)  # of a resample that is one item, again and again
    return means / np.sqrt(np.maximum(squares - means**2, smallest) / (n - 1))


def tail_shares(drawn: Array, observed: Array) -> Array:
    """How many draws, the observed data among them, are at least as large, as a share; shape of `observed`."""
    return ((drawn >= observed).sum(axis=0) + 1) / (len(drawn) + 1)


def stepped_down(drawn: Array, observed: Array) -> Array:
    order = np.argsort(-observed, kind="stable")
    maxima = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(tail_shares(maxima, observed[order]))
    return p


def critical_value(largest: Array, level: float) -> float:
    """What |t| must exceed for an adjusted p of at most 1 − level."""
    most = math.floor((len(largest) + 1) * (1 - level) + 1e-9)
    if most < 1:
        raise DataError(
            f"{len(largest)} draws can't give {100 * level:g} % intervals: take {math.ceil(1 / (1 - level))}."
        )
    return float(np.partition(largest, len(largest) - most)[len(largest) - most])
