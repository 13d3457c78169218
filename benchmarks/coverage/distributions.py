"""What values are drawn from: mean 0 and standard deviation 1 each, so that only the shape differs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from suitecase.stats.samples import Array

__all__ = ["SHAPES", "Draw", "Shape"]

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True)
class Shape:
    """A distribution, its skewness, and how values of some size are drawn from it."""

    name: str
    skewness: float
    draw: Draw


def gamma(shape: float) -> Draw:
    return lambda rng, size: (rng.gamma(shape, size=size) - shape) / math.sqrt(shape)


def marks(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """Five marks, the best one most often: scores of a judge."""
    values, chances = np.arange(5.0), np.array([0.05, 0.05, 0.15, 0.3, 0.45])
    mean = float(values @ chances)
    sd = math.sqrt(float((values - mean) ** 2 @ chances))
    return (rng.choice(values, size, p=chances) - mean) / sd


def lognormal(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    return (rng.lognormal(size=size) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("normal", 0.0, lambda rng, size: rng.standard_normal(size)),
        Shape("uniform", 0.0, lambda rng, size: (rng.random(size) - 0.5) * math.sqrt(12)),
        Shape("t(5)", 0.0, lambda rng, size: rng.standard_t(5, size) / math.sqrt(5 / 3)),
        Shape("gamma(4)", 1.0, gamma(4)),
        Shape("five marks", -1.18, marks),
        Shape("exponential", 2.0, gamma(1)),
        Shape("χ²(1)", math.sqrt(8), gamma(0.5)),
        Shape("lognormal", (math.e + 2) * math.sqrt(math.e - 1), lognormal),
    )
}
