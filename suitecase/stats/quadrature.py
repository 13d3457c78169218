"""Averages over distributions by Gauss–Legendre quadrature, after a change of variable that makes densities smooth."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import numpy as np
from scipy import special

from suitecase.stats.samples import Array

__all__ = ["over_beta", "over_chi", "over_t"]

NODES = 400
TAIL = 1e-15
"""What is left out at either end of a distribution that is integrated over."""


@lru_cache
def legendre(nodes: int) -> tuple[Array, Array]:
    """Points and weights on [-1, 1]."""
    return cast(tuple[Array, Array], cast(Any, special).roots_legendre(nodes))


def over_chi(df: float, most: float = math.inf, nodes: int = 120) -> tuple[Array, Array]:
    """Points and weights that average a smooth function of s/σ, the estimated over the true standard deviation.

    s²/σ² is χ²(df)/df. Σ weight · f(point) is the mean of f(s/σ) where s/σ ≤ most, to about 1e-12: what the noncentral
    t and Owen's Q (1965, Biometrika 52:437-446) integrate, at any df, where their library functions lose digits.
    """
    half = df / 2
    low, high = (math.sqrt(cast(float, special.gammaincinv(half, q)) / half) for q in (1e-16, 1 - 1e-16))
    high = min(high, most)
    if high <= low:
        return np.zeros(1), np.zeros(1)
    at, weights = legendre(nodes)
    # In w with s/σ = w⁴ the density has no singular derivative at 0 worth mentioning, for fractional df neither.
    root = low**0.25 + (high**0.25 - low**0.25) * (at + 1) / 2
    points = root**4
    log_density = (4 * df - 1) * np.log(root) - half * points**2
    density = weights * np.exp(log_density - log_density.max())
    return points, density / density.sum() * cast(float, special.gammainc(half, half * high**2))


def over_beta(a: float, b: float, least: float = 0.0, most: float = 1.0) -> tuple[Array, Array]:
    """Points and weights that average over the part of Beta(a, b) between two ends; a and b are at least ½.

    In θ with x = sin² θ the density is sin^(2a−1) cos^(2b−1), which has no singular end. The weights add up to the
    probability between the ends.
    """
    low = max(float(special.betaincinv(a, b, TAIL)), least)
    high = min(1 - float(special.betaincinv(b, a, TAIL)), most)
    if high <= low:
        return np.full(1, 0.5), np.zeros(1)
    at, weights = legendre(NODES)
    start, end = math.asin(math.sqrt(low)), math.asin(math.sqrt(high))
    angle = start + (end - start) * (at + 1) / 2
    log_density = (2 * a - 1) * np.log(np.sin(angle)) + (2 * b - 1) * np.log(np.cos(angle))
    density = weights * np.exp(log_density - log_density.max())
    mass = float(special.betainc(a, b, high) - special.betainc(a, b, low))
    return np.sin(angle) ** 2, density / density.sum() * mass


def over_t(df: float) -> tuple[Array, Array]:
    """Points and weights that average over Student's t: with x = √df tan θ the density is cos^(df−1) θ."""
    end = math.atan(-float(special.stdtrit(df, TAIL)) / math.sqrt(df))
    at, weights = legendre(NODES)
    angle = end * at
    log_density = (df - 1) * np.log(np.cos(angle))
    density = weights * np.exp(log_density)
    return math.sqrt(df) * np.tan(angle), density / density.sum()
