"""The same effect of two groups on another scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

from suitecase.stats.results import Effect
from suitecase.stats.samples import DataError

__all__ = ["EffectScale", "convert_effect"]

EffectScale: TypeAlias = Literal["d", "r", "odds ratio", "eta squared"]


def convert_effect(value: float, from_: EffectScale, to: EffectScale) -> Effect:
    """An effect of two groups of the same size on another scale; without a label, since scales label differently.

    d and r: r = d / √(d² + 4), and ln(odds ratio) = dπ/√3, which takes the outcome as logistic (Borenstein et al.
    2009, chapter 7); η² = r² (Cohen 1988, 8.2), whose sign is lost: what comes from η² is positive.

    Raises:
        DataError: For an unknown scale, or a value out of its scale's range.
    """
    if from_ not in SCALES or to not in SCALES:
        raise DataError(f"from {from_!r} to {to!r}: the scales are {', '.join(map(repr, SCALES))}.")
    name, (low, high), to_d, _ = SCALES[from_]
    if not low < value < high and not (value == 0 == low and from_ == "eta squared"):
        raise DataError(f"{value} isn't possible for {name}, which lies between {low:g} and {high:g}.")
    return Effect(SCALES[to][0], SCALES[to][3](to_d(value)))


SCALES: dict[str, tuple[str, tuple[float, float], Callable[[float], float], Callable[[float], float]]] = {
    "d": ("Cohen d", (-math.inf, math.inf), lambda d: d, lambda d: d),
    "r": ("r", (-1, 1), lambda r: 2 * r / math.sqrt(1 - r * r), lambda d: d / math.hypot(d, 2)),
    "odds ratio": (
        "odds ratio",
        (0, math.inf),
        lambda ratio: math.log(ratio) * math.sqrt(3) / math.pi,
        lambda d: math.exp(d * math.pi / math.sqrt(3)),
    ),
    "eta squared": ("η²", (0, 1), lambda eta: 2 * math.sqrt(eta / (1 - eta)), lambda d: d * d / (d * d + 4)),
}
"""Of each scale: its name, its open range, how it becomes d, and how d becomes it."""
