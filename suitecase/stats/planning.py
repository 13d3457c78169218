"""Before a run: how many units, which power, what difference can be seen.

Each test has a frozen class (`TwoMeans`, `PairedRates`, …) with the same three questions: `power_of(effect, n)`,
`n_for(effect, power)`, `detectable(n, power)`, and `curve(effects, n)` for a figure. After a run only
`minimum_detectable` speaks of power, from the standard error.

There is no power at the observed effect, on purpose: it is a function of the p-value alone (p = α always gives about
50 %), so it says nothing that p doesn't, and "not significant, but power was low" is circular (Hoenig & Heisey 2001,
Am. Stat. 55:19-24). Assumed effects come from what would matter, or from a pilot's variances, never from its effect.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from suitecase.stats.results import Alternative, Result
from suitecase.stats.samples import Array, DataError

__all__ = ["PlannedTest", "SidedTest", "minimum_detectable", "positive"]

MOST_UNITS = 10**9
"""No plan asks for more."""


@dataclass(frozen=True, kw_only=True)
class PlannedTest(Result, abc.ABC):
    """A test at the level alpha, before there are data.

    Attributes:
        alpha: The level of this one test, after correction: with Holm or Bonferroni over m tests, α / m is the level
            that the first of them must reach.
    """

    alpha: float = 0.05

    null: ClassVar[float] = 0.0
    """The effect that the null hypothesis names."""

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise DataError(problems)

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        if 0 < self.alpha < 1:
            return []
        return [f"alpha={self.alpha}: the level of a test lies between 0 and 1, such as 0.05."]

    @property
    def least_n(self) -> int:
        """The least n that the test can be done with."""
        return 2

    @property
    def sawtooth(self) -> bool:
        """Whether power can fall as n grows, as in tests of counts (Chernick & Liu 2002, Am. Stat. 56:149-155)."""
        return False

    @property
    def largest(self) -> float:
        """The largest effect that there can be on the alternative's side."""
        return math.inf

    @abc.abstractmethod
    def power_at(self, effect: float, n: float) -> float:
        """The power, for an effect and an n that are known to be possible."""

    def power_of(self, effect: float, n: float) -> float:
        """The probability that the test rejects if the true effect is `effect`, with n units.

        Args:
            effect: As the class says; at the null value this is the test's actual level.
            n: Units as the class counts them; fractions are allowed where the formula has them.

        Raises:
            DataError: For an effect or an n that can't be.
        """
        problems = self.problems_with(effect)
        if not (self.least_n <= n < math.inf):
            problems.append(f"n={n}: {self.least_n} or more are needed.")
        if self.sawtooth and n != math.floor(n):
            problems.append(f"n={n}: this test counts, so n is a whole number.")
        if problems:
            raise DataError(problems)
        return min(max(self.power_at(float(effect), n), 0.0), 1.0)

    def n_for(self, effect: float, power: float = 0.8) -> int:
        """The least n with at least this power; where power zigzags, the least from which on it stays there.

        Raises:
            DataError: For an effect at the null value or on the other side of it, or one that needs over 10⁹ units.
        """
        problems = self.problems_with(effect) + problems_of_power(power, self.alpha)
        if not problems and (effect - self.null) * self.side <= 0 and not (self.two_sided and effect != self.null):
            problems = [f"effect={effect}: no n finds an effect that isn't on the side that the test looks at."]
        if problems:
            raise DataError(problems)

        def enough(n: int) -> bool:
            return self.power_at(float(effect), n) >= power

        high = self.least_n
        while not enough(high):
            high *= 2
            if high > MOST_UNITS:
                raise DataError(
                    f"effect={effect}: more than {MOST_UNITS:,} units would be needed for a power of {power}."
                )
        low = max(high // 2, self.least_n - 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return self.past_zigzag(high, enough) if self.sawtooth else high

    def past_zigzag(self, n: int, enough: Callable[[int], bool]) -> int:
        """The n after the last one near n that isn't enough; above 10⁵ the teeth are under 0.2 points: left alone."""
        if n > 100_000:
            return n
        reach = min(max(n // 20, 10), 100)
        low, high = max(self.least_n, n - 2 * reach), n + reach
        for each in range(high, low - 1, -1):
            if not enough(each):
                return each + 1 if each < high else self.past_zigzag(high + 1, enough)
        return low

    def detectable(self, n: float, power: float = 0.8) -> float:
        """The least effect that the test finds with this power, with n units.

        It lies on the side of the alternative; for a two-sided test, above the null value.

        Raises:
            DataError: If no possible effect is found with such a power.
        """
        self.power_of(self.null, n)
        problems = problems_of_power(power, self.alpha)
        if problems:
            raise DataError(problems)

        def lacking(distance: float) -> float:
            return power - self.power_at(self.null + self.side * distance, n)

        room = abs(self.largest - self.null)
        far = min(1.0, room)
        while lacking(far) > 0:
            if far >= room or far > 1e12:
                raise DataError(
                    f"n={n}: no effect that there can be is found with a power of {power}; more are needed."
                )
            far = min(2 * far, room)
        if lacking(0.0) <= 0:  # a test of counts can exceed its level
            return self.null
        # An effect may be in any unit, so the tolerance is relative.
        found = float(cast(Any, optimize).brentq(lacking, 0.0, far, xtol=1e-300, rtol=1e-12, maxiter=2000))
        return self.null + self.side * found

    def curve(self, effects: ArrayLike, n: ArrayLike) -> Array:
        """Power over effects and n, broadcast against each other as numpy does: the points of a power curve."""
        points = np.broadcast(np.asarray(effects, float), np.asarray(n, float))
        return np.array([self.power_of(float(effect), float(each)) for effect, each in points]).reshape(points.shape)

    @property
    def side(self) -> int:
        """On which side of the null value an effect is looked for first."""
        return 1

    @property
    def two_sided(self) -> bool:
        """Whether effects on both sides are found."""
        return False

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        if math.isfinite(effect) and effect >= self.null and effect <= self.largest:
            return []
        return [f"effect={effect}: it lies between {self.null:g} and {self.largest:g}."]


@dataclass(frozen=True, kw_only=True)
class SidedTest(PlannedTest):
    """A planned test whose effects have a sign.

    Attributes:
        alternative: What is asked of the effect, which is the first minus the second. The power of a two-sided test
            counts both tails, as statsmodels does; R's `power.t.test` leaves the far one out.
    """

    alternative: Alternative = "two-sided"

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        known = self.alternative in ("two-sided", "less", "greater")
        wrong = f"alternative={self.alternative!r}: it is 'two-sided', 'less' or 'greater'."
        return super().problems() + [wrong] * (not known)

    @property
    def side(self) -> int:
        """On which side of the null value an effect is looked for first."""
        return -1 if self.alternative == "less" else 1

    @property
    def two_sided(self) -> bool:
        """Whether effects on both sides are found."""
        return self.alternative == "two-sided"

    @property
    def tail(self) -> float:
        """The level of each tail that the test looks at."""
        return self.alpha / 2 if self.two_sided else self.alpha

    def tails(self, upper: Callable[[float], float], effect: float) -> float:
        """The power, from that of a one-sided test at `tail` against an effect upwards."""
        if self.two_sided:
            return upper(effect) + upper(-effect)
        return upper(self.side * effect)

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        return [] if math.isfinite(effect) else [f"effect={effect}: a finite number is needed."]


def problems_of_power(power: float, alpha: float) -> list[str]:
    """Why a power can't be asked for."""
    if alpha < power < 1:
        return []
    return [f"power={power}: it lies between the test's level ({alpha:g}) and 1, such as 0.8."]


def positive(**values: float) -> list[str]:
    """The values that aren't positive numbers, one sentence each."""
    return [
        f"{name}={value}: a positive number is needed."
        for name, value in values.items()
        if not (0 < value < math.inf)  # NaN too
    ]


def minimum_detectable(
    standard_error: float,
    df: float = math.inf,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    alternative: Alternative = "two-sided",
) -> float:
    """The least true difference that an estimate with this standard error would have found with this power.

    (t₁₋α'/₂ + t_power) · SE, for a report (Bloom 1995, Eval. Rev. 19:547-556). It uses the standard error, never the
    estimate. Beside the exact noncentral t it is 2 % too small at 3 df, and within 0.1 % from 10 df on.

    Args:
        standard_error: That of the estimate, 0 or more.
        df: Degrees of freedom of the t that tests it; infinite for a z-test.
        alpha: The level α' of this test after correction.
        power: The power asked for, above alpha and below 1.
        alternative: Two-sided tests use α'/2.

    Raises:
        DataError: For values outside of these ranges.
    """
    problems = problems_of_power(power, alpha) + positive(alpha=alpha, df=1 if df == math.inf else df)
    if not 0 <= standard_error < math.inf:
        problems.append(f"standard_error={standard_error}: it is 0 or more, and finite.")
    if problems:
        raise DataError(problems)
    tail = alpha / 2 if alternative == "two-sided" else alpha

    def quantile(q: float) -> float:
        return cast(float, special.ndtri(q) if df == math.inf else special.stdtrit(df, q))

    return float((quantile(1 - tail) + quantile(power)) * standard_error)
