"""Correlations against R, scipy and brute force."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import MPG, WEIGHT

from suitecase.stats import Alternative, DataError, kendall, pearson, spearman

stats = cast(Any, scipy.stats)

# R's ?cor.test: Hollander & Wolfe's lightness and panel scores of canned tuna.
HUNTER = [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1]
PANEL = [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8]


def ends(found: Any) -> tuple[float, float]:
    return found.interval.low, found.interval.high


def test_pearson_agrees_with_r() -> None:
    """cor.test(mtcars$mpg, mtcars$wt), and one-sided"""
    found = pearson(MPG, WEIGHT)
    assert (found.estimate, found.p) == pytest.approx((-0.867659376517, 1.293958701351e-10), rel=1e-11)
    assert ends(found) == pytest.approx((-0.933826413285, -0.7440871964601), rel=1e-11)
    assert ends(pearson(MPG, WEIGHT, alternative="less")) == pytest.approx((-1, -0.7690872078597), rel=1e-11)
    assert ends(pearson(MPG, WEIGHT, alternative="greater")) == pytest.approx((-0.925915149884, 1), rel=1e-11)


def test_spearman_agrees_with_r() -> None:
    """cor.test(method = "spearman"): with ties, with 9 pairs, with 10 pairs"""
    found = spearman(MPG, WEIGHT)
    assert (found.estimate, found.p) == pytest.approx((-0.8864220332703, 1.487594858127e-11), rel=1e-10)
    assert spearman(HUNTER, PANEL).p == pytest.approx(0.09679783950617, rel=1e-12)
    assert spearman(HUNTER, PANEL, alternative="greater").p == pytest.approx(0.04839891975309, rel=1e-12)
    assert spearman([*HUNTER, 46.3], [*PANEL, 3.3]).p == pytest.approx(0.07311987503928, rel=1e-11)


def test_kendall_agrees_with_r() -> None:
    """cor.test(method = "kendall"): with ties, and exact"""
    found = kendall(MPG, WEIGHT)
    assert (found.estimate, found.p) == pytest.approx((-0.7278321495284, 6.705770405596e-09), rel=1e-10)
    assert kendall(HUNTER, PANEL).p == pytest.approx(0.1194389329806, rel=1e-11)
    assert kendall(HUNTER, PANEL, alternative="greater").p == pytest.approx(0.0597194664903, rel=1e-11)


def test_rank_intervals_are_those_of_bonett_and_wright() -> None:
    """Worked out by hand from their formulas: variances (1 + ρ²/2)/(n − 3) and 0.437/(n − 4) of artanh."""
    rho, tau, z = spearman(HUNTER, PANEL), kendall(HUNTER, PANEL), 1.959963984540054
    half = z * math.sqrt((1 + 0.36 / 2) / 6)
    assert ends(rho) == pytest.approx((math.tanh(math.atanh(0.6) - half), math.tanh(math.atanh(0.6) + half)))
    half = z * math.sqrt(0.437 / 5)
    middle = math.atanh(4 / 9)
    assert ends(tau) == pytest.approx((math.tanh(middle - half), math.tanh(middle + half)))
    assert (rho.interval and rho.interval.method) == "Bonett & Wright"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=5, max_size=20),
    st.sampled_from(["two-sided", "less", "greater"]),
)
def test_any_pairs_agree_with_scipy(pairs: list[tuple[int, int]], alternative: Alternative) -> None:
    """Spearman's p only with ties, since scipy always takes the t approximation."""
    a, b = zip(*pairs, strict=True)
    if len(set(a)) == 1 or len(set(b)) == 1:
        return
    theirs = stats.pearsonr(a, b, alternative=alternative)
    ours = pearson(a, b, alternative=alternative)
    assert (ours.estimate, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-6, abs=1e-9)
    if abs(ours.estimate) < 0.999:
        interval = theirs.confidence_interval(0.95)
        assert ends(ours) == pytest.approx((interval.low, interval.high), rel=1e-9)
    theirs = stats.spearmanr(a, b, alternative=alternative)
    assert spearman(a, b).estimate == pytest.approx(theirs.statistic)
    if len(set(a)) < len(a) and abs(theirs.statistic) < 0.999:
        assert spearman(a, b, alternative=alternative).p == pytest.approx(theirs.pvalue, rel=1e-8)
    assert kendall(a, b).estimate == pytest.approx(stats.kendalltau(a, b).statistic)


@pytest.mark.parametrize("n", [4, 6])
def test_spearman_of_few_pairs_counts_all_orders(n: int) -> None:
    every = [sum((i - j) ** 2 for i, j in enumerate(order)) for order in permutations(range(n))]
    for order in list(permutations(range(n)))[:: max(n**2 // 2, 1)]:
        s = sum((i - j) ** 2 for i, j in enumerate(order))
        below = sum(each <= s for each in every) / len(every)
        assert spearman(range(n), order, alternative="greater").p == pytest.approx(below)


def test_the_series_meets_the_t_approximation_for_many_pairs() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=1290)
    y = 0.05 * x + rng.normal(size=1290)
    assert spearman(x, y).p == pytest.approx(stats.spearmanr(x, y).pvalue, rel=0.01)


def test_perfect_and_tiny_samples_say_what_they_cannot_tell() -> None:
    found = pearson([1, 2, 3, 4], [2, 4, 6, 8])
    assert (found.p, ends(found)) == (0, (1, 1))
    assert "no width" in found.warnings[0]
    assert pearson([1, 2, 3], [1, 2, 4]).interval is None
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]).interval is None


@pytest.mark.parametrize("test", [pearson, spearman, kendall])
def test_constant_sides_are_refused(test: Any) -> None:
    with pytest.raises(DataError, match="a: all values are the same"):
        test([1, 1, 1], [1, 2, 3])
    with pytest.raises(DataError, match="3 are needed"):
        test([1, 2], [1, 2])
