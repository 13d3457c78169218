"""Planned tests of means, ranks, variances and correlations: what they find, and with how many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from scipy import special

from suitecase.stats.planning import PlannedTest, SidedTest, positive
from suitecase.stats.quadrature import over_chi
from suitecase.stats.samples import DataError, Values, sample_of

__all__ = [
    "Correlation",
    "EquivalentMeans",
    "ManyMeans",
    "OneMean",
    "PairedItems",
    "PairedMeans",
    "Ranks",
    "TwoMeans",
    "TwoVariances",
    "cohen_f",
]


def t_power(noncentrality: float, df: float, tail: float) -> float:
    """P(T > t₁₋tail) for the noncentral t, by integration over the estimated standard deviation."""
    critical = float(special.stdtrit(df, 1 - tail))
    points, weights = over_chi(df, reached(noncentrality, critical))
    return float(weights @ special.ndtr(noncentrality - critical * points))


def reached(noncentrality: float, critical: float) -> float:
    """The largest estimated standard deviation with which a test can reject; few units may give much larger ones."""
    return (max(noncentrality, 0) + 9) / critical if critical > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class OneMean(SidedTest):
    """The t-test of one mean, or of paired differences; effect: mean minus null value; n: values, or pairs. Exact.

    Attributes:
        sd: Standard deviation of the values, or of the differences. With the default, 1, effects are Cohen's d (d_z).

    >>> OneMean(sd=2.0).n_for(1.0, power=0.8)
    34
    """

    sd: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        return super().problems() + positive(sd=self.sd)

    def power_at(self, effect: float, n: float) -> float:
        """Noncentral t with n − 1 degrees of freedom (Cohen 1988, ch. 2)."""
        return self.tails(lambda each: t_power(each / self.sd * math.sqrt(n), n - 1, self.tail), effect)


@dataclass(frozen=True, kw_only=True)
class PairedMeans(SidedTest):
    """The paired t-test where the differences' sd isn't known: effect: first minus second; n: pairs. Exact.

    Attributes:
        sd: Standard deviation of each side.
        correlation: Between the two sides, over the items. Where the differences' own sd is known, use `OneMean`.
    """

    sd: float = 1.0
    correlation: float = 0.5

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"correlation={self.correlation}: it lies above -1 and below 1."
        return super().problems() + positive(sd=self.sd) + [wrong] * (not -1 < self.correlation < 1)

    def power_at(self, effect: float, n: float) -> float:
        """As `OneMean`, with the variance 2 sd² (1 − correlation)."""
        sd = self.sd * math.sqrt(2 * (1 - self.correlation))
        return OneMean(sd=sd, alpha=self.alpha, alternative=self.alternative).power_at(effect, n)


@dataclass(frozen=True, kw_only=True)
class TwoMeans(SidedTest):
    """The t-test of two groups; effect: mean of the first minus that of the second; n: values in the first group.

    Student's test, or Welch's where the standard deviations differ (`sd_second`). Exact for normal values.

    Attributes:
        sd: Standard deviation in each group, or in the first. With the default, 1, effects are Cohen's d.
        sd_second: That of the second group, if it differs.
        ratio: Values in the second group for each one in the first.

    >>> TwoMeans().n_for(0.5, power=0.8)
    64
    """

    sd: float = 1.0
    sd_second: float | None = None
    ratio: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        second = {} if self.sd_second is None else {"sd_second": self.sd_second}
        return super().problems() + positive(sd=self.sd, ratio=self.ratio, **second)

    @property
    def least_n(self) -> int:
        """Two in the smaller group."""
        return max(2, math.ceil(2 / self.ratio))

    def power_at(self, effect: float, n: float) -> float:
        """Noncentral t (Cohen 1988, ch. 2); for Welch's test the mean over both estimated standard deviations."""
        m = n * self.ratio
        if self.sd_second is None:
            error = self.sd * math.sqrt(1 / n + 1 / m)
            return self.tails(lambda each: t_power(each / error, n + m - 2, self.tail), effect)
        (u, of_u), (v, of_v) = over_chi(n - 1, nodes=40), over_chi(m - 1, nodes=40)
        a, b = self.sd**2 / n, self.sd_second**2 / m
        found_a, found_b = (a * u**2)[:, None], b * v**2
        df = (found_a + found_b) ** 2 / (found_a**2 / (n - 1) + found_b**2 / (m - 1))
        threshold = special.stdtrit(df, 1 - self.tail) * np.sqrt(found_a + found_b)
        # Mean and variance of a sample are independent, so the difference is normal whatever was estimated.
        error = math.sqrt(a + b)
        return self.tails(lambda each: float(of_u @ special.ndtr((each - threshold) / error) @ of_v), effect)


def cohen_f(means: Values, sd: float) -> float:
    """The effect of `ManyMeans`: the standard deviation of the true means over that within groups (Cohen 1988, 8.2)."""
    problems = positive(sd=sd)
    if problems:
        raise DataError(problems)
    return float(np.std(sample_of(means, "means", least=2)) / sd)


@dataclass(frozen=True, kw_only=True)
class ManyMeans(PlannedTest):
    """One-way analysis of variance; effect: Cohen's f (see `cohen_f`); n: values in each group. Exact.

    >>> ManyMeans(groups=3).n_for(0.25, power=0.8)
    53
    """

    groups: int

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"groups={self.groups}: there are 2 or more."
        return super().problems() + [wrong] * (self.groups < 2)

    def power_at(self, effect: float, n: float) -> float:
        """Noncentral F with λ = f² · n · groups (Cohen 1988, ch. 8)."""
        df, df_within = self.groups - 1, self.groups * (n - 1)
        critical = cast(float, special.fdtri(df, df_within, 1 - self.alpha))
        noncentrality = effect**2 * n * self.groups
        if (
            noncentrality > 1e6
        ):  # where the series of the noncentral distribution ends, and power is 1 at any level used
            return 1.0
        points, weights = over_chi(df_within)
        beyond = special.chndtr(critical * df * points**2, df, noncentrality)
        return float(weights @ (1 - beyond))


@dataclass(frozen=True, kw_only=True)
class EquivalentMeans(PlannedTest):
    """Two one-sided t-tests (TOST); effect: the margin within which the means are to be shown equivalent.

    So `detectable(n)` is the least margin that can be shown. Exact, by integrating over the estimated standard
    deviation (Phillips 1990, J. Pharmacokinet. Biopharm. 18:137-144). Non-inferiority by a margin is one of the two
    tests: `TwoMeans` or `OneMean` with the alternative "greater" and the margin plus the difference as effect.

    Attributes:
        difference: The true difference that is assumed, in the margin's unit.
        sd: Of the values in each group; of the differences if paired.
        paired: Whether n counts pairs, or values in each of two groups.
    """

    difference: float = 0.0
    sd: float = 1.0
    paired: bool = False

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        wrong = f"difference={self.difference}: a finite number is needed."
        return super().problems() + positive(sd=self.sd) + [wrong] * (not math.isfinite(self.difference))

    def power_at(self, effect: float, n: float) -> float:
        """P(both tests reject), each at alpha."""
        df = n - 1 if self.paired else 2 * n - 2
        error = self.sd * math.sqrt((1 if self.paired else 2) / n)
        critical = cast(float, special.stdtrit(df, 1 - self.alpha))
        points, weights = over_chi(df, most=effect / error / critical)
        upper = (effect - self.difference) / error - critical * points
        lower = (-effect - self.difference) / error + critical * points
        return float(weights @ (special.ndtr(upper) - special.ndtr(lower)))


@dataclass(frozen=True, kw_only=True)
class Ranks(SidedTest):
    """Mann–Whitney's test, or Wilcoxon's signed ranks if paired; n: values in each group, or pairs. Approximate.

    Noether's formula (1987, J. Am. Stat. Assoc. 82:645-647), which needs no distribution. For normal values with
    Cohen's d, the effect is Φ(d/√2) − ½, or Φ(d_z·√2) − ½ if paired (see `effect_of_d`). It takes the variance at the
    null value, which is a little off for large effects: `simulated_power` has it for any distribution.

    Attributes:
        paired: If so, the effect is P(the sum of two differences is positive) − ½; else P(first > second) − ½, ties
            counting half.
    """

    paired: bool = False

    @property
    def largest(self) -> float:
        """A half: every value of the first above every value of the second."""
        return 0.5

    def effect_of_d(self, d: float) -> float:
        """The effect for normal values whose means differ by d standard deviations."""
        return float(special.ndtr(d * math.sqrt(2 if self.paired else 0.5))) - 0.5

    def power_at(self, effect: float, n: float) -> float:
        """Normal, with the variance 1/(6n), or 1/(3n) if paired, of the estimated probability."""
        error = math.sqrt((1 / 3 if self.paired else 1 / 6) / n)
        critical = cast(float, special.ndtri(1 - self.tail))
        return self.tails(lambda each: float(special.ndtr(each / error - critical)), effect)

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        return [] if -0.5 <= effect <= 0.5 else [f"effect={effect}: a probability minus a half, from -0.5 to 0.5."]


@dataclass(frozen=True, kw_only=True)
class TwoVariances(SidedTest):
    """The F-test of two variances; effect: variance of the first over that of the second; n: values in each. Exact."""

    null: ClassVar[float] = 1.0

    @property
    def largest(self) -> float:
        """0 for the alternative "less"."""
        return 0.0 if self.side < 0 else math.inf

    def power_at(self, effect: float, n: float) -> float:
        """The ratio of the estimates is the true ratio times F(n − 1, n − 1)."""
        critical = cast(float, special.fdtri(n - 1, n - 1, 1 - self.tail))

        def upper(ratio: float) -> float:
            return float(special.fdtrc(n - 1, n - 1, critical / ratio)) if ratio else 0.0

        inverse = 1 / effect if effect else math.inf
        if self.two_sided:
            return upper(effect) + upper(inverse)
        return upper(effect if self.side > 0 else inverse)

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        return [] if 0 <= effect < math.inf else [f"effect={effect}: a ratio of variances is 0 or more, and finite."]


@dataclass(frozen=True, kw_only=True)
class Correlation(SidedTest):
    """The t-test of Pearson's r against 0; effect: the true correlation; n: pairs. Exact for bivariate normal values.

    >>> Correlation().n_for(0.3, power=0.8)
    84
    """

    @property
    def least_n(self) -> int:
        """Three: r has n − 2 degrees of freedom."""
        return 3

    @property
    def largest(self) -> float:
        """Just below 1."""
        return self.side * math.nextafter(1.0, 0.0)

    def power_at(self, effect: float, n: float) -> float:
        """Given one side's values r is a noncentral t, whose noncentrality has a χ(n − 1) in it."""
        spread, of_spread = over_chi(n - 1)
        critical = float(special.stdtrit(n - 2, 1 - self.tail))

        def upper(r: float) -> float:
            noncentrality = r / math.sqrt(1 - r * r) * math.sqrt(n - 1) * spread
            points, weights = over_chi(n - 2, reached(float(noncentrality.max()), critical))
            return float(of_spread @ special.ndtr(noncentrality[:, None] - critical * points) @ weights)

        return self.tails(upper, effect)

    def problems_with(self, effect: float) -> list[str]:
        """Why an effect is impossible."""
        return [] if -1 < effect < 1 else [f"effect={effect}: a correlation lies above -1 and below 1."]


@dataclass(frozen=True, kw_only=True)
class PairedItems(SidedTest):
    """Two models on the same items, with K answers to each (Miller 2024, arXiv 2411.00640, eq. 9); n: items.

    Effect: the difference of the means. Normal approximation, so meant for a hundred items or more. The variances come
    from a pilot's `split_variance`; more answers lessen only the variance within.

    Attributes:
        between: ω², the variance over items of the difference of the two models' expected scores.
        within: σ² of each model, the variance of its answers to the same item, mean over items.
        answers: K of each model, answers to each item.

    >>> PairedItems(between=1 / 9, within=(1 / 6, 1 / 6), answers=(10, 10)).n_for(0.03)
    1260
    """

    between: float
    within: tuple[float, float] = (0.0, 0.0)
    answers: tuple[int, int] = (1, 1)

    def problems(self) -> list[str]:
        """What is wrong with the fields, one sentence each."""
        problems = super().problems() + positive(answers=min(self.answers))
        variances = (self.between, *self.within)
        if not all(0 <= each < math.inf for each in variances) or not any(variances):
            problems.append("between and within are variances: 0 or more, and not all 0.")
        return problems

    def power_at(self, effect: float, n: float) -> float:
        """Normal, with the variance (ω² + σ²_A/K_A + σ²_B/K_B) / n."""
        variance = self.between + sum(each / k for each, k in zip(self.within, self.answers, strict=True))
        noncentral = math.sqrt(n / variance)
        critical = cast(float, special.ndtri(1 - self.tail))
        return self.tails(lambda each: float(special.ndtr(each * noncentral - critical)), effect)
