"""What a comparison of runs is made of: conditions, metrics, the values that were compared, and what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from suitecase.stats.comparisons import Better, Comparison
from suitecase.stats.results import Interval, Result

__all__ = ["ConditionFacts", "Description", "MetricFacts", "RunFacts", "Study"]


@dataclass(frozen=True)
class RunFacts(Result):
    """A run that values were read from.

    Attributes:
        name: Its folder's name.
        experiment: What it asks about.
        path: Its folder, as it was given.
        code: Its code as its name says it: `a1b2c3d` or `a1b2c3d-dirty`.
        status: As `suitecase ls` says it.
        counts: How many cases ended how; the sum is the number of cases.
        started_at: ISO 8601; `None` where it isn't known.
        duration_s: Wall time; `None` where it isn't known.
        cost_usd: What its cases said they cost; `None` where none said.
    """

    name: str
    experiment: str
    path: str
    code: str
    status: str
    counts: Mapping[str, int]
    started_at: str | None = None
    duration_s: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class ConditionFacts(Result):
    """All cases whose configs differ only in their seed, at one commit.

    Attributes:
        name: The variants' common name without the seed, or the fields that set it apart: `control`, `arm=control`,
            `control@a1b2c3d`.
        fields: The config fields in which conditions differ, with this condition's values.
        variants: The cases' names.
        seeds: Their seeds, in the same order; `None` where a config has none.
        code: The commits that its cases ran at.
        succeeded: Cases that succeeded.
        cases: All cases, each variant and seed once.
        duration_s: Summed over cases; `None` where none is known.
        cost_usd: Summed over cases; `None` where none said.
    """

    name: str
    fields: Mapping[str, Any]
    variants: tuple[str, ...]
    seeds: tuple[int | None, ...]
    code: tuple[str, ...]
    succeeded: int
    cases: int
    duration_s: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class MetricFacts(Result):
    """A metric, as the cases' records describe it.

    Attributes:
        name: As it was asked for: `accuracy`, `latency_s@p99`.
        kind: "rate" if every unit is 0 or 1, else "number".
        unit: Of its values, such as "s"; empty where nobody said.
        better: Which values are wanted; empty where nobody said.
    """

    name: str
    kind: str
    unit: str = ""
    better: Better = ""


@dataclass(frozen=True)
class Description(Result):
    """One condition's values of one metric.

    Attributes:
        unit: What was counted: "case" or "item".
        n: Units with a value.
        missing: Units without one.
        interval: Of the mean; of the quantile, where the metric is one.
        values: The values themselves, shape (n,), for figures; `to_dict` leaves them out.
        stratum: Where strata are told apart, which one it is: `task=gsm8k`.
        standard_error: Of the mean, and of clustered values (CR2) where clusters are told apart; NaN where it can't be
            told.
    """

    condition: str
    metric: str
    unit: str
    n: int
    missing: int
    mean: float
    sd: float
    median: float
    quartiles: tuple[float, float]
    minimum: float
    maximum: float
    interval: Interval | None
    values: tuple[float, ...] = field(repr=False, default=())
    stratum: str = ""
    standard_error: float = math.nan


@dataclass(frozen=True)
class Study(Result):
    """What `suitecase compare` and `suitecase report` are made from.

    Attributes:
        baseline: The condition that the others are held against; empty where nothing is compared.
        differences: For each paired comparison `(first, metric)` the differences of its pairs, for figures; `to_dict`
            leaves them out.
        explanations: How conditions, units and pairs were found, one sentence each.
        warnings: What limits the whole: failures, mixed code, runs not at their end.
        plan: The plan's path and sha256, and what it asked for; empty without one.
    """

    runs: tuple[RunFacts, ...]
    conditions: tuple[ConditionFacts, ...]
    metrics: tuple[MetricFacts, ...]
    descriptions: tuple[Description, ...]
    comparisons: tuple[Comparison, ...]
    baseline: str
    alpha: float
    correction: str
    differences: Mapping[tuple[str, str], tuple[float, ...]] = field(repr=False, default_factory=dict[Any, Any])
    explanations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds of it: everything but the values themselves, of which there may be millions."""
        bare = tuple(replace(each, values=()) for each in self.descriptions)
        found = super(Study, replace(self, descriptions=bare, differences={})).to_dict()
        del found["differences"]
        for description in found["descriptions"]:
            del description["values"]
        return found
