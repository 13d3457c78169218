"""The bootstrap: resamples of items, drawn from a seed, and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from suitecase.stats.samples import Array, DataError

__all__ = ["bootstrap_means", "check_draws", "item_counts", "percentile_ends", "percentile_p", "sign_flips"]

MOST_DRAWN = 10**10
"""How many items may be drawn in all: about a minute on one core."""
BLOCK = 2**20
"""How many counts are held at a time: 8 MiB."""


def bootstrap_means(matrix: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> Array:
    """The joint bootstrap distribution of many means over the same items, shape (draws, variants).

    Each draw resamples the items once, for all variants, so differences, maxima and ranks of the means may be read off
    a row. A draw is the vector of how often each item was drawn, and blocks of draws are matrix products.

    Args:
        matrix: The values, shape (items, variants).
        draws: How many resamples.
        seed: What they are drawn from.

    Raises:
        DataError: For another shape, values that aren't finite, fewer than 2 items, or more than 10¹⁰ items × draws.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise DataError(f"shape {values.shape}: a matrix of at least 2 items × 1 variant is needed.")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} values are NaN or infinite: drop those items.")
    items = len(values)
    check_draws(draws, items)
    means = values.mean(axis=0)
    centred = values - means
    blocks = item_counts(items, draws, np.random.default_rng(seed))
    return np.concatenate([counts @ centred for counts in blocks]) / items + means


def item_counts(items: int, draws: int, rng: np.random.Generator) -> Iterator[Array]:
    """How often each item is in each resample, in blocks of shape (some draws, items); each row sums to `items`.

    A block is only valid until the next is asked for, which overwrites it.
    """
    rows = max(BLOCK // items, 1)
    block = np.empty((min(rows, draws), items))
    for start in range(0, draws, rows):
        part = block[: min(rows, draws - start)]
        for row, drawn in zip(part, rng.integers(0, items, part.shape), strict=True):
            row[:] = np.bincount(drawn, minlength=items)
        yield part


def percentile_ends(drawn: Array, level: float) -> tuple[float, float]:
    """The ends of the percentile interval: the k-th smallest and largest of the draws, k = ⌊(draws + 1) α/2⌋.

    With this k the interval excludes a value exactly when `percentile_p` of it is at most α (Davison & Hinkley 1997,
    5.3).

    Raises:
        DataError: If there are too few draws for the level.
    """
    draws = len(drawn)
    k = math.floor((draws + 1) * (1 - level) / 2 + 1e-9)
    if k < 1:
        raise DataError(f"{draws} draws can't give a {100 * level:g} % interval: take {math.ceil(2 / (1 - level))}.")
    ordered = np.partition(drawn, (k - 1, draws - k))
    return float(ordered[k - 1]), float(ordered[draws - k])


def percentile_p(drawn: Array, null: float = 0.0) -> float:
    """The two-sided p-value that the percentile interval implies: twice the smaller tail beyond the null value."""
    tail = min(int((drawn <= null).sum()), int((drawn >= null).sum()))
    return min(2 * (tail + 1) / (len(drawn) + 1), 1.0)


def check_draws(draws: int, items: int) -> None:
    """Refuse a bootstrap that can't be done.

    Raises:
        DataError: For no draws, or more than 10¹⁰ items × draws.
    """
    if draws < 1:
        raise DataError(f"draws={draws}: at least 1 is needed, and 10,000 are usual.")
    if items * draws > MOST_DRAWN:
        raise DataError(
            f"{draws:,} draws of {items:,} items are too many to compute: take at most {MOST_DRAWN // items:,} draws, "
            "or an interval without resampling, which is as good for so many items."
        )


def sign_flips(items: int, draws: int, rng: np.random.Generator) -> Iterator[Array]:
    """A sign, −1 or 1, for each item in each draw, in blocks of shape (some draws, items), valid until the next."""
    rows = max(BLOCK // items, 1)
    block = np.empty((min(rows, draws), items))
    for start in range(0, draws, rows):
        part = block[: min(rows, draws - start)]
        words = rng.integers(2**64, size=(len(part), -(-items // 64)), dtype=np.uint64)
        np.multiply(np.unpackbits(words.view(np.uint8), axis=1, count=items), 2.0, out=part)
        part -= 1.0
        yield part
