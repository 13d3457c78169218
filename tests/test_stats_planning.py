"""Plans hold against R, G*Power's definition, statsmodels, every outcome enumerated, and simulated data."""

from __future__ import annotations

import doctest
import importlib
import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as untyped
from statsmodels.stats import power as reference

from suitecase.stats.planning import PlannedTest, minimum_detectable
from suitecase.stats.planning_means import (
    Correlation,
    EquivalentMeans,
    ManyMeans,
    OneMean,
    PairedItems,
    PairedMeans,
    Ranks,
    TwoMeans,
    TwoVariances,
    cohen_f,
)
from suitecase.stats.planning_rates import OneRate, PairedRates, TwoRates
from suitecase.stats.planning_simulated import simulated_power
from suitecase.stats.samples import Array, DataError

stats = cast(Any, untyped)

EVERY: list[tuple[PlannedTest, float]] = [
    (OneMean(), 0.4),
    (PairedMeans(sd=2, correlation=0.7), 0.9),
    (TwoMeans(), 0.6),
    (TwoMeans(sd_second=2, ratio=0.5), 1.1),
    (TwoMeans(alternative="less"), -0.6),
    (ManyMeans(groups=4), 0.3),
    (EquivalentMeans(difference=0.1), 0.6),
    (EquivalentMeans(paired=True), 0.4),
    (Ranks(), 0.15),
    (Ranks(paired=True, alternative="greater"), 0.15),
    (TwoVariances(), 1.8),
    (TwoVariances(alternative="less"), 0.5),
    (Correlation(), 0.35),
    (Correlation(alternative="less"), -0.35),
    (PairedItems(between=0.1, within=(0.1, 0.2), answers=(2, 3)), 0.07),
    (OneRate(rate=0.6), 0.15),
    (OneRate(rate=0.6, alternative="less"), -0.15),
    (TwoRates(rate=0.4), 0.2),
    (TwoRates(rate=0.4, ratio=0.5, alternative="less"), -0.25),
    (TwoRates(rate=0.4, exact=False), 0.2),
    (PairedRates(discordant=0.3), 0.12),
]
RATES = st.floats(0, 1).map(lambda rate: round(rate, 6))
IDS = [f"{type(test).__name__}-{i}" for i, (test, _) in enumerate(EVERY)]


@pytest.mark.parametrize("module", ["planning_means", "planning_rates", "planning_simulated", "evaluations", "bayes"])
def test_examples_in_docstrings_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"suitecase.stats.{module}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


def test_r_power_t_test() -> None:
    """R leaves the far tail out, so its last digits differ."""
    assert TwoMeans().power_of(1, 20) == pytest.approx(0.868952801692, abs=1e-6)
    assert TwoMeans().power_of(1, 20) == pytest.approx(0.868953027725, abs=1e-11)  # strict = TRUE
    assert TwoMeans().power_of(0.5, 63.7657637143) == pytest.approx(0.8, abs=1e-5)
    assert OneMean().power_of(0.5, 33.367204088) == pytest.approx(0.8, abs=1e-5)
    assert TwoMeans().power_of(1, 22.0210977039) == pytest.approx(0.9, abs=1e-5)
    assert (TwoMeans().n_for(0.5), OneMean().n_for(0.5), TwoMeans().n_for(1, 0.9)) == (64, 34, 23)


def test_r_power_of_anova_and_rates() -> None:
    variance_between, variance_within, groups = 1, 3, 4
    f = math.sqrt(variance_between * (groups - 1) / groups / variance_within)
    assert ManyMeans(groups=4).power_of(f, 11.9261309577) == pytest.approx(0.8, abs=1e-5)
    assert ManyMeans(groups=4).power_of(f, 12) == pytest.approx(0.802953711948, abs=1e-10)
    assert ManyMeans(groups=3).power_of(0.25, 52.3966016056) == pytest.approx(0.8, abs=1e-5)
    assert ManyMeans(groups=3).power_of(0.25, 20) == pytest.approx(0.374, abs=5e-4)
    assert ManyMeans(groups=3).n_for(0.25) == 53
    assert TwoRates(rate=0.5, exact=False).power_of(0.25, 76.7069301141) == pytest.approx(0.9, abs=1e-6)
    assert TwoRates(rate=0.5, exact=False).power_of(0.25, 50) == pytest.approx(0.740165901331, abs=1e-4)
    h = 0.3  # pwr.2p.test: the z-test of arcsine-transformed rates, whose variance is 1/n
    assert PairedItems(between=2).power_of(h, 174.419122434) == pytest.approx(0.8, abs=1e-5)


def test_miller_formula() -> None:
    assert PairedItems(between=1 / 9).n_for(0.03) == 969
    assert PairedItems(between=1 / 9).power_of(0.03, 969.0) == pytest.approx(0.8, abs=1e-4)
    assert PairedItems(between=1 / 9, within=(1 / 6, 1 / 6)).power_of(0.03, 3876) == pytest.approx(0.8, abs=1e-4)
    assert PairedItems(between=1 / 9, within=(1 / 6, 1 / 6), answers=(10, 10)).n_for(0.03) == 1260


@given(st.floats(-3, 3), st.integers(2, 300), st.floats(1e-4, 0.3), st.sampled_from(["two-sided", "less", "greater"]))
@settings(max_examples=30, deadline=None)
def test_t_power_equals_statsmodels(d: float, n: int, alpha: float, alternative: Any) -> None:
    name = {"two-sided": "two-sided", "less": "smaller", "greater": "larger"}[alternative]
    with np.errstate(all="ignore"):
        one = cast(Any, reference).TTestPower().power(d, n, alpha, alternative=name)
        two = cast(Any, reference).TTestIndPower().power(d, n, alpha, ratio=2, alternative=name)
    for expected, test in (
        (one, OneMean(alpha=alpha, alternative=alternative)),
        (two, TwoMeans(alpha=alpha, alternative=alternative, ratio=2)),
    ):
        if not np.isnan(expected):
            assert test.power_of(d, n) == pytest.approx(expected, abs=1e-9)


@given(st.integers(2, 12), st.integers(2, 10_000), st.floats(0, 2))
@settings(max_examples=25, deadline=None)
def test_anova_power_equals_statsmodels(groups: int, n: int, f: float) -> None:
    expected = cast(Any, reference).FTestAnovaPower().power(f, n * groups, 0.05, groups)
    if not np.isnan(expected):  # it is, for large noncentralities
        assert ManyMeans(groups=groups).power_of(f, n) == pytest.approx(expected, abs=1e-8)


@given(st.integers(2, 40), st.sampled_from([0.5, 1.0, 2.0]), RATES, RATES)
@settings(max_examples=30, deadline=None)
def test_power_of_two_rates_is_the_sum_over_all_outcomes(n: int, ratio: float, first: float, second: float) -> None:
    m = round(n * ratio)
    x, y = np.arange(n + 1)[:, None], np.arange(m + 1)
    total = n + m
    with np.errstate(invalid="ignore"):
        z = (x / n - y / m) / np.sqrt((x + y) * (total - x - y) / ((total - 1) * n * m))
    rejected = np.nan_to_num(np.abs(z)) >= stats.norm.ppf(0.975)
    chances = stats.binom.pmf(x, n, first) * stats.binom.pmf(y, m, second)
    test = TwoRates(rate=second, ratio=ratio)
    if n >= test.least_n:
        assert test.power_of(first - second, n) == pytest.approx(float((chances * rejected).sum()), abs=1e-9)


@given(st.integers(2, 25), st.floats(0.05, 1), st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_power_of_paired_rates_is_the_sum_over_all_tables(n: int, discordant: float, share: float) -> None:
    effect = share * discordant
    first, second = (discordant + effect) / 2, (discordant - effect) / 2
    b, c = np.arange(n + 1)[:, None], np.arange(n + 1)
    possible = b + c <= n
    rest = np.where(possible, n - b - c, 0)
    cells = np.stack(np.broadcast_arrays(b, c, rest), axis=-1)
    chances = np.where(possible, stats.multinomial.pmf(cells, n, [first, second, max(1 - discordant, 0.0)]), 0.0)
    rejected = (np.abs(b - c) >= stats.norm.ppf(0.975) * np.sqrt(b + c)) & (b + c > 0)
    expected = float((np.nan_to_num(chances) * rejected).sum())
    assert PairedRates(discordant=discordant).power_of(effect, n) == pytest.approx(expected, abs=1e-8)


@given(st.integers(2, 300), st.floats(0.05, 0.95), RATES)
@settings(max_examples=20, deadline=None)
def test_power_of_one_rate_is_that_of_wilson(n: int, null: float, true: float) -> None:
    counts = np.arange(n + 1)
    rejected = np.abs(counts - n * null) >= stats.norm.ppf(0.975) * math.sqrt(n * null * (1 - null))
    expected = float((stats.binom.pmf(counts, n, true) * rejected).sum())
    assert OneRate(rate=null).power_of(true - null, n) == pytest.approx(expected, abs=1e-9)


def test_simulated_data_agree() -> None:
    """Where no table is at hand: within four standard errors of 100,000 simulated data sets."""
    rng, draws = np.random.default_rng(3), 100_000

    def agrees(rejected: Any, planned: float) -> None:
        assert float(rejected.mean()) == pytest.approx(planned, abs=4 * 0.5 / math.sqrt(draws))

    a, b = rng.normal(1, 1, (draws, 6)), rng.normal(0, 3, (draws, 4))
    welch = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue
    agrees(welch < 0.05, TwoMeans(sd_second=3, ratio=4 / 6).power_of(1, 6))
    ratio = a.var(axis=1, ddof=1) / rng.normal(0, 0.6, (draws, 6)).var(axis=1, ddof=1)
    low, high = stats.f.ppf([0.025, 0.975], 5, 5)
    agrees((ratio < low) | (ratio > high), TwoVariances().power_of(1 / 0.36, 6))
    x = rng.normal(size=(draws, 12))
    y = 0.6 * x + 0.8 * rng.normal(size=x.shape)
    agrees(stats.pearsonr(x, y, axis=1).pvalue < 0.05, Correlation().power_of(0.6, 12))
    a, b = rng.normal(0.2, 1, (draws, 9)), rng.normal(0, 1, (draws, 9))
    error = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / 9)
    difference, t = a.mean(axis=1) - b.mean(axis=1), stats.t.ppf(0.95, 16)
    both = ((difference + 1.2) / error > t) & ((1.2 - difference) / error > t)
    agrees(both, EquivalentMeans(difference=0.2).power_of(1.2, 9))


def test_ranks_are_near_simulated_power() -> None:
    """Noether's formula is approximate: within 3 points for a middling effect."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.8, 1, (5000, 30)), rng.normal(0, 1, (5000, 30))
    found = float((stats.mannwhitneyu(a, b, axis=1, method="asymptotic").pvalue < 0.05).mean())
    assert Ranks().power_of(Ranks().effect_of_d(0.8), 30) == pytest.approx(found, abs=0.03)
    # Asymptotic relative efficiency to the t-test for normal values: 3/π.
    d = 0.1
    assert TwoMeans().n_for(d) / Ranks().n_for(Ranks().effect_of_d(d)) == pytest.approx(3 / math.pi, rel=0.01)
    assert OneMean().n_for(d) / Ranks(paired=True).n_for(Ranks(paired=True).effect_of_d(d)) == pytest.approx(
        3 / math.pi, rel=0.01
    )


def test_power_is_simulated_by_seed() -> None:
    def draw(rng: np.random.Generator, n: int) -> Array:
        return rng.normal(0.5, 1, n)

    def p_value(values: Array) -> float:
        return math.erfc(abs(float(values.mean())) * math.sqrt(len(values) / 2))

    found = simulated_power(p_value, [draw], 30, simulations=1000)
    assert PairedItems(between=1).power_of(0.5, 30) in found.interval
    assert found == simulated_power(p_value, [draw], [30], simulations=1000)
    assert found != simulated_power(p_value, [draw], 30, simulations=1000, seed=1)


@pytest.mark.parametrize(("test", "effect"), EVERY, ids=IDS)
def test_the_three_questions_agree(test: PlannedTest, effect: float) -> None:
    n = test.n_for(effect, 0.8)
    assert test.power_of(effect, n) >= 0.8
    assert test.power_of(effect, n - 1) < 0.8
    detected = test.detectable(n, 0.8)
    assert test.power_of(detected, n) == pytest.approx(0.8, abs=1e-9)
    assert abs(detected - test.null) <= abs(effect - test.null) + 1e-9
    curve = test.curve([[effect], [detected]], [n, 2 * n])
    assert curve.shape == (2, 2)
    assert curve[0, 0] == test.power_of(effect, n)
    assert test.to_dict()["alpha"] == 0.05


@pytest.mark.parametrize(("test", "effect"), EVERY, ids=IDS)
def test_the_level_is_kept_at_the_null_value(test: PlannedTest, effect: float) -> None:
    if test.sawtooth:
        assert test.power_of(test.null, 200) == pytest.approx(0.05, abs=0.012)
    elif isinstance(test, EquivalentMeans):  # on the margin, with many units
        assert EquivalentMeans(difference=0.3).power_of(0.3, 100_000) == pytest.approx(0.05, abs=1e-6)
    elif isinstance(test, TwoMeans) and test.sd_second:  # Welch's test is not exact
        assert 0.05 < test.power_of(test.null, 20) < 0.052
    else:
        assert test.power_of(test.null, 20) == pytest.approx(0.05, abs=1e-10)


def test_a_zigzag_is_passed() -> None:
    """No n from the answer to a good way beyond has less power."""
    for test, effect in ((OneRate(rate=0.8), 0.1), (PairedRates(discordant=0.2), 0.1), (TwoRates(rate=0.9), 0.08)):
        n = test.n_for(effect)
        assert all(test.power_of(effect, each) >= 0.8 for each in range(n, n + 20))


def test_units_do_not_matter() -> None:
    for unit in (1e-9, 1e9):
        assert TwoMeans(sd=unit).detectable(20) == pytest.approx(unit * TwoMeans().detectable(20), rel=1e-9)
    assert PairedMeans(sd=3, correlation=0.5).n_for(1) == OneMean(sd=3).n_for(1)


def test_huge_plans_are_answered() -> None:
    assert TwoMeans().n_for(0.001) == pytest.approx(2 * (1.959964 + 0.841621) ** 2 / 1e-6, rel=1e-5)
    assert 0 < TwoMeans().detectable(10**7) < 0.002
    assert OneRate(rate=0.2).n_for(0.001) == pytest.approx(7.8489 * 0.16 / 1e-6, rel=1e-2)
    assert PairedRates(discordant=0.2).power_of(0.001, 1_570_000) == pytest.approx(0.8, abs=1e-3)


def test_minimum_detectable() -> None:
    n = 20
    found = minimum_detectable(math.sqrt(2 / n), 2 * n - 2)
    assert found == pytest.approx(
        (float(stats.t.ppf(0.975, 38)) + float(stats.t.ppf(0.8, 38))) * math.sqrt(0.1), rel=1e-12
    )
    assert found == pytest.approx(TwoMeans().detectable(n), rel=1e-3)
    assert minimum_detectable(1) == pytest.approx(1.959964 + 0.841621, rel=1e-6)
    assert minimum_detectable(1, 50, alpha=0.05 / 7) > minimum_detectable(1, 50)
    assert minimum_detectable(0, 5) == 0


def test_cohen_f() -> None:
    assert cohen_f([0, 1], 1) == 0.5


def never(values: Array) -> float:
    return math.nan


def test_bad_plans_say_all_that_is_wrong() -> None:
    with pytest.raises(DataError) as error:
        TwoMeans(sd=-1, alpha=2, alternative=cast(Any, "both"))
    assert len(error.value.problems) == 3
    for wrong in (
        lambda: TwoMeans().n_for(0),
        lambda: TwoMeans().n_for(math.nan),
        lambda: TwoMeans(alternative="less").n_for(0.5),
        lambda: TwoMeans().n_for(1e-9),
        lambda: TwoMeans().n_for(0.5, power=0.01),
        lambda: TwoMeans().power_of(0.5, 1),
        lambda: TwoMeans(sd=math.nan),
        lambda: ManyMeans(groups=1),
        lambda: ManyMeans(groups=3).power_of(-0.1, 9),
        lambda: PairedMeans(correlation=1),
        lambda: Correlation().n_for(1),
        lambda: Ranks().n_for(0.6),
        lambda: TwoVariances().n_for(-1),
        lambda: EquivalentMeans(difference=0.5).n_for(0.4),
        lambda: PairedItems(between=0),
        lambda: PairedItems(between=1, answers=(0, 1)),
        lambda: OneRate(rate=1),
        lambda: OneRate().power_of(0.6, 9),
        lambda: OneRate().power_of(0.2, 9.5),
        lambda: TwoRates(rate=0.9).detectable(20),
        lambda: TwoRates(rate=2),
        lambda: PairedRates(discordant=0.1).n_for(0.2),
        lambda: PairedRates(discordant=0),
        lambda: minimum_detectable(-1),
        lambda: minimum_detectable(1, 0),
        lambda: cohen_f([1, 2], 0),
        lambda: simulated_power(never, [lambda rng, n: rng.normal(size=n)], 5, simulations=10),
        lambda: simulated_power(never, [lambda rng, n: rng.normal(size=n)], [5, 6]),
    ):
        with pytest.raises(DataError):
            wrong()
