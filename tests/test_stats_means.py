"""t-tests against R's printed values, scipy, and what must hold for any data."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import SLEEP_1, SLEEP_2

from suitecase.stats import Alternative, DataError, t_test, t_test_one, t_test_paired

stats = cast(Any, scipy.stats)

ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "less", "greater")
values = st.lists(st.floats(-1000, 1000).map(lambda x: round(x, 3)), min_size=3, max_size=20)


def test_welch_agrees_with_r() -> None:
    """t.test(g1, g2)"""
    found = t_test(SLEEP_1, SLEEP_2)
    assert found.statistic == pytest.approx(-1.860813467487, rel=1e-11)
    assert found.df == pytest.approx((17.7764735162,), rel=1e-10)
    assert found.p == pytest.approx(0.07939414018736, rel=1e-11)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-3.365483230712, 0.2054832307117), rel=1e-11)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(-0.7969352392, rel=1e-9)
    assert found.details["cohens_d"] == pytest.approx(-0.8321810813, rel=1e-9)


def test_one_sided_welch_has_a_one_sided_interval_as_in_r() -> None:
    """t.test(g1, g2, alternative = "less") and "greater" """
    less, greater = t_test(SLEEP_1, SLEEP_2, alternative="less"), t_test(SLEEP_1, SLEEP_2, alternative="greater")
    assert (less.p, greater.p) == pytest.approx((0.03969707009368, 0.9603029299063), rel=1e-11)
    assert less.interval is not None
    assert greater.interval is not None
    assert (less.interval.low, less.interval.high) == (-math.inf, pytest.approx(-0.1066185026684, rel=1e-10))
    assert (greater.interval.low, greater.interval.high) == (pytest.approx(-3.053381497332, rel=1e-10), math.inf)


def test_student_agrees_with_r() -> None:
    """t.test(g1, g2, var.equal = TRUE)"""
    found = t_test(SLEEP_1, SLEEP_2, equal_variances=True)
    assert found.df == (18,)
    assert found.p == pytest.approx(0.0791867142159, rel=1e-11)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-3.3638740323, 0.2038740323), rel=1e-9)
    assert [each.name for each in found.assumptions] == ["nearly normal estimate", "equal variances"]


def test_paired_agrees_with_r() -> None:
    """t.test(g1, g2, paired = TRUE)"""
    found = t_test_paired(SLEEP_1, SLEEP_2)
    assert found.statistic == pytest.approx(-4.0621276834, rel=1e-10)
    assert found.p == pytest.approx(0.00283289019738, rel=1e-11)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-2.4598857633, -0.7001142367), rel=1e-9)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(-1.2845575626, rel=1e-9)
    said = "paired t-test: t(9) = −4.06, p = .003, mean difference = −1.58, 95 % CI [−2.46, −0.700], Cohen d_z = −1.28 "
    assert found.sentence().startswith(said)
    assert found.sentence().endswith("(large); n = 10.")


def test_one_sample_agrees_with_r() -> None:
    """t.test(g1)"""
    found = t_test_one(SLEEP_1)
    assert (found.statistic, found.p) == pytest.approx((1.3257101407, 0.217597780068), rel=1e-10)


def test_the_reference_systems_readme_stands_corrected() -> None:
    """It says t(7.98) = 8.45, p = 0.00012, d = 4.52 and [0.051, 0.089]; R says t(8) = 7.000 (t.test(b, a))."""
    found = t_test([0.96, 0.97, 0.94, 0.95, 0.98], [0.89, 0.87, 0.90, 0.88, 0.91])
    assert (found.statistic, found.df[0]) == pytest.approx((7.0, 8.0), rel=1e-9)
    assert found.p == pytest.approx(0.000112639, rel=1e-5)
    assert found.details["cohens_d"] == pytest.approx(4.427189, rel=1e-6)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.046940, 0.093060), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(values, values, st.sampled_from(ALTERNATIVES), st.booleans(), st.sampled_from([0.8, 0.95, 0.99]))
def test_two_samples_agree_with_scipy(
    a: list[float], b: list[float], alternative: Alternative, equal_variances: bool, level: float
) -> None:
    """For any data that vary, statistic, p and interval are scipy's, which warns of a group that doesn't."""
    if min(np.ptp(a), np.ptp(b)) < 0.01:
        return
    ours = t_test(a, b, equal_variances=equal_variances, alternative=alternative, level=level)
    theirs = stats.ttest_ind(a, b, equal_var=equal_variances, alternative=alternative)
    ends = theirs.confidence_interval(level)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-8, abs=1e-12)
    assert ours.interval is not None
    assert (ours.interval.low, ours.interval.high) == pytest.approx((ends.low, ends.high), rel=1e-8, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=15), st.integers(-20, 20))
def test_p_is_below_alpha_exactly_if_the_interval_excludes_the_null(pairs: list[tuple[int, int]], null: int) -> None:
    """The same data say the same thing twice."""
    a, b = zip(*pairs, strict=True)
    for test in (t_test, t_test_paired):
        for alternative in ALTERNATIVES:
            try:
                found = test(a, b, difference=null, alternative=alternative, level=0.9)
            except DataError:
                continue
            assert found.interval is not None
            if abs(found.p - 0.1) > 1e-9:
                assert (found.p < 0.1) == (null not in found.interval)


def test_a_skewed_estimate_is_told_and_a_balanced_one_is_not() -> None:
    """Skewness of the values matters through that of the estimate: it cancels between balanced groups."""
    x = np.linspace(0, 1, 50) ** 20
    assert t_test_one(x).assumptions[0].holds is False
    assert t_test(x, x + 1).assumptions[0].holds is True
    assert t_test_one(x[:10]).assumptions[0].holds is None


def test_unequal_variances_are_told_by_student() -> None:
    rng = np.random.default_rng(1)
    found = t_test(rng.normal(0, 1, 50), rng.normal(0, 5, 50), equal_variances=True)
    assert found.assumptions[1].holds is False
    assert "Brown–Forsythe p < .001" in found.assumptions[1].finding


def test_data_that_have_no_standard_error_are_refused() -> None:
    """Also where rounding alone makes equal differences differ."""
    with pytest.raises(DataError, match="both groups are constant"):
        t_test([1, 1, 1], [2, 2, 2])
    with pytest.raises(DataError, match="the differences are all the same"):
        t_test_paired([0.3, 0.4, 0.7], [0.1, 0.2, 0.5])
    with pytest.raises(DataError, match="all the same"):
        t_test_one([0.1] * 3)
    assert t_test([1, 1, 1], [2, 2, 3]).p < 0.1, "one constant group is no hindrance"


def test_bad_input_is_told_at_once() -> None:
    with pytest.raises(DataError, match="a has 1 NaN") as caught:
        t_test([1, math.nan], [1])
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match="alternative='both'"):
        t_test(SLEEP_1, SLEEP_2, alternative=cast(Any, "both"))
    with pytest.raises(DataError, match="level=95"):
        t_test(SLEEP_1, SLEEP_2, level=95)
    with pytest.raises(DataError, match="difference=nan"):
        t_test(SLEEP_1, SLEEP_2, difference=math.nan)
    with pytest.raises(DataError, match="rescale"):
        t_test([1e200, 2e200], [1, 2])
    with pytest.raises(DataError, match="rescale"):
        t_test_one([1e-200, 2e-200])


def test_a_large_offset_keeps_its_digits() -> None:
    """NIST's NumAcc4: mean 10000000.2 and standard deviation 0.1 exactly; eight digits are all that float64 holds."""
    x = [1e7 + 0.2] + [1e7 + 0.1, 1e7 + 0.3] * 500
    found = t_test_one(x)
    assert found.estimate == pytest.approx(1e7 + 0.2, rel=1e-15)
    assert found.details["se"] * math.sqrt(1001) == pytest.approx(0.1, rel=1e-7)
