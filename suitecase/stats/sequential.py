"""Looking at a run before its end, without raising the rate of false alarms: alpha spending."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from suitecase.stats.results import Result
from suitecase.stats.samples import DataError, sample_of
from suitecase.stats.scores import root_of

__all__ = ["Sides", "Spending", "StoppingBounds", "alpha_spent", "stopping_bounds"]

Spending: TypeAlias = Literal["obrien-fleming", "pocock"]
Sides: TypeAlias = Literal["two-sided", "one-sided"]

FARTHEST = 37.0
"""Standard deviations beyond which double precision holds no normal tail: a bound there is never crossed."""

CLOSEST = 0.001
"""Information between two looks below which the second isn't worth its α, and its integral not worth its nodes."""


@dataclass(frozen=True)
class StoppingBounds(Result):
    """When a comparison may stop at an interim look.

    Attributes:
        fractions: The information fractions of the looks, such as the share of planned items, in (0, 1].
        critical: For each look, the |z| (one-sided: the z) from which on the difference is shown; infinite if α spent
            so far is too little for any.
        nominal_alpha: For each look, the p-value below which to stop; 1 − it is the level of the repeated interval
            (Jennison & Turnbull 1989) that agrees with the decision.
        spent: α spent up to and with each look.
        alpha: The probability of stopping at any look though there is no difference.
        spending: The function by which α is spent.
        sides: Whether both directions or only the first one's superiority stop.
    """

    fractions: tuple[float, ...]
    critical: tuple[float, ...]
    nominal_alpha: tuple[float, ...]
    spent: tuple[float, ...]
    alpha: float
    spending: Spending
    sides: Sides


def alpha_spent(
    fraction: float, *, alpha: float = 0.05, spending: Spending = "obrien-fleming", sides: Sides = "two-sided"
) -> float:
    """How much of α may be spent once a fraction of the information is there.

    Args:
        fraction: The information fraction, in [0, 1].
        alpha: The α of the whole comparison, in (0, 0.5).
        spending: "obrien-fleming" spends almost all at the end: 2·(1 − Φ(z₁₋α⸝₂/√t)); "pocock" spends evenly:
            α·ln(1 + (e − 1)·t).
        sides: "two-sided" spends α/2 in each direction, as is usual.

    Raises:
        DataError: For a fraction or α out of range.

    Source:
        Lan & DeMets (1983), Biometrika 70:659–663.
    """
    check_plan(alpha, spending, sides)
    if not 0 <= fraction <= 1:
        raise DataError(f"fraction={fraction}: an information fraction lies between 0 and 1.")
    directions = 2 if sides == "two-sided" else 1
    if fraction == 0:
        return 0.0
    if spending == "pocock":
        return alpha * math.log1p(math.expm1(1) * fraction)
    z = -float(special.ndtri(alpha / directions / 2))
    return directions * 2 * float(special.ndtr(-z / math.sqrt(fraction)))


def stopping_bounds(
    fractions: Sequence[float],
    *,
    alpha: float = 0.05,
    spending: Spending = "obrien-fleming",
    sides: Sides = "two-sided",
) -> StoppingBounds:
    """The critical values of a group sequential comparison whose looks come at these information fractions.

    Neither the number nor the times of the looks need be known beforehand: only α, the function and what counts as all
    information. A look's bound doesn't depend on later looks, so a plan's bounds stay when looks are added.

    Args:
        fractions: The information fractions of the looks so far, rising, in (0, 1].
        alpha: The α of the whole comparison, in (0, 0.5).
        spending: The function by which α is spent.
        sides: "two-sided", or "one-sided" if only the first one's superiority stops.

    Raises:
        DataError: For fractions that don't rise within (0, 1], or α out of range.

    Source:
        Lan & DeMets (1983), Biometrika 70:659–663. Recursive integration: Armitage, McPherson & Rowe (1969), J. R.
        Stat. Soc. A 132:235–244.
    """
    check_plan(alpha, spending, sides)
    times = sample_of(list(fractions), "fractions")
    if times[0] <= 0 or times[-1] > 1 or np.any(np.diff(times) < CLOSEST):
        raise DataError(
            f"fractions={times.tolist()}: information fractions rise from above 0 to at most 1, by {CLOSEST} or more."
        )
    spent = [alpha_spent(float(time), alpha=alpha, spending=spending, sides=sides) for time in times]
    critical = critical_values(times, np.diff(spent, prepend=0.0), sides)
    directions = 2 if sides == "two-sided" else 1
    return StoppingBounds(
        fractions=tuple(times.tolist()),
        critical=tuple(critical),
        nominal_alpha=tuple(directions * float(special.ndtr(-each)) for each in critical),
        spent=tuple(spent),
        alpha=alpha,
        spending=spending,
        sides=sides,
    )


def check_plan(alpha: float, spending: str, sides: str) -> None:
    problems: list[str] = []
    if not 0 < alpha < 0.5:
        problems.append(f"alpha={alpha}: it lies between 0 and 0.5, such as 0.05.")
    if spending not in ("obrien-fleming", "pocock"):
        problems.append(f"spending={spending!r}: it is 'obrien-fleming' or 'pocock'.")
    if sides not in ("two-sided", "one-sided"):
        problems.append(f"sides={sides!r}: it is 'two-sided' or 'one-sided'.")
    if problems:
        raise DataError(problems)


def critical_values(times: NDArray[np.float64], steps: NDArray[np.float64], sides: Sides) -> list[float]:
    """The bounds at which so much probability leaves at each look.

    The score S(t) = z·√t moves by independent normal steps of variance Δt. `mass` holds, at the nodes of a quadrature
    between the bounds of the last look, the probability of being there without having stopped.
    """
    values: list[float] = []
    nodes, mass, before = np.zeros(1), np.ones(1), 0.0
    for number, (time, step) in enumerate(zip(times, steps, strict=True)):
        sd, root = math.sqrt(time - before), math.sqrt(time)
        critical = crossing(leaving_probability(nodes, mass, sd, root, sides), float(step))
        values.append(critical)
        if number + 1 < len(times):
            high = min(critical, 10.0) * root
            low = -high if sides == "two-sided" else -10.0 * root
            narrowest = min(sd, math.sqrt(times[number + 1] - time))
            following, weights = quadrature(low, high, narrowest)
            kernel = np.exp(-(((following[:, None] - nodes[None, :]) / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))
            nodes, mass = following, weights * (kernel @ mass)
        before = float(time)
    return values


def leaving_probability(
    nodes: NDArray[np.float64], mass: NDArray[np.float64], sd: float, root: float, sides: Sides
) -> Callable[[float], float]:
    """The probability of a z beyond a critical value at this look, and within the bounds at all before."""

    def leaving(critical: float) -> float:
        above = special.ndtr((nodes - critical * root) / sd)
        below = special.ndtr((-nodes - critical * root) / sd) if sides == "two-sided" else 0.0
        return float(mass @ (above + below))

    return leaving


def crossing(leaving: Callable[[float], float], wanted: float) -> float:
    if wanted <= leaving(FARTHEST):
        return math.inf
    return root_of(lambda critical: leaving(critical) - wanted, -FARTHEST, FARTHEST)


def quadrature(low: float, high: float, narrowest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights between two bounds: Gauss and Legendre's, 16 for each two standard deviations of the kernel."""
    panels = math.ceil((high - low) / (2 * narrowest))
    points, weights = np.polynomial.legendre.leggauss(16)
    half = (high - low) / panels / 2
    middles = low + half * (2 * np.arange(panels) + 1)
    return (middles[:, None] + half * points).ravel(), np.tile(half * weights, panels)
