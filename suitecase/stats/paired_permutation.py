"""Sign-flip tests: what the mean difference of pairs would be, had chance alone named each pair's sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from suitecase.stats.permutation import (
    ENUMERABLE,
    PHIPSON_SMYTH,
    Labels,
    as_extreme,
    checked_draws,
    fewer_draws,
    monte_carlo,
    sums_by,
)
from suitecase.stats.resampling import sign_flips
from suitecase.stats.results import Alternative, TestResult
from suitecase.stats.samples import Array, Values, check_alternative, codes_of, pairs_of

__all__ = ["permutation_test_paired", "permutation_tests_paired", "sign_flip_p"]


def permutation_test_paired(
    a: Values,
    b: Values,
    *,
    clusters: Labels | None = None,
    alternative: Alternative = "two-sided",
    draws: int | None = None,
    seed: int = 0,
) -> TestResult:
    """The sign-flip test of the mean difference of pairs (Fisher 1935): had chance alone named each pair's sides.

    It is exact for differences that are symmetric around 0. Studentising changes nothing here: flipping leaves the sum
    of squares as it is, so t rises with the mean.

    Args:
        a: Values, shape (n,).
        b: The partner of each, shape (n,).
        clusters: The label of each pair's cluster; the differences of a cluster flip together.
        alternative: Whether the true mean of a − b isn't, is below or is above 0.
        draws: How many flips to draw for more than 14 pairs (or clusters); 9,999 unless given, fewer (and said so) for
            more than 200,000 pairs.
        seed: Of the draws.

    Returns:
        With the flips counted, whether that was all of them, the seed, and the Monte-Carlo standard error of p in the
        details. If all differences are 0, p is 1.

    Raises:
        DataError: For bad values, unequal lengths, or fewer than 1 draw.
    """
    check_alternative(alternative)
    x, y = pairs_of(a, b)
    differences = x - y
    units = differences if clusters is None else sums_by(codes_of(clusters, len(x)), differences)
    asked = checked_draws(draws, len(units))
    extreme = int(flips_as_extreme(units[:, None], alternative, asked, seed)[0])
    found = flipped(differences, len(units), extreme, asked, alternative, seed, fewer=draws is None)
    if clusters is None:
        return found
    details = {**found.details, "clusters": float(len(units))}
    return replace(found, test="clustered sign-flip test", details=details)


def permutation_tests_paired(differences: Array, *, seed: int = 0) -> list[TestResult]:
    """`permutation_test_paired` of many comparisons over as many pairs, which share the flips and the time they take.

    Args:
        differences: First minus second, shape (n, k): of n pairs under k comparisons.
        seed: Of the draws.
    """
    n = len(differences)
    asked = checked_draws(None, n)
    extreme = flips_as_extreme(differences, "two-sided", asked, seed)
    return [
        flipped(column, n, int(count), asked, "two-sided", seed, fewer=True)
        for column, count in zip(differences.T, extreme, strict=True)
    ]


def flipped(
    differences: Array, units: int, extreme: int, asked: int, alternative: Alternative, seed: int, *, fewer: bool
) -> TestResult:
    """The result, of how many flips of the units were as extreme as the data; `fewer` if nobody asked for a number."""
    exact = enumerable(units)
    counted = 2**units if exact else asked
    return TestResult(
        test="sign-flip test",
        p=extreme / counted if exact else (1 + extreme) / (1 + counted),
        alternative=alternative,
        n=(len(differences),),
        estimate_name="mean difference",
        estimate=float(differences.mean()),
        references=("Fisher 1935, The Design of Experiments, 21", PHIPSON_SMYTH),
        warnings=fewer_draws(None if fewer else asked, asked, exact),
        details=monte_carlo(extreme, counted, exact, seed),
    )


def sign_flip_p(
    differences: Array, *, alternative: Alternative = "two-sided", draws: int | None = None, seed: int = 0
) -> Array:
    """The p-values of many sign-flip tests over the same pairs at once, such as of many variants against a baseline.

    All columns see the same flips, so each p-value is the one that `permutation_test_paired` gives.

    Args:
        differences: Shape (n, k): of n pairs, or sums of n clusters, under k comparisons.
        alternative: As there.
        draws: As there.
        seed: As there.

    Returns:
        Shape (k,), in (0, 1].
    """
    check_alternative(alternative)
    asked = checked_draws(draws, len(differences))
    extreme = flips_as_extreme(differences, alternative, asked, seed)
    if enumerable(len(differences)):
        return extreme / 2.0 ** len(differences)
    return (1 + extreme) / (1 + asked)


def enumerable(n: int) -> bool:
    """Whether there are few enough ways to flip n signs to go through them: up to 14."""
    return n < 64 and 2**n <= ENUMERABLE


def flips_as_extreme(differences: Array, alternative: Alternative, draws: int, seed: int) -> Array:
    """How many flips give sums as extreme as the data's: of all flips if they are few, else of those drawn."""
    n = len(differences)
    scale = np.abs(differences).sum(axis=0)
    scaled = differences / np.where(scale > 0, scale, 1.0)
    observed = scaled.sum(axis=0)
    extreme = np.zeros(differences.shape[1])
    for signs in every_sign(n) if enumerable(n) else sign_flips(n, draws, np.random.default_rng(seed)):
        extreme += as_extreme(signs @ scaled, observed, alternative).sum(axis=0)
    return extreme


def every_sign(n: int) -> Iterator[Array]:
    """Every way to give n values a sign, −1 or 1, shape (2ⁿ, n)."""
    yield 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
