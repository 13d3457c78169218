"""Figures of evaluations: whether confidence is deserved, and which ranks can't be told apart."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suitecase.reports.figures.results import MOST_ROWS, beside, rows_of_axes
from suitecase.reports.figures.style import INK, MUTED, PALETTE, PAPER, new_axes, number_ticks, styled
from suitecase.stats.results import Interval
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Bin", "RankBand", "calibration", "rank_bands"]


@dataclass(frozen=True)
class Bin:
    """Items of about the same confidence.

    Attributes:
        confidence: Their mean confidence, in [0, 1].
        rate: The fraction of them that was right.
        n: How many they are.
        interval: Of the rate.
    """

    confidence: float
    rate: float
    n: int
    interval: Interval | None = None


@dataclass(frozen=True)
class RankBand:
    """A condition's rank, 1 the best, and the ranks that it might have.

    Attributes:
        best, worst: The ends of its band.
    """

    condition: str
    rank: float
    best: float
    worst: float


@styled
def calibration(bins: Sequence[Bin], *, error: float | None = None) -> Figure:
    """How often items of which confidence were right: below the diagonal is overconfidence.

    Args:
        error: The expected calibration error, if it is to be written in the figure.
    """
    figure, axes = new_axes(3.6, across="y")
    axes.set_aspect("equal")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    most = max((each.n for each in bins), default=1)
    for each in bins:
        if each.interval is not None:
            axes.plot([each.confidence] * 2, [each.interval.low, each.interval.high], color=PALETTE[0], linewidth=1.6)
        size = 3.5 + 7 * (each.n / most) ** 0.5
        axes.plot(each.confidence, each.rate, "o", color=PALETTE[0], markersize=size, markeredgecolor=PAPER)
    if error is not None:
        axes.text(0.04, 0.93, f"calibration error {number_text(error)}", color=INK, fontsize=8.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("fraction right")
    number_ticks(axes, "x", "y")
    return figure


@styled
def rank_bands(bands: Sequence[RankBand]) -> Figure:
    """The ranks that each condition might have: conditions whose bands overlap can't be told apart."""
    from matplotlib.ticker import MaxNLocator

    shown = sorted(bands, key=lambda each: (each.rank, each.best, each.worst))[:MOST_ROWS]
    figure, axes = rows_of_axes([each.condition for each in shown])
    for place, each in enumerate(shown):
        ends = [each.best, each.worst]
        axes.plot(ends, [place, place], color=PALETTE[0], linewidth=7, alpha=0.3, solid_capstyle="round")
        axes.plot(each.rank, place, "o", color=PALETTE[0], markersize=6.5, markeredgecolor=PAPER)
        beside(axes, place, f"{number_text(each.best)} to {number_text(each.worst)}")
    axes.set_xlim(0.5, max((each.worst for each in shown), default=1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank (1 is best)")
    return figure
