"""Permutation tests: what the difference would be, had chance alone dealt out the conditions.

All arrangements are gone through where there are few enough; otherwise as many as asked for are drawn with a recorded
seed, and p = (1 + those as extreme as the data) / (1 + draws), which is never 0 and is valid at any number of draws
(Phipson & Smyth 2010). Clusters move as wholes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suitecase.stats.results import Alternative, TestResult
from suitecase.stats.samples import Array, DataError, Values, check_alternative, codes_of, groups_of

__all__ = ["permutation_test"]

ENUMERABLE = 20_000
"""Up to so many arrangements all of them are gone through."""

DRAWS = 9_999
"""Arrangements drawn otherwise: at p = .05 the Monte-Carlo standard error is then .002."""

WORK = 2 * 10**9
"""Of more values × draws than this, fewer arrangements are drawn, but never under 999: some 20 seconds."""

BLOCK = 2**18
"""Values dealt out at once: 2 MB, which stay in the cache."""

JANSSEN = "Janssen 1997, Stat. Probab. Lett. 36:9–21"
CHUNG_ROMANO = "Chung & Romano 2013, Ann. Stat. 41:484–507"
PHIPSON_SMYTH = "Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39"

Labels = Sequence[Hashable] | NDArray[Any]


def permutation_test(
    a: Values,
    b: Values,
    *,
    clusters: tuple[Labels, Labels] | None = None,
    studentised: bool = True,
    alternative: Alternative = "two-sided",
    draws: int | None = None,
    seed: int = 0,
) -> TestResult:
    """The permutation test of two independent means.

    Studentised, by Welch's t, it is exact where the groups have the same distribution, and holds its level in large
    samples for means alone, also with unequal variances and sizes (Janssen 1997; Chung & Romano 2013). Without, it
    tests that the distributions are the same, and may take a difference of variances for one of means.

    Args:
        a: Independent values, shape (n_a,).
        b: Independent values, shape (n_b,).
        clusters: For each value of `a` and of `b` the label of its cluster. Clusters move as wholes, t uses the
            variance between them, and each lies in one group.
        studentised: Whether to compare t rather than the difference of means.
        alternative: Whether the true mean of `a` isn't, is below or is above that of `b`.
        draws: How many arrangements to draw if there are more than 20,000; 9,999 unless given, fewer (and said so) for
            more than 200,000 values.
        seed: Of the draws.

    Returns:
        With the arrangements counted, whether that was all of them, the seed, and the Monte-Carlo standard error of p
        in the details. If all values are equal, p is 1.

    Raises:
        DataError: For bad values, fewer than 2 values (or clusters) in a group if studentised, clusters that lie in
            both groups, or fewer than 1 draw.
    """
    check_alternative(alternative)
    named = groups_of({"a": a, "b": b}, least=2 if studentised and clusters is None else 1)
    x, y = named.values()
    sizes, values, first = units_of(x, y, clusters, 2 if studentised else 1)
    total = len(sizes)
    # At least as many as units; and of many units the number itself is too long to work out.
    everything = math.comb(total, first) if total <= ENUMERABLE else math.inf
    exact = everything <= ENUMERABLE
    asked = checked_draws(draws, len(x) + len(y))
    compare = Comparer(sizes, values, first, studentised)
    observed = compare((np.arange(total) < first)[None, :].astype(np.float64))[0]
    blocks = all_groups(total, first) if exact else drawn_groups(total, first, asked, seed)
    extreme = sum(int(as_extreme(compare(block), observed, alternative).sum()) for block in blocks)
    kind = ("studentised " if studentised else "") + ("clustered " if clusters else "")
    return TestResult(
        test=f"{kind}permutation test",
        statistic_name="t" if studentised else "",
        statistic=float(observed) if studentised else math.nan,
        p=extreme / everything if exact else (1 + extreme) / (1 + asked),
        alternative=alternative,
        n=(len(x), len(y)),
        estimate_name="mean difference",
        estimate=float(x.mean() - y.mean()),
        references=(JANSSEN, CHUNG_ROMANO, PHIPSON_SMYTH) if studentised else (PHIPSON_SMYTH,),
        warnings=fewer_draws(draws, asked, exact),
        details=monte_carlo(extreme, everything if exact else asked, exact, seed)
        | ({"clusters_a": float(first), "clusters_b": float(total - first)} if clusters else {}),
    )


class Comparer:
    """Compares the means of two groups of units, for many ways to choose the first group at once.

    A unit is a value or a cluster. With M and Y the sums of a group's sizes and values, its mean is Y/M, and the
    variance of that is G/(G − 1) · Σ(y − m Y/M)² / M², which is s²/n if every size is 1.
    """

    def __init__(self, sizes: Array, values: Array, first: int, studentised: bool) -> None:
        """Take each unit's size and sum of values, shape (units,), and how many units the first group has."""
        # Around the common mean, so that sums of squares keep their digits.
        centred = values - sizes * (values.sum() / sizes.sum())
        self.scale = math.sqrt(float(centred @ centred) / len(centred)) or 1.0
        centred /= self.scale
        self.parts = np.column_stack((sizes, centred, centred**2, centred * sizes, sizes**2))
        self.totals = self.parts.sum(axis=0)
        self.counts = first, len(sizes) - first
        self.studentised = studentised

    def __call__(self, chosen: Array) -> Array:
        """The statistic of each row of `chosen`, shape (rows, units), 1 for units of the first group."""
        inside = chosen @ self.parts
        outside = self.totals - inside
        gap = inside[:, 1] / inside[:, 0] - outside[:, 1] / outside[:, 0]
        if not self.studentised:
            return gap
        squared = self.variance(inside, self.counts[0]) + self.variance(outside, self.counts[1])
        # Rounding is no standard error: where groups don't vary within, t is 0 or infinite.
        gap[np.abs(gap) < 1e-12] = 0.0
        t = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
        return np.divide(gap, np.sqrt(squared), out=t, where=squared > 1e-12 / len(self.parts))

    @staticmethod
    def variance(sums: Array, units: int) -> Array:
        mean = sums[:, 1] / sums[:, 0]
        spread = sums[:, 2] - 2 * mean * sums[:, 3] + mean * mean * sums[:, 4]
        return np.maximum(spread, 0.0) * (units / (units - 1)) / sums[:, 0] ** 2


def units_of(x: Array, y: Array, clusters: tuple[Labels, Labels] | None, least: int) -> tuple[Array, Array, int]:
    """Of each unit, those of x first, its size and its sum of values; and how many units x has."""
    values = np.concatenate((x, y))
    if clusters is None:
        return np.ones(len(values)), values, len(x)
    labels = [each.tolist() if isinstance(each, np.ndarray) else list(each) for each in clusters]
    codes = [
        codes_of(each, len(group), f"clusters of {name}")
        for each, group, name in zip(labels, (x, y), "ab", strict=True)
    ]
    shared = set(labels[0]) & set(labels[1])
    if shared:
        some = ", ".join(sorted(map(str, shared))[:3]) + ", …" * (len(shared) > 3)
        raise DataError(
            f"{len(shared)} clusters lie in both groups ({some}): a cluster moves as a whole. Pair by cluster instead."
        )
    first, second = (int(each.max()) + 1 for each in codes)
    if min(first, second) < least:
        raise DataError(f"a has {first} clusters and b has {second}, and {least} are needed in each.")
    unit = np.concatenate((codes[0], codes[1] + first))
    return sums_by(unit, np.ones(len(values))), sums_by(unit, values), first


def sums_by(codes: NDArray[np.intp], values: Array) -> Array:
    """The sum of the values with each code, shape (codes,)."""
    return np.asarray(np.bincount(codes, weights=values), np.float64)


def all_groups(total: int, first: int) -> Iterator[Array]:
    """Every way to choose the first group, in blocks of shape (rows, total), 1 for chosen."""
    ways = combinations(range(total), first)
    while rows := list(islice(ways, max(BLOCK // total, 1))):
        chosen = np.zeros((len(rows), total))
        chosen[np.arange(len(rows))[:, None], np.array(rows)] = 1.0
        yield chosen


def drawn_groups(total: int, first: int, draws: int, seed: int) -> Iterator[Array]:
    """So many random ways to choose the first group, in blocks of shape (rows, total), 1 for chosen."""
    generator = np.random.default_rng(seed)
    rows = max(BLOCK // total, 1)
    for start in range(0, draws, rows):
        yield random_groups(generator, min(rows, draws - start), total, first).astype(np.float64)


def random_groups(generator: np.random.Generator, rows: int, total: int, first: int) -> NDArray[np.uint8]:
    """Random subsets of one size, all equally likely, shape (rows, total).

    Shuffling takes 25 ns a value. For many values each is chosen by a byte of its own instead, with about the right
    probability, and then as many chosen or unchosen ones, at random, are turned as the size asks: given its size, such
    a subset is as likely as any other.
    """
    if total < 1000:
        chosen = np.zeros((rows, total), np.uint8)
        chosen[:, :first] = 1
        return generator.permuted(chosen, axis=1)
    drawn = np.frombuffer(generator.bytes(rows * total), np.uint8).reshape(rows, total)
    chosen = (drawn < min(max(round(256 * first / total), 1), 255)).view(np.uint8)
    surplus = chosen.sum(axis=1, dtype=np.int64) - first
    for row, more in zip(chosen, surplus.tolist(), strict=True):
        turn = generator.choice(np.flatnonzero(row == (more > 0)), abs(more), replace=False, shuffle=False)
        row[turn] = more < 0
    return chosen


def as_extreme(found: Array, observed: Array | np.float64, alternative: Alternative) -> NDArray[np.bool_]:
    """Which statistics are as far out as the data's, those that differ by rounding alone included."""
    if alternative == "two-sided":
        found, observed = np.abs(found), np.abs(observed)
    elif alternative == "less":
        found, observed = -found, -observed
    slack = 1e-10 * np.maximum(np.abs(observed), 1e-3)
    return found >= np.where(np.isinf(observed), observed, observed - np.where(np.isinf(slack), 0.0, slack))


def checked_draws(draws: int | None, n: int) -> int:
    if draws is None:
        return min(DRAWS, max(WORK // n, 999))
    if draws < 1:
        raise DataError(f"draws={draws}: at least 1 is needed, and some thousands are useful.")
    return draws


def fewer_draws(draws: int | None, asked: int, exact: bool) -> tuple[str, ...]:
    if draws is not None or asked == DRAWS or exact:
        return ()
    return (f"For so many values only {asked:,} arrangements were drawn; draws= asks for more.",)


def monte_carlo(extreme: int, counted: float, exact: bool, seed: int) -> dict[str, float]:
    """What a reader needs to judge the p-value: how it was counted, and its Monte-Carlo standard error."""
    share = extreme / counted
    error = 0.0 if exact else math.sqrt(max(share, 1 / counted) * (1 - share) / counted)
    return {"arrangements": float(counted), "exact": float(exact), "seed": float(seed), "p_standard_error": error}
