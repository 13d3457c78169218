"""Evaluations of models: several answers to each item, and many variants on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from suitecase.stats.estimates import Estimate, mean_share_interval
from suitecase.stats.resampling import bootstrap_means
from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import Array, DataError, Values, check_level, sample_of

__all__ = ["Rank", "RankBands", "VarianceSplit", "pass_at", "pass_hat", "rank_bands", "split_variance"]


@dataclass(frozen=True)
class VarianceSplit(Result):
    """How much of a score's variance lies between items, and how much within them.

    Attributes:
        items: Number of items.
        answers: K, answers to each item.
        mean: The mean score.
        standard_error: Of the mean, over items, at this K.
        between: ω², the variance over items of the expected score; 0 where its estimate is negative.
        within: σ², the variance of answers to the same item, mean over items.
        warnings: What a reader must know, one sentence each.
    """

    items: int
    answers: int
    mean: float
    standard_error: float
    between: float
    within: float
    warnings: tuple[str, ...] = ()

    def standard_error_at(self, answers: int) -> float:
        """The standard error that the mean would have with so many answers to each of these items: √((ω² + σ²/K)/n)."""
        if answers < 1:
            raise DataError(f"answers={answers}: 1 or more are needed.")
        return math.sqrt((self.between + self.within / answers) / self.items)


def matrix_of(scores: ArrayLike, what: str, least: tuple[int, int]) -> Array:
    """Finite numbers in two dimensions.

    Raises:
        DataError: For anything else, or too few rows or columns.
    """
    try:
        matrix = np.asarray(scores, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what}: numbers are needed, with as many in each row.") from error
    if matrix.ndim != 2 or matrix.shape[0] < least[0] or matrix.shape[1] < least[1]:
        raise DataError(f"{what}: its shape is {matrix.shape}, and at least {least} is needed.")
    odd = int((~np.isfinite(matrix)).sum())
    if odd:
        raise DataError(f"{what}: {odd} values are NaN or infinite; drop those items, or say how they count.")
    return matrix


def split_variance(scores: ArrayLike) -> VarianceSplit:
    """Split the variance of scores into that between items and that within them (Miller 2024, arXiv 2411.00640).

    The one-way random-effects estimates: σ² is the mean of the items' variances, ω² the variance of their means less
    σ²/K (Searle, Casella & McCulloch 1992, 3.5).

    Args:
        scores: K answers to each item, shape (items, K), with 2 or more of both.

    Raises:
        DataError: For another shape, or values that aren't finite.
    """
    matrix = matrix_of(scores, "scores", (2, 2))
    items, answers = matrix.shape
    within = float(matrix.var(axis=1, ddof=1).mean())
    of_means = float(matrix.mean(axis=1).var(ddof=1))
    between = of_means - within / answers
    warnings = ("Items differ no more than answers to the same item do, so ω² is taken to be 0.",) * (between < 0)
    error = math.sqrt(of_means / items)
    return VarianceSplit(items, answers, float(matrix.mean()), error, max(between, 0.0), within, warnings)


def pass_at(correct: Values, answers: Values | int, k: int, *, level: float = 0.95) -> Estimate:
    """pass@k: the probability that at least one of k answers to an item is right, mean over items.

    Unbiased: 1 − C(n − c, k)/C(n, k) for c right of n answers (Chen & al. 2021, arXiv 2107.03374, eq. 1). Items are the
    units of the interval, which is Wilson's with the variance over items.

    >>> pass_at([3, 3], 10, 5).value
    0.9166666666666667

    Args:
        correct: Right answers to each item, shape (items,).
        answers: Answers to each item, shape (items,), or one number for all; each at least k.
        k: Answers that are drawn, 1 or more.
        level: The confidence level.

    Raises:
        DataError: For counts that can't be, or items with fewer than k answers.
    """
    right, drawn = counts_of(correct, answers, k)
    return of_items(f"pass@{k}", 1 - none_of(drawn - right, drawn, k), level, "Chen & al. (2021), arXiv 2107.03374")


def pass_hat(correct: Values, answers: Values | int, k: int, *, level: float = 0.95) -> Estimate:
    """pass^k: the probability that all of k answers to an item are right, mean over items.

    Unbiased: C(c, k)/C(n, k) for c right of n answers (Yao & al. 2024, arXiv 2406.12045). Arguments, interval and
    errors as `pass_at`.

    >>> round(pass_hat([3, 3], 10, 2).value, 6)
    0.066667
    """
    right, drawn = counts_of(correct, answers, k)
    return of_items(f"pass^{k}", none_of(right, drawn, k), level, "Yao & al. (2024), arXiv 2406.12045")


def counts_of(correct: Values, answers: Values | int, k: int) -> tuple[Array, Array]:
    """Right answers and answers to each item, checked."""
    right = sample_of(correct, "correct")
    drawn = np.full(len(right), float(answers)) if isinstance(answers, int) else sample_of(answers, "answers")
    problems: list[str] = []
    if k < 1:
        problems.append(f"k={k}: 1 or more are needed.")
    if len(drawn) != len(right):
        raise DataError([*problems, f"answers has {len(drawn)} values for {len(right)} items."])
    if np.any(right != np.floor(right)) or np.any(drawn != np.floor(drawn)):
        problems.append("correct and answers are counts: whole numbers.")
    wrong = np.flatnonzero((right < 0) | (right > drawn))
    if len(wrong):
        problems.append(f"{len(wrong)} items have fewer than 0 right answers or more than answers (first: {wrong[0]}).")
    short = np.flatnonzero(drawn < k)
    if len(short):
        problems.append(f"{len(short)} items have fewer than k={k} answers (first: {short[0]}): lower k or drop them.")
    if problems:
        raise DataError(problems)
    return right, drawn


def none_of(marked: Array, drawn: Array, k: int) -> Array:
    """C(marked, k)/C(drawn, k): k drawn without replacement are all marked. By products, so that nothing overflows."""
    share = np.ones(len(marked))
    for i in range(k):
        share *= np.maximum(marked - i, 0) / (drawn - i)
    return share


def of_items(name: str, values: Array, level: float, reference: str) -> Estimate:
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    few = ("With one item nothing is known of how items differ.",) * (len(values) < 2)
    interval = mean_share_interval(values, level)
    return Estimate(name, float(values.mean()), interval, len(values), error, (reference,), few)


@dataclass(frozen=True)
class Rank(Result):
    """Where one variant stands among the others.

    Attributes:
        name: The variant.
        mean: Its mean score.
        interval: Of the mean, by the same draws.
        rank: 1 is best; variants with the same mean share the mean of their ranks.
        best: The best rank that the data allow.
        worst: The worst.
        tied_with: The other variants that it can't be told apart from.
    """

    name: str
    mean: float
    interval: Interval
    rank: float
    best: int
    worst: int
    tied_with: tuple[str, ...]


@dataclass(frozen=True)
class RankBands(Result):
    """The order of variants, as far as it is known.

    Attributes:
        ranks: Of each variant, best first.
        groups: Runs of variants, best first, of which no two can be told apart; they may overlap.
        level: With this probability all bands hold at once.
        critical: How many standard errors of a difference tell two variants apart.
        items: Number of items.
        draws: Number of bootstrap draws.
        seed: Their seed.
    """

    ranks: tuple[Rank, ...]
    groups: tuple[tuple[str, ...], ...]
    level: float
    critical: float
    items: int
    draws: int
    seed: int


def rank_bands(
    scores: ArrayLike,
    names: list[str] | None = None,
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> RankBands:
    """Rank many variants on the same items, with bands and with the groups that can't be told apart.

    All pairs are compared at once by a studentised max-T bootstrap of items (Romano & Wolf 2005), and a variant's band
    goes from 1 + the variants shown to be better to the last place − those shown to be worse: the bands hold jointly
    (Mogstad, Romano, Shaikh & Wilhelm 2024, Rev. Econ. Stud. 91:476-518). Quantiles of bootstrap ranks don't: they are
    too narrow where variants are nearly equal.

    Args:
        scores: Shape (items, variants), 2 or more of both.
        names: Of the variants.
        higher_is_better: Whether the highest mean is rank 1.
        level: Of all bands together.
        draws: Bootstrap draws, 100 or more.
        seed: Of the draws.

    Raises:
        DataError: For another shape, values that aren't finite, repeated names, or too few draws.
    """
    check_level(level)
    matrix = matrix_of(scores, "scores", (2, 2))
    items, variants = matrix.shape
    names = [f"variant {i}" for i in range(1, variants + 1)] if names is None else list(names)
    problems = [f"draws={draws}: 100 or more are needed."] * (draws < 100)
    problems += [f"{len(names)} names for {variants} variants."] * (len(names) != variants)
    problems += ["names are repeated: each variant needs its own."] * (len(set(names)) != len(names))
    if problems:
        raise DataError(problems)
    means = matrix.mean(axis=0)
    drawn = bootstrap_means(matrix, draws=draws, seed=seed)
    critical, apart = told_apart(matrix, drawn, level)
    direction = 1 if higher_is_better else -1
    above = direction * (means[:, None] - means) > 0
    # Rounding aside, the same mean is the same rank.
    close = np.isclose(means[:, None], means, rtol=1e-12, atol=0)
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)

    def rank(i: int) -> Rank:
        better = int((above[:, i] & ~close[:, i]).sum())
        shown_better, shown_worse = int((apart[:, i] & above[:, i]).sum()), int((apart[i] & above[i]).sum())
        tied = tuple(names[j] for j in range(variants) if j != i and not apart[i, j])
        low, high = float(ends[0, i]), float(ends[1, i])
        interval = Interval(low, high, level, "percentile bootstrap over items")
        place = better + (int(close[i].sum()) + 1) / 2
        return Rank(names[i], float(means[i]), interval, place, 1 + shown_better, variants - shown_worse, tied)

    order = np.argsort(-direction * means, kind="stable")
    groups = tuple(tuple(names[i] for i in group) for group in runs(order, apart))
    return RankBands(tuple(rank(int(i)) for i in order), groups, level, critical, items, draws, seed)


def told_apart(matrix: Array, drawn: Array, level: float) -> tuple[float, NDArray[np.bool_]]:
    """The critical value of the largest |t| of all pairs, and which pairs exceed it, shape (variants, variants)."""
    items, variants = matrix.shape
    first, second = np.triu_indices(variants, 1)
    means = matrix.mean(axis=0)
    covariance = np.cov(matrix, rowvar=False)
    variance = np.diag(covariance)[first] + np.diag(covariance)[second] - 2 * covariance[first, second]
    # A difference that is the same in all items has a variance that is 0 but for rounding.
    scale = np.maximum(np.diag(covariance)[first], np.diag(covariance)[second])
    known = variance > 1e-12 * scale
    error = np.sqrt(np.where(known, variance, 1.0) / items)
    difference = means[first] - means[second]
    largest = np.zeros(len(drawn))
    for pairs in np.array_split(np.flatnonzero(known), max(1, len(drawn) * len(first) // 2**22)):
        if len(pairs):
            moved = drawn[:, first[pairs]] - drawn[:, second[pairs]] - difference[pairs]
            largest = np.maximum(largest, np.max(np.abs(moved) / error[pairs], axis=1))
    critical = float(np.quantile(largest, level))
    constant = ~np.isclose(means[first], means[second], rtol=1e-12, atol=0)
    exceeds = (known & (np.abs(difference) > critical * error)) | (~known & constant)
    apart = np.zeros((variants, variants), dtype=np.bool_)
    apart[first, second] = apart[second, first] = exceeds
    return critical, apart


def runs(order: NDArray[np.intp], apart: NDArray[np.bool_]) -> list[list[int]]:
    """The longest runs in the order of which no two are told apart."""
    found: list[list[int]] = []
    reached = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not apart[order[end], order[start:end]].any():
            end += 1
        if end > reached:
            found.append([int(i) for i in order[start:end]])
            reached = end
    return found
