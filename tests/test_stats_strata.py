"""Differences averaged over strata: by hand, against Welch's test, and where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suitecase.stats.means import t_test, t_test_paired
from suitecase.stats.samples import DataError
from suitecase.stats.strata import Stratum, stratified_difference


def test_it_is_welchs_test_where_strata_repeat_each_other() -> None:
    """Two equal strata: the same difference, its standard error divided by √2, twice the degrees of freedom."""
    a, b = [1.0, 2.0, 4.0, 7.0], [0.5, 1.0, 1.5]
    once = t_test(a, b)
    twice = stratified_difference([Stratum("x", a, b), Stratum("y", a, b)])
    assert once.interval is not None
    assert twice.estimate == pytest.approx(once.estimate)
    assert twice.statistic == pytest.approx(once.statistic * math.sqrt(2))
    assert twice.df[0] == pytest.approx(2 * once.df[0])


def test_a_stratum_that_does_not_vary_adds_its_difference_alone() -> None:
    """Pairs of which all differ by 1, and pairs that differ by 0 and 2: the t of the second, halved error and all."""
    still = Stratum("still", [2.0, 3.0], [1.0, 2.0], paired=True)
    moving = Stratum("moving", [1.0, 2.0, 5.0], [1.0, 0.0, 4.0], paired=True)
    found = stratified_difference([still, moving])
    alone = t_test_paired(moving.first, moving.second)
    assert found.estimate == pytest.approx((1 + 1) / 2)
    assert found.details["se"] == pytest.approx(abs(alone.estimate / alone.statistic) / 2)
    assert found.df == (2,)
    with pytest.raises(DataError, match="No value varies"):
        stratified_difference([still, still])
    with pytest.raises(DataError, match="at least two"):
        stratified_difference([moving])


def test_its_interval_covers_as_often_as_it_says() -> None:
    """Strata of unequal size and spread, 2,000 draws: 95 % within three standard errors of the simulation."""
    draw = np.random.default_rng(1)
    truth, hits = (0.3 - 0.1) / 2, 0
    for _ in range(2000):
        strata = [
            Stratum("a", draw.normal(0.3, 1, 12), draw.normal(0, 2, 20)),
            Stratum("b", draw.normal(-0.1, 3, 30), draw.normal(0, 0.5, 8)),
        ]
        interval = stratified_difference(strata).interval
        assert interval is not None
        hits += truth in interval
    assert 0.935 < hits / 2000 < 0.965
