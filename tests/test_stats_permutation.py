"""Permutation tests against enumeration, scipy and their own laws."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r_data import SLEEP_1, SLEEP_2

from suitecase.stats import (
    Alternative,
    DataError,
    permutation,
    permutation_test,
    permutation_test_paired,
    resampling,
    sign_flip_tests,
    t_test,
)

stats = cast(Any, scipy.stats)

alternatives = st.sampled_from(["two-sided", "less", "greater"])
few = st.lists(st.integers(-9, 9), min_size=2, max_size=5)


def welch(first: Any, second: Any) -> float:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap, squared = a.mean() - b.mean(), a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)
    return 0.0 if abs(gap) < 1e-12 else float(gap / math.sqrt(squared)) if squared else math.copysign(math.inf, gap)


def as_far(found: float, observed: float, alternative: Alternative) -> bool:
    if alternative == "two-sided":
        found, observed = abs(found), abs(observed)
    elif alternative == "less":
        found, observed = -found, -observed
    return found >= observed or math.isclose(found, observed, rel_tol=1e-9, abs_tol=1e-9)


def test_sleep_by_sign_flips() -> None:
    """All 1024 flips of R's sleep give p = 4/1024."""
    found = permutation_test_paired(SLEEP_1, SLEEP_2)
    assert found.p == 0.00390625
    assert found.details == {"arrangements": 1024, "exact": 1, "seed": 0, "p_standard_error": 0}


@settings(max_examples=25, deadline=None)
@given(few, few, alternatives, st.booleans())
def test_few_values_are_enumerated(a: list[int], b: list[int], alternative: Alternative, studentised: bool) -> None:
    """p is the share of all ways to split the values whose statistic is as far out."""
    both = [*a, *b]

    def statistic(first: Any, second: Any) -> float:
        return welch(first, second) if studentised else sum(first) / len(first) - sum(second) / len(second)

    observed = statistic(a, b)
    hits, ways = 0, 0
    for chosen in combinations(range(len(both)), len(a)):
        rest = [both[i] for i in range(len(both)) if i not in chosen]
        hits += as_far(statistic([both[i] for i in chosen], rest), observed, alternative)
        ways += 1
    found = permutation_test(a, b, studentised=studentised, alternative=alternative)
    assert found.p == pytest.approx(hits / ways)
    assert (found.details["exact"], found.details["arrangements"]) == (1, ways)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8), alternatives)
def test_few_pairs_are_enumerated(differences: list[int], alternative: Alternative) -> None:
    sums = [
        sum(s * d for s, d in zip(each, differences, strict=True)) for each in product([1, -1], repeat=len(differences))
    ]
    expected = sum(as_far(each, sum(differences), alternative) for each in sums) / len(sums)
    found = permutation_test_paired(differences, [0] * len(differences), alternative=alternative)
    assert found.p == pytest.approx(expected)


def test_the_statistic_is_welchs_t() -> None:
    """R's sleep, t.test(g1, g2)"""
    assert permutation_test(SLEEP_1, SLEEP_2).statistic == pytest.approx(-1.860813467487, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(30, 40), (700, 500)])
def test_drawn_arrangements_agree_with_the_t_test_and_repeat_by_their_seed(n: int, m: int) -> None:
    """For normal values permutation and t-test are nearly the same; both ways to draw groups are met."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, n), rng.normal(0.25 if n < 100 else 0.01, 1, m)
    found = permutation_test(a, b, draws=1999)
    assert found.details["exact"] == 0
    assert found.p == pytest.approx(t_test(a, b).p, abs=4 * found.details["p_standard_error"] + 0.005)
    assert permutation_test(a, b, draws=1999) == found
    assert permutation_test(a, b, draws=1999, seed=1).p != found.p


def test_random_groups_have_their_size_and_are_all_as_likely() -> None:
    """Also where bytes are drawn and then turned: each value is chosen as often as any other."""
    for total, first in ((10, 3), (1200, 5), (1200, 600), (1200, 1195)):
        rows = 4000
        chosen = permutation.random_groups(np.random.default_rng(0), rows, total, first)
        assert (chosen.sum(axis=1) == first).all()
        share = first / total
        z = (chosen.mean(axis=0) - share) / math.sqrt(share * (1 - share) / rows)
        assert np.abs(z).max() < 5
        assert z.std() == pytest.approx(math.sqrt(1 - 1 / total), abs=0.25 if total == 10 else 0.08)


def test_drawn_flips_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a p-value is the same alone and among many columns."""
    rng = np.random.default_rng(0)
    table = rng.normal(0.1, 1, (150, 12))
    together = [each.p for each in sign_flip_tests(table, draws=999)]
    alone = [permutation_test_paired(column, np.zeros(150), draws=999).p for column in table.T]
    assert list(together) == pytest.approx(alone)
    monkeypatch.setattr(resampling, "BLOCK", 1000)
    assert [each.p for each in sign_flip_tests(table, draws=999)] == pytest.approx(alone)


def test_one_pair_more_than_can_be_enumerated_is_drawn() -> None:
    rng = np.random.default_rng(0)
    fourteen, fifteen = rng.normal(0.3, 1, 14), rng.normal(0.3, 1, 15)
    assert permutation_test_paired(fourteen, np.zeros(14)).details["arrangements"] == 2**14
    found = permutation_test_paired(fifteen, np.zeros(15))
    assert found.details["arrangements"] == 9999
    sums = np.array(list(product([1.0, -1.0], repeat=15))) @ fifteen
    exact = float((np.abs(sums) >= abs(fifteen.sum()) - 1e-9).mean())
    assert found.p == pytest.approx(exact, abs=4 * found.details["p_standard_error"] + 1e-4)


def test_clusters_move_as_wholes() -> None:
    """Four clusters against three have 35 arrangements, however many values; and pairs' clusters flip together."""
    rng = np.random.default_rng(0)
    sizes = [3, 1, 4, 2, 5, 2, 3]
    labels = np.repeat(np.arange(7), sizes)
    values = rng.normal(size=20) + labels % 2
    first = labels < 4
    found = permutation_test(values[first], values[~first], clusters=(labels[first], labels[~first]))
    assert (found.details["arrangements"], found.details["clusters_a"], found.details["clusters_b"]) == (35, 4, 3)

    def t(chosen: tuple[int, ...]) -> float:
        parts: list[tuple[float, float]] = []
        for clusters in (chosen, tuple(set(range(7)) - set(chosen))):
            inside = values[np.isin(labels, clusters)]
            rests = [float((values[labels == each] - inside.mean()).sum()) for each in clusters]
            count = len(clusters)
            parts.append((float(inside.mean()), count / (count - 1) * sum(r * r for r in rests) / len(inside) ** 2))
        return (parts[0][0] - parts[1][0]) / math.sqrt(parts[0][1] + parts[1][1])

    observed = t((0, 1, 2, 3))
    every = [abs(t(chosen)) >= abs(observed) - 1e-9 for chosen in combinations(range(7), 4)]
    assert found.statistic == pytest.approx(observed)
    assert found.p == pytest.approx(sum(every) / 35)

    paired = permutation_test_paired(values, np.zeros(20), clusters=labels.tolist())
    sums = np.array(list(product([1.0, -1.0], repeat=7))) @ np.bincount(labels, weights=values)
    assert paired.p == pytest.approx((np.abs(sums) >= abs(values.sum()) - 1e-9).mean())


def test_clusters_that_hide_the_sample_size_hold_their_level() -> None:
    """Values of a cluster are alike; taken as independent they would reject half of the time."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 10)
    rejected = [0, 0]
    for _ in range(100):
        a, b = (rng.normal(size=6)[labels] + rng.normal(0, 0.3, 60) for _ in range(2))
        rejected[0] += permutation_test(a, b, clusters=(labels, labels + 6)).p <= 0.05
        rejected[1] += permutation_test(a, b, draws=199).p <= 0.05
    assert rejected[0] <= 12
    assert rejected[1] >= 30


def test_studentising_holds_the_level_where_sizes_and_variances_differ() -> None:
    """The case of Janssen (1997): the smaller group varies more."""
    rng = np.random.default_rng(0)
    rejected = [0, 0]
    for _ in range(300):
        a, b = rng.normal(0, 3, 15), rng.normal(0, 1, 60)
        for i, studentised in enumerate((True, False)):
            rejected[i] += permutation_test(a, b, studentised=studentised, draws=199).p <= 0.05
    assert rejected[0] <= 30
    assert rejected[1] >= 45


def test_degenerate_values_have_stated_answers() -> None:
    assert permutation_test([1, 1], [1, 1]).p == 1
    assert permutation_test_paired([1, 2], [1, 2]).p == 1
    separated = permutation_test([1, 1, 1, 1], [0, 0, 0, 0])
    assert separated.p == pytest.approx(2 / 70)
    assert separated.statistic == math.inf
    assert separated.to_dict()["statistic"] is None
    assert permutation_test_paired([1e6 + 0.1] * 12, [1e6] * 12).p == 2 / 2**12


def test_bad_input_is_told() -> None:
    with pytest.raises(DataError, match="a has 1 values"):
        permutation_test([1], [1, 2])
    with pytest.raises(DataError, match=r"1 clusters lie in both groups \(y\)"):
        permutation_test([1, 2], [3, 4], clusters=(["x", "y"], ["y", "z"]))
    with pytest.raises(DataError, match="a has 1 clusters and b has 2"):
        permutation_test([1, 2], [3, 4], clusters=(["x", "x"], ["y", "z"]))
    with pytest.raises(DataError, match="clusters of b: 1 labels for 2 values"):
        permutation_test([1, 2], [3, 4], clusters=(["x", "y"], ["z"]))
    with pytest.raises(DataError, match="draws=0"):
        permutation_test(SLEEP_1, SLEEP_2, draws=0)


def test_a_million_pairs_draw_fewer_flips_and_say_so() -> None:
    assert permutation.checked_draws(None, 200_000) == 9_999
    assert permutation.checked_draws(None, 10**6) == 2_000
    assert permutation.checked_draws(None, 10**7) == 999
    assert "only 999" in permutation.fewer_draws(None, 999, exact=False)[0]
    found = permutation_test_paired(np.random.default_rng(0).normal(size=10**6), np.zeros(10**6), draws=9)
    assert found.p >= 0.1
