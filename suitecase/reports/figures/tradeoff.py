"""What quality costs."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suitecase.reports.figures.style import INK, MUTED, PALETTE, PAPER, label, new_axes, number_ticks, styled
from suitecase.stats.comparisons import Better
from suitecase.stats.results import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CostPoint", "cost_quality", "front"]


@dataclass(frozen=True)
class CostPoint:
    """A condition's price and quality.

    Attributes:
        cost: Per case, in the unit that the figure names.
        interval: Of the quality.
    """

    condition: str
    cost: float
    quality: float
    interval: Interval | None = None


def front(points: Sequence[CostPoint], better: Better) -> tuple[CostPoint, ...]:
    """The points that no other beats in one of cost and quality without losing in the other, the cheapest first."""
    sign = -1 if better == "lower" else 1
    best: list[CostPoint] = []
    for point in sorted(points, key=lambda each: (each.cost, -sign * each.quality)):
        if not best or sign * point.quality > sign * best[-1].quality:
            best.append(point)
    return tuple(best)


@styled
def cost_quality(points: Sequence[CostPoint], metric: str, cost_words: str, better: Better = "higher") -> Figure:
    """Cost against quality, with the front of what no other condition beats in both."""
    figure, axes = new_axes(3.4, across="y")
    best = front(points, better)
    positive = all(point.cost > 0 for point in points)
    costs = [point.cost for point in points]
    if positive and max(costs) > 20 * min(costs):
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.plot(
        [each.cost for each in best], [each.quality for each in best], color=MUTED, linewidth=1.2,
        drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    for point in points:
        colour = PALETTE[0] if point in best else MUTED
        if point.interval is not None:
            axes.plot(
                [point.cost] * 2, [point.interval.low, point.interval.high], color=colour, linewidth=1.4, alpha=0.6
            )
        axes.plot(point.cost, point.quality, "o", color=colour, markersize=6.5, markeredgecolor=PAPER, zorder=3)
        axes.annotate(
            label(point.condition, 24), (point.cost, point.quality), xytext=(6, 5), textcoords="offset points",
            fontsize=8, color=INK if point in best else MUTED,
        )  # fmt: skip
    axes.margins(x=0.12, y=0.12)
    axes.set_xlabel(cost_words)
    axes.set_ylabel(label(metric, 44))
    number_ticks(axes, "x", "y")
    return figure
