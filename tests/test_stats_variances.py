"""Tests of variances, of normality, and descriptions, against R and NIST."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import PLANT_GROWTH, SLEEP_1, SLEEP_2

from suitecase.stats import (
    DataError,
    TestResult,
    bartlett,
    brown_forsythe,
    describe,
    f_test,
    fligner,
    levene,
    shapiro_wilk,
)

stats = cast(Any, scipy.stats)


def test_plant_growth_agrees_with_r() -> None:
    """bartlett.test, fligner.test(weight ~ group, PlantGrowth); Levene as an anova of distances"""
    assert bartlett(PLANT_GROWTH).statistic == pytest.approx(2.8785737872, rel=1e-10)
    assert bartlett(PLANT_GROWTH).p == pytest.approx(0.237096773635, rel=1e-11)
    assert fligner(PLANT_GROWTH).p == pytest.approx(0.308828687386, rel=1e-11)
    found = brown_forsythe(PLANT_GROWTH)
    assert (found.statistic, found.p) == pytest.approx((1.1191856949, 0.341226624125), rel=1e-10)
    assert found.df == (2, 27)
    assert levene(PLANT_GROWTH).p == pytest.approx(0.306194922991, rel=1e-11)


def test_f_test_agrees_with_r() -> None:
    """var.test(g1, g2), with alternative = "less" and "greater" """
    found = f_test(SLEEP_1, SLEEP_2)
    assert (found.statistic, found.p) == pytest.approx((0.7983426179984, 0.742719931726), rel=1e-11)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.1982970135105, 3.21412271637), rel=1e-11)
    less, greater = f_test(SLEEP_1, SLEEP_2, alternative="less"), f_test(SLEEP_1, SLEEP_2, alternative="greater")
    assert (less.p, greater.p) == pytest.approx((0.371359965863, 0.628640034137), rel=1e-11)
    assert less.interval is not None
    assert greater.interval is not None
    assert (less.interval.low, less.interval.high) == pytest.approx((0, 2.53784584335), rel=1e-11)
    assert (greater.interval.low, greater.interval.high) == pytest.approx((0.2511385541334, math.inf), rel=1e-11)


def test_shapiro_wilk_agrees_with_r() -> None:
    """shapiro.test(g1), shapiro.test(g2)"""
    assert shapiro_wilk(SLEEP_1).statistic == pytest.approx(0.9258060289366, rel=1e-8)
    assert shapiro_wilk(SLEEP_1).p == pytest.approx(0.40792879643, rel=1e-7)
    assert shapiro_wilk(SLEEP_2).p == pytest.approx(0.3511346854077, rel=1e-7)


def test_shapiro_wilk_above_5000_says_that_its_p_is_extrapolated() -> None:
    x = np.random.default_rng(0).normal(size=5001)
    assert "fitted to n ≤ 5000" in shapiro_wilk(x).warnings[0]
    assert not shapiro_wilk(x[:5000]).warnings


@pytest.mark.parametrize("test", [levene, brown_forsythe, bartlett, fligner])
def test_groups_that_do_not_vary_are_refused(test: Any) -> None:
    with pytest.raises(DataError):
        test([[1, 1, 1], [2, 2, 2]])
    with pytest.raises(DataError, match="2 groups are needed"):
        test([[1, 2, 3]])


def test_equal_distances_are_refused_by_tests_that_compare_distances() -> None:
    for test in (levene, brown_forsythe, fligner):
        with pytest.raises(DataError, match="equally far"):
            test([[0.1, 0.3], [0.4, 0.6]])


def test_constant_groups_and_values_are_named() -> None:
    with pytest.raises(DataError, match="b is constant"):
        f_test([1, 2], [3, 3])
    with pytest.raises(DataError, match="ratio=0"):
        f_test(SLEEP_1, SLEEP_2, ratio=0)
    with pytest.raises(DataError, match="all the same"):
        shapiro_wilk([2, 2, 2])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_variance_tests_agree_with_scipy(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.normal(rng.normal(), rng.uniform(0.5, 2), int(rng.integers(3, 20))) for _ in range(k)]
    pairs: list[tuple[TestResult, Any]] = [
        (levene(groups), stats.levene(*groups, center="mean")),
        (brown_forsythe(groups), stats.levene(*groups)),
        (bartlett(groups), stats.bartlett(*groups)),
        (fligner(groups), stats.fligner(*groups)),
    ]
    for ours, theirs in pairs:
        assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=4, max_size=30))
def test_descriptions_agree_with_scipy_and_numpy(values: list[int]) -> None:
    found = describe(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.q1, found.median, found.q3) == pytest.approx(tuple(np.quantile(values, [0.25, 0.5, 0.75])))
    assert (found.min, found.max, found.n) == (min(values), max(values), len(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    if len(set(values)) == 1:
        assert (found.skewness, found.kurtosis) == (None, None)
    else:
        assert found.skewness == pytest.approx(stats.skew(values, bias=False), abs=1e-9)
        assert found.kurtosis == pytest.approx(stats.kurtosis(values, bias=False), abs=1e-9)


def test_short_samples_leave_out_what_they_cannot_tell() -> None:
    assert (describe([1]).sd, describe([1]).sem, describe([1]).skewness) == (None, None, None)
    assert describe([1, 2]).skewness is None
    assert describe([1, 2, 4]).skewness is not None
    assert describe([1, 2, 4]).kurtosis is None
    assert describe([1, 2, 4, 8]).kurtosis is not None
    assert describe([1, 2, 4, 8]).to_dict()["n"] == 4


@pytest.mark.parametrize(("base", "digits"), [(1.0, 13), (1e6, 8), (1e7, 7)])
def test_nist_numacc(base: float, digits: int) -> None:
    """NumAcc2, 3 and 4 of NIST StRD: mean base + 0.2, standard deviation 0.1, to the digits that float64 can hold."""
    found = describe([base + 0.2] + [base + 0.1, base + 0.3] * 500)
    assert found.mean == pytest.approx(base + 0.2, rel=1e-14)
    assert found.sd == pytest.approx(0.1, rel=10.0**-digits)
