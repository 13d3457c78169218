"""Analyses of variance against R, NIST StRD, scipy and statsmodels."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import PLANT_GROWTH, ROUNDING_TIMES, numbers

from suitecase.stats import DataError, one_way_anova, repeated_anova, t_test, t_test_paired, two_way_anova, welch_anova

stats = cast(Any, scipy.stats)

# R's warpbreaks[-c(1, 2, 10, 30, 31, 50), ]: breaks, wool, tension; unbalanced.
BREAKS = numbers(
    "54 25 70 52 51 26 67 21 29 17 12 18 35 30 36 36 21 24 18 10 43 28 15 26 27 14 29 31 41 20 44 42 26 19 16 39 28 21 "
    "39 29 20 21 24 17 15 15 16 28"
)
WOOL = "A" * 24 + "B" * 24
TENSION = "LLLLLLLMMMMMMMMHHHHHHHHHLLLLLLLMMMMMMMMMHHHHHHHH"

NIST = Path(str(scipy.stats.__file__)).parent / "tests" / "data" / "nist_anova"
DIGITS = {"AtmWtAg": 10, "SiRstv": 13, "SmLs01": 13, "SmLs02": 13, "SmLs03": 13} | {
    f"SmLs0{i}": 10 if i < 7 else 4 for i in range(4, 10)
}


@pytest.mark.skipif(not NIST.is_dir(), reason="this scipy came without its tests' data")
@pytest.mark.parametrize("name", DIGITS)
def test_nist_strd(name: str) -> None:
    """The certified F, to the digits that double precision leaves: a log relative error of 13, 10 or 4."""
    lines = (NIST / f"{name}.dat").read_text().splitlines()
    certified = next(float(line.split()[-1]) for line in lines if line.startswith("Between"))
    groups: dict[str, list[float]] = defaultdict(list)
    for line in lines[60:]:
        if len(parts := line.split()) == 2:
            groups[parts[0]].append(float(parts[1]))
    found = one_way_anova(groups).statistic
    assert -math.log10(max(abs(found - certified) / certified, 1e-15)) >= DIGITS[name]


def test_plant_growth_agrees_with_r() -> None:
    """summary(aov(weight ~ group, PlantGrowth))"""
    found = one_way_anova(PLANT_GROWTH)
    assert (found.statistic, found.p) == pytest.approx((4.846088, 0.01590996), rel=1e-6)
    assert found.df == (2, 27)
    assert (found.details["ss_between"], found.details["ss_within"]) == pytest.approx((3.76634, 10.49209), rel=1e-6)
    assert found.details["eta_squared"] == pytest.approx(0.2641482968, rel=1e-9)
    assert found.details["epsilon_squared"] == pytest.approx(0.2096407633, rel=1e-9)
    assert found.effect is not None
    assert found.effect.value == pytest.approx(0.2040788460, rel=1e-9)


def test_welch_anova_agrees_with_r() -> None:
    """oneway.test(weight ~ group, PlantGrowth)"""
    found = welch_anova(PLANT_GROWTH)
    assert (found.statistic, found.p) == pytest.approx((5.1809724081, 0.0173928214902), rel=1e-10)
    assert found.df == pytest.approx((2, 17.1284186166), rel=1e-10)


def test_repeated_measures_agree_with_r() -> None:
    """anova(lm(RoundingTimes ~ 1), X = ~1, test = "Spherical")"""
    found = repeated_anova(ROUNDING_TIMES.T)
    assert found.df == (2, 42)
    assert (found.statistic, found.p) == pytest.approx((6.28831, 0.0040841007140483), rel=1e-6)
    assert found.details["ss_error"] == pytest.approx(0.3129545454545, rel=1e-10)
    assert found.details["ss_subjects"] == pytest.approx(4.21863636364, rel=1e-10)
    assert found.details["epsilon_greenhouse_geisser"] == pytest.approx(0.7735, abs=5e-5)
    assert found.details["epsilon_huynh_feldt"] == pytest.approx(0.8234, abs=5e-5)
    assert found.details["p_greenhouse_geisser"] == pytest.approx(0.0084397990318937, rel=1e-8)
    assert found.details["p_huynh_feldt"] == pytest.approx(0.0071888215742921, rel=1e-8)


def test_unbalanced_two_way_agrees_with_r() -> None:
    """Type II by comparing lm(breaks ~ …) with and without a term; type III by drop1(…, . ~ .) with contr.sum."""
    found = two_way_anova(BREAKS, list(WOOL), list(TENSION), names=("wool", "tension"))
    assert [found[term].details["ss"] for term in found] == pytest.approx(
        [455.6381702558, 2398.146923757, 1101.390774655], rel=1e-11
    )
    assert list(found) == ["wool", "tension", "wool:tension"]
    assert found["wool"].details["ss_error"] == pytest.approx(4858.420634921, rel=1e-11)
    assert found["wool:tension"].df == (2, 42)
    both = found["wool:tension"]
    assert (both.statistic, both.p) == pytest.approx((4.760643016687, 0.01369350117325), rel=1e-11)
    third = two_way_anova(BREAKS, list(WOOL), list(TENSION), names=("wool", "tension"), sums="III")
    assert [third[term].details["ss"] for term in third] == pytest.approx(
        [575.4834413696, 2407.5103212456, 1101.3907746555], rel=1e-11
    )
    assert third["wool"].p == pytest.approx(0.03111596, abs=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(3, 12))
def test_any_groups_agree_with_scipy_and_statsmodels(seed: int, k: int, n: int) -> None:
    from statsmodels.stats.anova import AnovaRM  # pyright: ignore[reportMissingTypeStubs]

    rng = np.random.default_rng(seed)
    groups = [rng.normal(rng.normal(), rng.uniform(0.5, 2), int(rng.integers(3, 20))) for _ in range(k)]
    for ours, equal in ((one_way_anova(groups), True), (welch_anova(groups), False)):
        theirs = stats.f_oneway(*groups, equal_var=equal)
        assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
        assert stats.f.sf(ours.statistic, *ours.df) == pytest.approx(ours.p, rel=1e-9), "df belong to p"
    table = rng.normal(size=(n, k))
    frame = pd.DataFrame({"y": table.ravel(), "s": np.repeat(np.arange(n), k), "c": np.tile(np.arange(k), n)})
    row = cast(Any, AnovaRM)(frame, "y", "s", within=["c"]).fit().anova_table.iloc[0]
    ours = repeated_anova(table.T)
    assert (ours.statistic, *ours.df, ours.p) == pytest.approx(tuple(row), rel=1e-8)


def test_two_groups_are_the_squared_t_tests() -> None:
    a, b = PLANT_GROWTH["ctrl"], PLANT_GROWTH["trt1"]
    assert one_way_anova([a, b]).p == pytest.approx(t_test(a, b, equal_variances=True).p, rel=1e-11)
    assert welch_anova([a, b]).p == pytest.approx(t_test(a, b).p, rel=1e-11)
    assert repeated_anova([a, b]).statistic == pytest.approx(t_test_paired(a, b).statistic ** 2, rel=1e-11)
    assert repeated_anova([a, b]).details["epsilon_greenhouse_geisser"] == 1


def test_broken_sphericity_warns_with_the_corrected_p() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=40)
    table = np.column_stack((own, own + rng.normal(0, 0.1, 40), rng.normal(0, 3, 40)))
    assert "take the corrected p" in repeated_anova(table.T).warnings[0]
    assert not repeated_anova(rng.normal(size=(40, 3)).T).warnings


def test_ten_thousand_subjects_need_no_column_each() -> None:
    table = np.random.default_rng(0).normal(size=(10_000, 4))
    assert repeated_anova(table.T).df == (3, 29_997)


def test_designs_that_cannot_be_analysed_are_refused() -> None:
    with pytest.raises(DataError, match="every group is constant"):
        one_way_anova([[1, 1], [2, 2]])
    with pytest.raises(DataError, match="group 1 is constant"):
        welch_anova([[1, 1], [2, 3]])
    with pytest.raises(DataError, match="differ by the same in every subject"):
        repeated_anova([[1, 2, 3], [2, 3, 4]])
    with pytest.raises(DataError, match="group 1 has 3, group 2 has 2 values"):
        repeated_anova([[1, 2, 3], [2, 3]])
    with pytest.raises(DataError, match="1 of 4 combinations of first and second have no value"):
        two_way_anova([1, 2, 3, 4], [1, 1, 2, 2], [1, 2, 1, 1])
    with pytest.raises(DataError, match="second has one level"):
        two_way_anova([1, 2, 3, 4], [1, 1, 2, 2], [1, 1, 1, 1])
    with pytest.raises(DataError, match="one value per combination"):
        two_way_anova([1, 2, 3, 4], [1, 1, 2, 2], [1, 2, 1, 2])
    with pytest.raises(DataError, match="every combination of levels is constant"):
        two_way_anova([1, 1, 2, 3, 4], [1, 1, 1, 2, 2], [1, 1, 2, 1, 2])
    with pytest.raises(DataError, match="3 labels for 4 values"):
        two_way_anova([1, 2, 3, 4], [1, 1, 2], [1, 2, 1, 2])
