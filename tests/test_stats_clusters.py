"""Clustered and nested data. Values of R are those of clubSandwich, sandwich and survey under R 4.2.2."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import TOOTH_GROWTH
from scipy import stats as scipy_stats

from suitecase.stats import (
    DataError,
    clustered_difference,
    clustered_mean,
    clustered_paired_difference,
    clustered_rate,
    nested_difference,
    nested_mean,
    rate_interval,
)

stats: Any = scipy_stats  # without the gaps of its types

VALUES = [3, 5, 4, 8, 9, 1, 2, 2, 3, 1, 6, 7, 5, 6, 8]
CLUSTERS = [1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5]


def split(values: list[Any], by: list[int]) -> tuple[list[Any], list[Any]]:
    pairs = list(zip(values, by, strict=True))
    return [value for value, group in pairs if group], [value for value, group in pairs if not group]


def ends(interval: Any) -> tuple[float, float]:
    return interval.low, interval.high


class TestMean:
    def test_tooth_growth(self) -> None:
        values = [length for lengths in TOOTH_GROWTH.values() for length in lengths]
        cells = [cell for cell in TOOTH_GROWTH for _ in range(10)]
        found = clustered_mean(values, cells)
        errors = [found.details[name] for name in ("se_naive", "se_cr0", "se_cr1", "se")]
        assert errors == pytest.approx([0.9875223424, 2.7588762473, 3.0221975081, 3.0221975080689], abs=1e-10)
        assert found.df == (5,)
        assert found.details["satterthwaite_df"] == pytest.approx(5)

    def test_unequal_clusters(self) -> None:
        found = clustered_mean(VALUES, CLUSTERS)
        assert found.details["se"] == pytest.approx(1.4239620387032, rel=1e-12)
        assert found.details["se_cr0"] == pytest.approx(1.1995884067792, rel=1e-12)
        assert found.details["se_cr1"] == pytest.approx(1.3411806112895, rel=1e-12)
        assert found.details["satterthwaite_df"] == pytest.approx(3.133020344288, rel=1e-11)
        assert found.details["effective_clusters"] == pytest.approx(225 / 55)
        spread = stats.t.isf(0.025, 3.133020344288) * 1.4239620387032
        assert ends(found.interval) == pytest.approx((70 / 15 - spread, 70 / 15 + spread))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), min_size=6, max_size=25))
    def test_cr2_and_its_df_by_their_matrix_definition(self, rows: list[tuple[int, int]]) -> None:
        rows += [(0, 10), (1, -10), (2, 4)]
        values, codes = np.array([y for _, y in rows], float), np.array([g for g, _ in rows])
        n = len(values)
        hat = np.full((n, n), 1 / n)
        weights = np.zeros((5, n))
        for g in range(5):
            inside = codes == g
            if not inside.any():
                continue
            block = np.eye(int(inside.sum())) - hat[np.ix_(inside, inside)]
            eigenvalues, vectors = np.linalg.eigh(block)
            weights[g, inside] = (vectors / np.sqrt(eigenvalues)) @ vectors.T @ np.ones(len(block)) / n
        parts = weights @ (np.eye(n) - hat)
        se = float(np.sqrt(((parts @ values) ** 2).sum()))
        covariance = parts @ parts.T
        found = clustered_mean(cast(Any, values), codes)
        assert found.details["se"] == pytest.approx(se, rel=1e-9)
        assert found.details["satterthwaite_df"] == pytest.approx(
            np.trace(covariance) ** 2 / np.trace(covariance @ covariance), rel=1e-9
        )

    def test_clusters_of_one_are_students_t(self) -> None:
        found = clustered_mean(VALUES, range(len(VALUES)), 4)
        theirs = stats.ttest_1samp(VALUES, 4)
        assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
        assert found.df == pytest.approx((14,))

    @pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
    @pytest.mark.parametrize("null", [1.0, 2.5, 4.6, 7.0, 8.5])
    def test_p_and_interval_agree(self, alternative: Any, null: float) -> None:
        found = clustered_mean(VALUES, CLUSTERS, null, alternative=alternative)
        assert found.interval is not None
        assert (found.p < 0.05) == (null not in found.interval)

    def test_few_or_unequal_clusters_are_told(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=2000)
        assert not clustered_mean(values, np.arange(2000) % 20).warnings
        assert any("19 clusters" in each for each in clustered_mean(values, np.arange(2000) % 19).warnings)
        uneven = np.where(np.arange(2000) < 500, 0, np.arange(2000) % 60)
        found = clustered_mean(values, uneven)
        assert found.details["effective_clusters"] < 15
        assert any("60 clusters" in each for each in found.warnings)

    def test_bad_input(self) -> None:
        with pytest.raises(DataError, match="one cluster"):
            clustered_mean([1, 2, 3], ["a"] * 3)
        with pytest.raises(DataError, match="each value needs one"):
            clustered_mean([1, 2, 3], ["a", "b"])
        for values in ([0.1] * 6, [0.1, 0.3] * 3):
            with pytest.raises(DataError, match="same mean"):
                clustered_mean(values, [0, 0, 1, 1, 2, 2])


class TestDifference:
    @pytest.mark.parametrize(
        ("by", "difference", "se", "cr1", "df"),
        [
            (
                [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
                0.71428571428571,
                1.1491813552439,
                0.98484180325517,
                3.0288452893799,
            ),
            ([1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], -4.375, 1.2672030505916, 1.0490075867539, 2.4932282688993),
        ],
        ids=["clusters in both", "clusters in one"],
    )
    def test_r(self, by: list[int], difference: float, se: float, cr1: float, df: float) -> None:
        (a, b), (clusters_a, clusters_b) = split(VALUES, by), split(CLUSTERS, by)
        found = clustered_difference(a, b, clusters_a, clusters_b)
        assert found.estimate == pytest.approx(difference, rel=1e-12)
        assert found.details["se"] == pytest.approx(se, rel=1e-12)
        assert found.details["se_cr1"] == pytest.approx(cr1, rel=1e-12)
        assert found.df[0] == pytest.approx(df, rel=1e-11)
        swapped = clustered_difference(b, a, clusters_b, clusters_a)
        assert swapped.statistic == pytest.approx(-found.statistic)

    def test_labels_of_different_kinds_stay_apart(self) -> None:
        a, b = [1.0, 2, 3, 5], [2.0, 4, 4, 5]
        found = clustered_difference(a, b, np.array([1, 1, 2, 2]), np.array(["1", "1", "2", "2"]))
        assert found.details["clusters"] == 4

    def test_clusters_of_one_have_welchs_standard_error(self) -> None:
        a, b = VALUES[:7], VALUES[7:]
        found = clustered_difference(a, b, [f"a{i}" for i in range(7)], [f"b{i}" for i in range(8)])
        assert found.details["se"] == pytest.approx(math.sqrt(np.var(a, ddof=1) / 7 + np.var(b, ddof=1) / 8))

    def test_pairs_are_the_mean_of_their_differences(self) -> None:
        other = [2, 6, 1, 5, 9, 2, 2, 1, 5, 0, 3, 6, 6, 6, 5]
        found = clustered_paired_difference(VALUES, other, CLUSTERS)
        differences = [a - b for a, b in zip(VALUES, other, strict=True)]
        assert found.p == clustered_mean(differences, CLUSTERS).p
        assert found.estimate_name == "mean difference"
        with pytest.raises(DataError, match="pairs need as many"):
            clustered_paired_difference(VALUES, other[1:], CLUSTERS)

    def test_a_group_in_one_cluster_is_refused(self) -> None:
        with pytest.raises(DataError, match="All of b is one cluster"):
            clustered_difference([1, 2, 3], [4, 5, 7], [1, 2, 3], [1, 1, 1])


class TestRate:
    SUCCESSES = [int(each) for each in "1110100100111110100111011000011011111110"]

    def test_r_svyciprop(self) -> None:
        found = clustered_rate(self.SUCCESSES, np.repeat(np.arange(8), 5))
        assert found.estimate == 0.625
        assert ends(found.interval) == pytest.approx((0.33761311359360, 0.85908029659655), rel=1e-11)

    def test_more_trials_than_there_are_count_as_n(self) -> None:
        found = clustered_rate([1, 0] * 20, np.repeat(np.arange(20), 2))
        assert found.details["effective_n"] == 40
        assert ends(found.interval) == pytest.approx(ends(rate_interval(20, 40, method="clopper-pearson")))

    def test_all_equal(self) -> None:
        found = clustered_rate([1] * 40, np.repeat(np.arange(20), 2))
        assert ends(found.interval) == pytest.approx((0.025 ** (1 / 20), 1))
        assert any("can't be seen" in each for each in found.warnings)
        none = clustered_rate([0] * 40, np.repeat(np.arange(20), 2))
        assert ends(none.interval) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40),
        st.floats(0.02, 0.98),
        st.sampled_from(["two-sided", "less", "greater"]),
        st.sampled_from([0.8, 0.95, 0.99]),
    )
    def test_p_and_interval_agree(
        self, rows: list[tuple[int, bool]], null: float, alternative: Any, level: float
    ) -> None:
        rows += [(8, True), (9, True)]
        found = clustered_rate([y for _, y in rows], [g for g, _ in rows], null, alternative=alternative, level=level)
        assert found.interval is not None
        assert found.interval.low <= found.estimate <= found.interval.high
        assert abs(found.p - (1 - level)) < 1e-9 or (found.p < 1 - level) == (null not in found.interval)


class TestNested:
    def test_mean_is_students_t_of_seed_means(self) -> None:
        found = nested_mean(VALUES, CLUSTERS, 4)
        theirs = stats.ttest_1samp([4, 8.5, 1.8, 6, 6.5], 4)
        assert (found.estimate, found.statistic, found.p) == pytest.approx((5.36, theirs.statistic, theirs.pvalue))
        assert found.df == (4,)
        assert not found.warnings

    def test_difference_is_welchs_t_of_seed_means(self) -> None:
        found = nested_difference([1, 3, 4, 8, 6, 5], [2, 4, 9, 9], ["s", "s", "t", "t", "u", "u"], [1, 1, 2, 2])
        theirs = stats.ttest_ind([2, 6, 5.5], [3, 9], equal_var=False)
        assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
        low, high = theirs.confidence_interval()
        assert ends(found.interval) == pytest.approx((low, high))
        assert len(found.warnings) == 2

    def test_more_items_dont_narrow_the_interval(self) -> None:
        offsets = np.array([0.0, 1, 2, 3])
        few = nested_mean(np.repeat(offsets, 2), np.repeat(np.arange(4), 2))
        many = nested_mean(np.repeat(offsets, 500), np.repeat(np.arange(4), 500))
        assert ends(few.interval) == pytest.approx(ends(many.interval))
        assert any("only 4 seeds" in each for each in few.warnings)

    def test_bad_input(self) -> None:
        with pytest.raises(DataError, match="one seed only"):
            nested_mean([1, 2, 3], [7, 7, 7])
        with pytest.raises(DataError, match="same mean"):
            nested_mean([1, 2, 1, 2], [7, 7, 8, 8])
        with pytest.raises(DataError, match="seeds_b: 1 labels for 2 values"):
            nested_difference([1, 2], [1, 3], [1, 2], [1])


def test_a_label_that_is_nan_is_refused() -> None:
    """NaN equals nothing, so that each would be a cluster of its own, and make the mean look surer than it is."""
    with pytest.raises(DataError, match="clusters: 2 labels are NaN"):
        clustered_mean([1.0, 2.0, 3.0, 4.0], [1.0, float("nan"), 2.0, float("nan")])
