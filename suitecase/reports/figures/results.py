"""Figures of what came out: estimates, differences, distributions."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from suitecase.compare.model import Description
from suitecase.reports.figures.style import INK, MUTED, PALETTE, PAPER, label, new_axes, number_ticks, styled
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST_POINTS", "MOST_ROWS", "distributions", "estimates", "forest", "paired_differences"]

MOST_ROWS: Final = 60
"""Rows of a figure; the table has all."""
MOST_POINTS: Final = 400
"""Raw points of one row: more hide each other."""
GOLDEN: Final = 0.6180339887498949


@styled
def estimates(descriptions: Sequence[Description], metric: str, baseline: str = "") -> Figure:
    """The mean of each condition with its interval.

    Args:
        descriptions: One for each condition; the first `MOST_ROWS` are drawn.
        metric: What was measured, with its unit.
        baseline: The condition whose mean is drawn as a line.
    """
    shown = descriptions[:MOST_ROWS]
    figure, axes = rows_of_axes([each.condition for each in shown])
    for place, each in enumerate(shown):
        colour = MUTED if each.condition == baseline else PALETTE[0]
        if each.interval is not None:
            draw_interval(axes, place, each.interval.low, each.interval.high, each.mean, colour)
        axes.plot(each.mean, place, "o", color=colour, markersize=6, markeredgecolor=PAPER)
        beside(axes, place, number_text(each.mean) + f"  (n = {number_text(each.n)})")
    for each in shown:
        if each.condition == baseline:
            axes.axvline(each.mean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlabel(label(metric, 80))
    return figure


@styled
def forest(comparisons: Sequence[Comparison], metric: str) -> Figure:
    """Each comparison's difference with its interval, and the line of no difference.

    An interval's level is what the correction leaves, so that it misses the line exactly if the adjusted p-value is
    below α: such a row is drawn full, others hollow.
    """
    shown = comparisons[:MOST_ROWS]
    figure, axes = rows_of_axes([each.first for each in shown])
    axes.axvline(0, color=INK, linewidth=1)
    for place, each in enumerate(shown):
        colour = {True: PALETTE[2], False: PALETTE[1], None: PALETTE[0]}[each.wins]
        sure = each.verdict in ("higher", "lower")
        draw_interval(axes, place, each.interval.low, each.interval.high, each.difference, colour)
        axes.plot(
            each.difference, place, "s", color=colour, markersize=6, markerfacecolor=colour if sure else PAPER,
            markeredgecolor=colour, markeredgewidth=1.4,
        )  # fmt: skip
        ends = f"[{number_text(each.interval.low)}, {number_text(each.interval.high)}]"
        beside(axes, place, f"{number_text(each.difference)} {ends}")
    baselines = dict.fromkeys(each.second for each in shown)
    against = f", against {label(next(iter(baselines)))}" if len(baselines) == 1 else ""
    axes.set_xlabel(label(f"difference in {metric}{against}", 90))
    return figure


@styled
def paired_differences(pairs: Sequence[tuple[Comparison, Sequence[float]]], metric: str) -> Figure:
    """The differences of all pairs, a row for each comparison.

    Where all are −1, 0 or 1 (right or wrong) they are counted, to both sides; else every pair is a point, with mean and
    interval, and a single comparison of up to `MOST_POINTS` pairs is drawn from its least difference to its greatest.
    """
    shown = pairs[:MOST_ROWS]
    if all({*differences} <= {-1, 0, 1} for _, differences in shown):
        return counted_differences(shown, metric)
    if len(shown) == 1 and len(shown[0][1]) <= MOST_POINTS:
        return ordered_differences(*shown[0], metric)
    figure, axes = rows_of_axes([each.first for each, _ in shown], per_row_in=0.42)
    axes.axvline(0, color=INK, linewidth=1)
    for place, (each, differences) in enumerate(shown):
        draw_points(axes, place, differences, MUTED)
        draw_interval(axes, place, each.interval.low, each.interval.high, each.difference, PALETTE[0], width=5)
        axes.plot(
            each.difference, place, "D", color=PAPER, markersize=4.6, markeredgecolor=PALETTE[0], markeredgewidth=1.3
        )
    axes.set_xlabel(label(f"difference of a pair in {metric}", 80))
    return figure


def counted_differences(pairs: Sequence[tuple[Comparison, Sequence[float]]], metric: str) -> Figure:
    """How many pairs speak for each side."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = rows_of_axes([each.first for each, _ in pairs])
    for place, (each, differences) in enumerate(pairs):
        ups, downs = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        up, down = sign_colours(each)
        axes.barh(place, ups, height=0.6, color=up)
        axes.barh(place, -downs, height=0.6, color=down)
        beside(axes, place, f"{downs:,} down, {ups:,} up, {len(differences) - ups - downs:,} equal")
    axes.axvline(0, color=INK, linewidth=1)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    number_ticks(axes, signed=False)
    axes.set_xlabel(label(f"pairs in which {metric} is lower, and higher", 80))
    return figure


def ordered_differences(comparison: Comparison, differences: Sequence[float], metric: str) -> Figure:
    """Each pair of one comparison, from the least difference to the greatest, with their mean and its interval."""
    import numpy as np

    values = np.sort(np.asarray(differences, dtype=np.float64))
    figure, axes = new_axes(2.6, across="y")
    axes.axhspan(comparison.interval.low, comparison.interval.high, color=PALETTE[0], alpha=0.22, linewidth=0)
    axes.axhline(comparison.difference, color=PALETTE[0], linewidth=1.4)
    up, down = sign_colours(comparison)
    ends, steps = np.repeat(np.arange(len(values) + 1) + 0.5, 2)[1:-1], np.repeat(values, 2)
    axes.fill_between(ends, steps, 0, where=steps > 0, color=up, linewidth=0)
    axes.fill_between(ends, steps, 0, where=steps < 0, color=down, linewidth=0)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlabel(f"{number_text(len(values))} pairs, from the least difference to the greatest")
    axes.set_ylabel(label(f"difference in {metric}", 40))
    number_ticks(axes, "x", "y")
    return figure


@styled
def distributions(descriptions: Sequence[Description], metric: str) -> Figure:
    """The raw values of each condition, with median and quartiles.

    Of more than `MOST_POINTS` values so many are drawn, evenly spaced by rank: the least and the greatest among them.
    """
    shown = descriptions[:MOST_ROWS]
    figure, axes = rows_of_axes([each.condition for each in shown], per_row_in=0.42)
    for place, each in enumerate(shown):
        draw_points(axes, place, each.values, PALETTE[0])
        low, high = each.quartiles
        axes.plot([low, high], [place, place], color=INK, linewidth=4.5, solid_capstyle="butt", alpha=0.75)
        axes.plot(each.median, place, "D", color=PAPER, markersize=4.6, markeredgecolor=INK, markeredgewidth=1.1)
    axes.set_xlabel(label(metric, 80))
    return figure


def rows_of_axes(names: Sequence[str], per_row_in: float = 0.34) -> tuple[Figure, Axes]:
    """Axes with a row for each name, the first on top."""
    figure, axes = new_axes(0.75 + per_row_in * max(len(names), 2))
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    number_ticks(axes)
    return figure, axes


def draw_points(axes: Axes, place: int, values: Sequence[float], colour: str) -> None:
    """Raw values in a row; of more than `MOST_POINTS` so many, evenly spaced by rank."""
    import numpy as np

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) > MOST_POINTS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, MOST_POINTS).round().astype(int)]
    # Spread by the golden ratio: even, without chance, and neighbours in rank lie apart.
    spread = (np.arange(len(ordered)) * GOLDEN % 1 - 0.5) * 0.5
    axes.plot(ordered, place + spread, "o", color=colour, markersize=3.4, markeredgewidth=0, alpha=0.45)


def draw_interval(
    axes: Axes, place: float, low: float, high: float, inside: float, colour: str, width: float = 2.2
) -> None:
    """An interval; where one end is infinite, as far as the axes go, with an arrow."""
    from math import isfinite

    ends = [end if isfinite(end) else inside for end in (low, high)]
    axes.plot(ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt")
    for end, sign in ((low, "<"), (high, ">")):
        if not isfinite(end):
            axes.plot(inside, place, sign, color=colour, markersize=9)


def beside(axes: Axes, place: float, text: str) -> None:
    """A text to the right of a row."""
    axes.annotate(
        text, (1, place), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points", va="center",
        color=INK, fontsize=8.5, annotation_clip=False,
    )  # fmt: skip


def sign_colours(comparison: Comparison) -> tuple[str, str]:
    """The colours of differences above and below 0: green is better, orange is worse; else two that say nothing."""
    if not comparison.better:
        return PALETTE[0], PALETTE[4]
    return (PALETTE[2], PALETTE[1]) if comparison.better == "higher" else (PALETTE[1], PALETTE[2])
