"""Figures of evaluations: whether confidence is deserved, and which ranks can't be told apart."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

from typing import TYPE_CHECKING

from suitecase.reports.figures.results import MOST_ROWS, beside, rows_of_axes
from suitecase.reports.figures.style import INK, MUTED, PALETTE, PAPER, new_axes, number_ticks, styled
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from suitecase.stats.calibration import Calibration
    from suitecase.stats.evaluations import RankBands

__all__ = ["calibration", "rank_bands"]


@styled
def calibration(found: Calibration) -> Figure:
    """How often items of which confidence were right: below the line is overconfidence; large dots are large bins."""
    figure, axes = new_axes(3.6, across="y")
    axes.set_aspect("equal")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    most = max((each.n for each in found.bins), default=1)
    for each in found.bins:
        axes.plot([each.stated] * 2, [each.interval.low, each.interval.high], color=PALETTE[0], linewidth=1.6)
        size = 3.5 + 7 * (each.n / most) ** 0.5
        axes.plot(each.stated, each.observed, "o", color=PALETTE[0], markersize=size, markeredgecolor=PAPER)
    words = f"calibration error {number_text(found.ece)}, by chance {number_text(found.ece_by_chance)}"
    axes.text(0.03, 0.94, words, color=INK, fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("fraction right")
    number_ticks(axes, "x", "y")
    return figure


@styled
def rank_bands(bands: RankBands) -> Figure:
    """The ranks that each condition might have: conditions whose bands overlap can't be told apart."""
    from matplotlib.ticker import MaxNLocator

    shown = bands.ranks[:MOST_ROWS]
    figure, axes = rows_of_axes([each.name for each in shown])
    for place, each in enumerate(shown):
        ends = [each.best, each.worst]
        axes.plot(ends, [place, place], color=PALETTE[0], linewidth=7, alpha=0.3, solid_capstyle="round")
        axes.plot(each.rank, place, "o", color=PALETTE[0], markersize=6.5, markeredgecolor=PAPER)
        beside(axes, place, f"{each.best} to {each.worst}" if each.best < each.worst else str(each.best))
    axes.set_xlim(0.5, max((each.worst for each in shown), default=1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank (1 is best)")
    return figure
