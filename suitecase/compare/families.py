"""The comparisons of a study, corrected over the whole family: means, rates, quantiles, and averages over strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from suitecase.compare.cautions import interim, observation_cautions
from suitecase.compare.following import Held
from suitecase.compare.observations import Observations
from suitecase.compare.pairing import Aligned
from suitecase.compare.survey import Survey
from suitecase.stats.comparisons import Comparison

if TYPE_CHECKING:
    from suitecase.stats.comparing import Side

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
    """The comparisons of all pairs, corrected over all of them."""
    from suitecase.stats.comparing import compare_sides

    comparisons = compare_sides(
        [sides_of(pair) for pair in pairs],
        metrics=[pair.first.metric.name for pair in pairs],
        paired=[pair.aligned.paired for pair in pairs],
        unit="item",
        alpha=held.alpha,
        correction=held.correction,
        family=family_words(found, pairs),
        power=power,
        margin=held.margin,
        better=[pair.first.metric.note.better for pair in pairs],
        test=test,
        transform=transform,
        seed=seed,
    )
    return tuple(finished(found, pair, each, held) for pair, each in zip(pairs, comparisons, strict=True))


def sides_of(pair: Pair) -> tuple[Side, Side]:
    """What is tested: the condition, and the baseline."""
    from suitecase.stats.comparing import Side

    aligned = pair.aligned
    return (
        Side(pair.first.condition, aligned.first, aligned.clusters[0] or None, pair.first.missing),
        Side(pair.second.condition, aligned.second, aligned.clusters[1] or None, pair.second.missing),
    )


def family_words(found: Survey, pairs: Sequence[Pair]) -> str:
    """What the correction is over."""
    conditions = len({pair.first.condition for pair in pairs})
    counts = [f"{conditions} condition{'s' * (conditions > 1)}"]
    counts += [f"{len(found.metrics)} metrics"] * (len(found.metrics) > 1)
    counts += [f"{len(found.strata)} strata"] * (len(found.strata) > 1)
    return " × ".join(counts)


def finished(found: Survey, pair: Pair, comparison: Comparison, held: Held) -> Comparison:
    """A comparison with what only the records know."""
    sides = (pair.first.condition, pair.second.condition)
    return replace(
        comparison,
        unit=pair.first.unit,
        stratum=f"{found.by}={pair.first.stratum}" if pair.first.stratum else "",
        warnings=tuple(dict.fromkeys([*comparison.warnings, *pair_cautions(found, pair, comparison)])),
        label="interim" if interim(found, sides) else held.label(comparison.metric),
    )


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
