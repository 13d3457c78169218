"""The rule of automatic choice: which test decides, what stands beside it, and that p-values and intervals agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from suitecase.stats import DataError, compare, compare_many, compare_paired
from suitecase.stats.comparing import Side, compare_sides, skewness_warning

CONTROL = [0.89, 0.87, 0.90, 0.88, 0.91]
TREATMENT = [0.96, 0.97, 0.94, 0.95, 0.98]


def test_the_reference_examples_stand_corrected():
    """R's `t.test` on the data of two READMEs, which print t = 8.45 and p = 0.0024."""
    found = compare(TREATMENT, CONTROL, names=("treatment", "control"))
    assert found.test.statistic == pytest.approx(7.0, rel=1e-12)
    assert found.test.df == pytest.approx((8,))
    assert found.p == pytest.approx(0.000112639, rel=1e-5)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.046940, 0.093060), abs=5e-7)
    assert found.verdict == "higher"
    assert found.sentence() == (
        "treatment has a higher mean than control, by 0.0700 (95 % CI [0.0469, 0.0931], Welch's t-test, p < .001)."
    )
    second = compare([0.78, 0.73, 0.81, 0.76, 0.74], [0.72, 0.68, 0.75, 0.71, 0.69])
    assert second.test.statistic == pytest.approx(2.861994, abs=5e-7)
    assert second.test.df == pytest.approx((7.8068,), abs=5e-5)
    assert second.p == pytest.approx(0.0216270, abs=5e-8)
    assert (second.interval.low, second.interval.high) == pytest.approx((0.010302, 0.097698), abs=5e-7)
    pairs = compare_paired([0.78, 0.73, 0.81, 0.76, 0.74], [0.72, 0.68, 0.75, 0.71, 0.69])
    assert pairs.p == pytest.approx(2.50579e-05, rel=1e-5)


def test_the_design_chooses_the_test():
    rng = np.random.default_rng(1)
    numbers, rates = rng.normal(size=40), (rng.random(40) < 0.6).astype(int)
    skewed = rng.lognormal(0, 2, 40)
    labels = [i // 4 for i in range(40)]
    assert "Welch" in compare(numbers, skewed).test.test, "no test of normality or variance selects"
    assert "aired" in compare_paired(numbers, skewed).test.test
    assert "Miettinen" in compare(rates, 1 - rates).test.test
    assert "McNemar" in compare_paired(rates, 1 - rates).test.test
    clustered = compare_paired(numbers, skewed, clusters=labels)
    assert (clustered.test.df, clustered.clusters) == (pytest.approx((9,)), (10, 10))
    assert "Mann" in compare(numbers, skewed, test="mann-whitney").test.test
    with pytest.raises(DataError, match=r"not for pairs\. There are: paired-t, wilcoxon, sign"):
        compare_paired(numbers, skewed, test="welch")
    with pytest.raises(DataError, match="come in clusters"):
        compare_paired(numbers, skewed, test="wilcoxon", clusters=labels)


def test_few_discordant_pairs_put_the_mid_p_test_beside():
    few = compare_paired([1] * 9 + [0] * 11, [0] * 7 + [1] * 4 + [0] * 9)
    many = compare_paired([1] * 30 + [0] * 20, [0] * 25 + [1] * 5 + [0] * 20)
    assert few.beside is not None
    assert "mid-p" in few.beside.test
    assert many.beside is None


@settings(max_examples=15, deadline=None)
@given(
    data=st.data(),
    correction=st.sampled_from(["holm", "bh", "by", "bonferroni", "hommel", "none"]),
    rates=st.booleans(),
    paired=st.booleans(),
)
def test_intervals_and_adjusted_p_values_agree(data: Any, correction: Any, rates: bool, paired: bool):
    """In a family of any size, an interval excludes 0 exactly if the adjusted p-value is below alpha."""
    n = data.draw(st.integers(5, 30))
    value = st.integers(0, 1) if rates else st.integers(0, 40).map(lambda x: x / 8)
    column = st.lists(value, min_size=n, max_size=n)
    groups = {name: data.draw(column) for name in "abcd"[: data.draw(st.integers(2, 4))]}
    for found in compare_many(groups, baseline="a", paired=paired, correction=correction):
        if found.verdict == "not tested":
            assert found.warnings
            assert math.isnan(found.p_adjusted)
            continue
        if abs(found.p_adjusted - found.alpha) < 1e-9:
            continue  # on the edge, where the last digit decides
        assert (0 not in found.interval) == (found.p_adjusted < found.alpha), found
        assert (found.verdict in ("higher", "lower")) == (found.p_adjusted < found.alpha)
        assert found.p_adjusted >= found.p * (1 - 1e-9)


def test_a_correction_widens_the_interval_and_says_its_level():
    rng = np.random.default_rng(3)
    groups = {name: rng.normal(shift, 1, 30) for name, shift in (("base", 0), ("b", 0.6), ("c", 0.1), ("d", 0.2))}
    alone = compare(groups["b"], groups["base"])
    (first, *_) = compare_many(groups, baseline="base")
    assert first.p_adjusted == pytest.approx(3 * alone.p)
    assert first.interval.level == pytest.approx(1 - 0.05 / 3)
    assert first.interval.high - first.interval.low > alone.interval.high - alone.interval.low
    assert "after Holm" in first.sentence()


def test_fragile_where_the_permutation_test_disagrees():
    """Small skewed groups of unequal size are where Welch's test and the permutation test part."""
    found = compare([1.33, 0.46, 0.54, 0.03], [36.58, 13.68, 1.51, 7.85, 3.75, 1.07, 10.66, 1.54])
    assert found.beside
    assert found.p > 0.05 > found.beside.p
    assert found.fragile
    assert "Fragile" in found.sentence()
    assert any("how skewed" in warning for warning in found.warnings)


def test_too_few_values_for_the_permutation_test_are_not_called_fragile():
    """Four values against four have 70 arrangements, so at a corrected level of 1 % no permutation test rejects."""
    groups = {"base": CONTROL[:4], **dict.fromkeys("abcde", TREATMENT[:4])}
    for found in compare_many(groups, baseline="base"):
        assert found.verdict == "higher"
        assert not found.fragile
        assert any("below p = .029: it can neither confirm" in warning for warning in found.warnings)


def test_no_evidence_comes_with_what_could_have_been_seen():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=20), rng.normal(size=20)
    found = compare(a, b)
    assert found.verdict == "no evidence of a difference"
    se = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 20)
    df = found.test.df[0]
    assert found.detectable == pytest.approx(se * float(stdtrit(df, 0.975) + stdtrit(df, 0.8)))
    assert "could have seen" in found.sentence()
    assert found.wins is None


def test_equivalent_only_with_a_margin():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=100), rng.normal(size=100)
    assert compare(a, b).verdict == "no evidence of a difference"
    assert compare(a, b, margin=0.5).verdict == "equivalent"
    assert compare(a, b, margin=0.01).verdict == "no evidence of a difference"


def test_better_says_who_wins():
    assert compare(TREATMENT, CONTROL, better="higher").wins is True
    assert compare(TREATMENT, CONTROL, better="lower").wins is False
    assert compare(TREATMENT, CONTROL).wins is None


def test_values_that_never_vary_are_not_tested_and_do_not_count():
    sides = [
        (Side("b", [1.5] * 4), Side("a", [1.5] * 4)),
        (Side("c", TREATMENT), Side("a", CONTROL)),
    ]
    constant, other = compare_sides(sides)
    assert constant.verdict == "not tested"
    assert "constant" in constant.sentence()
    assert other.p_adjusted == other.p
    with pytest.raises(DataError, match="constant"):
        compare([1.5] * 4, [1.5] * 4)


def test_the_logarithm_compares_ratios():
    found = compare([2.0, 4.0, 8.0, 3.0], [1.0, 2.0, 4.0, 1.5], transform="log")
    assert math.exp(found.difference) == pytest.approx(2)
    with pytest.raises(DataError, match="1 values aren't above 0"):
        compare([2.0, 0.0], [1.0, 2.0], transform="log")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([], [1, 2], "a has 0 values"),
        ([1, float("nan"), 3], [1, 2], "a has 1 NaN values of 3"),
        (["x", "y"], [1, 2], "aren't numbers"),
        ([1], [1, 2], "a has 1 values"),
    ],
)
def test_bad_input_is_an_error(a: Any, b: Any, message: str):
    with pytest.raises(DataError, match=message):
        compare(a, b)


def test_unequal_pairs_and_unknown_baselines_are_errors():
    with pytest.raises(DataError, match="a has 2 values and b has 3"):
        compare_paired([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="no group 'z'"):
        compare_many({"a": [1, 2], "b": [1, 2]}, baseline="z")


def test_skewed_values_are_warned_about():
    rng = np.random.default_rng(11)
    skewed = sum(bool(skewness_warning(rng.chisquare(1, n), "x")) for n in (20, 40, 80, 160, 290) for _ in range(100))
    normal = sum(bool(skewness_warning(rng.normal(size=n), "x")) for n in (40, 80, 160, 290) for _ in range(100))
    assert skewed > 450
    assert normal < 20
    assert not skewness_warning(rng.chisquare(1, 300), "x")


def test_comparisons_share_the_flips_of_their_sign_flip_tests() -> None:
    rng = np.random.default_rng(4)
    groups = {name: rng.normal(shift, 1, 30) for name, shift in zip("abc", (0, 0.5, 0.9), strict=True)}
    together = compare_many(groups, baseline="a", paired=True, correction="none")
    for found in together:
        assert found.beside == compare_paired(groups[found.first], groups["a"]).beside


def test_groups_of_equal_size_are_warned_about_where_they_are_skewed() -> None:
    """Their skewness cancels only if they are spread alike, which samples don't show."""
    rng = np.random.default_rng(5)
    x, y = rng.lognormal(0, 1, 40), rng.lognormal(0, 1, 40)
    assert any("skewed" in warning for warning in compare(x, y).warnings)
    assert compare(rng.normal(size=60), rng.normal(size=60)).warnings == ()
    (few,) = compare(rng.normal(size=8), rng.normal(size=9)).warnings
    assert few.startswith("a and b: 8 and 9 values don't show how skewed they are")
