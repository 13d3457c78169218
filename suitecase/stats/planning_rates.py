"""Planned tests of rates: exact power by summing over every outcome, or R's normal approximation."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import special, stats

from suitecase.stats.planning import SidedTest, positive
from suitecase.stats.samples import Array

__all__ = ["OneRate", "PairedRates", "TwoRates"]


def binomial_window(n: int, rate: float) -> tuple[Array, Array]:
    """The counts that have any probability to speak of (all but 1e-15 of it), and their probabilities."""
    law = cast(Any, stats.binom(n, rate if rate > 1e-300 else 0.0))  # scipy overflows on subnormal rates
    low, high = (int(each) for each in law.ppf([1e-16, 1 - 1e-16]))
    counts = np.arange(max(low - 1, 0), min(high + 1, n) + 1, dtype=np.float64)
    return counts, np.asarray(law.pmf(counts), np.float64)


def at_most(counts: Array, n: Array | float, rate: float) -> Array:
    """P(X ≤ count) of a binomial; counts may be below 0 or above n."""
    within = np.clip(counts, 0, np.maximum(np.asarray(n) - 1, 0))
    chance = np.asarray(special.betaincc(within + 1, np.maximum(n - within, 1), rate))
    return np.where(counts < 0, 0.0, np.where(counts >= n, 1.0, chance))


@dataclass(frozen=True, kw_only=True)
class RateTest(SidedTest):
    """A planned test of counts, whose power zigzags."""

    @property
    def sawtooth(self) -> bool:
        """Whether power can fall as n grows."""
        return True

    @property
    def critical(self) -> float:
        """The normal quantile that the score statistic is held against."""
        return cast(float, special.ndtri(1 - self.tail))

    @abc.abstractmethod
    def reach(self) -> tuple[float, float]:
        """The least and the largest effect that there can be."""

    @property
    def largest(self) -> float:
        """The largest effect that there can be on the alternative's side."""
        return self.reach()[1 if self.side > 0 else 0]

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        low, high = self.reach()
        return [] if low <= effect <= high else [f"effect={effect}: it lies between {low:g} and {high:g} here."]

    def both(self, below: float, above: float) -> float:
        """The power, from the probabilities to reject on either side."""
        return below + above if self.two_sided else (above if self.side > 0 else below)


@dataclass(frozen=True, kw_only=True)
class OneRate(RateTest):
    """The score test of one rate, which Wilson's interval inverts; effect: rate minus `rate`; n: trials. Exact power.

    Attributes:
        rate: The rate of the null hypothesis, in (0, 1).
    """

    rate: float = 0.5

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"rate={self.rate}: it lies above 0 and below 1."
        return super().problems() + [wrong] * (not 0 < self.rate < 1)

    def reach(self) -> tuple[float, float]:
        """To the rates 0 and 1."""
        return -self.rate, 1 - self.rate

    def power_at(self, effect: float, n: float) -> float:
        """P(|x − n·rate| ≥ z √(n·rate(1 − rate)))."""
        margin = self.critical * math.sqrt(n * self.rate * (1 - self.rate))
        true = min(max(self.rate + effect, 0.0), 1.0)
        low, high = math.floor(n * self.rate - margin), math.ceil(n * self.rate + margin)
        below, up_to = (float(at_most(np.array(each), n, true)) for each in (low, high - 1))
        return self.both(below, 1 - up_to)


@dataclass(frozen=True, kw_only=True)
class TwoRates(RateTest):
    """The score test of two rates (Miettinen & Nurminen 1985); effect: first minus second; n: trials in the first.

    Exact: the sum over all outcomes. With `exact=False` the normal approximation of R's `power.prop.test` (Fleiss
    1981), for fractional n and for comparison with other tools; at n = 20 the two differ by up to 0.05.

    Attributes:
        rate: The second group's rate, the baseline, in [0, 1].
        ratio: Trials in the second group for each one in the first; their number is rounded.
        exact: Whether outcomes are enumerated.

    >>> TwoRates(rate=0.5, exact=False).n_for(0.25, power=0.9)
    77
    """

    rate: float
    ratio: float = 1.0
    exact: bool = True

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"rate={self.rate}: it lies between 0 and 1."
        return super().problems() + positive(ratio=self.ratio) + [wrong] * (not 0 <= self.rate <= 1)

    @property
    def sawtooth(self) -> bool:
        """Whether power can fall as n grows: if it is exact."""
        return self.exact

    @property
    def least_n(self) -> int:
        """One in the smaller group."""
        return max(2, math.ceil(1 / self.ratio))

    def reach(self) -> tuple[float, float]:
        """To the rates 0 and 1."""
        return -self.rate, 1 - self.rate

    def power_at(self, effect: float, n: float) -> float:
        """By the sum over the first group's outcomes, or approximately."""
        first = min(max(self.rate + effect, 0.0), 1.0)
        if not self.exact:
            return self.approximate(first, n)
        second = round(n * self.ratio)
        counts, chances = binomial_window(int(n), first)
        low, high = self.ends(counts, float(n), float(second))
        above = chances @ at_most(low, second, self.rate)  # few successes in the second group: the first is above
        below = chances @ (1 - at_most(high - 1, second, self.rate))
        return self.both(float(below), float(above))

    def ends(self, x: Array, n: float, m: float) -> tuple[Array, Array]:
        """For x of n successes in the first group, up to and from which y of m the test rejects.

        (m·x − n·y)² (N − 1) ≥ z² (x + y)(N − x − y) n·m, with N = n + m, is a quadratic in y. At x + y = 0 and N both
        sides are 0 and nothing is rejected, which the roots say too, but for rounding.
        """
        total, z2 = n + m, self.critical**2 * n * m
        a = (total - 1) * n * n + z2
        b = -2 * (total - 1) * n * m * x - z2 * (total - 2 * x)
        c = (total - 1) * (m * x) ** 2 - z2 * x * (total - x)
        root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
        low, high = np.floor((-b - root) / (2 * a)), np.ceil((-b + root) / (2 * a))
        return np.where(x == 0, -1.0, low), np.where(x == n, m + 1, high)

    def approximate(self, first: float, n: float) -> float:
        """Normal, with the pooled variance at the null value, as R; both tails if two-sided."""
        second, m = self.rate, n * self.ratio
        pooled = (n * first + m * second) / (n + m)
        at_null = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        error = math.sqrt(first * (1 - first) / n + second * (1 - second) / m)
        difference = first - second
        if error == 0:
            return 1.0 if difference * self.side > 0 or (difference and self.two_sided) else 0.0

        def upper(each: float) -> float:
            return float(special.ndtr((each - self.critical * at_null) / error))

        return self.tails(upper, difference)


@dataclass(frozen=True, kw_only=True)
class PairedRates(RateTest):
    """McNemar's score test of paired 0/1, which Tango's interval inverts; effect: first minus second; n: pairs.

    Exact and unconditional: the sum over the number of discordant pairs (the unconditional power of Connor 1987,
    Biometrics 43:207-211, without its approximations).

    Attributes:
        discordant: The share of pairs in which just one of the two is right: a pilot's, or p(1 − q) + q(1 − p) for
            rates p and q of independent models, which is more than models that find the same items hard have.
    """

    discordant: float

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"discordant={self.discordant}: a share of pairs, above 0 and up to 1."
        return super().problems() + [wrong] * (not 0 < self.discordant <= 1)

    def reach(self) -> tuple[float, float]:
        """No further than the discordant share."""
        return -self.discordant, self.discordant

    def power_at(self, effect: float, n: float) -> float:
        """Σ P(m discordant) · P(|2b − m| ≥ z √m), with b the pairs in which the first alone is right."""
        share = min(max((1 + effect / self.discordant) / 2, 0.0), 1.0)
        m, chances = binomial_window(int(n), self.discordant)
        margin = self.critical * np.sqrt(m)
        # With m = 0 nothing is rejected.
        low = np.where(m > 0, np.floor((m - margin) / 2), -1.0)
        high = np.where(m > 0, np.ceil((m + margin) / 2), 1.0)
        below = chances @ at_most(low, m, share)
        above = chances @ (1 - at_most(high - 1, m, share))
        return self.both(float(below), float(above))
