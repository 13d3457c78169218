"""How far raters agree beyond chance: Cohen's, Fleiss's and Krippendorff's coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from suitecase.stats.estimates import Estimate
from suitecase.stats.resampling import percentile_ends
from suitecase.stats.results import Interval
from suitecase.stats.samples import Array, DataError, check_level

__all__ = ["KappaWeights", "RatingLevel", "cohen_kappa", "fleiss_kappa", "krippendorff_alpha"]

KappaWeights: TypeAlias = Literal["none", "linear", "quadratic"]
RatingLevel: TypeAlias = Literal["nominal", "ordinal", "interval"]


def cohen_kappa(
    first: Sequence[Hashable] | NDArray[Any],
    second: Sequence[Hashable] | NDArray[Any],
    *,
    weights: KappaWeights = "none",
    categories: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Estimate:
    """Cohen's κ of two raters, with the asymptotic interval of Fleiss, Cohen & Everitt (1969, Psychol. Bull. 72:323).

    κ depends on how common the categories are, so two κ of different data are hard to compare (Feinstein & Cicchetti
    1990); the raw agreement stands in the details.

    Args:
        first: Labels by the first rater, shape (items,).
        second: Labels by the second, of the same items.
        weights: "linear" or "quadratic" in the categories' places, for ordered categories (Cohen 1968).
        categories: All of them in their order; without it, numbers and strings are sorted.
        level: The confidence level.

    Raises:
        DataError: For missing labels, a different number of them, or all of them in one category.
    """
    check_level(level)
    table, _ = table_of(first, second, categories)
    n, k = int(table.sum()), len(table)
    share = table / n
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    places = np.arange(k) / max(k - 1, 1)
    distance = np.abs(places[:, None] - places)
    credit = {"none": np.eye(k), "linear": 1 - distance, "quadratic": 1 - distance**2}.get(weights)
    if credit is None:
        raise DataError(f"weights={weights!r}: they are 'none', 'linear' or 'quadratic'.")
    observed, expected = float((credit * share).sum()), float(rows @ credit @ columns)
    if expected >= 1 - 1e-15:
        raise DataError("all labels are the same category, so agreement beyond chance isn't defined.")
    kappa = (observed - expected) / (1 - expected)
    mean_credit = (credit @ columns)[:, None] + rows @ credit
    spread = (share * (credit - mean_credit * (1 - kappa)) ** 2).sum() - (kappa - expected * (1 - kappa)) ** 2
    error = math.sqrt(max(float(spread), 0.0) / n) / (1 - expected)
    z = float(cast(Any, stats).norm.ppf((1 + level) / 2))
    interval = Interval(max(kappa - z * error, -1.0), min(kappa + z * error, 1.0), level, "asymptotic")
    warnings = ("All labels agree: the interval has no width, which overstates what is known.",) * (error == 0)
    warnings += (f"{n} items: the interval is for large samples, and too narrow below about 50.",) * (n < 50)
    kind = "" if weights == "none" else f", {weights} weights"
    references = (
        "Cohen (1960), Educ. Psychol. Meas. 20:37-46",
        "Fleiss, Cohen & Everitt (1969), Psychol. Bull. 72:323",
    )
    details = {"agreement": float(np.trace(share)), "expected": expected}
    return Estimate(f"Cohen's κ{kind}", kappa, interval, n, error, references, warnings, details)


def table_of(
    first: Sequence[Hashable] | NDArray[Any],
    second: Sequence[Hashable] | NDArray[Any],
    categories: Sequence[Hashable] | None = None,
) -> tuple[NDArray[np.int64], list[Hashable]]:
    """How often each pair of labels occurs, shape (categories, categories), and the categories.

    Raises:
        DataError: For missing or unknown labels, no labels, or a different number of them.
    """
    a, b = listed(first), listed(second)
    problems = [f"the raters have {len(a)} and {len(b)} labels: each item needs both."] * (len(a) != len(b))
    missing = sum(is_missing(each) for each in (*a, *b))
    problems += [f"{missing} labels are missing: drop those items (krippendorff_alpha takes them)."] * bool(missing)
    problems += ["there are no labels."] * (not a)
    if problems:
        raise DataError(problems)
    found = in_order({*a, *b}) if categories is None else list(categories)
    unknown = {*a, *b} - set(found)
    if unknown:
        raise DataError(f"labels that aren't among the categories: {', '.join(sorted(map(repr, unknown)))}.")
    place = {label: i for i, label in enumerate(found)}
    table = np.zeros((len(found), len(found)), dtype=np.int64)
    np.add.at(table, ([place[each] for each in a], [place[each] for each in b]), 1)
    return table, found


def listed(labels: Sequence[Hashable] | NDArray[Any]) -> list[Hashable]:
    return cast(list[Hashable], labels.tolist()) if isinstance(labels, np.ndarray) else list(labels)


def is_missing(label: Hashable) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def in_order(labels: set[Hashable]) -> list[Hashable]:
    """Sorted if they can be compared, else by their text."""
    try:
        return sorted(cast(set[Any], labels))
    except TypeError:
        return sorted(labels, key=repr)


def codes_of_ratings(ratings: Sequence[Sequence[Hashable]] | ArrayLike, *, numbers: bool) -> Array:
    """Ratings as numbers with NaN where one is missing, shape (items, raters); labels by their place in order."""
    rows = [listed(row) for row in cast(Any, ratings)]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        raise DataError("ratings: each item needs as many raters, 2 or more; None or NaN where a rating is missing.")
    labels = {each for row in rows for each in row if not is_missing(each)}
    if all(isinstance(each, (bool, int, float)) for each in labels):
        values = {each: float(cast(float, each)) for each in labels}
    elif numbers:
        odd = sorted({type(each).__name__ for each in labels if not isinstance(each, (bool, int, float))})
        raise DataError(f"ratings: an ordinal or interval level needs numbers, and there are {', '.join(odd)}.")
    else:
        values = {each: float(i) for i, each in enumerate(in_order(labels))}
    return np.array([[math.nan if is_missing(each) else values[each] for each in row] for row in rows])


def fleiss_kappa(
    ratings: Sequence[Sequence[Hashable]] | ArrayLike, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Fleiss's κ (1971, Psychol. Bull. 76:378-382) of any number of raters, with a percentile bootstrap of items.

    Args:
        ratings: Labels, shape (items, raters), none missing; who gave which label doesn't matter.
        level: The confidence level.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        DataError: For missing labels, fewer than 2 items, or all labels in one category.
    """
    codes = codes_of_ratings(ratings, numbers=False)
    if np.isnan(codes).any():
        missing = int(np.isnan(codes).sum())
        raise DataError(f"{missing} labels are missing: drop those items, or use krippendorff_alpha.")
    categories, places = np.unique(codes, return_inverse=True)
    counts = np.stack([(places.reshape(codes.shape) == i).sum(axis=1) for i in range(len(categories))], axis=1)

    def kappa(items: NDArray[np.intp]) -> float:
        found, raters = counts[items], codes.shape[1]
        agreed = float(((found**2).sum(axis=1) - raters).mean() / (raters * (raters - 1)))
        expected = float(((found.mean(axis=0) / raters) ** 2).sum())
        return (agreed - expected) / (1 - expected) if expected < 1 - 1e-15 else math.nan

    return bootstrapped("Fleiss's κ", kappa, len(codes), level, draws, seed, "Fleiss (1971), Psychol. Bull. 76:378-382")


def krippendorff_alpha(
    ratings: Sequence[Sequence[Hashable]] | ArrayLike,
    metric: RatingLevel = "nominal",
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Krippendorff's α (2011, "Computing Krippendorff's Alpha-Reliability"), with a percentile bootstrap of items.

    1 − observed / expected disagreement. Items with fewer than two ratings don't count.

    Args:
        ratings: Shape (items, raters); None or NaN where a rating is missing. Numbers, or labels if nominal.
        metric: The level of measurement: how far apart two ratings are.
        level: The confidence level.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        DataError: If fewer than 2 items have two ratings, or all ratings are the same.
    """
    if metric not in ("nominal", "ordinal", "interval"):
        raise DataError(f"metric={metric!r}: it is 'nominal', 'ordinal' or 'interval'.")
    codes = codes_of_ratings(ratings, numbers=metric != "nominal")
    codes = codes[(~np.isnan(codes)).sum(axis=1) >= 2]

    def alpha(items: NDArray[np.intp]) -> float:
        found = codes[items]
        observed, expected = np.sum([disagreement(each) for each in on_scale(found, metric)], axis=0)
        return 1 - float(observed / expected) if expected > 0 else math.nan

    return bootstrapped(f"Krippendorff's α, {metric}", alpha, len(codes), level, draws, seed, "Krippendorff (2011)")


def on_scale(codes: Array, metric: RatingLevel) -> list[Array]:
    """Numbers whose squared distances, added up, are the metric's: those of indicators, of mid-ranks, of the values."""
    if metric == "interval":
        return [codes - np.nanmean(codes)]
    missing = np.isnan(codes)
    if metric == "ordinal":
        # Krippendorff's sum of the frequencies between two categories, half of their own, is the distance of mid-ranks.
        return [cast(Array, cast(Any, stats).rankdata(codes, axis=None, nan_policy="omit")).reshape(codes.shape)]
    return [np.where(missing, math.nan, codes == each) for each in np.unique(codes[~missing])]


def disagreement(values: Array) -> tuple[float, float]:
    """Mean squared distance of two ratings of one item, and of two ratings of any items."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    raters, sums, squares = known.sum(axis=1), filled.sum(axis=1), (filled**2).sum(axis=1)
    n = int(raters.sum())
    observed = 2 * ((raters * squares - sums**2) / (raters - 1)).sum() / n
    expected = 2 * (n * squares.sum() - sums.sum() ** 2) / (n * (n - 1))
    return float(observed), float(expected)


def bootstrapped(
    name: str, of: Callable[[NDArray[np.intp]], float], n: int, level: float, draws: int, seed: int, reference: str
) -> Estimate:
    """A coefficient of n items with its percentile interval; draws in which it isn't defined are left out."""
    check_level(level)
    if n < 2:
        raise DataError(f"{n} items with two ratings: 2 or more are needed.")
    value = of(np.arange(n))
    if math.isnan(value):
        raise DataError("all ratings are the same, so agreement beyond chance isn't defined.")
    rng = np.random.default_rng(seed)
    drawn = np.array([of(rng.integers(0, n, n)) for _ in range(draws)])
    defined = drawn[~np.isnan(drawn)]
    low, high = percentile_ends(defined, level)
    undefined = len(drawn) - len(defined)
    warnings = (f"In {undefined} of {draws} draws all ratings were the same; they were left out.",) * bool(undefined)
    warnings += (f"{n} items: the bootstrap interval is too narrow for so few.",) * (n < 30)
    interval = Interval(low, high, level, "percentile bootstrap over items")
    details = {"draws": float(draws), "seed": float(seed)}
    return Estimate(name, value, interval, n, float(defined.std(ddof=1)), (reference,), warnings, details)
