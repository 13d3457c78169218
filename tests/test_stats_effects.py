"""Effect sizes: R's values, and the laws they obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.meta_analysis
import statsmodels.stats.nonparametric
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from suitecase.stats import (
    DataError,
    Effect,
    cliffs_delta,
    cohens_d,
    cohens_d_one_sample,
    cohens_dz,
    convert_effect,
    epsilon_squared,
    eta_squared,
    glass_delta,
    hedges_g,
    omega_squared,
    rank_biserial,
)
from suitecase.stats.noncentral import f_noncentrality, t_noncentrality

stats: Any = scipy.stats  # without complete types
effect_sizes: Any = statsmodels.stats.meta_analysis
rank_tests: Any = statsmodels.stats.nonparametric

SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
F_PLANT_GROWTH = 4.84608786238014  # R: anova(lm(weight ~ group, PlantGrowth))

numbers = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=12)
laws = settings(max_examples=25, deadline=None)


def ends(effect: Effect) -> tuple[float, float]:
    assert effect.interval is not None
    return effect.interval.low, effect.interval.high


def test_standardised_differences_are_rs():
    d, g, dz = cohens_d(SLEEP_1, SLEEP_2), hedges_g(SLEEP_1, SLEEP_2), cohens_dz(SLEEP_1, SLEEP_2)
    assert [d.value, g.value, dz.value] == pytest.approx([-0.8321810813, -0.7969352392, -1.2845575626], rel=1e-9)
    assert ends(d) == pytest.approx((-1.7388168991034, 0.0954503982114), rel=1e-9)  # R: uniroot over pt(t, 18, ncp)
    assert ends(dz) == pytest.approx((-2.11801651398, -0.41462775638), rel=1e-9)
    assert (d.label, g.label, d.label_source) == ("large", "medium", "Cohen 1988")
    assert str(dz) == "Cohen d_z = −1.28 [−2.12, −0.415] (large)"


def test_crucibles_example_has_rs_effect():
    treatment, control = [0.78, 0.73, 0.81, 0.76, 0.74], [0.72, 0.68, 0.75, 0.71, 0.69]
    assert cohens_d(treatment, control).value == pytest.approx(1.810084, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(3, 9), (60, 40)])
def test_hedges_g_agrees_with_statsmodels_up_to_its_approximate_correction(n: int, m: int):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 2, n), rng.normal(0, 1, m)
    theirs, _ = effect_sizes.effectsize_smd(a.mean(), a.std(ddof=1), n, b.mean(), b.std(ddof=1), m)
    df = n + m - 2
    exact = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    assert hedges_g(a, b).value == pytest.approx(theirs / (1 - 3 / (4 * df - 1)) * exact, rel=1e-10)


def test_the_one_sample_effect_of_differences_is_that_of_pairs():
    differences = np.array(SLEEP_1) - SLEEP_2
    assert cohens_d_one_sample(differences + 3, 3).value == pytest.approx(cohens_dz(SLEEP_1, SLEEP_2).value)


def test_glass_delta_is_in_units_of_the_second_group():
    delta = glass_delta([3, 5, 7, 9], [1, 2, 3])
    assert delta.value == 4
    factor = math.sqrt(20 / 3 / 4 + 1 / 3)
    t_low, t_high = t_noncentrality(4 / factor, 2)
    assert ends(delta) == pytest.approx((t_low * factor, t_high * factor))
    assert glass_delta([5, 5], [1, 2, 3]).value == 3  # only the baseline has to vary


@laws
@given(a=numbers, b=numbers, level=st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_of_d_excludes_zero_exactly_when_students_test_rejects(
    a: list[float], b: list[float], level: float
):
    assume(len(set(a)) > 1 and len(set(b)) > 1)  # of a constant group, scipy warns
    p = float(stats.ttest_ind(a, b).pvalue)
    assume(abs(p - (1 - level)) > 1e-9)
    for effect in (cohens_d(a, b, level=level), hedges_g(a, b, level=level)):
        low, high = ends(effect)
        assert (not low <= 0 <= high) == (p < 1 - level)
        assert low <= effect.value <= high
        assert ends(hedges_g(b, a, level=level)) == pytest.approx(
            [-each for each in ends(hedges_g(a, b, level=level))][::-1]
        )


@pytest.mark.parametrize("t", [0.0, 1.5, 40.0, 900.0, 2e4, 1e7])
@pytest.mark.parametrize("df", [1, 5, 200, 10**7])
def test_the_noncentral_interval_covers_what_it_says(t: float, df: int):
    low, high = t_noncentrality(t, df)
    u = (np.arange(20_000) + 0.5) / 20_000
    chi = np.sqrt(stats.chi2.ppf(u, df) / df)
    below = [float(stats.norm.cdf(t * chi - end).mean()) for end in (low, high)]  # P(T ≤ t), over the variance
    assert below == pytest.approx([0.975, 0.025], abs=1e-4)
    assert t_noncentrality(-t, df) == pytest.approx((-high, -low))


def test_cliffs_delta_counts_pairs():
    delta = cliffs_delta(SLEEP_1, SLEEP_2)
    assert delta.value == pytest.approx(-0.49)
    assert (delta.label, delta.label_source) == ("large", "Romano et al. 2006")
    low, high = ends(delta)
    assert -1 <= low <= -0.49 <= high <= 1


@laws
@given(a=numbers, b=numbers)
def test_cliffs_delta_and_its_variance_are_those_of_the_matrix_of_pairs(a: list[float], b: list[float]):
    signs = np.sign(np.subtract.outer(a, b))
    n, m = signs.shape
    d = float(signs.mean())
    effect = cliffs_delta(a, b)
    assert effect.value == pytest.approx(d, abs=1e-12)
    if len(set(a)) > 1 and len(set(b)) > 1 and abs(d) < 1:
        assert d == pytest.approx(2 * rank_tests.rank_compare_2indep(a, b).prob1 - 1, abs=1e-12)
    low, high = ends(effect)
    assert -1 <= low <= high <= 1
    if abs(d) == 1:
        z = stats.norm.isf(0.025)
        assert min(abs(low), abs(high)) == pytest.approx(abs((min(n, m) - z**2) / (min(n, m) + z**2)))
        return
    rows, columns = signs.mean(axis=1) - d, signs.mean(axis=0) - d
    variance = m * m * (rows**2).sum() + n * n * (columns**2).sum() - ((signs - d) ** 2).sum()
    variance = max(variance / (n * m * (n - 1) * (m - 1)), (1 - d * d) / (n * m - 1))  # Cliff 1993
    t = stats.t.isf(0.025, n + m - 2)
    half = t * math.sqrt(variance * ((1 - d * d) ** 2 + t * t * variance))
    scale = 1 - d * d + t * t * variance
    expected = max((d - d**3 - half) / scale, -1), min((d - d**3 + half) / scale, 1)
    assert (low, high) == pytest.approx(expected, abs=1e-9)


@laws
@given(differences=numbers)
def test_rank_biserial_is_that_of_wilcoxons_rank_sums(differences: list[float]):
    nonzero = [each for each in differences if each]
    if len(nonzero) < 2:
        with pytest.raises(DataError, match="needs 2"):
            rank_biserial(differences, [0.0] * len(differences))
        return
    ranks, signs = stats.rankdata(np.abs(nonzero)), np.sign(nonzero)
    effect = rank_biserial(differences, [0.0] * len(differences))
    assert effect.value == pytest.approx(float((ranks * signs).sum() / ranks.sum()), abs=1e-12)
    assert -1 <= ends(effect)[0] <= ends(effect)[1] <= 1


@pytest.mark.parametrize(("n", "mean"), [(8, 1.5), (20, 1.0), (30, 0.0)])
def test_the_interval_of_rank_biserial_covers(n: int, mean: float):
    """Of normal differences, P(d > 0) and P(d + d' > 0) are known, and so is the expected correlation."""
    one, two = 2 * stats.norm.cdf(mean) - 1, 2 * stats.norm.cdf(math.sqrt(2) * mean) - 1
    truth = (2 * one + (n - 1) * two) / (n + 1)
    rng = np.random.default_rng(n)
    found = [ends(rank_biserial(rng.normal(mean, 1, n), np.zeros(n))) for _ in range(400)]
    assert np.mean([low <= truth <= high for low, high in found]) > 0.93


def test_shares_of_variance_are_rs():
    found = [size(F_PLANT_GROWTH, 2, 27) for size in (eta_squared, omega_squared, epsilon_squared)]
    assert [each.value for each in found] == pytest.approx([0.2641482968, 0.2040788460, 0.2096407633], rel=1e-9)
    for each in found:
        assert ends(each) == pytest.approx((0.0318882481306, 0.4287989901493), rel=1e-8)  # R: uniroot over pf
    assert found[0].label == "large"


@laws
@given(f=st.floats(0, 50), df1=st.integers(1, 6), df2=st.integers(2, 80))
def test_the_interval_of_eta_excludes_zero_exactly_when_f_rejects(f: float, df1: int, df2: int):
    p = float(stats.f.sf(f, df1, df2))
    assume(abs(p - 0.05) > 1e-9)
    low, high = ends(eta_squared(f, df1, df2))
    assert (low > 0) == (p < 0.05)
    assert 0 <= low <= high < 1


def test_a_small_f_has_a_negative_omega_and_an_interval_at_zero():
    effect = omega_squared(0.01, 2, 30)
    assert effect.value < 0
    assert ends(effect) == (0, 0)
    assert effect.label == "negligible"


def test_conversions_are_those_of_borenstein():
    """Borenstein et al. 2009, chapter 7: a log odds ratio of 0.9069 is d = 0.5; r = 0.50 is d = 1.1547."""
    assert convert_effect(math.exp(0.9069), "odds ratio", "d").value == pytest.approx(0.5, abs=5e-5)
    assert convert_effect(0.5, "r", "d").value == pytest.approx(1.1547, abs=5e-5)
    assert convert_effect(0.5, "d", "eta squared").value == pytest.approx(0.25**2 / (1 + 0.25**2))  # f = d / 2
    assert convert_effect(0, "eta squared", "odds ratio") == Effect("odds ratio", 1.0)


@laws
@given(d=st.floats(0.001, 4), other=st.sampled_from(["r", "odds ratio", "eta squared"]))
def test_a_conversion_there_and_back_changes_nothing(d: float, other: str):
    there = convert_effect(d, "d", other)  # pyright: ignore[reportArgumentType]
    assert convert_effect(there.value, other, "d").value == pytest.approx(d)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: cohens_d([2, 2, 2], [1, 1]), "both groups are constant"),
        (
            lambda: cohens_d([1], np.array(["x", "y"])),
            r"(?s)a has 1 values, and 2 are needed.*b has values that aren't numbers",
        ),
        (lambda: cohens_dz([1.1, 2.1, 3.1], [1, 2, 3]), "all differences are the same"),
        (lambda: glass_delta([1, 2], [3, 3]), "the baseline is constant"),
        (lambda: cohens_d_one_sample([4, 4]), "all values are the same"),
        (lambda: cliffs_delta([1, 2], [math.nan, 3]), "1 NaN"),
        (lambda: eta_squared(-1, 2, 27), "F is at least 0"),
        (lambda: eta_squared(math.nan, 2, 27), "F is at least 0"),
        (lambda: cohens_d([1, 2], [3, 4], level=95), "a confidence level lies between 0 and 1"),
        (lambda: convert_effect(1.5, "r", "d"), "isn't possible for r"),
        (lambda: convert_effect(1, "d", "g"), "the scales are"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_has_no_effect_size_is_refused(call: Callable[[], object], problem: str):
    with pytest.raises(DataError, match=problem):
        call()


def test_many_values_take_neither_matrices_nor_warnings():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 200_000), rng.normal(0, 1, 200_000)
    assert ends(cohens_d(a, b)) == pytest.approx((0.5, 0.5), abs=0.01)
    expected = 2 * stats.norm.cdf(0.5 / math.sqrt(2)) - 1
    assert ends(cliffs_delta(a, b)) == pytest.approx((expected, expected), abs=0.01)
    assert f_noncentrality(5000, 1, 10**7)[0] > 4000
