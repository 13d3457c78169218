"""Intervals of means and quantiles, and the bootstrap: R's and scipy's values, and brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.stats import (
    BootstrapMethod,
    DataError,
    Interval,
    bootstrap_interval,
    bootstrap_means,
    mean_interval,
    median_interval,
    quantile_difference,
    quantile_interval,
)
from suitecase.stats.quantiles import paired_quantiles, quantiles
from suitecase.stats.resampling import item_counts, percentile_ends, percentile_p, sign_flips
from suitecase.stats.samples import Array

stats: Any = scipy.stats  # without complete types

# R: rivers, the lengths of 141 rivers in miles
LENGTHS = (
    "735 320 325 392 524 450 1459 135 465 600 330 336 280 315 870 906 202 329 290 1000 600 505 1450 840 1243 "
    "890 350 407 286 280 525 720 390 250 327 230 265 850 210 630 260 230 360 730 600 306 390 420 291 710 340 "
    "217 281 352 259 250 470 680 570 350 300 560 900 625 332 2348 1171 3710 2315 2533 780 280 410 460 260 255 "
    "431 350 760 618 338 981 1306 500 696 605 250 411 1054 735 233 435 490 310 460 383 375 1270 545 445 1885 "
    "380 300 380 377 425 276 210 800 420 350 360 538 1100 1205 314 237 610 360 540 1038 424 310 300 444 301 "
    "268 620 215 652 900 525 246 360 529 500 720 270 430 671 1770"
)
RIVERS = [int(length) for length in LENGTHS.split()]


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def skewed(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).lognormal(size=n)


def test_the_interval_of_a_mean_is_rs():
    assert ends(mean_interval(RIVERS)) == pytest.approx((508.95591005052, 673.41288427573), rel=1e-12)


def test_intervals_of_quantiles_are_those_of_qbinom():
    median, ninth = median_interval(RIVERS), quantile_interval(RIVERS, 0.9)
    assert (ends(median), ends(ninth)) == ((380, 500), (890, 1450))
    assert median.method == "order statistics, 95.71 % achieved"  # R: pbinom(82, 141, .5) - pbinom(58, 141, .5)
    assert ninth.method == "order statistics, 95.19 % achieved"


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 80), q=st.sampled_from([0.05, 0.25, 0.5, 0.8, 0.95]), level=st.sampled_from([0.5, 0.9, 0.95]))
def test_intervals_of_quantiles_are_scipys_and_say_when_there_are_too_few_values(n: int, q: float, level: float):
    values = np.arange(n) * 1.0
    theirs = stats.quantile_test(values, p=q).confidence_interval(level)
    if math.isnan(theirs.low) or math.isnan(theirs.high):
        with pytest.raises(DataError, match="are needed") as error:
            quantile_interval(values, q, level=level)
        needed = int(str(error.value).split(": ")[1].split(" ")[0])
        assert needed > n
        quantile_interval(np.arange(needed), q, level=level)
    else:
        assert ends(quantile_interval(values, q, level=level)) == (theirs.low, theirs.high)


def test_item_counts_are_resamples():
    counts = np.concatenate([block.copy() for block in item_counts(7, 100_000, np.random.default_rng(0))])
    assert counts.shape == (100_000, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.01)
    assert np.cov(counts[:, 0], counts[:, 1])[0] == pytest.approx([6 / 7, -1 / 7], abs=0.01)  # multinomial


def test_sign_flips_are_fair_and_cover_every_draw():
    signs = np.concatenate([block.copy() for block in sign_flips(11, 100_001, np.random.default_rng(0))])
    assert signs.shape == (100_001, 11)
    assert set(np.unique(signs)) == {-1, 1}
    assert signs.mean(axis=0) == pytest.approx(0, abs=0.02)
    assert np.corrcoef(signs, rowvar=False) == pytest.approx(np.eye(11), abs=0.02)


def test_bootstrap_means_share_their_items():
    x = skewed(50)
    drawn = bootstrap_means(np.column_stack((x, -x, x + 1)), draws=4_000, seed=3)
    assert drawn.shape == (4_000, 3)
    assert drawn[:, 1] == pytest.approx(-drawn[:, 0])
    assert drawn[:, 2] == pytest.approx(drawn[:, 0] + 1)
    assert drawn[:, 0].std() == pytest.approx(x.std() / math.sqrt(50), rel=0.05)
    assert bootstrap_means(x[:, None], draws=4_000, seed=3)[:, 0] == pytest.approx(drawn[:, 0], rel=1e-12)
    assert bootstrap_means(x[:, None], draws=4_000, seed=4)[0, 0] != drawn[0, 0]


@settings(max_examples=30, deadline=None)
@given(
    drawn=st.lists(st.integers(-5, 5).map(float), min_size=40, max_size=200), level=st.sampled_from([0.8, 0.9, 0.95])
)
def test_the_percentile_interval_excludes_a_value_exactly_when_its_p_rejects(drawn: list[float], level: float):
    low, high = percentile_ends(np.array(drawn), level)
    for null in range(-6, 7):
        assert (not low <= null <= high) == (percentile_p(np.array(drawn), null) <= 1 - level + 1e-9)


def difference_of_means(a: Array, b: Array, axis: int = -1) -> Array:
    return a.mean(axis=axis) - b.mean(axis=axis)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("paired", [False, True])
def test_the_bootstrap_of_means_agrees_with_scipys(method: BootstrapMethod, paired: bool):
    x, y = skewed(40), skewed(40, 1)
    theirs = stats.bootstrap(
        (x, y),
        difference_of_means,
        paired=paired,
        method=method,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = bootstrap_interval([x, y], method=method, paired=paired, draws=20_000)
    assert ends(ours) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert ours.method.endswith("bootstrap, 20,000 draws, seed 0")


def test_the_studentised_bootstrap_is_that_of_its_definition():
    x, rng = skewed(30), np.random.default_rng(5)
    resamples = x[rng.integers(0, 30, (20_000, 30))]
    t = (resamples.mean(axis=1) - x.mean()) / (resamples.std(axis=1, ddof=1) / math.sqrt(30))
    low, high = np.quantile(t, (0.025, 0.975))
    error = x.std(ddof=1) / math.sqrt(30)
    found = bootstrap_interval(x, method="studentised", draws=20_000)
    assert ends(found) == pytest.approx((x.mean() - high * error, x.mean() - low * error), abs=0.06)
    assert found.high - x.mean() > x.mean() - found.low  # a long right tail


def test_two_groups_are_studentised_by_welchs_error():
    x, y = skewed(25), skewed(60, 1) + 2
    found = bootstrap_interval({"a": x, "b": y}, method="studentised")
    welch = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert ends(found) == pytest.approx(tuple(welch), abs=0.35)
    mirrored = bootstrap_interval({"a": -x, "b": -y}, method="studentised")
    assert ends(mirrored) == pytest.approx((-found.high, -found.low))


def test_the_smooth_bootstrap_adds_the_kernels_variance():
    x = skewed(12)
    plain, smooth = (bootstrap_interval(x, method=each, draws=40_000) for each in ("percentile", "smooth"))
    width = 0.9 * min(x.std(ddof=1), (np.quantile(x, 0.75) - np.quantile(x, 0.25)) / 1.34) * 12**-0.2
    ratio = math.sqrt(1 + width**2 / x.var())
    assert (smooth.high - smooth.low) / (plain.high - plain.low) == pytest.approx(ratio, rel=0.03)
    by_values = bootstrap_interval(x, np.mean, method="smooth")
    assert ends(by_values) == pytest.approx(ends(smooth), abs=0.05)


def median(values: Array) -> float:
    return float(np.median(values))


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def undefined_at_zero(values: Array) -> float:
    return float(np.ptp(values)) or math.nan


def test_any_statistic_has_a_bootstrap_with_axis_or_without():
    x, y = skewed(60), skewed(60, 1)
    fast = bootstrap_interval(x, np.median, seed=2, draws=2_000)
    assert ends(bootstrap_interval(x, median, seed=2, draws=2_000)) == ends(fast)
    r = bootstrap_interval([x, 2 * x + y], correlation, paired=True, draws=999)
    assert 0.5 < r.low < np.corrcoef(x, 2 * x + y)[0, 1] < r.high < 1


@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
def test_drawn_quantiles_are_those_of_resamples(q: float):
    x = skewed(57)
    y = 0.5 * x + skewed(57, 1)
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, 57, (40_000, 57))
    expected = np.quantile(x[chosen], q, axis=1), np.quantile(y[chosen], q, axis=1)
    alone = quantiles(x, q, 40_000, rng)
    both = paired_quantiles(x, y, q, 40_000, rng)
    assert stats.ks_2samp(alone, expected[0]).statistic < 0.015
    assert stats.ks_2samp(both[1], expected[1]).statistic < 0.015
    assert stats.ks_2samp(both[0] - both[1], expected[0] - expected[1]).statistic < 0.015


def test_items_far_from_the_quantile_are_lumped_without_a_difference():
    x = skewed(4_000)
    y = 0.5 * x + skewed(4_000, 1)
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, 4_000, (500, 4_000))
    expected = np.quantile(x[chosen], 0.99, axis=1) - np.quantile(y[chosen], 0.99, axis=1)
    found = np.subtract(*paired_quantiles(x, y, 0.99, 20_000, rng))
    assert stats.ks_2samp(found, expected).pvalue > 1e-3


def test_a_difference_of_quantiles_says_what_it_stands_on():
    a, b = skewed(2_000) * 1.5, skewed(2_000, 1)
    found = quantile_difference(a, b, 0.99)
    assert found.estimate == pytest.approx(np.quantile(a, 0.99) - np.quantile(b, 0.99))
    assert found.details == {"quantile": 0.99, "beyond": 20, "draws": 10_000, "seed": 0}
    assert found.warnings == ("Only 20 values lie beyond the 0.99 quantile, so its interval is rough.",)
    low, high = ends(found.interval)
    assert (found.p < 0.05) == (not low <= 0 <= high)
    assert found == quantile_difference(a, b, 0.99)
    assert quantile_difference(a, b, 0.9).warnings == ()
    opposite = quantile_difference(b, a, 0.9, paired=True)
    assert opposite.estimate < 0
    assert opposite.n == (2_000,)
    tied = quantile_difference([0, 1] * 50, [0, 1] * 50, 0.25)
    assert (tied.p, *ends(tied.interval)) == (1, 0, 0)


def test_clusters_of_quantiles_are_drawn_whole():
    """Clusters of one value are the plain bootstrap; copies of a value in a cluster tell nothing new."""
    a, b = skewed(600) * 1.5, skewed(600, 1)
    for paired in (False, True):
        plain = quantile_difference(a, b, 0.9, paired=paired, draws=2_000)
        single = quantile_difference(a, b, 0.9, paired=paired, clusters=(range(600), range(600)), draws=2_000)
        assert single.estimate == plain.estimate
        assert ends(single.interval) == pytest.approx(ends(plain.interval), rel=0.05)
        copies = [np.repeat(each, 5) for each in (a, b)]
        labels = np.repeat(range(600), 5)
        clustered = quantile_difference(
            copies[0], copies[1], 0.9, paired=paired, clusters=(labels, labels), draws=2_000
        )
        assert ends(clustered.interval) == pytest.approx(ends(plain.interval), rel=0.05)
        assert clustered.details["clusters"] == 600


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: mean_interval([3]), "1 values, and 2 are needed"),
        (lambda: mean_interval([3, 3]), "can't say how far their mean varies"),
        (lambda: median_interval([1, 2, 3, 4, 5]), "6 are needed"),
        (lambda: quantile_interval([1, 2], 1.5), "a quantile lies between 0 and 1"),
        (lambda: bootstrap_interval([2, 2, 2]), "each group is constant"),
        (lambda: bootstrap_interval([1, 2, 3], draws=10), "take 40"),
        (lambda: bootstrap_interval([1, 2, 3], draws=0), "at least 1"),
        (lambda: bootstrap_interval([1, 2, 3], method="basic"), "it is one of"),  # pyright: ignore[reportArgumentType]
        (lambda: bootstrap_interval([1, 2, 3], paired=True), "several groups are needed"),
        (lambda: bootstrap_interval([[1, 2], [1, 2, 3]], paired=True), "pairs need as many"),
        (lambda: bootstrap_interval([[1, 2], [1, 2], [1, 3]]), "3 groups"),
        (lambda: bootstrap_interval([1, 2, 3, 4], method="smooth"), "look discrete"),
        (lambda: bootstrap_interval([0.5, 0.25] * 4, method="smooth"), "look discrete"),
        (lambda: bootstrap_interval([1, 2, 3], np.median, method="studentised"), "is for means"),
        (lambda: bootstrap_interval([1.5, 2], method="studentised"), "no finite interval"),
        (lambda: bootstrap_interval([1, 2, 3], undefined_at_zero), "isn't finite"),
        (lambda: bootstrap_interval(np.arange(2_000_000)), "take at most 5,000 draws"),
        (lambda: bootstrap_means([1, 2, 3]), "a matrix of at least 2 items"),
        (lambda: bootstrap_means([[1, math.inf], [2, 3]]), "1 values are NaN or infinite"),
        (lambda: quantile_difference(range(900), range(2_000), 0.99), "have 9 beyond .* 1000 values"),
        (
            lambda: quantile_difference(range(90), range(90), 0.5, clusters=([1] * 90, range(90))),
            "1 clusters .* needs 10",
        ),
    ],
)
def test_what_has_no_interval_is_refused(call: Callable[[], object], problem: str):
    with pytest.raises(DataError, match=problem):
        call()
