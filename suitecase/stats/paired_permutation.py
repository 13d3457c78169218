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

__all__ = ["permutation_test_paired", "sign_flip_tests"]


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
    if clusters is None:
        (found,) = sign_flip_tests(differences[:, None], alternative=alternative, draws=draws, seed=seed)
        return found
    sums = sums_by(codes_of(clusters, len(x)), differences)
    (found,) = sign_flip_tests(sums[:, None], alternative=alternative, draws=draws, seed=seed)
    return replace(
        found,
        test="clustered sign-flip test",
        n=(len(x),),
        estimate=float(differences.mean()),
        details={**found.details, "clusters": float(len(sums))},
    )


def sign_flip_tests(
    differences: Array, *, alternative: Alternative = "two-sided", draws: int | None = None, seed: int = 0
) -> tuple[TestResult, ...]:
    """Many sign-flip tests over as many pairs at once, such as of many variants against a baseline.

    All columns see the same flips, so each result is the one that `permutation_test_paired` gives.

    Args:
        differences: Shape (n, k): of n pairs under k comparisons.
        alternative: As there.
        draws: As there.
        seed: As there.
    """
    check_alternative(alternative)
    n = len(differences)
    asked, exact = checked_draws(draws, n), enumerable(n)
    counted = 2**n if exact else asked
    return tuple(
        TestResult(
            test="sign-flip test",
            p=float(extreme / counted if exact else (1 + extreme) / (1 + counted)),
            alternative=alternative,
            n=(n,),
            estimate_name="mean difference",
            estimate=float(mean),
            references=("Fisher 1935, The Design of Experiments, 21", PHIPSON_SMYTH),
            warnings=fewer_draws(draws, asked, exact),
            details=monte_carlo(int(extreme), counted, exact, seed),
        )
        for extreme, mean in zip(
            flips_as_extreme(differences, alternative, asked, seed), differences.mean(axis=0), strict=True
        )
    )


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
