"""An estimate with its interval, where nothing is tested; and the interval of a mean of shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import Array, check_level
from suitecase.stats.wording import number_text

__all__ = ["Estimate", "mean_share_interval", "wilson_interval"]


@dataclass(frozen=True)
class Estimate(Result):
    """A quantity, and how sure it is.

    Attributes:
        name: What it is, such as "pass@5".
        value: The estimate.
        interval: Its confidence interval.
        n: How many units it rests on.
        standard_error: Its standard error, where it has one.
        references: Where the method is published.
        warnings: What a reader must know, one sentence each.
        details: More figures, by name.
    """

    name: str
    value: float
    interval: Interval
    n: int
    standard_error: float = math.nan
    references: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict[str, float])

    def sentence(self) -> str:
        """The estimate in one line: `pass@5 = 0.917, 95 % CI [0.88, 0.942]; n = 200.`"""
        return f"{self.name} = {number_text(self.value)}, {self.interval}; n = {self.n}."


def wilson_interval(share: float, n: float, level: float = 0.95, df: float = math.inf) -> Interval:
    """Wilson's interval (1927) for a share of n, which may be an effective number; with `df`, t in place of z."""
    check_level(level)
    tail = (1 + level) / 2
    z = float(special.ndtri(tail) if df == math.inf else special.stdtrit(df, tail))
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(max(share * (1 - share), 0) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # By definition; rounding can miss them by 1e-17.
    low = 0.0 if share == 0 else max((centre - spread) / scale, 0.0)
    high = 1.0 if share == 1 else min((centre + spread) / scale, 1.0)
    return Interval(low, high, level, "Wilson")


def mean_share_interval(values: Array, level: float) -> Interval:
    """The interval of a mean of values in [0, 1]; the values are the units.

    Of 0s and 1s Wilson's. Else Wilson's with t(n − 1) and the effective number p(1 − p)/SE², as Korn & Graubard (1998,
    Surv. Methodol. 24:193-201) do for Clopper–Pearson's: it stays within [0, 1] and has a width where all values are
    alike. Simulated coverage is 94 to 98 % from 10 values on, where Student's t has 82 to 95 %.
    """
    n, share = len(values), float(values.mean())
    if n < 2 or not np.any((values > 0) & (values < 1)):
        return wilson_interval(share, n, level)
    variance = float(values.var(ddof=1)) / n
    effective = share * (1 - share) / variance if variance > 1e-30 else float(n)
    found = wilson_interval(share, effective, level, n - 1)
    return Interval(found.low, found.high, level, "Wilson, over items")
