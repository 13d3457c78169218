"""Whether what somebody gave is a number, and in range; a text or None then meets a sentence, not a TypeError."""

from __future__ import annotations

import math

__all__ = ["is_above", "is_within"]


def is_within(value: object, low: float, high: float = math.inf) -> bool:
    """Whether a value is a number with low ≤ value ≤ high; truth values and NaN aren't."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def is_above(value: object, low: float) -> bool:
    """Whether a value is a finite number above `low`."""
    return is_within(value, low) and low != value != math.inf
