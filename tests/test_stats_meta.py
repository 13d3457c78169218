"""Meta-analysis holds against R's metafor 3.8, statsmodels and definitions."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats import meta_analysis as reference

from suitecase.stats.meta import HeterogeneityMethod, MetaModel, meta_analysis
from suitecase.stats.samples import DataError

# BCG vaccine trials (Colditz & al. 1994): cases and others, vaccinated and not; metafor's dat.bcg.
CASES = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27])
WELL = np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886])
CASES_CONTROL = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29])
WELL_CONTROL = np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825])
TREATED, CONTROL = CASES + WELL, CASES_CONTROL + WELL_CONTROL
LOG_RATIOS = np.log(CASES / TREATED / (CASES_CONTROL / CONTROL))
ERRORS = np.sqrt(1 / CASES - 1 / TREATED + 1 / CASES_CONTROL - 1 / CONTROL)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dersimonian-laird", (-0.714117222073, 0.180696628336, -1.107821354168, -0.320413089978, 0.001920766767)),
        ("paule-mandel", (-0.714968153493, 0.180892191538, -1.109098381202, -0.320837925785, 0.001919271831)),
        ("reml", (-0.714532342158, 0.180791744093, -1.108443713686, -0.320620970631, 0.001920015096)),
    ],
)
def test_random_effects_equal_metafor(method: HeterogeneityMethod, expected: tuple[float, ...]) -> None:
    """rma(yi, vi, method=, test="knha"), and confint() for τ²."""
    found = meta_analysis(LOG_RATIOS, ERRORS, tau2=method)
    values = (found.estimate, found.standard_error, found.interval.low, found.interval.high, found.p)
    assert values == pytest.approx(expected, abs=1e-11)
    variance = {"dersimonian-laird": 0.308760262862, "paule-mandel": 0.318068452205, "reml": 0.313243258136}
    assert found.tau2 == pytest.approx(variance[method], abs=1e-11)
    assert (found.tau2_interval.low, found.tau2_interval.high) == pytest.approx((0.119718361, 1.111479084), abs=1e-8)


def test_normal_intervals_and_q_equal_metafor() -> None:
    fixed = meta_analysis(LOG_RATIOS, ERRORS, model="fixed")
    assert (fixed.estimate, fixed.standard_error) == pytest.approx((-0.430285163654, 0.040498751711), abs=1e-11)
    assert (fixed.interval.low, fixed.interval.high) == pytest.approx((-0.509661258426, -0.350909068882), abs=1e-11)
    assert fixed.q == pytest.approx(152.233008082373, abs=1e-9)
    assert fixed.i2 == pytest.approx(0.92117346854562, abs=1e-12)  # metafor's I² of DerSimonian & Laird
    assert fixed.prediction is None
    assert "beyond" not in fixed.sentence()
    assert fixed.warnings
    normal = meta_analysis(LOG_RATIOS, ERRORS, tau2="reml", hksj=False).interval
    assert (normal.low, normal.high) == pytest.approx((-1.066897638810, -0.362167045506), abs=1e-11)


@given(
    st.lists(
        st.tuples(st.floats(-3, 3).map(lambda value: round(value, 6)), st.floats(0.05, 2)), min_size=3, max_size=12
    ),
    st.sampled_from([1e-8, 1.0, 1e6]),
)
@settings(max_examples=25, deadline=None)
def test_equals_statsmodels_in_any_unit(studies: list[tuple[float, float]], unit: float) -> None:
    """Paule & Mandel's τ² is where the generalised Q has its expectation; statsmodels iterates too few times for it."""
    y, errors = np.array(studies).T
    with np.errstate(all="ignore"):
        other = cast(Any, reference).combine_effects(y, errors**2, method_re="chi2", use_t=False)
    for method in ("dersimonian-laird", "paule-mandel"):
        found = meta_analysis(y * unit, errors * unit, tau2=cast(Any, method), hksj=False)
        fixed = meta_analysis(y * unit, errors * unit, model="fixed")
        tau2 = found.tau2 / unit**2
        if method == "dersimonian-laird" and other.tau2 > 0:  # it goes on with a negative one
            assert tau2 == pytest.approx(other.tau2, abs=1e-9)
            assert found.estimate / unit == pytest.approx(other.mean_effect_re, abs=1e-9)
        elif method == "paule-mandel":
            weights = 1 / (errors**2 + tau2)
            q = float(weights @ (y - np.average(y, weights=weights)) ** 2)
            assert q == pytest.approx(len(y) - 1, rel=1e-6) if tau2 > 0 else q <= len(y) - 1
        assert fixed.estimate / unit == pytest.approx(other.mean_effect_fe, abs=1e-9)
        assert fixed.q == pytest.approx(other.q, rel=1e-9, abs=1e-12)
        assert sum(each.weight for each in found.studies) == pytest.approx(1)
        assert found.tau2_interval.low <= found.tau2_interval.high
        assert found.prediction is not None
        assert found.prediction.low <= found.interval.low


def test_a_forest_plot_has_all_it_needs() -> None:
    found = meta_analysis([0.1, 0.3, 0.2], [0.05, 0.1, 0.2], ["run a", "run b", "run c"])
    assert [each.name for each in found.studies] == ["run a", "run b", "run c"]
    assert found.studies[1].interval.low == pytest.approx(0.3 - 1.959963984540054 * 0.1)
    assert found.to_dict()["studies"][0]["weight"] > found.to_dict()["studies"][2]["weight"]
    assert "Random-effects meta-analysis of 3 studies" in found.sentence()


def test_equal_estimates_have_an_interval() -> None:
    """HKSJ has no width there, so the normal interval stands in, and it is said."""
    found = meta_analysis([0.2, 0.2, 0.2], [0.1, 0.1, 0.1])
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.959963984540054 * 0.1 / math.sqrt(3))
    assert "normal" in found.warnings[0]


@pytest.mark.parametrize("model", ["random", "fixed"])
def test_bad_studies_are_refused(model: MetaModel) -> None:
    for wrong in (
        lambda: meta_analysis([1], [1], model=model),
        lambda: meta_analysis([1, 2], [1, 0], model=model),
        lambda: meta_analysis([1, 2], [1, -1], ["a"], model=model),
        lambda: meta_analysis([1, math.nan], [1, 1], model=model),
        lambda: meta_analysis([1, 2], [1], model=model),
        lambda: meta_analysis([1, 2], [1, 1], model=model, tau2=cast(Any, "other")),
    ):
        with pytest.raises(DataError):
            wrong()
