"""Comparisons after an omnibus test, and corrections: R's values, and the laws they obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from suitecase.stats import (
    Correction,
    DataError,
    PairResult,
    adjust,
    dunn,
    dunnett,
    games_howell,
    max_t,
    tukey,
)

stats: Any = scipy.stats  # without complete types

PLANT_GROWTH = {
    "ctrl": [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
    "trt1": [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
    "trt2": [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
}
CHICK_WEIGHTS = {
    "casein": [368, 390, 379, 260, 404, 318, 352, 359, 216, 222, 283, 332],
    "horsebean": [179, 160, 136, 227, 217, 168, 108, 124, 143, 140],
    "linseed": [309, 229, 181, 141, 260, 203, 148, 169, 213, 257, 244, 271],
    "meatmeal": [325, 257, 303, 315, 380, 153, 263, 242, 206, 344, 258],
    "soybean": [243, 230, 248, 327, 329, 250, 193, 271, 316, 267, 199, 171, 158, 248],
    "sunflower": [423, 340, 392, 339, 341, 226, 320, 295, 334, 322, 297, 318],
}


PairTest: TypeAlias = Callable[..., tuple[PairResult, ...]]


def pair_of(results: tuple[PairResult, ...], first: str, second: str) -> list[float]:
    (found,) = [each for each in results if (each.first, each.second) == (first, second)]
    assert found.interval is not None
    return [found.difference, found.interval.low, found.interval.high, found.p]


def test_tukey_is_rs():
    results = tukey(PLANT_GROWTH)
    assert pair_of(results, "trt1", "trt2") == pytest.approx(
        [-0.865, -1.556216051410459, -0.173783948589542, 0.0120064239794527], rel=1e-8
    )
    assert pair_of(results, "ctrl", "trt1")[3] == pytest.approx(0.3908711442021247, rel=1e-9)
    assert pair_of(results, "ctrl", "trt2")[3] == pytest.approx(0.1979959912997082, rel=1e-9)
    assert results[0].sentence() == (
        "Tukey HSD: ctrl − trt1 = 0.371, 95 % CI [−0.320, 1.06], adjusted p = .391 (Tukey HSD, 3 pairs)."
    )


def test_tukey_of_groups_of_different_sizes_is_rs():
    results = tukey(CHICK_WEIGHTS)
    assert len(results) == 15
    assert results[0].family.members[0] == "casein − horsebean"
    assert pair_of(results, "casein", "horsebean") == pytest.approx(
        [163.38333333333321, 94.4197904622199, 232.34687620444657, 3.07019679679499e-08], rel=1e-8, abs=1e-11
    )
    assert pair_of(results, "meatmeal", "soybean") == pytest.approx(
        [30.48051948051943, -34.4140702270968, 95.37510918813568, 7.39135571505953e-01], rel=1e-7
    )


def test_games_howell_is_rs_studentised_range():
    """R: ptukey and qtukey, which is right to four digits, with Welch's degrees of freedom."""
    results = games_howell({feed: CHICK_WEIGHTS[feed] for feed in ("casein", "soybean", "sunflower")})
    assert pair_of(results, "casein", "soybean") == pytest.approx(
        [77.1547619047619, 17.88966673861, 136.4198570709, 0.009462118531411], rel=1e-6
    )
    assert pair_of(results, "soybean", "sunflower") == pytest.approx(
        [-82.4880952381, -132.9436850505, -32.0325054257, 0.001203455839921], rel=1e-6
    )
    welch = stats.ttest_ind(CHICK_WEIGHTS["casein"], CHICK_WEIGHTS["soybean"], equal_var=False)
    assert next(each.p_raw for each in results if each.second == "soybean") == pytest.approx(float(welch.pvalue))


@pytest.mark.parametrize("test", [tukey, games_howell])
def test_the_studentised_range_is_scipys(test: PairTest):
    """The intervals of Tukey alone: scipy takes a second for those of Games and Howell, which are held against R's."""
    results = test(PLANT_GROWTH, level=0.9)
    theirs = stats.tukey_hsd(*PLANT_GROWTH.values(), equal_var=test is tukey)
    ends = theirs.confidence_interval(0.9) if test is tukey else None
    for (i, j), each in zip([(0, 1), (0, 2), (1, 2)], results, strict=True):
        assert each.p == pytest.approx(float(theirs.pvalue[i, j]), rel=1e-8)
        assert each.interval is not None
        if ends:
            assert (each.interval.low, each.interval.high) == pytest.approx((ends.low[i, j], ends.high[i, j]), rel=1e-8)


@pytest.mark.parametrize("test", [tukey, games_howell])
def test_of_two_groups_the_studentised_range_is_the_t_test(test: PairTest):
    a, b = PLANT_GROWTH["ctrl"], PLANT_GROWTH["trt2"][:7]
    (result,) = test([a, b])
    theirs = stats.ttest_ind(a, b, equal_var=test is tukey)
    assert result.p == pytest.approx(float(theirs.pvalue), rel=1e-6)
    assert result.p_raw == pytest.approx(float(theirs.pvalue), rel=1e-10)
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-6)


def test_dunnett_compares_with_the_baseline_and_repeats_itself():
    results = dunnett(PLANT_GROWTH, "ctrl", seed=3)
    assert [(each.first, each.second) for each in results] == [("trt1", "ctrl"), ("trt2", "ctrl")]
    # The equicorrelated bivariate t, integrated over the shared normal and the shared variance (Dunnett 1955).
    assert [each.p for each in results] == pytest.approx([dunnett_p(t) for t in (1.331, 1.772)], abs=2e-3)
    assert [each.p_raw < each.p for each in results] == [True, True]
    assert dunnett(PLANT_GROWTH, "ctrl", seed=3) == results
    (alone,) = dunnett({"a": PLANT_GROWTH["trt2"], "b": PLANT_GROWTH["ctrl"]}, "b")
    theirs = stats.ttest_ind(PLANT_GROWTH["trt2"], PLANT_GROWTH["ctrl"])
    assert alone.p == pytest.approx(float(theirs.pvalue), abs=1e-3)


def dunnett_p(t: float, df: int = 27) -> float:
    z = np.linspace(-8, 8, 801)
    s = np.sqrt(stats.chi2.ppf((np.arange(400) + 0.5) / 400, df) / df)[:, None]
    inside = stats.norm.cdf(z + t * s * math.sqrt(2)) - stats.norm.cdf(z - t * s * math.sqrt(2))
    return 1 - float((inside**2 * stats.norm.pdf(z)).sum(axis=1).mean() * (z[1] - z[0]))


def test_dunn_of_two_groups_is_kruskal_wallis():
    a, b = [1, 2, 2, 3, 7, 9], [2, 5, 5, 8, 9, 9, 11]
    (result,) = dunn([a, b], "none")
    assert result.p == pytest.approx(float(stats.kruskal(a, b).pvalue), rel=1e-10)
    assert result.interval is None


def test_dunn_adjusts_by_holm_and_says_so():
    results = dunn(PLANT_GROWTH)
    raw = [each.p_raw for each in results]
    assert [each.p for each in results] == pytest.approx(adjust(raw).p)
    assert results[1].sentence() == "Dunn: ctrl − trt2 = −6.65, adjusted p = .182 (holm, 3 pairs)."
    assert results[0].references == ("Dunn 1964", "Holm 1979")


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: tukey([[1, 2]]), "2 groups are needed"),
        (lambda: tukey([[1, 1], [2, 2]]), "all groups are constant"),
        (lambda: games_howell({"a": [1, 1], "b": [2, 3], "c": [4, 4]}), r"(?s)a is constant.*c is constant"),
        (lambda: dunnett({"a": [1, 2], "b": [2, 3]}, "c"), "there is no group 'c'"),
        (lambda: dunnett({"a": [1, 1], "b": [2, 2]}, "b"), "all groups are constant"),
        (lambda: dunn([[1, 1], [1]]), "all 3 values are the same"),
        (lambda: adjust([0.1, math.nan, 2]), r"(?s)p = nan of '2'.*p = 2.0 of '3'"),
        (lambda: adjust([]), "there are no p-values"),
        (lambda: adjust([0.1], "sidak"), "it is one of"),  # pyright: ignore[reportArgumentType]
        (lambda: max_t([[1, 2, math.nan], [1, 3, 4]]), r"(?s)1: all 2 differences are 1.*3: 1 differences are NaN"),
        (lambda: max_t([1, 2, 3]), "a matrix of at least 2 items"),
        (lambda: max_t([[1], [2]], ["a", "b"]), "2 names for 1 comparisons"),
        (lambda: max_t([[1], [2]], draws=10), "take 20"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], object], problem: str):
    with pytest.raises(DataError, match=problem):
        call()


# R: set.seed(1); p <- runif(12)^3; p.adjust(p, method)
P = [
    0.018716993435935237,
    0.051530302315764623,
    0.187988118767206336,
    0.749127375733012912,
    0.008203533817704832,
    0.725093931704930417,
    0.843038944156745851,
    0.288539815945831279,
    0.248993574870416678,
    0.000235871757806946,
    0.008738579580761059,
    0.005503677737536806,
]
ADJUSTED: dict[Correction, str] = {
    "holm": "0.14973594748748 0.36071211621035 1 1 0.08203533817705 1 1 1 1 0.00283046109368 0.08203533817705 "
    "0.06054045511290",
    "bh": "0.04492078424624 0.10306060463153 0.32226534645807 0.81722986443601 0.02621573874228 0.81722986443601 "
    "0.84303894415675 0.38471975459444 0.37349036230563 0.00283046109368 0.02621573874228 0.02621573874228",
    "by": "0.13939865734654 0.31981876879541 1 1 0.08135296040223 1 1 1 1 0.00878351709018 0.08135296040223 "
    "0.08135296040223",
    "bonferroni": "0.22460392123122 0.61836362778918 1 1 0.09844240581246 1 1 1 1 0.00283046109368 0.10486295496913 "
    "0.06604413285044",
    "hommel": "0.14973594748748 0.36071211621035 0.75195247506883 0.84303894415675 0.07383180435934 0.84303894415675 "
    "0.84303894415675 0.84303894415675 0.84303894415675 0.00283046109368 0.07864721622685 0.04953309963783",
}


@pytest.mark.parametrize("method", ADJUSTED)
def test_corrections_are_rs(method: Correction):
    assert adjust(P, method).p == pytest.approx([float(each) for each in ADJUSTED[method].split()], rel=1e-12)


def test_a_correction_names_its_family():
    found = adjust({"accuracy": 0.01, "cost": 0.04}, family="2 metrics")
    assert (found.family.name, found.family.method, found.family.members) == ("2 metrics", "holm", ("accuracy", "cost"))
    assert (found.p, found.p_raw, found.references) == ((0.02, 0.04), (0.01, 0.04), ("Holm 1979",))
    assert adjust([0.3, 0.2], "none").p == (0.3, 0.2)


def family(seed: int, comparisons: int, effect: float = 0.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(40, 1))
    return shared + 0.5 * rng.normal(size=(40, comparisons)) + effect * np.arange(comparisons)


def test_a_family_of_one_is_the_test_itself():
    values = family(1, 1, 0) + 0.3
    found = max_t(values, draws=20_000)
    assert found.p == found.p_raw
    assert found.p[0] == pytest.approx(float(stats.ttest_1samp(values[:, 0], 0).pvalue), abs=0.02)
    assert found.statistics[0] == pytest.approx(float(stats.ttest_1samp(values[:, 0], 0).statistic))


def test_all_sign_flips_of_few_items_give_the_exact_p():
    values = np.array([[1.0], [2.0], [3.0], [4.0]])  # 2 of 16 flips reach |mean| = 2.5
    assert max_t(values, draws=100_000).p[0] == pytest.approx(2 / 16, abs=0.004)


def test_correlated_comparisons_cost_less_than_holm():
    values = family(2, 8) + 0.4
    single, stepped = max_t(values), max_t(values, step_down=True)
    assert all(p < holm for p, holm in zip(stepped.p, adjust(single.p_raw).p, strict=True) if holm < 0.1)
    assert all(p < bonferroni for p, bonferroni in zip(single.p, adjust(single.p_raw, "bonferroni").p, strict=True))


@pytest.mark.parametrize("resample", ["sign flips", "bootstrap"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), level=st.sampled_from([0.8, 0.9, 0.95]), discrete=st.booleans())
def test_simultaneous_intervals_exclude_zero_exactly_when_the_adjusted_p_rejects(
    resample: Literal["sign flips", "bootstrap"], seed: int, level: float, discrete: bool
):
    values = np.random.default_rng(seed).normal(0.4, 1, (8, 4))
    values = np.round(values * 2) if discrete else values
    if (np.ptp(values, axis=0) == 0).any():
        return
    found = max_t(values, resample=resample, level=level, draws=199, seed=seed)
    for p, interval in zip(found.p, found.intervals, strict=True):
        assert (0 not in interval) == (p <= 1 - level + 1e-9)
    stepped = max_t(values, resample=resample, step_down=True, draws=199, seed=seed)
    assert all(raw <= down <= single for raw, down, single in zip(stepped.p_raw, stepped.p, found.p, strict=True))
    assert stepped.intervals == ()
