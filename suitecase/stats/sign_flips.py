"""Sign-flip tests: what the mean difference of pairs would be, had chance alone named each pair's sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from suitecase.stats.permutation import (
    BLOCK,
    ENUMERABLE,
    PHIPSON_SMYTH,
    Labels,
    as_extreme,
    checked_draws,
    fewer_draws,
    monte_carlo,
    sums_by,
)
from suitecase.stats.results import Alternative, TestResult
from suitecase.stats.samples import Array, Values, check_alternative, codes_of, pairs_of

__all__ = ["permutation_test_paired", "sign_flip_p"]


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
    exact = enumerable(len(units))
    asked = checked_draws(draws, len(units))
    extreme = int(flips_as_extreme(units[:, None], alternative, asked, seed)[0])
    counted = 2 ** len(units) if exact else asked
    return TestResult(
        test="clustered sign-flip test" if clusters is not None else "sign-flip test",
        p=extreme / counted if exact else (1 + extreme) / (1 + counted),
        alternative=alternative,
        n=(len(x),),
        estimate_name="mean difference",
        estimate=float(differences.mean()),
        references=("Fisher 1935, The Design of Experiments, 21", PHIPSON_SMYTH),
        warnings=fewer_draws(draws, asked, exact),
        details=monte_carlo(extreme, counted, exact, seed)
        | ({} if clusters is None else {"clusters": float(len(units))}),
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
    observed = differences.sum(axis=0)
    scale = np.abs(differences).sum(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    extreme = np.zeros(differences.shape[1])
    # Eight times as many flips at once for many columns, whose product with them is bound by memory.
    rows = max(BLOCK * min(differences.shape[1], 8) // n, 1)
    for flipped in all_flips(n) if enumerable(n) else drawn_flips(n, draws, seed, rows):
        sums = observed - 2 * (flipped @ differences)
        extreme += as_extreme(sums / scale, observed / scale, alternative).sum(axis=0)
    return extreme


def all_flips(n: int) -> Iterator[Array]:
    """Every way to flip n signs, 1 for flipped, shape (2ⁿ, n)."""
    yield np.asarray((np.arange(2**n)[:, None] >> np.arange(n)) & 1, np.float64)


def drawn_flips(n: int, draws: int, seed: int, rows: int) -> Iterator[Array]:
    """So many random ways to flip n signs, in blocks of shape (rows, n), the same whatever the rows; 1 for flipped."""
    generator = np.random.default_rng(seed)
    for start in range(0, draws, rows):
        words = generator.integers(2**64, size=(min(rows, draws - start), -(-n // 64)), dtype=np.uint64)
        yield np.unpackbits(words.view(np.uint8), axis=1, count=n).astype(np.float64)
