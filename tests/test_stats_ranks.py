"""Rank tests against R, scipy and brute force."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import PLANT_GROWTH, ROUNDING_TIMES, SLEEP_1, SLEEP_2

from suitecase.stats import Alternative, DataError, friedman, kruskal_wallis, mann_whitney, shifts, sign_test, wilcoxon
from suitecase.stats import TestResult as Found

stats = cast(Any, scipy.stats)

# The examples of R's ?wilcox.test: Hollander & Wolfe's depression and placenta.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
AT_TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
BEFORE_TERM = [1.15, 0.88, 0.90, 0.74, 1.21]
small = st.lists(st.integers(-9, 9), min_size=2, max_size=7)
alternatives = st.sampled_from(["two-sided", "less", "greater"])


def ends(found: Found) -> tuple[float, float]:
    assert found.interval is not None
    return found.interval.low, found.interval.high


def test_tied_samples_agree_with_r() -> None:
    """wilcox.test(g1, g2, conf.int = TRUE, tol.root = 1e-12), exact = FALSE because of ties"""
    found = mann_whitney(SLEEP_1, SLEEP_2)
    assert (found.statistic, found.p) == pytest.approx((25.5, 0.06932757543363), rel=1e-10)
    assert ends(found) == pytest.approx((-3.6, 0.1), abs=1e-9)
    # R's −1.346388 is where its root finder stopped between the two middle differences, −1.4 and −1.3.
    assert found.estimate == pytest.approx(-1.35)
    less, greater = (
        mann_whitney(SLEEP_1, SLEEP_2, alternative="less"),
        mann_whitney(SLEEP_1, SLEEP_2, alternative="greater"),
    )
    assert (less.p, greater.p) == pytest.approx((0.03466378771681, 0.9707516686073), rel=1e-10)
    assert ends(less) == pytest.approx((-math.inf, -0.1), abs=1e-9)
    assert ends(greater) == pytest.approx((-3.4, math.inf), abs=1e-9)


def test_untied_samples_are_exact_as_in_r() -> None:
    """wilcox.test(at_term, before_term, conf.int = TRUE); alternative = "greater", conf.level = 0.9"""
    found = mann_whitney(AT_TERM, BEFORE_TERM)
    assert found.test == "Mann–Whitney test (exact)"
    assert (found.statistic, found.p, found.estimate) == pytest.approx((35, 0.2544122544123, 0.305), rel=1e-11)
    assert ends(found) == pytest.approx((-0.15, 0.76))
    greater = mann_whitney(AT_TERM, BEFORE_TERM, alternative="greater", level=0.9)
    assert greater.p == pytest.approx(0.1272061272061, rel=1e-11)
    assert ends(greater) == pytest.approx((-0.05, math.inf))


def test_pairs_with_ties_and_a_zero_agree_with_r() -> None:
    """wilcox.test(g1, g2, paired = TRUE, conf.int = TRUE, tol.root = 1e-12)"""
    found = wilcoxon(SLEEP_1, SLEEP_2)
    assert (found.statistic, found.p, found.estimate) == pytest.approx((0, 0.009090698015925, -1.4), rel=1e-10)
    assert ends(found) == pytest.approx((-2.95, -1.05), abs=1e-9)
    assert found.details["zeros"] == 1
    assert wilcoxon(SLEEP_1, SLEEP_2, alternative="less").p == pytest.approx(0.004545349007963, rel=1e-10)
    assert ends(wilcoxon(SLEEP_1, SLEEP_2, alternative="less")) == pytest.approx((-math.inf, -1.15), abs=1e-9)
    assert ends(wilcoxon(SLEEP_1, SLEEP_2, alternative="greater")) == pytest.approx((-2.7, math.inf), abs=1e-9)


def test_pairs_without_ties_are_exact_as_in_r() -> None:
    """wilcox.test(before, after, paired = TRUE, conf.int = TRUE), and alternative = "greater" """
    found = wilcoxon(BEFORE, AFTER)
    assert (found.statistic, found.p, found.estimate) == pytest.approx((40, 0.0390625, 0.46), rel=1e-11)
    assert ends(found) == pytest.approx((0.01, 0.786))
    greater = wilcoxon(BEFORE, AFTER, alternative="greater")
    assert (greater.p, *ends(greater)) == pytest.approx((0.01953125, 0.175, math.inf))
    assert wilcoxon(np.subtract(BEFORE, AFTER)).p == found.p, "one sample of differences is the same"


def test_sign_test_is_the_binomial() -> None:
    """binom.test(7, 9): 7 of 9 are above"""
    found = sign_test(BEFORE, AFTER)
    assert (found.statistic, found.p) == pytest.approx((7, 0.1796875))
    assert found.estimate == pytest.approx(np.median(np.subtract(BEFORE, AFTER)))
    # Order statistics 2 and 8 of 9: coverage 1 − 2 · P(X ≤ 1) = 1 − 20/512.
    assert ends(found) == pytest.approx(tuple(np.sort(np.subtract(BEFORE, AFTER))[[1, 7]]))
    assert found.details["reached_level"] == pytest.approx(1 - 20 / 512)
    assert sign_test(BEFORE, AFTER, alternative="greater").p == pytest.approx(46 / 512)


def test_many_groups_agree_with_r() -> None:
    """kruskal.test(weight ~ group, PlantGrowth), friedman.test(RoundingTimes)"""
    found = kruskal_wallis(PLANT_GROWTH)
    assert (found.statistic, found.p) == pytest.approx((7.9882287494, 0.0184237557315), rel=1e-10)
    found = friedman(ROUNDING_TIMES.T)
    assert (found.statistic, found.p) == pytest.approx((11.14285714286, 0.003805040775511), rel=1e-11)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(11.142857142857 / 44)


@settings(max_examples=25, deadline=None)
@given(small, small, alternatives)
def test_two_samples_agree_with_scipy_and_with_counting(a: list[int], b: list[int], alternative: Alternative) -> None:
    """W counts pairs, and the estimate is the median of all differences."""
    if len({*a, *b}) == 1:
        return
    found = mann_whitney(a, b, alternative=alternative)
    exact = len({*a, *b}) == len(a) + len(b)
    assert found.details["exact"] == exact
    theirs = stats.mannwhitneyu(a, b, alternative=alternative, method="exact" if exact else "asymptotic")
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert found.statistic == sum((x > y) + (x == y) / 2 for x, y in product(a, b))
    assert found.estimate == pytest.approx(np.median(np.subtract.outer(a, b)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=4, max_size=12, unique_by=abs), st.integers(-45, 45), alternatives)
def test_exact_p_is_below_alpha_exactly_if_the_interval_excludes_the_shift(
    values: list[int], shift: int, alternative: Alternative
) -> None:
    """Where nothing is tied, at any null value that isn't itself a mean of two values."""
    found = wilcoxon(values, difference=shift + 0.3, alternative=alternative, level=0.85)
    if found.details["exact"] and found.interval is not None and found.interval.level == 0.85:
        assert (found.p <= 0.15 + 1e-12) == (shift + 0.3 not in found.interval)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 4), (5, 2), (4, 4)])
def test_exact_distributions_are_those_of_all_arrangements(n: int, m: int) -> None:
    sums = [sum(each) - n * (n - 1) // 2 for each in combinations(range(n + m), n)]
    expected = [sum(s <= u for s in sums) / len(sums) for u in range(n * m + 1)]
    assert shifts.rank_sum_cdf(n, m) == pytest.approx(np.array(expected))
    signed = [sum(np.arange(1, n + 1)[list(each)]) for each in product([False, True], repeat=n)]
    expected = [sum(s <= v for s in signed) / len(signed) for v in range(n * (n + 1) // 2 + 1)]
    assert shifts.signed_rank_cdf(n) == pytest.approx(np.array(expected))


def test_the_largest_exact_distribution_is_symmetric_and_sums_to_one() -> None:
    """In floating point its counts, up to 10²⁸, would not be exact."""
    cdf = shifts.rank_sum_cdf(49, 49)
    assert cdf[-1] == 1
    assert cdf[: 49 * 49 // 2] == pytest.approx(1 - cdf[:-1][::-1][: 49 * 49 // 2], rel=1e-12)


@pytest.mark.parametrize("decimals", [1, 9])
def test_counting_finds_what_sorting_finds(monkeypatch: pytest.MonkeyPatch, decimals: int) -> None:
    """Large samples don't hold all pairs in memory."""
    rng = np.random.default_rng(3)
    x, y = np.round(rng.normal(size=40), decimals), np.round(rng.normal(size=30), decimals)
    ranks, means = [1, 2, 17, 600, 1199, 1200], [1, 3, 410, 411, 820]
    sorted_differences, sorted_means = shifts.pairwise_differences(x, y, ranks), shifts.walsh_averages(x, means)
    every = np.sort(np.subtract.outer(x, y).ravel())
    assert sorted_differences == pytest.approx(list(every[np.array(ranks) - 1]))
    monkeypatch.setattr(shifts, "ENUMERABLE", 0)
    assert shifts.pairwise_differences(x, y, ranks) == pytest.approx(sorted_differences, abs=1e-8)
    assert shifts.walsh_averages(x, means) == pytest.approx(sorted_means, abs=1e-8)


def test_samples_too_small_for_the_level_say_so() -> None:
    """wilcox.test(1:3 + 0, 4:6 - 0.5, conf.int = TRUE) reaches 90 %; with two values each there is next to nothing."""
    found = mann_whitney([1, 2, 3], [3.5, 4.5, 5.5])
    assert found.interval is not None
    assert found.interval.level == pytest.approx(0.9)
    assert "reaches 90.0 %" in found.warnings[0]
    assert wilcoxon([1.0]).interval is None
    assert sign_test([1.0, 2.0]).interval is not None
    assert mann_whitney([1, 1], [1, 2]).interval is None


def test_data_without_ranks_are_refused() -> None:
    with pytest.raises(DataError, match="all values are equal"):
        mann_whitney([1, 1], [1])
    with pytest.raises(DataError, match="all differences are 0"):
        wilcoxon([1, 2], [1, 2])
    with pytest.raises(DataError, match="all differences are 0"):
        sign_test([1, 2], [1, 2])
    with pytest.raises(DataError, match="all values are equal"):
        kruskal_wallis([[1, 1], [1]])
    with pytest.raises(DataError, match="in every block"):
        friedman([[1, 2], [1, 2], [1, 2]])
    with pytest.raises(DataError, match="group 1 has 3, group 2 has 2"):
        friedman([[1, 2, 3], [1, 2], [1, 2]])
    with pytest.raises(DataError, match="3 groups are needed"):
        friedman([[1, 2], [2, 1]])


def test_a_hundred_thousand_tied_values_need_no_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 100, 100_000), rng.integers(1, 101, 100_000)
    found = mann_whitney(x, y)
    assert found.estimate == -1
    assert found.p < 1e-10
