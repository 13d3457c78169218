"""Figures of reports: each is a function of data, and the same data give the same bytes.

They need matplotlib (extra `analysis`), which is imported when the first is drawn.
"""

from __future__ import annotations

from suitecase.reports.figures.curves import Curve, learning_curves, power_curve
from suitecase.reports.figures.evaluations import calibration, rank_bands
from suitecase.reports.figures.results import MOST_POINTS, distributions, estimates, forest, paired_differences
from suitecase.reports.figures.style import PALETTE, as_pdf, as_png, as_svg
from suitecase.reports.figures.tradeoff import CostPoint, cost_quality, front

__all__ = [
    "MOST_POINTS",
    "PALETTE",
    "CostPoint",
    "Curve",
    "as_pdf",
    "as_png",
    "as_svg",
    "calibration",
    "cost_quality",
    "distributions",
    "estimates",
    "forest",
    "front",
    "learning_curves",
    "paired_differences",
    "power_curve",
    "rank_bands",
]
