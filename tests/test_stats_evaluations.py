"""Evaluations, agreement, calibration and judges hold against published values and their definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as untyped
from statsmodels.stats import inter_rater

from suitecase.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from suitecase.stats.calibration import calibration_of, spiegelhalter_test
from suitecase.stats.evaluations import pass_at, pass_hat, rank_bands, split_variance
from suitecase.stats.judges import corrected_mean, draw_labels, judge_agreement, position_bias, rogan_gladen
from suitecase.stats.samples import DataError

stats = cast(Any, untyped)

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section D: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
RATINGS = list(zip(*OBSERVERS, strict=True))


def test_pass_at_k_reference() -> None:
    assert [pass_at([3], 10, k).value for k in (1, 5, 8)] == pytest.approx([0.3, 0.9166666667, 1.0])
    assert [pass_hat([3], 10, k).value for k in (1, 2, 3)] == pytest.approx([0.3, 1 / 15, 1 / 120])
    assert pass_at([700], 10_000, 2000).value == pytest.approx(1.0)


@given(st.integers(1, 7), st.data())
@settings(max_examples=25, deadline=None)
def test_pass_at_k_is_the_share_of_draws(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at([c], n, k).value == pytest.approx(sum(any(draw) for draw in draws) / len(draws))
    assert pass_hat([c], n, k).value == pytest.approx(sum(all(draw) for draw in draws) / len(draws))


def test_one_answer_per_item_is_a_rate() -> None:
    """Then pass@1 has Wilson's interval: R's prop.test without correction, 8 of 10."""
    found = pass_at([1] * 8 + [0] * 2, 1, 1)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.490162471537, 0.943317848546), abs=1e-11)
    assert found.sentence() == "pass@1 = 0.800, 95 % CI [0.490, 0.943]; n = 10."
    assert pass_at([1] * 5, 1, 1).interval.high == 1.0


def test_intervals_of_pass_at_k_cover() -> None:
    rng = np.random.default_rng(0)
    truth = float(np.mean(1 - (1 - rng.beta(2, 2, 400_000)) ** 3))
    hit = 0
    for _ in range(400):
        found = pass_at(rng.binomial(5, rng.beta(2, 2, 30)), 5, 3)
        hit += truth in found.interval
    assert 0.92 <= hit / 400 <= 0.99


def test_variance_is_split() -> None:
    """Against the table of a one-way analysis of variance."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 1, (40, 1)) + rng.normal(0, 2, (40, 6))
    found = split_variance(scores)
    f = stats.f_oneway(*scores).statistic
    within = scores.var(axis=1, ddof=1).mean()
    assert found.within == pytest.approx(within)
    assert found.between == pytest.approx((f - 1) * within / 6)
    assert found.standard_error == pytest.approx(stats.sem(scores.mean(axis=1)))
    assert found.standard_error_at(6) == pytest.approx(found.standard_error)
    assert found.standard_error_at(1) > found.standard_error > found.standard_error_at(100)
    none = split_variance([[0, 1], [1, 0], [0, 1]])
    assert none.between == 0
    assert none.warnings


def test_ranks_have_bands() -> None:
    rng = np.random.default_rng(2)
    items = rng.normal(0, 3, (300, 1))
    scores = items + rng.normal(0, 1, (300, 5)) + np.array([0, 0.02, 1, 1.01, 2])
    found = rank_bands(scores, ["a", "b", "c", "d", "e"], draws=2000)
    assert found.ranks[0].name == "e"
    assert (found.ranks[0].best, found.ranks[0].worst) == (1, 1)
    assert [set(group) for group in found.groups] == [{"e"}, {"c", "d"}, {"a", "b"}]
    assert {(each.best, each.worst) for each in found.ranks[1:3]} == {(2, 3)}
    assert next(each for each in found.ranks if each.name == "a").tied_with == ("b",)
    assert found == rank_bands(scores, ["a", "b", "c", "d", "e"], draws=2000)
    lower = rank_bands(scores, draws=500, higher_is_better=False)
    assert (lower.ranks[-1].name, lower.ranks[-1].best) == ("variant 5", 5)


def test_equal_and_shifted_variants_are_ranked() -> None:
    """Of pairs whose difference never varies, only a difference other than 0 tells them apart."""
    column = np.random.default_rng(3).normal(size=50)
    found = rank_bands(np.stack([column, column, column + 1], axis=1), draws=200)
    assert [(each.rank, each.best, each.worst) for each in found.ranks] == [(1, 1, 1), (2.5, 2, 3), (2.5, 2, 3)]


def test_bands_hold_jointly() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(100):
        found = rank_bands(rng.normal(size=(50, 1)) + rng.normal(size=(50, 6)), draws=300, seed=seed)
        held += all((each.best, each.worst) == (1, 6) for each in found.ranks)
    assert held >= 88


@given(st.integers(2, 4), st.data())
@settings(max_examples=20, deadline=None)
def test_cohen_kappa_equals_statsmodels(k: int, data: st.DataObject) -> None:
    table = np.array(data.draw(st.lists(st.lists(st.integers(1, 30), min_size=k, max_size=k), min_size=k, max_size=k)))
    a, b = (np.repeat(labels.ravel(), table.ravel()) for labels in np.indices(table.shape))
    for weights, arguments in (("none", {}), ("linear", {"wt": "linear"}), ("quadratic", {"wt": "quadratic"})):
        other = cast(Any, inter_rater).cohens_kappa(table, **arguments)
        found = cohen_kappa(a, b, weights=cast(Any, weights))
        assert found.value == pytest.approx(other.kappa, abs=1e-12)
        assert found.standard_error == pytest.approx(other.std_kappa, abs=1e-12)


def test_krippendorff_reference() -> None:
    found = [krippendorff_alpha(RATINGS, metric, draws=100).value for metric in ("nominal", "ordinal", "interval")]
    assert found == pytest.approx([0.743, 0.815, 0.849], abs=5e-4)


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_krippendorff_equals_its_definition(data: st.DataObject) -> None:
    """By the coincidence matrix, pair by pair."""
    ratings = data.draw(
        st.lists(st.lists(st.sampled_from([1, 2, 4, None]), min_size=3, max_size=3), min_size=4, max_size=8)
    )
    units = [[each for each in row if each is not None] for row in ratings]
    units = [row for row in units if len(row) >= 2]
    values = [each for row in units for each in row]
    if len(set(values)) < 2 or len(units) < 2:
        return

    def distance(a: int, b: int, metric: str) -> float:
        if metric == "nominal":
            return float(a != b)
        if metric == "interval":
            return float((a - b) ** 2)
        low, high = min(a, b), max(a, b)
        between = sum(low <= each <= high for each in values)
        return (between - (values.count(a) + values.count(b)) / 2) ** 2

    n = len(values)
    for metric in ("nominal", "ordinal", "interval"):
        pairs = [(row, distance(a, b, metric)) for row in units for a, b in itertools.permutations(row, 2)]
        observed = sum(d / (len(row) - 1) for row, d in pairs) / n
        expected = sum(distance(a, b, metric) for a, b in itertools.permutations(values, 2)) / (n * (n - 1))
        found = krippendorff_alpha(ratings, cast(Any, metric), draws=200)
        assert found.value == pytest.approx(1 - observed / expected, abs=1e-12)


def test_fleiss_reference() -> None:
    """Fleiss (1971) as on Wikipedia: ten subjects, fourteen raters, κ = 0.210."""
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [[label for label, count in enumerate(row) for _ in range(count)] for row in table]
    found = fleiss_kappa(ratings, draws=200)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.value in found.interval


def test_calibration_adds_up() -> None:
    rng = np.random.default_rng(5)
    stated = rng.beta(2, 2, 3000)
    true = rng.random(3000) < stated
    for binning in ("equal mass", "equal width"):
        found = calibration_of(stated, true, binning=cast(Any, binning))
        parts = found.reliability - found.resolution + found.uncertainty + found.within_bins
        assert parts == pytest.approx(found.brier, abs=1e-12)
        assert found.brier == pytest.approx(np.mean((stated - true) ** 2))
        assert sum(each.n for each in found.bins) == 3000
        assert all(each.observed in each.interval for each in found.bins)
        assert found.ece == pytest.approx(sum(each.n * abs(each.observed - each.stated) for each in found.bins) / 3000)
        assert found.ece < 3 * found.ece_by_chance
    over = calibration_of(stated, rng.random(3000) < 0.5)
    assert over.ece > 5 * over.ece_by_chance
    # With the stated values as bins the decomposition is Murphy's: nothing is hidden.
    few = np.repeat([0.2, 0.7], 50)
    assert calibration_of(few, rng.random(100) < few).within_bins == pytest.approx(0, abs=1e-12)
    assert len(calibration_of([0.9] * 40, [1] * 40).bins) == 1


def test_chance_and_debiasing_are_right_on_average() -> None:
    rng = np.random.default_rng(6)
    found = [calibration_of(p, rng.random(200) < p) for p in rng.random((400, 200))]
    assert np.mean([each.ece for each in found]) == pytest.approx(
        np.mean([each.ece_by_chance for each in found]), rel=0.05
    )
    errors = [each.squared_error for each in found]
    assert abs(np.mean(errors)) < 4 * stats.sem(errors)
    p = rng.random((2000, 60))
    rejected = [spiegelhalter_test(each, rng.random(60) < each).p < 0.05 for each in p]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.02)
    assert spiegelhalter_test(p[0] ** 3, rng.random(60) < p[0]).p < 0.05


def test_labels_are_drawn_by_seed() -> None:
    drawn = draw_labels(1000, 50, seed=7)
    assert len(set(drawn.tolist())) == 50
    assert (drawn == draw_labels(1000, 50, seed=7)).all()
    assert (drawn != draw_labels(1000, 50, seed=8)).any()


def test_corrected_mean_is_ppi() -> None:
    """λ as in the paper: cov(Y, f) / ((1 + n/N) var f); plain PPI with λ = 1."""
    rng = np.random.default_rng(8)
    truth = rng.random(500) < 0.7
    judge = np.where(rng.random(500) < 0.85, truth, ~truth).astype(float)
    places = draw_labels(500, 80, seed=1)
    rest = np.delete(judge, places)
    plain = corrected_mean(judge, places, truth[places], tuned=False)
    assert plain.value == pytest.approx(rest.mean() + (truth[places] - judge[places]).mean())
    tuned = corrected_mean(judge, places, truth[places])
    cov = np.cov(truth[places], judge[places])[0, 1]
    weight = cov / ((1 + 80 / 420) * judge.var(ddof=1))
    assert tuned.details["lambda"] == pytest.approx(weight)
    assert tuned.value == pytest.approx(truth[places].mean() + weight * (rest.mean() - judge[places].mean()))
    assert tuned.details["worth_labels"] > 80
    assert tuned.standard_error < truth[places].std(ddof=1) / math.sqrt(80)
    useless = corrected_mean(np.ones(500), places, truth[places])
    assert useless.details["lambda"] == 0
    assert useless.value == pytest.approx(truth[places].mean())
    alike = corrected_mean(judge, places, np.ones(80))
    assert alike.interval.low == pytest.approx(80 / (80 + stats.norm.ppf(0.975) ** 2))


def test_corrected_means_cover() -> None:
    rng = np.random.default_rng(9)
    hit = 0
    for seed in range(400):
        truth = rng.random(600) < 0.7
        judge = np.where(rng.random(600) < 0.8, truth, ~truth).astype(float)
        places = draw_labels(600, 60, seed=seed)
        hit += 0.7 in corrected_mean(judge, places, truth[places]).interval
    assert 0.91 <= hit / 400 <= 0.98


def test_rogan_gladen() -> None:
    found = rogan_gladen(300, 1000, sensitivity=(90, 100), specificity=(160, 200))
    assert found.value == pytest.approx((0.3 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert found.value in found.interval
    cut = rogan_gladen(10, 1000, sensitivity=(90, 100), specificity=(160, 200))
    assert cut.value == 0
    assert cut.warnings
    rng = np.random.default_rng(10)
    positives, se, sp = (
        rng.binomial(500, 0.3 * 0.9 + 0.7 * 0.2, 400),
        rng.binomial(80, 0.9, 400),
        rng.binomial(80, 0.8, 400),
    )
    hit = sum(
        0.3 in rogan_gladen(int(k), 500, sensitivity=(int(a), 80), specificity=(int(b), 80)).interval
        for k, a, b in zip(positives, se, sp, strict=True)
    )
    assert 0.92 <= hit / 400 <= 0.99


def test_position_bias_is_a_sign_test() -> None:
    first = [1] * 30 + [0] * 5 + [1] * 10 + [0.5]
    second = [0] * 30 + [1] * 5 + [1] * 10 + [0.5]
    found = position_bias(first, second)
    assert found.p == pytest.approx(float(stats.binomtest(30, 35).pvalue))
    assert found.estimate == pytest.approx(30 / 35)
    assert found.details["consistent"] == pytest.approx(11 / 46)
    assert position_bias([1, 0], [1, 0]).p == 1


def test_judge_agreement_has_a_table() -> None:
    found = judge_agreement(["yes", "yes", "no", "no", "no"], ["yes", "no", "no", "no", "yes"])
    assert found.categories == ("no", "yes")
    assert found.table == ((2, 1), (1, 1))
    assert found.agreement.value == 0.6
    assert found.kappa is not None
    assert [cast(Any, each).value for each in found.recall] == pytest.approx([2 / 3, 1 / 2])
    assert judge_agreement([1, 1], [1, 1]).kappa is None


def test_bad_data_is_refused() -> None:
    for wrong in (
        lambda: pass_at([3], 2, 1),
        lambda: pass_at([1, 2], 10, 11),
        lambda: pass_at([1.5], 10, 1),
        lambda: pass_at([1], [5, 5], 1),
        lambda: pass_at([], 5, 1),
        lambda: pass_hat([1], 5, 0),
        lambda: split_variance([[1], [2]]),
        lambda: split_variance([[1, 2], [3]]),
        lambda: split_variance([[1, math.nan], [3, 4]]),
        lambda: split_variance(cast(Any, [["a", "b"], ["c", "d"]])),
        lambda: rank_bands([[1, 2], [2, 1]], ["a", "a"]),
        lambda: rank_bands([[1, 2], [2, 1]], draws=5),
        lambda: cohen_kappa([1, 2], [1]),
        lambda: cohen_kappa([1, None], [1, 2]),
        lambda: cohen_kappa([1, 1], [1, 1]),
        lambda: cohen_kappa([1, 2], [1, 3], categories=[1, 2]),
        lambda: cohen_kappa([], []),
        lambda: fleiss_kappa([[1, None], [1, 2]]),
        lambda: fleiss_kappa([[1, 1], [1, 1]]),
        lambda: krippendorff_alpha([["a", "b"], ["b", "a"]], "interval"),
        lambda: krippendorff_alpha([[1, 1], [1, 1]]),
        lambda: krippendorff_alpha([]),
        lambda: calibration_of([1.2], [1]),
        lambda: calibration_of([0.2], [2]),
        lambda: calibration_of([0.2], [1], bins=0),
        lambda: spiegelhalter_test([0.5, 1], [1, 1]),
        lambda: draw_labels(5, 6),
        lambda: corrected_mean([1, 0, 1, 0, 1], [0, 0], [1, 1]),
        lambda: corrected_mean([1, 0, 1, 0, 1], [0, 9], [1, 1]),
        lambda: corrected_mean([1, 0, 1, 0, 1], [0, 1, 2, 3, 4], [1, 1, 0, 1, 1]),
        lambda: corrected_mean([1, 0, 1, 0, 1], [0, 1], [0.5, 0.5]),
        lambda: rogan_gladen(3, 2, sensitivity=(1, 2), specificity=(1, 2)),
        lambda: rogan_gladen(1, 2, sensitivity=(1, 2), specificity=(1, 2)),
        lambda: position_bias([2], [1]),
        lambda: judge_agreement([], []),
    ):
        with pytest.raises(DataError):
            wrong()
