"""The comparisons of a study, corrected over the whole family: means, rates, quantiles, and averages over strata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from suitecase.compare.cautions import interim, observation_cautions
from suitecase.compare.following import Held
from suitecase.compare.observations import Observations, summary
from suitecase.compare.pairing import Aligned
from suitecase.compare.survey import Survey
from suitecase.stats.comparisons import Better, Comparison

if TYPE_CHECKING:
    from suitecase.stats.choice import Choice
    from suitecase.stats.comparing import Asked, Side

__all__ = ["Pair", "compared"]

ONE_SEED = "One case per condition: this speaks about these two models on new items, not about the methods."
FEW_SEEDS = 5
"""Below so many, how much seeds differ is itself hardly known."""


@dataclass(frozen=True)
class Pair:
    """A condition and the baseline in one metric and stratum, before they are tested."""

    first: Observations
    second: Observations
    aligned: Aligned


def compared(
    found: Survey, pairs: Sequence[Pair], held: Held, *, power: float, test: Any, transform: Any, seed: int
) -> tuple[Comparison, ...]:
    """The comparisons of all pairs, and of their averages over strata, corrected over all of them."""
    from suitecase.stats.comparing import Terms, ask, conclude_all

    averaged = averages_of(found, pairs)
    asked = [
        ask_quantile(pair, seed)
        if pair.first.metric.quantile is not None and pair.first.unit == "item"
        else ask(
            *sides_of(pair), pair.first.metric.name, pair.first.metric.note.better, pair.aligned.paired, test=test,
            transform=transform, alpha=held.alpha, seed=seed,
        )
        for pair in pairs
    ]  # fmt: skip
    asked += [ask_average(each) for each in averaged]
    asked = [replace(each, margin=held.margins.get(each.metric)) for each in asked]
    family = family_words(found, pairs, bool(averaged))
    comparisons = conclude_all(asked, Terms("item", held.alpha, held.correction, family, power, held.margin))
    own = [finished(found, pair, each, held) for pair, each in zip(pairs, comparisons, strict=False)]
    return (
        *own,
        *(
            finished_average(found, of_strata, each, held)
            for of_strata, each in zip(averaged, comparisons[len(pairs) :], strict=True)
        ),
    )


def sides_of(pair: Pair) -> tuple[Side, Side]:
    """What is tested: the condition, and the baseline."""
    from suitecase.stats.comparing import Side

    aligned = pair.aligned
    return (
        Side(pair.first.condition, aligned.first, aligned.clusters[0] or None, pair.first.missing),
        Side(pair.second.condition, aligned.second, aligned.clusters[1] or None, pair.second.missing),
    )


def averages_of(found: Survey, pairs: Sequence[Pair]) -> list[list[Pair]]:
    """For each condition and metric its pairs in all strata, where it has one in each; quantiles have no average."""
    gathered: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if pair.first.metric.quantile is None:
            gathered.setdefault((pair.first.metric.name, pair.first.condition), []).append(pair)
    return [each for each in gathered.values() if len(each) == len(found.strata) > 1]


def ask_quantile(pair: Pair, seed: int) -> Asked:
    """A comparison of quantiles, by the bootstrap."""
    from suitecase.stats.choice import Choice
    from suitecase.stats.quantiles import quantile_draws

    fraction = pair.first.metric.quantile
    assert fraction is not None
    first, second = sides_of(pair)
    paired = pair.aligned.paired
    clusters = None if first.clusters is None or second.clusters is None else (first.clusters, second.clusters)
    drawn = cache(
        lambda: quantile_draws(
            pair.aligned.first, pair.aligned.second, fraction, paired=paired, clusters=clusters, seed=seed
        )
    )
    return asked_with(
        Choice(
            lambda level: drawn().at(level),
            None,
            (
                "Quantiles: the percentile bootstrap of their difference"
                + ", pairs drawn together" * paired
                + ", whole clusters" * (clusters is not None)
                + ".",
            ),
        ),
        (first, second, pair.first.metric.name, pair.first.metric.note.better, paired),
    )


def ask_average(pairs: Sequence[Pair]) -> Asked:
    """A comparison of means that are averaged over strata."""
    from suitecase.stats.choice import Choice
    from suitecase.stats.comparing import Side
    from suitecase.stats.strata import Stratum, stratified_difference

    sides = [sides_of(pair) for pair in pairs]
    strata = [
        Stratum(
            pair.first.stratum, first.values, second.values, pair.aligned.paired,
            None if first.clusters is None or second.clusters is None else (first.clusters, second.clusters),
        )
        for pair, (first, second) in zip(pairs, sides, strict=True)
    ]  # fmt: skip
    whole = [
        Side(
            of_side[0].name,
            [value for each in of_side for value in each.values],
            missing=sum(s.missing for s in of_side),
        )
        for of_side in zip(*sides, strict=True)
    ]
    metric = pairs[0].first.metric
    return asked_with(
        Choice(
            lambda level: stratified_difference(strata, level=level),
            None,
            (f"The average over {len(pairs)} strata, which count the same: t with a stratified standard error.",),
        ),
        (whole[0], whole[1], metric.name, metric.note.better, all(pair.aligned.paired for pair in pairs)),
    )


def asked_with(choice: Choice, about: tuple[Side, Side, str, Better, bool]) -> Asked:
    """A comparison by a test of its own, or why there is none."""
    from suitecase.stats.comparing import Asked
    from suitecase.stats.samples import DataError, sample_of

    values = (sample_of(about[0].values, about[0].name), sample_of(about[1].values, about[1].name))
    try:
        return Asked(*about, *values, choice, choice.decide(0.95))
    except DataError as error:
        return Asked(*about, *values, None, None, error.problems)


def family_words(found: Survey, pairs: Sequence[Pair], averaged: bool) -> str:
    """What the correction is over."""
    conditions = len({pair.first.condition for pair in pairs})
    counts = [f"{conditions} condition{'s' * (conditions > 1)}"]
    counts += [f"{len(found.metrics)} metrics"] * (len(found.metrics) > 1)
    counts += [f"{len(found.strata)} strata" + " and their average" * averaged] * (len(found.strata) > 1)
    return " × ".join(counts)


def finished(found: Survey, pair: Pair, comparison: Comparison, held: Held) -> Comparison:
    """A comparison with what only the records know."""
    means = comparison.means
    if pair.first.metric.quantile is not None and pair.first.unit == "item":
        means = (
            summary(pair.aligned.first, pair.first.metric.quantile),
            summary(pair.aligned.second, pair.first.metric.quantile),
        )
    return replace(
        comparison,
        unit=pair.first.unit,
        means=means,
        stratum=f"{found.by}={pair.first.stratum}" if pair.first.stratum else "",
        warnings=tuple(dict.fromkeys([*comparison.warnings, *pair_cautions(found, pair, comparison)])),
        label=label_of(found, pair, held),
    )


def finished_average(found: Survey, pairs: Sequence[Pair], comparison: Comparison, held: Held) -> Comparison:
    """An average over strata, with the averages of both conditions' means."""
    sides = [[math.fsum(each) / len(each) for each in (p.aligned.first, p.aligned.second)] for p in pairs]
    first, second = (math.fsum(of_side) / len(pairs) for of_side in zip(*sides, strict=True))
    units = {pair.first.unit for pair in pairs}
    return replace(
        comparison,
        unit=units.pop() if len(units) == 1 else "item",
        means=(first, second),
        stratum=f"average over {found.by}",
        label=label_of(found, pairs[0], held),
    )


def label_of(found: Survey, pair: Pair, held: Held) -> str:
    """Whether a comparison was planned, and whether its runs are at their end."""
    sides = (pair.first.condition, pair.second.condition)
    return "interim" if interim(found, sides) else held.label(pair.first.metric.name)


def pair_cautions(found: Survey, pair: Pair, comparison: Comparison) -> list[str]:
    """What a reader must know about one comparison."""
    cautions: list[str] = []
    if pair.aligned.unpaired:
        cautions.append(f"{pair.aligned.unpaired} values have no partner, and are left out.")
    if pair.first.unit == "item" and found.seeds == "systems":
        cautions.append(ONE_SEED)
    if pair.first.unit == "case":
        least = min(comparison.n)
        if least < FEW_SEEDS:
            cautions.append(f"{least} seeds say little about how much seeds differ: five are few, ten are better.")
        if found.question.cluster:
            cautions.append("Clusters are ignored, for cases are the unit.")
    return cautions + [caution for each in (pair.second, pair.first) for caution in observation_cautions(each)]
