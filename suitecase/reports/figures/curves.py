"""Curves: what was measured step by step, and what a comparison could have seen."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suitecase.reports.figures.style import INK, MUTED, PALETTE, label, new_axes, number_ticks, styled
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LINES", "Curve", "learning_curves", "power_curve"]

LINES = ((0, ()), (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))
"""So that curves differ by more than their colour."""


@dataclass(frozen=True)
class Curve:
    """A condition's metric over steps, shape (steps,) each.

    Attributes:
        low, high: The ends of the band; NaN where a step has a single case.
    """

    condition: str
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@styled
def learning_curves(curves: Sequence[Curve], metric: str) -> Figure:
    """A line for each condition with its band; its name stands at its end."""
    figure, axes = new_axes(3.1, across="y")
    for number, curve in enumerate(curves):
        colour, line = PALETTE[number % len(PALETTE)], LINES[number // len(PALETTE) % len(LINES)]
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve.steps, curve.mean, color=colour, linestyle=line, label=label(curve.condition))
    axes.set_xlabel("step")
    axes.set_ylabel(label(metric, 44))
    number_ticks(axes, "x", "y")
    if len(curves) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, labelcolor=INK)
    return figure


@styled
def power_curve(comparison: Comparison) -> Figure:
    """With which power a comparison would have found which true difference, at its α after correction.

    Two-sided, by the normal approximation: (z₁₋α'/₂ + z_power) · SE is the difference that is found with that power, so
    that the curve goes through `comparison.detectable` at `comparison.power`.
    """
    import numpy as np
    from scipy.stats import norm

    critical = float(norm.isf((1 - comparison.interval.level) / 2))
    error = comparison.detectable / (critical + float(norm.ppf(comparison.power)))
    true = np.linspace(0, 2 * comparison.detectable, 200)
    power = norm.sf(critical - true / error) + norm.cdf(-critical - true / error)
    figure, axes = new_axes(2.6, across="y")
    axes.plot(true, power, color=PALETTE[0])
    axes.plot([comparison.detectable] * 2, [0, comparison.power], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot([0, comparison.detectable], [comparison.power] * 2, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(comparison.detectable, comparison.power, "o", color=PALETTE[0])
    axes.annotate(
        f"{number_text(comparison.detectable)} with {100 * comparison.power:.0f} % power",
        (comparison.detectable, comparison.power), xytext=(10, -12), textcoords="offset points", fontsize=8.5,
    )  # fmt: skip
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_xlabel(label(f"true difference in {comparison.metric}", 80))
    axes.set_ylabel("power")
    number_ticks(axes, "x", "y")
    return figure
