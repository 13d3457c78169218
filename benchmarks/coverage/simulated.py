"""One design simulated: how often its interval covers, how often the rule warns, and what the gated rule does."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from suitecase.stats.samples import Array

from .vectorised import Flags, Found

__all__ = ["Design", "Measured", "Promise", "measure"]

VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Promise:
    """What was said beforehand of a class of designs.

    Attributes:
        name: As the table says it.
        least: The least coverage.
        most: The largest coverage.
        warned: The least share of data sets with a warning.
    """

    name: str
    least: float
    most: float = 1.0
    warned: float = 0.0


@dataclass(frozen=True)
class Design:
    """Data of one kind, and the interval that the rule gives them.

    Attributes:
        table: Which table it stands in.
        name: The table's first column; with `n`, unlike any other of its table.
        n: The table's second column.
        promise: What was said beforehand.
        draw: Draws so many data sets, each array of shape (sets, …).
        found: The vectorised interval, or the public function in a loop.
        public: The public function's interval and whether it warns, for one data set; `None` if `found` is that.
        gated_p: The p-values of the rule with a test of normality before, where the table compares with it.
        truth: The true value.
        sets: How many data sets.
    """

    table: str
    name: str
    n: str
    promise: Promise
    draw: Callable[[np.random.Generator, int], tuple[Array, ...]]
    found: Callable[..., Found]
    public: Callable[..., tuple[float, float, bool]] | None
    gated_p: Callable[..., Array] | None = None
    truth: float = 0.0
    sets: int = 50_000


@dataclass(frozen=True)
class Measured:
    """Shares of the data sets: of intervals that cover, of warnings, of rejections by the gated rule."""

    sets: int
    covered: float
    warned: float
    gated_rejects: float

    def error(self, share: float) -> float:
        """The Monte-Carlo standard error of a share."""
        return math.sqrt(share * (1 - share) / self.sets)

    def keeps(self, promise: Promise) -> bool:
        """Whether the measured shares keep the promise."""
        return promise.least <= self.covered <= promise.most and self.warned >= promise.warned


def measure(design: Design, seed: int, sets: int, checked: int = 5) -> Measured:
    """Simulate a design; its generator depends on the seed and on the design's name alone.

    Args:
        design: What to simulate.
        seed: Of all chance.
        sets: How many data sets.
        checked: How many of them go through the public function too.

    Raises:
        ValueError: If the vectorised form and the public function differ.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{design.table} {design.name} {design.n}".encode())])
    covered: list[Flags] = []
    warned: list[Flags] = []
    rejected: list[Flags] = []
    for data in blocks(design, rng, sets):
        found = design.found(*data)
        if not covered:
            check(design, data, found, checked)
        covered.append(found.covers(design.truth))
        warned.append(found.warned)
        if design.gated_p:
            rejected.append(design.gated_p(*data) < 0.05)
    return Measured(
        sets,
        float(np.concatenate(covered).mean()),
        float(np.concatenate(warned).mean()),
        float(np.concatenate(rejected).mean()) if rejected else math.nan,
    )


def blocks(design: Design, rng: np.random.Generator, sets: int) -> Iterator[tuple[Array, ...]]:
    first = design.draw(rng, min(sets, 100))
    yield first
    done = len(first[0])
    most = max(VALUES_AT_ONCE // max(sum(each[0].size for each in first), 1), 1)
    while done < sets:
        more = min(most, sets - done)
        yield design.draw(rng, more)
        done += more


def check(design: Design, data: tuple[Array, ...], found: Found, checked: int) -> None:
    """Hold the vectorised form against the public function on some data sets."""
    if design.public is None:
        return
    for i in range(min(checked, len(data[0]))):
        low, high, warned = design.public(*(each[i] for each in data))
        ends = (float(found.low[i]), float(found.high[i]))
        if not np.allclose(ends, (low, high), rtol=1e-9, atol=1e-9) or warned != bool(found.warned[i]):
            vectorised = f"vectorised {ends}, warned {bool(found.warned[i])}"
            raise ValueError(f"{design.name}, n = {design.n}: {vectorised}; public {low, high}, {warned}")
