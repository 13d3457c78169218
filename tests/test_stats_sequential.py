"""Alpha spending: bounds as published, and the error rate that they are for."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats as scipy_stats

from suitecase.stats import DataError, alpha_spent, stopping_bounds

stats: Any = scipy_stats  # without the gaps of its types


@pytest.mark.parametrize(
    ("spending", "critical"),
    [
        ("obrien-fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
        ("pocock", (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_published_bounds_of_five_equal_looks(spending: Any, critical: tuple[float, ...]) -> None:
    """Two-sided α of .05, as in the tables of Lan & DeMets's program (Reboussin et al. 2000)."""
    found = stopping_bounds([0.2, 0.4, 0.6, 0.8, 1], spending=spending)
    assert found.critical == pytest.approx(critical, abs=5e-4)
    assert found.spent[-1] == pytest.approx(0.05)


def test_one_look_is_the_plain_test() -> None:
    assert stopping_bounds([1]).critical == pytest.approx((stats.norm.isf(0.025),))
    assert stopping_bounds([1], alpha=0.1, sides="one-sided", spending="pocock").nominal_alpha == pytest.approx((0.1,))


@pytest.mark.parametrize("sides", ["two-sided", "one-sided"])
@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_spent_by_definition(spending: Any, sides: Any) -> None:
    """The probability of crossing at one of the first three looks, as scipy integrates it."""
    times = np.array([0.3, 0.55, 1.0])
    found = stopping_bounds(cast(Any, times), spending=spending, sides=sides, alpha=0.08)
    covariance = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for looks in (2, 3):
        upper = np.array(found.critical[:looks])
        lower = -upper if sides == "two-sided" else np.full(looks, -np.inf)
        normal = stats.multivariate_normal(cov=covariance[:looks, :looks], seed=0, abseps=1e-9, maxpts=10**6)
        assert 1 - float(normal.cdf(upper, lower_limit=lower)) == pytest.approx(found.spent[looks - 1], abs=1e-6)


def test_a_bound_does_not_depend_on_later_looks() -> None:
    assert stopping_bounds([0.25, 0.5]).critical == stopping_bounds([0.25, 0.5, 0.75, 1]).critical[:2]


def test_a_look_too_early_can_not_stop() -> None:
    found = stopping_bounds([0.002, 0.5, 1])
    assert found.critical[0] == math.inf
    assert found.nominal_alpha[0] == 0
    assert found.critical[1:] == pytest.approx(stopping_bounds([0.5, 1]).critical)
    assert found.to_dict()["critical"][0] is None


def test_close_looks_and_many() -> None:
    assert stopping_bounds([0.5, 0.501, 1]).critical[2] == pytest.approx(
        stopping_bounds([0.5, 1]).critical[1], abs=1e-3
    )
    many = stopping_bounds([each / 50 for each in range(1, 51)], spending="pocock")
    assert all(2 < each < 4 for each in many.critical)


def test_spending_functions() -> None:
    z = stats.norm.isf(0.0125)
    assert alpha_spent(0.5) == pytest.approx(4 * stats.norm.sf(z / math.sqrt(0.5)))
    assert alpha_spent(0.5, spending="pocock") == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))
    for spending in ("obrien-fleming", "pocock"):
        assert alpha_spent(0, spending=cast(Any, spending)) == 0
        assert alpha_spent(1, spending=cast(Any, spending)) == pytest.approx(0.05)


def test_bad_plans() -> None:
    for fractions in ([0.5, 0.5], [0.6, 0.4], [0, 1], [0.5, 1.1], [0.5, 0.5001]):
        with pytest.raises(DataError, match="rise from above 0"):
            stopping_bounds(fractions)
    with pytest.raises(DataError) as error:
        stopping_bounds([1], alpha=5, spending=cast(Any, "haybittle"), sides=cast(Any, "both"))
    assert len(error.value.problems) == 3
    with pytest.raises(DataError, match="fraction"):
        alpha_spent(1.5)
