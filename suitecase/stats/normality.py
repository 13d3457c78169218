"""What a sample looks like, and whether it looks normal."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.stats

from suitecase.stats.results import Assumption, Result, TestResult
from suitecase.stats.samples import Array, DataError, Values, is_constant, sample_of
from suitecase.stats.wording import number_text, p_text

__all__ = ["Description", "describe", "normal_residuals", "shapiro_wilk"]

stats = cast(Any, scipy.stats)  # scipy ships no types

ROYSTON_N = 5000
"""Up to so many values the p-value of Royston (1995) was fitted."""


@dataclass(frozen=True)
class Description(Result):
    """A sample in figures.

    Attributes:
        n: How many values there are.
        mean: Their mean.
        sd: The standard deviation, with n − 1; `None` for one value.
        sem: The standard error of the mean, sd/√n; `None` for one value.
        median: The middle value.
        q1: The lower quartile; quartiles are of type 7, the default of R and numpy (Hyndman & Fan 1996).
        q3: The upper quartile.
        min: The smallest value.
        max: The largest value.
        skewness: G₁, the adjusted skewness (Joanes & Gill 1998); `None` for fewer than 3 values, or constant ones.
        kurtosis: G₂, the adjusted excess kurtosis, 0 for a normal distribution; `None` for fewer than 4 values, or
            constant ones.
    """

    n: int
    mean: float
    sd: float | None
    sem: float | None
    median: float
    q1: float
    q3: float
    min: float
    max: float
    skewness: float | None
    kurtosis: float | None


def describe(values: Values) -> Description:
    """A sample's usual figures.

    Args:
        values: One value or more, shape (n,).

    Raises:
        DataError: For bad values, or none.
    """
    x = sample_of(values)
    sd = float(x.std(ddof=1)) if len(x) > 1 else None
    q1, median, q3 = (float(each) for each in np.quantile(x, [0.25, 0.5, 0.75]))
    skewness, kurtosis = shape_of(x)
    return Description(
        n=len(x),
        mean=float(x.mean()),
        sd=sd,
        sem=None if sd is None else sd / math.sqrt(len(x)),
        median=median,
        q1=q1,
        q3=q3,
        min=float(x.min()),
        max=float(x.max()),
        skewness=skewness,
        kurtosis=kurtosis,
    )


def shape_of(x: Array) -> tuple[float | None, float | None]:
    """G₁ and G₂ (Joanes & Gill 1998, type 2), where the sample is large enough and varies."""
    n = len(x)
    if n < 3 or is_constant(x):
        return None, None
    z = x - x.mean()
    z /= z.std()
    squared = z * z
    skewness = math.sqrt(n * (n - 1)) / (n - 2) * float((squared * z).mean())
    if n < 4:
        return skewness, None
    excess = float((squared * squared).mean()) - 3
    return skewness, (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)


def shapiro_wilk(values: Values) -> TestResult:
    """The Shapiro–Wilk test of normality, by Royston's algorithm (1995), as in R.

    It must not choose a test: with few values it sees nothing, with many it sees what doesn't matter. Royston fitted
    its p-value to n ≤ 5000; above, where R refuses, W and p are given with a warning.

    Args:
        values: 3 independent values or more, shape (n,).

    Raises:
        DataError: For bad values, or values that are all the same.
    """
    x = sample_of(values, least=3)
    if is_constant(x):
        raise DataError("the values are all the same, so there is no shape to test.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "scipy.stats.shapiro: For N > 5000", UserWarning)
        found = stats.shapiro(x)
    skewness, kurtosis = shape_of(x)
    shape = {"skewness": skewness, "kurtosis": kurtosis}
    return TestResult(
        test="Shapiro–Wilk test",
        statistic_name="W",
        statistic=float(found.statistic),
        p=float(found.pvalue),
        n=(len(x),),
        references=("Shapiro & Wilk 1965, Biometrika 52:591–611", "Royston 1995, Applied Statistics 44:547–551"),
        warnings=(f"The p-value was fitted to n ≤ {ROYSTON_N}; here n = {len(x):,}.",) * (len(x) > ROYSTON_N),
        details={name: value for name, value in shape.items() if value is not None},
    )


def normal_residuals(residuals: Array) -> Assumption:
    """That residuals look normal, by their skewness and, up to 5000 of them, by the Shapiro–Wilk test."""
    skewness, kurtosis = shape_of(residuals)
    if skewness is None or kurtosis is None:
        return Assumption("normal residuals", f"{len(residuals)} residuals can't tell")
    finding = f"skewness {number_text(skewness, 2)}, excess kurtosis {number_text(kurtosis, 2)}"
    if len(residuals) > ROYSTON_N:
        return Assumption("normal residuals", f"{finding} of {len(residuals):,} residuals")
    found = shapiro_wilk(residuals)
    text = f"{finding}; Shapiro–Wilk W = {number_text(found.statistic)}, {p_text(found.p)}"
    return Assumption("normal residuals", text, found.p >= 0.05)
