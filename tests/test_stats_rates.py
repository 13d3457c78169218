"""Rates: one, two, paired, in tables. Values of R are those of R 4.2.2."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize as scipy_optimize
from scipy import stats as scipy_stats

from suitecase.stats import (
    Alternative,
    DataError,
    chi_square,
    cochran_q,
    cohens_h,
    cramers_v,
    fisher_exact,
    mcnemar,
    odds_ratio,
    one_rate,
    paired_rate_interval,
    rate_difference_interval,
    rate_interval,
    risk_ratio,
    two_paired_rates,
    two_rates,
)

stats: Any = scipy_stats  # without the gaps of its types
optimize: Any = scipy_optimize

LAW = settings(max_examples=30, deadline=None)
LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999])
ALTERNATIVES = st.sampled_from(["two-sided", "less", "greater"])
SIZES = st.one_of(st.integers(1, 30), st.sampled_from([100, 10_000, 10_000_000]))


@st.composite
def two_groups(draw: st.DrawFn) -> tuple[int, int, int, int]:
    n1, n2 = draw(SIZES), draw(SIZES)
    return draw(st.integers(0, n1)), n1, draw(st.integers(0, n2)), n2


@st.composite
def paired_tables(draw: st.DrawFn) -> list[list[int]]:
    n = draw(SIZES)
    x = draw(st.integers(0, min(n, draw(st.sampled_from([3, 20, n])))))
    y = draw(st.integers(0, min(n - x, draw(st.sampled_from([3, 20, n])))))
    both = draw(st.integers(0, n - x - y))
    return [[both, x], [y, n - x - y - both]]


def ends(interval: Any) -> tuple[float, float]:
    return interval.low, interval.high


class TestOneRate:
    @pytest.mark.parametrize(
        ("method", "low", "high"),
        [
            ("wilson", 0.490162471537, 0.943317848546),
            ("jeffreys", 0.497225503560, 0.955940586447),
            ("clopper-pearson", 0.443904537692, 0.974789273673),
        ],
    )
    def test_8_of_10(self, method: Any, low: float, high: float) -> None:
        assert ends(rate_interval(8, 10, method=method)) == pytest.approx((low, high), abs=1e-12)

    def test_r_prop_test(self) -> None:
        found = one_rate(682, 925, 0.75)
        assert found.statistic**2 == pytest.approx(0.796036036036036, rel=1e-12)
        assert found.p == pytest.approx(0.372281178458713, rel=1e-12)
        assert found.interval is not None
        assert ends(found.interval) == pytest.approx((0.70799598761962, 0.764635800971489), rel=1e-12)
        less = one_rate(682, 925, 0.75, alternative="less")
        assert less.p == pytest.approx(0.186140589229357, rel=1e-12)
        assert less.interval is not None
        assert ends(less.interval) == pytest.approx((0, 0.760382398168629), rel=1e-12)

    @pytest.mark.parametrize(
        ("k", "n", "null", "alternative", "p", "low", "high"),
        [
            (682, 925, 0.75, "two-sided", 0.382491559574852, 0.707668264079039, 0.765406558241525),
            (3, 20, 0.4, "less", 0.0159611627900083, 0, 0.343663804314282),
            (0, 12, 0.2, "two-sided", 0.141274976256, 0, 0.264648469397051),
        ],
    )
    def test_r_binom_test(
        self, k: int, n: int, null: float, alternative: Alternative, p: float, low: float, high: float
    ) -> None:
        found = one_rate(k, n, null, method="exact", alternative=alternative)
        assert found.p == pytest.approx(p, rel=1e-11)
        assert found.interval is not None
        assert ends(found.interval) == pytest.approx((low, high), rel=1e-11)

    def test_all_and_none_by_definition(self) -> None:
        z2 = stats.norm.isf(0.025) ** 2
        for n in (1, 7, 10_000_000):
            assert ends(rate_interval(0, n)) == pytest.approx((0, z2 / (n + z2)), rel=1e-12)
            assert ends(rate_interval(n, n, method="clopper-pearson")) == pytest.approx(
                (0.025 ** (1 / n), 1), rel=1e-12
            )
            for method in ("wilson", "clopper-pearson", "jeffreys"):
                assert rate_interval(0, n, method=method).low == 0
                assert rate_interval(n, n, method=method).high == 1

    @LAW
    @given(n=SIZES, data=st.data(), level=LEVELS, method=st.sampled_from(["wilson", "clopper-pearson", "jeffreys"]))
    def test_agrees_with_statsmodels(self, n: int, data: st.DataObject, level: float, method: Any) -> None:
        proportion_confint = import_module("statsmodels.stats.proportion").proportion_confint
        k = data.draw(st.integers(1, n))
        assume(k < n)  # at both ends definitions differ
        names = {"wilson": "wilson", "clopper-pearson": "beta", "jeffreys": "jeffreys"}
        theirs = proportion_confint(k, n, 1 - level, names[method])
        assert ends(rate_interval(k, n, method=method, level=level)) == pytest.approx(theirs, rel=1e-8)

    @LAW
    @given(n=st.integers(1, 2000), data=st.data(), null=st.floats(0.01, 0.99), level=LEVELS, alternative=ALTERNATIVES)
    def test_score_p_and_interval_agree(
        self, n: int, data: st.DataObject, null: float, level: float, alternative: Alternative
    ) -> None:
        found = one_rate(data.draw(st.integers(0, n)), n, null, alternative=alternative, level=level)
        assert found.interval is not None
        assert found.effect is not None
        assert found.effect.interval is not None
        assert (found.p < 1 - level) == (null not in found.interval) == (0 not in found.effect.interval)

    def test_a_contradiction_of_the_exact_test_is_told(self) -> None:
        told = [k for k in range(21) if any("disagree" in w for w in one_rate(k, 20, 0.3, method="exact").warnings)]
        for k in range(21):
            found = one_rate(k, 20, 0.3, method="exact")
            assert found.interval is not None
            assert ((found.p < 0.05) == (0.3 in found.interval)) == (k in told)

    def test_bad_input_is_told_at_once(self) -> None:
        with pytest.raises(DataError, match="k1=5") as error:
            two_rates(5, 4, cast(int, 2.5), 3)
        assert len(error.value.problems) == 2
        for bad in (("8", 10), (8, 0), (-1, 10), (math.nan, 10), (None, 10)):
            with pytest.raises(DataError, match="whole number"):
                rate_interval(*cast(tuple[int, int], bad))
        with pytest.raises(DataError, match="level"):
            rate_interval(1, 2, level=95)
        with pytest.raises(DataError, match="one-sided"):
            rate_interval(1, 2, alternative="less", level=0.4)
        with pytest.raises(DataError, match="alternative"):
            rate_interval(1, 2, alternative=cast(Any, "larger"))
        with pytest.raises(DataError, match="null"):
            one_rate(1, 2, 1.0)


class TestTwoRates:
    def test_r_prop_test_but_for_the_factor_of_n(self) -> None:
        found = two_rates(56, 70, 48, 80)
        assert found.statistic**2 * 150 / 149 == pytest.approx(7.02341137123746, rel=1e-12)

    @pytest.mark.parametrize(
        ("counts", "score", "newcombe"),
        [
            ((56, 70, 48, 80), (0.0528, 0.3382), (0.0524, 0.3339)),
            ((9, 10, 3, 10), (0.1700, 0.8406), (0.1705, 0.8090)),
            ((6, 7, 2, 7), (0.0342, 0.8534), (0.0582, 0.8062)),
        ],
    )
    def test_newcombe_1998(self, counts: Any, score: Any, newcombe: Any) -> None:
        """His examples (a) to (c), methods 6 and 10."""
        assert ends(rate_difference_interval(*counts)) == pytest.approx(score, abs=5e-5)
        assert ends(rate_difference_interval(*counts, method="newcombe")) == pytest.approx(newcombe, abs=5e-5)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:statsmodels")
    @pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 30, 3, 10), (5, 56, 3, 29), (400, 10_000, 500, 9_000)])
    def test_agrees_with_statsmodels(self, counts: tuple[int, int, int, int]) -> None:
        """But for the interval of the difference: statsmodels 0.15 has a wrong term in its constrained rates."""
        proportion = import_module("statsmodels.stats.proportion")
        theirs = proportion.confint_proportions_2indep
        for kind, effect in (("ratio", risk_ratio), ("odds-ratio", odds_ratio)):
            interval = theirs(*counts, compare=kind, method="score", alpha=0.1)
            assert ends(effect(*counts, level=0.9).interval) == pytest.approx(interval, rel=1e-8)
        pooled = proportion.test_proportions_2indep(*counts, compare="diff", method="score")
        assert two_rates(*counts).statistic == pytest.approx(float(pooled.statistic), rel=1e-9)
        newcombe = theirs(*counts, compare="diff", method="newcomb", alpha=0.1)
        assert ends(rate_difference_interval(*counts, method="newcombe", level=0.9)) == pytest.approx(newcombe)

    @LAW
    @given(counts=two_groups(), level=LEVELS, alternative=ALTERNATIVES, null=st.sampled_from([0.0, -0.05, 0.1, 0.001]))
    def test_p_and_intervals_agree(
        self, counts: tuple[int, int, int, int], level: float, alternative: Alternative, null: float
    ) -> None:
        found = two_rates(*counts, null=null, alternative=alternative, level=level)
        assert found.interval is not None
        assert found.interval.low <= found.estimate <= found.interval.high
        assert (found.p < 1 - level) == (null not in found.interval)
        k1, n1, k2, n2 = counts
        if null == 0 and 0 < k1 + k2 < n1 + n2:
            for function, nothing in ((cohens_h, 0), (odds_ratio, 1), (risk_ratio, 1)):
                effect = function(*counts, alternative=alternative, level=level)
                assert effect.interval is not None
                assert (found.p < 1 - level) == (nothing not in effect.interval), effect.name

    @LAW
    @given(counts=two_groups(), null=st.floats(-0.9, 0.9))
    def test_swapping_turns_the_sign(self, counts: tuple[int, int, int, int], null: float) -> None:
        k1, n1, k2, n2 = counts
        one, other = two_rates(*counts, null=null), two_rates(k2, n2, k1, n1, null=-null)
        assert one.statistic == pytest.approx(-other.statistic, rel=1e-6, abs=1e-6)
        assert one.interval is not None
        assert other.interval is not None
        assert ends(one.interval) == pytest.approx((-other.interval.high, -other.interval.low), abs=1e-9)

    @LAW
    @given(counts=st.tuples(st.integers(0, 9), st.just(9), st.integers(0, 14), st.just(14)), null=st.floats(-0.9, 0.9))
    def test_statistic_by_its_definition(self, counts: tuple[int, int, int, int], null: float) -> None:
        """Miettinen and Nurminen's: the variance at the likeliest rates that have this difference, searched here."""
        k1, n1, k2, n2 = counts

        def unlikelihood(p2: float) -> float:
            return -float(stats.binom.logpmf(k1, n1, p2 + null) + stats.binom.logpmf(k2, n2, p2))

        bounds = max(0.0, -null), min(1.0, 1 - null)
        found = optimize.minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-11})
        p2 = float(found.x)
        p1 = p2 + null
        variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / (n1 + n2 - 1)
        distance = k1 / n1 - k2 / n2 - null
        assert two_rates(*counts, null=null).statistic == pytest.approx(
            distance / math.sqrt(variance), rel=1e-3, abs=1e-3
        )

    def test_nothing_in_either_group(self) -> None:
        assert two_rates(9, 9, 14, 14, null=1e-20).p == two_rates(0, 9, 0, 14, null=-1e-20).p == 1
        found = two_rates(0, 10, 0, 10)
        assert (found.statistic, found.p, found.estimate) == (0, 1, 0)
        assert found.interval is not None
        # z(δ) = −√(n·δ/(1 − δ)·(N − 1)/N), as the likeliest rates are δ and 0.
        bound = stats.norm.isf(0.025) ** 2 * 20 / 19 / 10
        assert ends(found.interval) == pytest.approx((-bound / (1 + bound), bound / (1 + bound)), rel=1e-9)
        for function in (odds_ratio, risk_ratio):
            with pytest.raises(DataError, match="Neither group"):
                function(0, 10, 0, 10)
        with pytest.raises(DataError, match="failure"):
            odds_ratio(10, 10, 5, 5)

    def test_ratios_of_an_empty_cell(self) -> None:
        effect = odds_ratio(5, 5, 0, 5)
        assert effect.value == math.inf
        assert effect.interval is not None
        assert effect.interval.high == math.inf
        assert risk_ratio(0, 5, 3, 5).interval is not None
        assert risk_ratio(0, 5, 3, 5).value == 0
        with pytest.raises(DataError, match="method='score'"):
            odds_ratio(5, 5, 0, 5, method="wald")
        with pytest.raises(DataError, match="method='score'"):
            risk_ratio(0, 5, 3, 5, method="wald")

    def test_wald_ratios_by_definition(self) -> None:
        z = stats.norm.isf(0.025)
        odds, risk = odds_ratio(56, 70, 48, 80, method="wald"), risk_ratio(56, 70, 48, 80, method="wald")
        assert odds.value == pytest.approx(56 * 32 / (14 * 48))
        assert odds.interval is not None
        assert odds.interval.high / odds.value == pytest.approx(
            math.exp(z * math.sqrt(1 / 56 + 1 / 14 + 1 / 48 + 1 / 32))
        )
        assert risk.interval is not None
        assert risk.value == pytest.approx(0.8 / 0.6)
        assert risk.value / risk.interval.low == pytest.approx(math.exp(z * math.sqrt(0.2 / 56 + 0.4 / 48)))
        h = cohens_h(56, 70, 48, 80, method="wald")
        assert h.value == pytest.approx(2 * math.asin(math.sqrt(0.8)) - 2 * math.asin(math.sqrt(0.6)))
        assert h.interval is not None
        assert h.interval.high - h.value == pytest.approx(z * math.sqrt(1 / 70 + 1 / 80))
        assert (h.label, h.label_source) == ("small", "Cohen 1988")

    def test_score_and_wald_meet_for_many_trials(self) -> None:
        counts = 520_000, 1_000_000, 500_000, 1_000_000
        for function in (cohens_h, odds_ratio, risk_ratio):
            score, wald = function(*counts).interval, function(*counts, method="wald").interval
            assert ends(score) == pytest.approx(ends(wald), rel=1e-4)

    def test_few_expected_successes_are_told(self) -> None:
        assert any("expected" in each for each in two_rates(1, 20, 3, 20).warnings)
        assert not two_rates(10, 20, 13, 20).warnings

    def test_non_inferiority(self) -> None:
        found = two_rates(780, 1000, 790, 1000, null=-0.05, alternative="greater")
        assert found.interval is not None
        assert found.interval.high == 1
        assert (found.p < 0.05) == (found.interval.low > -0.05)
        assert found.p < 0.05


class TestPairedRates:
    def test_tango_1998(self) -> None:
        """His example of a cross-over trial of 44 patients: one discordant pair."""
        found = two_paired_rates([[43, 0], [1, 0]])
        assert found.statistic == -1
        assert found.interval is not None
        assert ends(found.interval) == pytest.approx((-0.118, 0.059), abs=5e-4)
        assert found.details["mid_p"] == pytest.approx(0.5)
        assert any("mid-p" in each for each in found.warnings)

    def test_r_mcnemar_test(self) -> None:
        performance = [[794, 150], [86, 570]]
        assert mcnemar(performance).p == pytest.approx(3.09929344104522e-05, rel=1e-11)
        assert mcnemar(performance).statistic ** 2 == pytest.approx(17.3559322033898, rel=1e-12)
        corrected = mcnemar(performance, method="corrected")
        assert (corrected.statistic, corrected.p) == pytest.approx((16.8177966101695, 4.11456228134594e-05), rel=1e-11)
        assert mcnemar(performance, method="exact").p == pytest.approx(3.71593613957e-05, rel=1e-11)

    @LAW
    @given(table=paired_tables())
    def test_agrees_with_statsmodels(self, table: list[list[int]]) -> None:
        theirs = import_module("statsmodels.stats.contingency_tables").mcnemar
        (_, x), (y, _) = table
        assume(0 < x + y < 10**6)
        for method, options in (
            ("score", {"exact": False, "correction": False}),
            ("corrected", {"exact": False}),
            ("exact", {"exact": True}),
        ):
            if method == "corrected" and x == y:
                continue  # statsmodels and R correct a difference of 0 to 1
            assert mcnemar(table, method=cast(Any, method)).p == pytest.approx(
                float(theirs(table, **options).pvalue), rel=1e-9, abs=1e-300
            )

    @LAW
    @given(table=paired_tables(), level=LEVELS, alternative=ALTERNATIVES, null=st.sampled_from([0.0, -0.05, 0.1]))
    def test_p_and_intervals_agree(
        self, table: list[list[int]], level: float, alternative: Alternative, null: float
    ) -> None:
        found = two_paired_rates(table, null=null, alternative=alternative, level=level)
        assert found.interval is not None
        assert found.interval.low <= found.estimate <= found.interval.high
        assert (found.p < 1 - level) == (null not in found.interval)
        for method in ("score", "exact", "mid-p"):
            test = mcnemar(table, method=cast(Any, method), alternative=alternative, level=level)
            if test.effect and abs(test.p - (1 - level)) > 1e-12:
                assert test.effect.interval is not None
                assert (test.p < 1 - level) == (0 not in test.effect.interval), method

    @LAW
    @given(counts=st.lists(st.integers(0, 12), min_size=4, max_size=4), null=st.floats(-0.9, 0.9))
    def test_tangos_statistic_by_its_definition(self, counts: list[int], null: float) -> None:
        """The variance at the likeliest rate of "only b" among those with this difference, searched here."""
        both, x, y, neither = counts
        n = sum(counts)
        assume(n > 0)

        def unlikelihood(only_b: float) -> float:
            only_a, alike = only_b + null, 1 - 2 * only_b - null
            terms = ((x, only_a), (y, only_b), (both + neither, alike))
            return -sum(k * math.log(max(p, 1e-300)) for k, p in terms if k)

        bounds = max(0.0, -null), (1 - null) / 2
        options = {"xatol": 1e-12}
        found = optimize.minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options=options)
        variance = (2 * float(found.x) + null - null**2) / n
        z = ((x - y) / n - null) / math.sqrt(variance)
        table = [[both, x], [y, neither]]
        assert two_paired_rates(table, null=null).statistic == pytest.approx(z, rel=1e-3, abs=1e-3)

    @LAW
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
    def test_arrays_are_their_table(self, pairs: list[tuple[bool, bool]]) -> None:
        a, b = [each for each, _ in pairs], [each for _, each in pairs]
        count = {(i, j): pairs.count((i, j)) for i in (True, False) for j in (True, False)}
        table = [[count[True, True], count[True, False]], [count[False, True], count[False, False]]]
        assert two_paired_rates(a, b) == two_paired_rates(table)
        swapped = two_paired_rates(b, a).interval
        assert swapped is not None
        mine = two_paired_rates(a, b).interval
        assert mine is not None
        assert ends(mine) == pytest.approx((-swapped.high, -swapped.low), abs=1e-12)

    def test_no_discordant_pair(self) -> None:
        found = two_paired_rates([1, 1, 0], [1, 1, 0])
        assert (found.p, found.estimate, found.effect) == (1, 0, None)
        assert found.interval is not None
        bound = stats.norm.isf(0.025) ** 2 / (3 + stats.norm.isf(0.025) ** 2)
        assert ends(found.interval) == pytest.approx((-bound, bound), rel=1e-9)
        assert any("agree on every item" in each for each in found.warnings)
        for method in ("score", "exact", "mid-p", "corrected"):
            assert mcnemar([1, 0], [1, 0], method=cast(Any, method)).p == 1

    def test_mid_p_is_the_exact_p_less_half_of_the_observed_outcome(self) -> None:
        for x, y in ((1, 8), (5, 2), (3, 3)):
            mine = mcnemar([[4, x], [y, 5]], method="mid-p").p
            low = min(x, y)
            assert mine == pytest.approx(
                min(1.0, 2 * float(stats.binom.cdf(low, x + y, 0.5)) - float(stats.binom.pmf(low, x + y, 0.5)))
            )

    def test_bonett_and_price_by_definition(self) -> None:
        interval = paired_rate_interval([[36, 7], [2, 45]], method="bonett-price")
        a, b, z = 8 / 92, 3 / 92, stats.norm.isf(0.025)
        spread = z * math.sqrt((a + b - (a - b) ** 2) / 92)
        assert ends(interval) == pytest.approx((a - b - spread, a - b + spread), rel=1e-12)

    def test_cochran_q_agrees_with_statsmodels_and_with_mcnemar(self) -> None:
        cochrans_q = import_module("statsmodels.stats.contingency_tables").cochrans_q
        data = (np.random.default_rng(5).random((40, 4)) < [0.5, 0.6, 0.7, 0.8]).astype(int)
        mine, theirs = cochran_q({f"c{i}": data[:, i] for i in range(4)}), cochrans_q(data)
        assert (mine.statistic, mine.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)
        two = cochran_q([data[:, 0], data[:, 3]])
        assert two.p == pytest.approx(mcnemar(data[:, 0], data[:, 3]).p, rel=1e-9)
        same = cochran_q([[1, 0], [1, 0], [1, 0]])
        assert (same.statistic, same.p) == (0, 1)
        assert same.warnings

    def test_bad_input(self) -> None:
        with pytest.raises(DataError, match="other than 0 and 1"):
            two_paired_rates([0, 1, 0.5], [0, 1, 1])
        with pytest.raises(DataError, match="pairs need as many"):
            two_paired_rates([0, 1], [0, 1, 1])
        with pytest.raises(DataError, match="no pairs"):
            two_paired_rates([[0, 0], [0, 0]])
        with pytest.raises(DataError, match="2 × 2"):
            mcnemar([[1, 2, 3], [4, 5, 6]])
        with pytest.raises(DataError, match="same items"):
            cochran_q({"x": [0, 1], "y": [1]})


class TestTables:
    def test_r_chisq_test(self) -> None:
        votes = [[762, 327, 468], [484, 239, 477]]
        found = chi_square(votes)
        assert (found.statistic, found.p) == pytest.approx((30.0701490957547, 2.95358918321176e-07), rel=1e-12)
        assert found.df == (2,)
        small = [[12, 7], [5, 7]]
        assert chi_square(small).p == pytest.approx(0.241529274763687, rel=1e-12)
        assert chi_square(small, correction=True).p == pytest.approx(0.423305424322418, rel=1e-12)

    def test_r_fisher_test(self) -> None:
        convictions = [[2, 10], [15, 3]]
        found = fisher_exact(convictions)
        assert found.p == pytest.approx(0.000536724119143436, rel=1e-11)
        # R looks for the ends of its interval with a tolerance of 1e-4 only.
        assert found.estimate == pytest.approx(0.0469366088276989, rel=1e-4)
        assert found.interval is not None
        assert ends(found.interval) == pytest.approx((0.00332576403385931, 0.363182271474897), rel=3e-3)
        less = fisher_exact(convictions, alternative="less")
        assert less.p == pytest.approx(0.000465180943362906, rel=1e-11)
        assert less.interval is not None
        assert ends(less.interval) == pytest.approx((0, 0.28496013793557), rel=1e-3)

    def test_fishers_interval_by_definition(self) -> None:
        """Of the lady tasting tea: 2.5 % of the tables are as extreme at either end."""
        found = fisher_exact([[3, 1], [1, 3]])
        assert found.p == pytest.approx(0.485714285714286, rel=1e-12)
        assert found.interval is not None
        at_least_3, at_most_3 = (
            float(part @ weights / (weights @ [1, 16, 36, 16, 1]))
            for part, weights in (
                (np.array([0, 0, 0, 16, 1]), found.interval.low ** np.arange(5)),
                (np.array([1, 16, 36, 16, 0]), found.interval.high ** np.arange(5)),
            )
        )
        assert (at_least_3, at_most_3) == pytest.approx((0.025, 0.025), rel=1e-8)

    def test_a_larger_table_by_seeded_draws(self) -> None:
        job = [[1, 3, 10, 6], [2, 3, 10, 7], [1, 6, 14, 12], [0, 1, 9, 11]]
        found = fisher_exact(job, draws=2_000)
        assert found.p == pytest.approx(0.782684938965639, abs=4 * found.details["p_standard_error"])  # R's, exact
        assert found == fisher_exact(job, draws=2_000)
        assert found.p != fisher_exact(job, draws=2_000, seed=1).p
        with pytest.raises(DataError, match="2 × 2"):
            fisher_exact(job, alternative="less")

    @LAW
    @given(st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=3), min_size=2, max_size=4))
    def test_v_agrees_with_scipy_and_with_the_test(self, table: list[list[int]]) -> None:
        effect = cramers_v(table)
        assert effect.value == pytest.approx(float(stats.contingency.association(table)), abs=1e-12)
        assert effect.interval is not None
        assert effect.interval.level == 0.9
        found = chi_square(table)
        assert (found.p < 0.05) == (effect.interval.low > 0)
        df = found.df[0]
        scale = found.n[0] * (min(len(table), 3) - 1)
        if effect.interval.low > 0:
            tail = stats.ncx2.sf(found.statistic, df, effect.interval.low**2 * scale)
            assert float(tail) == pytest.approx(0.05, rel=1e-6)
        if 0 < effect.interval.high < 1:
            tail = stats.ncx2.cdf(found.statistic, df, effect.interval.high**2 * scale)
            assert float(tail) == pytest.approx(0.05, rel=1e-6)

    def test_bergsmas_correction(self) -> None:
        found = chi_square([[30, 10, 20], [10, 30, 20]])
        excess = 20 / 120 - 2 / 119
        assert found.details["bias_corrected_v"] == pytest.approx(math.sqrt(excess / (2 - 1 / 119 - 1)))
        assert chi_square([[10, 10], [10, 10]]).details["bias_corrected_v"] == 0

    def test_small_expected_counts_are_told(self) -> None:
        found = chi_square([[3, 1], [1, 3]])
        assert any("4 of 4 expected counts are under 5" in each for each in found.warnings)
        assert found.assumptions[1].holds is False

    def test_bad_input(self) -> None:
        with pytest.raises(DataError) as error:
            chi_square([[0, 0, 0], [1, 2, 0], [1, 1, 0]])
        assert error.value.problems == (
            "Row 1 of the table is empty: leave it out.",
            "Column 3 of the table is empty: leave it out.",
        )
        bad: list[Any] = [[[0.5, 1], [2, 3]], [[-1, 1], [2, 3]], [["1", 1], [2, 3]], [[math.nan, 1], [2, 3]]]
        for table in bad:
            with pytest.raises(DataError, match="counts"):
                chi_square(table)
        for table in ([[1, 2]], [[1, 2], [3]], [1, 2]):
            with pytest.raises(DataError, match="table"):
                chi_square(cast(Any, table))
        with pytest.raises(DataError, match="Yates"):
            chi_square([[1, 2, 3], [4, 5, 6]], correction=True)


@pytest.mark.parametrize("method", ["wilson", "clopper-pearson", "jeffreys"])
def test_coverage_of_wilsons_interval_is_right_on_average(
    method: Literal["wilson", "clopper-pearson", "jeffreys"],
) -> None:
    """Exactly, over rates from .5 to .99: by summing the binomial outcomes whose interval holds the rate."""
    n, rates = 30, np.linspace(0.5, 0.99, 200)
    found = [rate_interval(k, n, method=method) for k in range(n + 1)]
    low, high = np.array([each.low for each in found]), np.array([each.high for each in found])
    holds = (low[:, None] <= rates) & (rates <= high[:, None])
    coverage = (stats.binom.pmf(np.arange(n + 1)[:, None], n, rates) * holds).sum(axis=0)
    if method == "clopper-pearson":
        assert coverage.min() >= 0.95
    else:
        assert 0.94 < coverage.mean() < 0.96
