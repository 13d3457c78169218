"""Which test fits the data: the rule of `docs/statistics.md`, and its reasons in words.

The rule looks at the design (pairs, clusters, rates or numbers), never at a test of normality or of variances: a test
that is picked by another test on the same data rejects too often (Rochon, Gondan & Kieser 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from suitecase.stats.clusters import clustered_difference, clustered_paired_difference
from suitecase.stats.means import t_test, t_test_paired
from suitecase.stats.paired_permutation import permutation_test_paired
from suitecase.stats.paired_rates import FEW_DISCORDANT, mcnemar, two_paired_rates
from suitecase.stats.permutation import permutation_test
from suitecase.stats.ranks import mann_whitney, sign_test, wilcoxon
from suitecase.stats.rates import two_rates
from suitecase.stats.results import TestResult
from suitecase.stats.samples import Array, DataError

__all__ = ["TESTS", "Choice", "TestName", "choose", "is_rate"]

TestName: TypeAlias = Literal["welch", "student", "paired-t", "mann-whitney", "wilcoxon", "sign"]
"""Tests that replace the rule's own on request: they answer other questions."""

TESTS: Final[dict[bool, tuple[TestName, ...]]] = {
    True: ("paired-t", "wilcoxon", "sign"),
    False: ("welch", "student", "mann-whitney"),
}
"""Those for pairs, and those for two groups."""

Labels: TypeAlias = Sequence[Hashable]


@dataclass(frozen=True)
class Choice:
    """The test of one comparison.

    Attributes:
        decide: The deciding test, with its interval at the level that is given.
        beside: The test that only warns, if there is one.
        why: The rule's steps, one sentence each.
        flip_seed: Of the sign-flip test beside it, which many comparisons of as many pairs make at once.
    """

    decide: Callable[[float], TestResult]
    beside: Callable[[], TestResult] | None
    why: tuple[str, ...]
    flip_seed: int | None = None


def choose(
    a: Array,
    b: Array,
    *,
    paired: bool,
    clusters: tuple[Labels, Labels] | None = None,
    test: TestName | None = None,
    seed: int = 0,
) -> Choice:
    """The test for values `a` against `b`, shapes (n,) and (m,), aligned if they are pairs.

    Args:
        a: The first condition's values.
        b: The baseline's values.
        paired: Whether `a[i]` and `b[i]` belong together.
        clusters: The label of each value's cluster, for both; the same twice for pairs.
        test: Instead of the rule's own test.
        seed: Of the permutations.

    Raises:
        DataError: For a test that doesn't fit the design.
    """
    if test is not None:
        return asked_for(a, b, paired, clusters is not None, test)
    if clusters is not None:
        return clustered(a, b, paired, clusters, seed)
    if is_rate(a) and is_rate(b):
        return of_rates(a, b, paired)
    if paired:
        return Choice(
            decide=lambda level: t_test_paired(a, b, level=level),
            beside=None,
            why=("Numbers in pairs: the paired t-test, with a sign-flip test beside it.",),
            flip_seed=seed,
        )
    return Choice(
        decide=lambda level: t_test(a, b, level=level),
        beside=lambda: permutation_test(a, b, seed=seed),
        why=("Numbers of two groups: Welch's t-test, with a studentised permutation test beside it.",),
    )


def is_rate(values: Array) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.all((values == 0) | (values == 1)))


def of_rates(a: Array, b: Array, paired: bool) -> Choice:
    if not paired:
        counts = (int(a.sum()), len(a), int(b.sum()), len(b))
        return Choice(
            decide=lambda level: two_rates(*counts, level=level),
            beside=None,
            why=("Rates of two groups: Miettinen and Nurminen's interval with its score test.",),
        )
    discordant = int(np.sum(a != b))
    few = discordant < FEW_DISCORDANT
    why = f"Rates in pairs: Tango's interval and the score McNemar test; {discordant} of {len(a)} pairs are discordant."
    return Choice(
        decide=lambda level: two_paired_rates(a, b, level=level),
        beside=(lambda: mcnemar(a, b, method="mid-p")) if few else None,
        why=(why, f"Fewer than {FEW_DISCORDANT}: the mid-p test stands beside it.") if few else (why,),
    )


def clustered(a: Array, b: Array, paired: bool, clusters: tuple[Labels, Labels], seed: int) -> Choice:
    if paired:
        return Choice(
            decide=lambda level: clustered_paired_difference(a, b, clusters[0], level=level),
            beside=lambda: permutation_test_paired(a, b, clusters=clusters[0], seed=seed),
            why=("Pairs in clusters: CR2 standard error, with whole clusters' signs flipped beside it.",),
        )
    return Choice(
        decide=lambda level: clustered_difference(a, b, clusters[0], clusters[1], level=level),
        beside=lambda: permutation_test(a, b, clusters=clusters, seed=seed),
        why=("Groups in clusters: CR2 standard error, with whole clusters permuted beside it.",),
    )


def asked_for(a: Array, b: Array, paired: bool, has_clusters: bool, test: TestName) -> Choice:
    if test not in TESTS[paired]:
        shape = "pairs" if paired else "two groups"
        raise DataError(f"The test {test!r} is not for {shape}. There are: {', '.join(TESTS[paired])}.")
    if has_clusters:
        raise DataError(f"The test {test!r} takes values as independent, and they come in clusters: leave it out.")
    decide: dict[TestName, Callable[[float], TestResult]] = {
        "welch": lambda level: t_test(a, b, level=level),
        "student": lambda level: t_test(a, b, equal_variances=True, level=level),
        "mann-whitney": lambda level: mann_whitney(a, b, level=level),
        "paired-t": lambda level: t_test_paired(a, b, level=level),
        "wilcoxon": lambda level: wilcoxon(a, b, level=level),
        "sign": lambda level: sign_test(a, b, level=level),
    }
    return Choice(decide=decide[test], beside=None, why=(f"The test {test!r} was asked for, instead of the rule's.",))
