"""How many units a comparison will need: from assumed values, or from a pilot's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from suitecase.compare.model import Description, Study
from suitecase.errors import SuitecaseError
from suitecase.stats.comparisons import Comparison
from suitecase.stats.results import Result
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from suitecase.stats.planning import PlannedTest

__all__ = ["Assumed", "PowerAnswer", "power_of_pilot", "power_of_values"]

FEW_IN_PILOT = 30
"""Below so many units the pilot's standard deviation is known so badly that its upper end is planned with as well."""

CURVE = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Shares of n at which the power is told."""


@dataclass(frozen=True)
class PowerAnswer(Result):
    """What a number of units can see.

    Attributes:
        about: Which comparison.
        basis: What was assumed, in words.
        unit: What n counts: "cases", "items" or "pairs", of each condition.
        alpha: The level of this one test: the family's, shared among its comparisons.
        effect: The true difference that is asked about; `None` if nobody named one.
        power: The power that is wanted.
        needed: Units that find it with this power.
        cautious: The same with the pilot's standard deviation at the upper end of its one-sided 80 % interval (Browne
            1995); `None` where the pilot is large or counts rates.
        n: Units that are asked about.
        power_at_n: The power that they have.
        detectable_at_n: The least difference that they find with the power that is wanted.
        curve: Pairs of n and power.
    """

    about: str
    basis: str
    unit: str
    alpha: float
    power: float
    effect: float | None = None
    needed: int | None = None
    cautious: int | None = None
    n: int | None = None
    power_at_n: float | None = None
    detectable_at_n: float | None = None
    curve: tuple[tuple[int, float], ...] = ()

    def sentences(self) -> list[str]:
        """The answer in words."""
        told: list[str] = []
        if self.effect is not None and self.needed is not None:
            more = f" ({number_text(self.cautious)} if the pilot's spread was small by chance)" if self.cautious else ""
            told.append(
                f"To see a difference of {number_text(self.effect)} with {self.power:.0%} power: "
                f"{number_text(self.needed)} {self.unit}{more}."
            )
        if self.n is not None and self.effect is not None and self.power_at_n is not None:
            told.append(
                f"With {number_text(self.n)} {self.unit} the power is {self.power_at_n:.0%} for a difference of "
                f"{number_text(self.effect)}."
            )
        if self.n is not None and self.detectable_at_n is not None:
            told.append(
                f"{number_text(self.n)} {self.unit} can see a difference of {number_text(self.detectable_at_n)} with "
                f"{self.power:.0%} power."
            )
        return told


@dataclass(frozen=True)
class Assumed:
    """Values that are assumed, or a pilot's.

    Attributes:
        rate: The baseline's rate; `None` for numbers.
        discordant: Share of pairs in which just one of the two is right; `None` if it must be guessed.
        sd: Standard deviation of the values, of a pilot's pairs of their differences.
        sd_baseline: The baseline's, if it differs.
        correlation: Between the two sides of pairs; `None` if `sd` is that of differences.
    """

    paired: bool
    rate: float | None = None
    discordant: float | None = None
    sd: float | None = None
    sd_baseline: float | None = None
    correlation: float | None = None

    def test(self, alpha: float, effect: float | None) -> tuple[PlannedTest, str]:
        """The test that will be made, and what is assumed of it in words.

        Raises:
            SuitecaseError: Too little is assumed.
        """
        from suitecase.stats.planning_means import OneMean, PairedMeans, TwoMeans
        from suitecase.stats.planning_rates import PairedRates, TwoRates

        if self.rate is not None and not self.paired:
            return TwoRates(rate=self.rate, alpha=alpha), f"unpaired rates, baseline {number_text(self.rate)}"
        if self.rate is not None or self.discordant is not None:
            share = self.discordant if self.discordant is not None else self.guessed_discordant(effect)
            return PairedRates(discordant=share, alpha=alpha), f"paired rates, {share:.1%} of the pairs differ"
        if self.sd is None:
            raise SuitecaseError(
                "say what to expect: --rate of the baseline, or --sd of the values; or name a pilot run."
            )
        if not self.paired:
            words = f"two groups, standard deviation {number_text(self.sd)}"
            words += f" and {number_text(self.sd_baseline)}" if self.sd_baseline is not None else ""
            return TwoMeans(sd=self.sd, sd_second=self.sd_baseline, alpha=alpha), words
        if self.correlation is None:
            return OneMean(sd=self.sd, alpha=alpha), f"pairs, standard deviation of differences {number_text(self.sd)}"
        words = f"pairs, standard deviation {number_text(self.sd)}, correlation {number_text(self.correlation)}"
        return PairedMeans(sd=self.sd, correlation=self.correlation, alpha=alpha), words

    def guessed_discordant(self, effect: float | None) -> float:
        """As many as if the two sides were independent, which is more than they will be."""
        if self.rate is None or effect is None:
            raise SuitecaseError("pairs of rates need --discordant, or --rate and --effect to guess it from.")
        other = min(max(self.rate + effect, 0.0), 1.0)
        return self.rate * (1 - other) + other * (1 - self.rate)


def power_of_values(
    assumed: Assumed,
    *,
    effect: float | None,
    n: int | None,
    alpha: float = 0.05,
    comparisons: int = 1,
    power: float = 0.8,
    about: str = "",
    unit: str = "",
    pilot: int | None = None,
) -> PowerAnswer:
    """What is needed, and what can be seen.

    Args:
        effect: The true difference, condition minus baseline.
        n: Units of each condition.
        comparisons: Over how many the error rate alpha is shared; each is planned at alpha / comparisons, which is what
            Holm asks of the first.
        pilot: How many units the standard deviation was estimated from.

    Raises:
        SuitecaseError: Too little is assumed, or nothing is asked.
    """
    if effect is None and n is None:
        raise SuitecaseError("say what to plan for: --effect SIZE, how many it takes; -n N, what can be seen; or both.")
    own = alpha / comparisons
    test, basis = assumed.test(own, effect)
    needed = test.n_for(effect, power) if effect is not None else None
    center = n or needed or 0
    counts = sorted({max(test.least_n, round(share * center)) for share in CURVE})
    return PowerAnswer(
        about=about,
        basis=f"{basis}; level {number_text(own)}" + f" for the first of {comparisons} comparisons" * (comparisons > 1),
        unit=unit or ("pairs" if assumed.paired else "units of each condition"),
        alpha=own,
        power=power,
        effect=effect,
        needed=needed,
        cautious=cautious_n(assumed, effect, own, power, pilot),
        n=n,
        power_at_n=test.power_of(effect, n) if effect is not None and n is not None else None,
        detectable_at_n=test.detectable(n, power) if n is not None else None,
        curve=tuple((count, test.power_of(effect, count)) for count in counts) if effect is not None else (),
    )


def cautious_n(assumed: Assumed, effect: float | None, alpha: float, power: float, pilot: int | None) -> int | None:
    """Units for a standard deviation at the upper end of its one-sided 80 % interval (Browne 1995, Stat. Med. 14)."""
    if effect is None or assumed.sd is None or pilot is None or not 2 < pilot < FEW_IN_PILOT:
        return None
    from dataclasses import replace

    from scipy.special import chdtri

    factor = math.sqrt((pilot - 1) / float(cast(float, chdtri(pilot - 1, 0.8))))
    baseline = None if assumed.sd_baseline is None else assumed.sd_baseline * factor
    return replace(assumed, sd=assumed.sd * factor, sd_baseline=baseline).test(alpha, effect)[0].n_for(effect, power)


def power_of_pilot(
    study: Study, *, effect: float | None, n: int | None, comparisons: int | None = None, power: float = 0.8
) -> list[PowerAnswer]:
    """The same for each comparison of a pilot, with the spread that was seen there; never with its difference.

    Raises:
        SuitecaseError: The pilot's values don't vary.
    """
    chosen = [each for each in study.comparisons if not each.stratum.startswith("average")]
    answers: list[PowerAnswer] = []
    for each in chosen:
        where = f", {each.stratum}" * bool(each.stratum)
        answers.append(
            power_of_values(
                assumed_of(study, each), effect=effect, n=n, alpha=study.alpha, comparisons=comparisons or len(chosen),
                power=power, about=f"{each.first} against {each.second}, {each.metric}{where}",
                unit="pairs" if each.paired else f"{each.unit}s of each condition", pilot=min(each.n),
            )
        )  # fmt: skip
    return answers


def assumed_of(study: Study, comparison: Comparison) -> Assumed:
    """What a pilot says about the spread in one comparison."""
    kind = next(each.kind for each in study.metrics if each.name == comparison.metric)
    if comparison.paired:
        differences = study.differences[comparison.first, comparison.metric]
        if kind == "rate":
            return Assumed(True, discordant=discordant_share(sum(map(bool, differences)), len(differences)))
        return Assumed(True, sd=sd_of(differences, comparison))
    if kind == "rate":
        return Assumed(False, rate=comparison.means[1])
    first, second = (described(study, comparison, name) for name in (comparison.first, comparison.second))
    return Assumed(False, sd=first.sd, sd_baseline=second.sd)


def discordant_share(discordant: int, pairs: int) -> float:
    """The share of pairs that differ; where none did, the upper end of the exact one-sided 80 % interval."""
    return discordant / pairs if discordant else 1 - 0.2 ** (1 / pairs)


def sd_of(values: Sequence[float], comparison: Comparison) -> float:
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))
    if sd == 0:
        sides = f"{comparison.first} and {comparison.second}"
        raise SuitecaseError(f"{sides} differ by the same everywhere: there is no spread to plan by.")
    return sd


def described(study: Study, comparison: Comparison, condition: str) -> Description:
    wanted = (condition, comparison.metric, comparison.stratum, comparison.unit)
    return next(each for each in study.descriptions if (each.condition, each.metric, each.stratum, each.unit) == wanted)
