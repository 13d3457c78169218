"""Posteriors hold against closed forms, reference values and large samples."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as untyped

from suitecase.stats.bayes import (
    Posterior,
    posterior_of_mean,
    posterior_of_means,
    posterior_of_paired_rates,
    posterior_of_rate,
    posterior_of_rates,
)
from suitecase.stats.samples import Array, DataError

stats = cast(Any, untyped)


def test_one_rate_reference() -> None:
    found = posterior_of_rate(8, 10)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.482244147640, 0.939782265827), abs=1e-11)
    jeffreys = posterior_of_rate(8, 10, prior=0.5).interval
    assert (jeffreys.low, jeffreys.high) == pytest.approx((0.497225503560, 0.955940586447), abs=1e-11)
    assert found.above == pytest.approx(float(stats.beta.sf(0.5, 9, 3)))
    assert "credible" in found.sentence()


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_two_rates_equal_the_closed_sum(k1: int, n1: int, k2: int, n2: int) -> None:
    """P(A > B) for whole parameters is a finite sum (Evan Miller 2014)."""
    k1, k2 = min(k1, n1), min(k2, n2)
    a, b, c, d = k1 + 1, n1 - k1 + 1, k2 + 1, n2 - k2 + 1
    i = np.arange(a)
    terms = special.betaln(c + i, b + d) - np.log(b + i) - special.betaln(1 + i, b) - special.betaln(c, d)
    found = posterior_of_rates((k1, n1), (k2, n2))
    assert found.above == pytest.approx(float(np.exp(terms).sum()), abs=1e-9)
    swapped = posterior_of_rates((k2, n2), (k1, n1))
    assert swapped.above == pytest.approx(1 - found.above, abs=1e-9)
    assert swapped.interval.low == pytest.approx(-found.interval.high, abs=1e-8)


def sampled(found: Posterior, drawn: Array) -> None:
    """The margin and the ends agree with half a million draws."""
    assert found.above == pytest.approx(float((drawn > found.margin).mean()), abs=0.003)
    for end, tail in ((found.interval.low, 0.025), (found.interval.high, 0.975)):
        assert float((drawn <= end).mean()) == pytest.approx(tail, abs=0.001)


def test_differences_equal_large_samples() -> None:
    rng, draws = np.random.default_rng(0), 500_000
    found = posterior_of_rates((800_000, 1_000_000), (5, 10), margin=0.1)
    sampled(found, 0.8 - rng.beta(6, 6, draws))
    cells = rng.dirichlet([13, 6, 43, 42], draws)
    sampled(posterior_of_paired_rates(12, 5, 100, margin=0.05), cells[:, 0] - cells[:, 1])
    sampled(posterior_of_paired_rates(12, 5, 100), cells[:, 0] - cells[:, 1])
    a, b = np.array([1.0, 3, 4]), np.array([0.5, 0.2, 0.9, 3, -2])
    of_a, of_b = stats.t.rvs(2, size=draws, random_state=1), stats.t.rvs(4, size=draws, random_state=2)
    drawn = a.mean() - b.mean() + of_a * a.std(ddof=1) / math.sqrt(3) - of_b * b.std(ddof=1) / math.sqrt(5)
    sampled(posterior_of_means(a, b), drawn)


def test_paired_rates_are_stable_where_sampling_is_not() -> None:
    """P(first > second) is that of Beta(first only + 1, second only + 1) above a half."""
    found = posterior_of_paired_rates(23, 17, 400)
    assert found.above == pytest.approx(float(stats.beta.sf(0.5, 24, 18)), abs=1e-9)
    assert posterior_of_paired_rates(0, 0, 5).above == pytest.approx(0.5)


def test_means_equal_the_t_interval() -> None:
    values = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2]
    found, test = posterior_of_mean(values), stats.ttest_1samp(values, 0)
    expected = test.confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.above == pytest.approx(1 - test.pvalue / 2, abs=1e-12)
    # Against a group that is known almost exactly, the difference is as sure as the other mean.
    sure = np.tile([0.999999, 1.000001], 1000)
    near = posterior_of_means(values, sure).interval
    assert (near.low + 1, near.high + 1) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_any_unit() -> None:
    a, b = np.array([1.0, 3, 4]), np.array([0.5, 0.2, 0.9, 3, -2])
    assert posterior_of_means(1e-9 * a, 1e-9 * b).interval.low == pytest.approx(
        1e-9 * posterior_of_means(a, b).interval.low, rel=1e-6
    )


def test_bad_data_is_refused() -> None:
    for wrong in (
        lambda: posterior_of_rate(11, 10),
        lambda: posterior_of_rate(1, 0),
        lambda: posterior_of_rate(1, 2, prior=0.1),
        lambda: posterior_of_rate(1, 2, level=95),
        lambda: posterior_of_rates((1, 2), (-1, 2)),
        lambda: posterior_of_paired_rates(6, 6, 10),
        lambda: posterior_of_mean([1]),
        lambda: posterior_of_mean([1, 1]),
        lambda: posterior_of_means([1, 2], [1, math.nan]),
    ):
        with pytest.raises(DataError):
            wrong()
