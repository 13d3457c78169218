"""Equivalence and non-inferiority against R, statsmodels and the rule that p and interval agree."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import SLEEP_1, SLEEP_2

from suitecase.stats import DataError, non_inferiority, t_test, t_test_paired, tost, tost_one, tost_paired

values = st.lists(st.integers(-20, 20), min_size=3, max_size=12).filter(lambda each: len(set(each)) > 1)


def test_welch_tost_is_rs_two_one_sided_tests() -> None:
    """t.test(g1, g2, mu = -3, alternative = "greater"), t.test(g1, g2, mu = 1, alternative = "less"), conf.level 0.9"""
    found = tost(SLEEP_1, SLEEP_2, (-3.0, 1.0))
    assert found.details["p_above_low"] == pytest.approx(0.0559789145322, rel=1e-9)
    assert found.details["p_below_high"] == pytest.approx(0.00357066917366, rel=1e-9)
    assert found.p == found.details["p_above_low"]
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-3.05338149733, -0.106618502668), rel=1e-9)
    assert found.interval.level == pytest.approx(0.9)
    assert found.test == "equivalence (TOST) by Welch's t-test"


@settings(max_examples=15, deadline=None)
@given(values, values, st.floats(0.5, 15))
def test_two_samples_and_pairs_agree_with_statsmodels(a: list[int], b: list[int], margin: float) -> None:
    from statsmodels.stats import weightstats as untyped  # pyright: ignore[reportMissingTypeStubs]

    weightstats = cast(Any, untyped)
    p, below, above = weightstats.ttost_ind(a, b, -margin, margin, usevar="unequal")
    found = tost(a, b, margin)
    assert (found.p, found.details["p_above_low"], found.details["p_below_high"]) == pytest.approx(
        (p, below[1], above[1]), rel=1e-8, abs=1e-12
    )
    p, _, _ = weightstats.ttost_ind(a, b, -margin, margin, usevar="pooled")
    assert tost(a, b, margin, equal_variances=True).p == pytest.approx(p, rel=1e-8, abs=1e-12)
    n = min(len(a), len(b))
    if len({x - y for x, y in zip(a[:n], b[:n], strict=True)}) > 1:
        p, _, _ = weightstats.ttost_paired(np.array(a[:n]), np.array(b[:n]), -margin, margin)
        assert tost_paired(a[:n], b[:n], margin).p == pytest.approx(p, rel=1e-8, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(values, values, st.integers(1, 15), st.sampled_from([0.9, 0.95]))
def test_p_is_below_alpha_exactly_if_the_interval_lies_within_the_margin(
    a: list[int], b: list[int], margin: int, level: float
) -> None:
    for found in (tost(a, b, margin, level=level), tost_one(a, margin, mean=3, level=level)):
        assert found.interval is not None
        low, high = found.details["margin_low"], found.details["margin_high"]
        if abs(found.p - (1 - level)) > 1e-9:
            assert (found.p < 1 - level) == (low < found.interval.low and found.interval.high < high)
    for better in ("higher", "lower"):
        found = non_inferiority(a, b, margin, better=better, level=level)
        assert found.interval is not None
        if abs(found.p - (1 - level)) > 1e-9:
            inside = found.interval.low > -margin if better == "higher" else found.interval.high < margin
            assert (found.p < 1 - level) == inside


def test_non_inferiority_is_a_shifted_one_sided_test() -> None:
    found = non_inferiority(SLEEP_2, SLEEP_1, 0.5)
    assert found.p == t_test(SLEEP_2, SLEEP_1, difference=-0.5, alternative="greater").p
    assert found.interval is not None
    assert found.interval.high == math.inf
    assert found.test == "non-inferiority by Welch's t-test"
    assert non_inferiority(SLEEP_1, SLEEP_2, 0.5, better="lower", paired=True).p == pytest.approx(
        t_test_paired(SLEEP_1, SLEEP_2, difference=0.5, alternative="less").p
    )


def test_one_sample_is_around_the_given_mean() -> None:
    assert tost_one(SLEEP_1, 3, mean=1).p == pytest.approx(tost_paired(SLEEP_1, [1.0] * 10, 3).p)
    assert tost_one(SLEEP_1, 3, mean=1).estimate == pytest.approx(0.75)


def test_a_margin_must_be_one() -> None:
    for margin in (0, -1, math.inf, math.nan, (1.0, -1.0)):
        with pytest.raises(DataError, match="margin="):
            tost(SLEEP_1, SLEEP_2, margin)
    with pytest.raises(DataError, match=r"level=0\.5"):
        tost(SLEEP_1, SLEEP_2, 1, level=0.5)
    with pytest.raises(DataError, match="better='more'"):
        non_inferiority(SLEEP_1, SLEEP_2, 1, better=cast(Any, "more"))
