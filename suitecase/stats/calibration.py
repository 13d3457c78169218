"""Whether stated probabilities come true: calibration error, Brier score, reliability curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from suitecase.stats.estimates import wilson_interval
from suitecase.stats.results import Interval, Result, TestResult
from suitecase.stats.samples import Array, DataError, Values, check_level, pairs_of

__all__ = ["Binning", "Calibration", "CalibrationBin", "calibration_of", "spiegelhalter_test"]

Binning: TypeAlias = Literal["equal mass", "equal width"]
"""Bins with as many forecasts in each, or of the same width; equal values always share a bin."""


@dataclass(frozen=True)
class CalibrationBin(Result):
    """A point of the reliability curve.

    Attributes:
        stated: Mean of the stated probabilities.
        observed: How often they came true.
        interval: Of `observed` (Wilson).
        n: How many there are.
    """

    stated: float
    observed: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class Calibration(Result):
    """How well stated probabilities are calibrated.

    Attributes:
        n: Number of forecasts.
        ece: Expected calibration error: mean of |observed − stated| over bins, by their size (Naeini & al. 2015). It is
            above 0 even for perfect calibration, the more so the fewer forecasts a bin has.
        ece_by_chance: What it would be on average if every probability were right, by the normal approximation of each
            bin's mean.
        squared_error: Mean of (observed − stated)² over bins, less what chance adds (Bröcker 2012; Kumar, Liang & Ma
            2019): unbiased for the binned error, so it may be below 0.
        brier: Brier score: the mean of (probability − outcome)².
        reliability: Its part from miscalibration of bins (Murphy 1973): what recalibration would gain.
        resolution: Its part gained by telling bins apart.
        uncertainty: That of always stating the base rate.
        within_bins: What the bins hide (Stephenson & al. 2008): brier = reliability − resolution + uncertainty +
            within_bins, exactly.
        bins: The reliability curve, by stated probability; empty bins are left out.
        binning: How the bins were made.
        warnings: What a reader must know, one sentence each.
    """

    n: int
    ece: float
    ece_by_chance: float
    squared_error: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    bins: tuple[CalibrationBin, ...]
    binning: Binning
    warnings: tuple[str, ...] = ()


def calibration_of(
    probabilities: Values,
    outcomes: Values,
    *,
    bins: int = 10,
    binning: Binning = "equal mass",
    level: float = 0.95,
) -> Calibration:
    """Hold stated probabilities against what came true.

    Args:
        probabilities: Stated, in [0, 1], shape (n,).
        outcomes: 1 or True where it came true, else 0, shape (n,).
        bins: How many at most, 1 or more.
        binning: How they are made.
        level: Of each bin's interval.

    Raises:
        DataError: For values out of range, or different lengths.
    """
    check_level(level)
    stated, true = forecasts_of(probabilities, outcomes)
    if bins < 1 or binning not in ("equal mass", "equal width"):
        raise DataError(f"bins={bins}, binning={binning!r}: 1 or more bins of 'equal mass' or 'equal width'.")
    place = bins_of(stated, bins, binning)
    size = np.bincount(place).astype(np.float64)
    mean_stated, mean_true = np.bincount(place, stated) / size, np.bincount(place, true) / size
    share, gap = size / len(stated), mean_true - mean_stated
    base = float(true.mean())
    brier = float(np.mean((stated - true) ** 2))
    reliability, resolution = float(share @ gap**2), float(share @ (mean_true - base) ** 2)
    uncertainty = base * (1 - base)
    # E|Z| of a normal is sd √(2/π).
    chance = np.sqrt(2 / math.pi * np.bincount(place, stated * (1 - stated))) / size
    several = size > 1
    noise = np.where(several, mean_true * (1 - mean_true) / np.maximum(size - 1, 1), 0.0)
    found = tuple(
        CalibrationBin(float(p), float(o), wilson_interval(float(o), float(k), level), int(k))
        for p, o, k in zip(mean_stated, mean_true, size, strict=True)
    )
    small = int((size < 10).sum())
    warnings = (f"{small} of {len(size)} bins have fewer than 10 forecasts: take fewer bins.",) * bool(small)
    return Calibration(
        n=len(stated),
        ece=float(share @ np.abs(gap)),
        ece_by_chance=float(share @ chance),
        squared_error=float(share @ (gap**2 - noise)),
        brier=brier,
        reliability=reliability,
        resolution=resolution,
        uncertainty=uncertainty,
        within_bins=brier - reliability + resolution - uncertainty,
        bins=found,
        binning=binning,
        warnings=warnings,
    )


def forecasts_of(probabilities: Values, outcomes: Values) -> tuple[Array, Array]:
    """Both as arrays, checked."""
    stated, true = pairs_of(probabilities, outcomes, ("probabilities", "outcomes"))
    problems: list[str] = []
    if np.any((stated < 0) | (stated > 1)):
        problems.append(f"probabilities lie between 0 and 1, and here between {stated.min():g} and {stated.max():g}.")
    if np.any((true != 0) & (true != 1)):
        problems.append("outcomes are 0 or 1.")
    if problems:
        raise DataError(problems)
    return stated, true


def bins_of(stated: Array, bins: int, binning: Binning) -> NDArray[np.intp]:
    """The bin of each forecast, without gaps, in [0, number of bins)."""
    if binning == "equal width":
        place = np.minimum((stated * bins).astype(np.intp), bins - 1)
    else:
        # The place of a value is that of its first in sorted order, so that equal values share a bin.
        first = np.searchsorted(np.sort(stated), stated, side="left")
        place = first * bins // len(stated)
    return np.unique(place, return_inverse=True)[1]


def spiegelhalter_test(probabilities: Values, outcomes: Values) -> TestResult:
    """Are the stated probabilities right? Spiegelhalter's z test (1986, Stat. Med. 5:421-433), without bins.

    The null hypothesis is that every probability is right; a small p speaks against calibration. It looks at the Brier
    score, so it is blind to errors that leave that as expected.

    Raises:
        DataError: As `calibration_of`; and if all probabilities are 0, ½ or 1, where the statistic isn't defined.
    """
    stated, true = forecasts_of(probabilities, outcomes)
    variance = float((((1 - 2 * stated) ** 2) * stated * (1 - stated)).sum())
    if variance == 0:
        raise DataError("all probabilities are 0, 0.5 or 1, so Spiegelhalter's statistic has no standard error.")
    z = float(((true - stated) * (1 - 2 * stated)).sum()) / math.sqrt(variance)
    p = 2 * float(cast(Any, stats).norm.sf(abs(z)))
    reference = "Spiegelhalter (1986), Stat. Med. 5:421-433"
    return TestResult(
        "Spiegelhalter's test of calibration", p, (len(stated),), "z", z, references=(reference,), details={}
    )
