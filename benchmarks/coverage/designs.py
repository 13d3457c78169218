"""The designs, with what was promised of each beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from suitecase.stats import (
    Comparison,
    TestResult,
    bootstrap_interval,
    clustered_rate,
    compare,
    compare_paired,
    nested_difference,
    quantile_difference,
)
from suitecase.stats.results import Interval
from suitecase.stats.samples import Array

from .distributions import SHAPES, Draw, Shape
from .simulated import Design, Promise
from .vectorised import Found, clustered, clustered_groups, gated_p, gated_paired_p, one_mean, seeds, two_means

__all__ = ["MEANS", "OTHERS", "designs"]

MEANS, OTHERS = "means", "others"
"""The two tables: `compare` and `compare_paired` of numbers, and all else."""

WITHIN = Promise("93–97 %", 0.93, 0.97)
LEVEL = Promise("at most 6 % errors", 0.94)
UNREACHABLE = Promise("≥ 85 %, and warned", 0.85, warned=0.95)
WARNED = Promise("warned", 0.0, warned=0.95)
AT_LEAST = Promise("≥ 95 %, exact", 0.95)
BESIDE = Promise("beside", 0.0)


def designs() -> list[Design]:
    """All of them, in the order of the tables."""
    return [*pairs(), *groups(), *clusters(), *methods(), *quantiles(), *bootstrapped()]


def pairs() -> list[Design]:
    """Differences of pairs, by their shape."""
    found: list[Design] = []
    for shape in SHAPES.values():
        is_steep = abs(shape.skewness) > 2
        for n in (10, 15, 20, 50, 100, 299) if is_steep else (10, 20, 50):
            found.append(
                Design(
                    MEANS,
                    f"pairs, {shape.name} differences",
                    str(n),
                    UNREACHABLE if is_steep else WITHIN,
                    drawing((shape, n, 1.0)),
                    one_mean,
                    public_pairs,
                    gated_paired_p,
                )
            )
    return found


def groups() -> list[Design]:
    """Two groups of equal means, by shape, sizes and spread: how many times the second group's is the first's."""
    found: list[Design] = []
    cases = [(10, 10, 1.0), (50, 50, 1.0), (10, 10, 3.0), (20, 20, 3.0)]
    cases += [(10, 40, 1.0), (40, 10, 2.0), (20, 80, 1.0), (80, 20, 2.0)]
    for name in ("normal", "t(5)", "gamma(4)", "five marks", "exponential", "lognormal"):
        shape = SHAPES[name]
        for n, m, ratio in cases:
            is_level = abs(shape.skewness) <= 1 or n == m
            found.append(two_groups(shape, shape, n, m, ratio, LEVEL if is_level else WARNED))
    for n in (10, 20):
        found.append(two_groups(SHAPES["normal"], SHAPES["lognormal"], n, n, 1.0, LEVEL))
    return found


def two_groups(first: Shape, second: Shape, n: int, m: int, ratio: float, promise: Promise) -> Design:
    shapes = first.name if first is second else f"{first.name} and {second.name}"
    spread = "" if ratio == 1 else f", spread 1 : {ratio:g}"
    return Design(
        MEANS,
        f"groups, {shapes}{spread}",
        f"{n}, {m}",
        promise,
        drawing((first, n, 1.0), (second, m, ratio)),
        two_means,
        public_groups,
        gated_p,
    )


def drawing(*groups: tuple[Shape, int, float]) -> Callable[[np.random.Generator, int], tuple[Array, ...]]:
    return lambda rng, sets: tuple(spread * shape.draw(rng, (sets, n)) for shape, n, spread in groups)


def interval_of(found: Comparison | TestResult) -> tuple[float, float, bool]:
    assert found.interval is not None
    return found.interval.low, found.interval.high, bool(found.warnings)


def public_pairs(x: Array, clusters: list[int] | None = None) -> tuple[float, float, bool]:
    return interval_of(compare_paired(x, np.zeros(len(x)), clusters=clusters))


def public_groups(x: Array, y: Array, clusters: tuple[list[int], list[int]] | None = None) -> tuple[float, float, bool]:
    return interval_of(compare(x, y, clusters=clusters))


def seed_means(x: Array, y: Array) -> Found:
    """`seeds` of values of shape (sets, seeds, items)."""
    return seeds(x.mean(axis=2), y.mean(axis=2))


def clusters() -> list[Design]:
    """Values of which 30 % of the variance is shared within a cluster."""
    uneven = tuple(range(1, 20, 1)) * 2  # 38 clusters of 1 to 19 values
    dominated = (5,) * 19 + (50,)
    sizes: dict[str, tuple[Sequence[int], Promise]] = {
        "20 × 10": ((10,) * 20, WITHIN),
        "40 × 10": ((10,) * 40, WITHIN),
        "38 of 1 to 19": (uneven, WITHIN),
        "10 × 10": ((10,) * 10, replace(WITHIN, name="93–97 %, warned", warned=0.95)),
        "5 × 20": ((20,) * 5, replace(WITHIN, name="93–97 %, warned", warned=0.95)),
        "20, one ten times as large": (dominated, UNREACHABLE),
    }
    found: list[Design] = []
    normal, skewed = SHAPES["normal"], SHAPES["exponential"]
    for text, (each, promise) in sizes.items():
        found.append(clustered_pairs(normal, text, each, promise))
        found.append(clustered_two(text, each, promise))
    found.append(clustered_pairs(skewed, "40 × 10", sizes["40 × 10"][0], WITHIN))
    for text in ("20 × 10", "40 × 10"):
        found.append(clustered_successes(text, sizes[text][0]))
    return found


def sharing(shape: Shape, sizes: Sequence[int]) -> Callable[[np.random.Generator, int], Array]:
    """Draws values whose clusters share 30 % of the variance, in that shape."""

    def draw(rng: np.random.Generator, sets: int) -> Array:
        shared = np.repeat(shape.draw(rng, (sets, len(sizes))), sizes, axis=1)
        return np.sqrt(0.3) * shared + np.sqrt(0.7) * rng.standard_normal((sets, sum(sizes)))

    return draw


def clustered_pairs(shape: Shape, text: str, sizes: Sequence[int], promise: Promise) -> Design:
    labels, draw = np.repeat(np.arange(len(sizes)), sizes).tolist(), sharing(shape, sizes)
    return Design(
        OTHERS,
        f"pairs in clusters, {shape.name}",
        text,
        promise,
        lambda rng, sets: (draw(rng, sets),),
        partial(clustered, sizes=sizes),
        partial(public_pairs, clusters=labels),
        sets=20_000,
    )


def clustered_two(text: str, sizes: Sequence[int], promise: Promise) -> Design:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    draw = sharing(SHAPES["normal"], sizes)
    both = (labels.tolist(), (labels + len(sizes)).tolist())
    return Design(
        OTHERS,
        "groups in clusters, normal",
        f"twice {text}",
        promise,
        lambda rng, sets: (draw(rng, sets), draw(rng, sets)),
        partial(clustered_groups, sizes_x=sizes, sizes_y=sizes),
        partial(public_groups, clusters=both),
        sets=20_000,
    )


def clustered_successes(text: str, sizes: Sequence[int]) -> Design:
    """Successes with a rate of 0.8, and an intraclass correlation of 0.2 (beta-binomial)."""
    labels = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng: np.random.Generator, sets: int) -> tuple[Array]:
        rates = np.repeat(rng.beta(0.8 * 4, 0.2 * 4, (sets, len(sizes))), sizes, axis=1)
        return ((rng.random(rates.shape) < rates).astype(np.float64),)

    return Design(
        OTHERS,
        "rate of 0.8 in clusters",
        text,
        AT_LEAST,
        draw,
        partial(one_by_one, partial(clustered_rate, clusters=labels)),
        None,
        truth=0.8,
        sets=20_000,
    )


def one_by_one(function: Callable[..., Any], *data: Array) -> Found:
    """A public function over data sets; what it returns is an interval, or has one and warnings."""
    ends = np.empty((2, len(data[0])))
    warned = np.zeros(len(data[0]), bool)
    for i, each in enumerate(zip(*data, strict=True)):
        found = function(*each)
        interval: Interval = found if isinstance(found, Interval) else found.interval
        ends[:, i] = interval.low, interval.high
        warned[i] = not isinstance(found, Interval) and bool(found.warnings)
    return Found(ends[0], ends[1], warned)


def methods() -> list[Design]:
    """Two methods with some seeds each, 50 items a seed; seeds differ by 0.01, items by 0.4."""
    found: list[Design] = []
    for shape in (SHAPES["normal"], SHAPES["exponential"]):
        for count in (2, 3, 4, 5, 10):
            promise = UNREACHABLE if count < 5 else WITHIN
            found.append(
                Design(
                    OTHERS,
                    f"two methods, {shape.name} seeds",
                    f"{count} seeds each",
                    promise,
                    partial(seeds_drawn, shape.draw, count),
                    seed_means,
                    nested,
                    sets=20_000,
                )
            )
    return found


def seeds_drawn(draw: Draw, count: int, rng: np.random.Generator, sets: int) -> tuple[Array, Array]:
    first, second = (
        0.7 + 0.01 * draw(rng, (sets, count, 1)) + 0.4 * rng.standard_normal((sets, count, 50)) for _ in range(2)
    )
    return first, second


def nested(x: Array, y: Array) -> tuple[float, float, bool]:
    seeds_count, items = len(x), len(x[0])
    labels = np.repeat(np.arange(seeds_count), items)
    return interval_of(nested_difference(x.ravel(), y.ravel(), labels, labels))


def quantiles() -> list[Design]:
    """Tail quantiles of two lognormal latencies; resampled 999 times, where the function's default is 10,000."""
    found: list[Design] = []
    lognormal = SHAPES["lognormal"]
    for q, n in ((0.9, 100), (0.99, 1000), (0.9, 500), (0.99, 5000)):
        beyond = round(n * (1 - q))
        promise = UNREACHABLE if beyond < 30 else Promise("93–97 %", 0.93, 0.97)
        found.append(
            Design(
                OTHERS,
                f"{q:g} quantile of two groups, lognormal",
                f"{n}, {beyond} beyond",
                promise,
                drawing((lognormal, n, 1.0), (lognormal, n, 1.0)),
                partial(one_by_one, partial(quantile_difference, q=q, draws=999)),
                None,
                sets=20_000,
            )
        )
    return found


def bootstrapped() -> list[Design]:
    """What the rule advises for skewed means, on the data that the t interval fails on."""
    return [
        Design(
            OTHERS,
            f"bootstrap-t of a mean, {name}",
            str(n),
            BESIDE,
            drawing((SHAPES[name], n, 1.0)),
            partial(one_by_one, partial(bootstrap_interval, method="studentised", draws=999)),
            None,
            sets=20_000,
        )
        for name, n in (("lognormal", 20), ("lognormal", 50))
    ]
