"""What there is to compare: conditions with what their cases recorded, the metrics, the strata, and who is the unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from suitecase.compare.conditions import Condition, find_conditions, find_named, listed
from suitecase.compare.observations import (
    Metric,
    Missing,
    Observations,
    UnitName,
    case_observations,
    find_metrics,
    item_observations,
)
from suitecase.compare.pairing import Paired
from suitecase.compare.readings import Reading, read_case, read_logs
from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.rundir import Run

__all__ = ["Question", "Seeds", "Survey", "survey"]

Seeds: TypeAlias = Literal["auto", "systems", "repeats"]
"""What cases with different seeds are: different systems, as after training, or repeats of one."""

TASK = "task"
"""The field that tells benchmarks apart where nobody names another."""


@dataclass(frozen=True)
class Question:
    """What is asked of runs, apart from the statistics; see `compare_runs`."""

    metrics: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    by: str = ""
    cluster: str = ""
    paired: Paired = "auto"
    seeds: Seeds = "auto"
    missing: Missing = "auto"
    pool: bool = False
    better: dict[str, str] = field(default_factory=dict[str, str])
    all_results: bool = False


@dataclass(frozen=True)
class Survey:
    """What was found in some runs.

    Attributes:
        readings: What the cases of each condition recorded, by the condition's name.
        by: The field that tells strata apart; empty if nothing does.
        strata: Its values; one empty text where nothing is told apart.
        seeds: What seeds are.
        notes: How all this was found, one sentence each.
    """

    runs: tuple[Run, ...]
    question: Question
    conditions: tuple[Condition, ...]
    readings: dict[str, tuple[Reading, ...]]
    metrics: tuple[Metric, ...]
    by: str
    strata: tuple[str, ...]
    seeds: Seeds
    notes: tuple[str, ...]

    @cached_property
    def known(self) -> dict[tuple[str, str, str, UnitName], Observations]:
        """Observations that were made already."""
        return {}

    def observe(self, condition: str, metric: Metric, stratum: str, unit: UnitName) -> Observations:
        """A condition's values of a metric in a stratum, counted in cases or in items."""
        key = (condition, metric.name, stratum, unit)
        if key not in self.known:
            readings, missing, by = self.readings[condition], self.question.missing, self.by
            self.known[key] = (
                case_observations(condition, metric, readings, missing=missing, by=by, stratum=stratum)
                if unit == "case"
                else item_observations(
                    condition, metric, readings, missing=missing, by=by, stratum=stratum, cluster=self.question.cluster
                )
            )
        return self.known[key]

    def unit_for(self, conditions: Iterable[str], metric: Metric, stratum: str) -> UnitName:
        """What was repeated, and so counts (rule 1): cases that are systems once there are two, else items."""
        names = list(conditions)
        if self.seeds == "systems" and all(
            len(self.observe(name, metric, stratum, "case").present) >= 2 for name in names
        ):
            return "case"
        has_items = all(any(metric.column in each.items.values for each in self.readings[name]) for name in names)
        return "item" if has_items else "case"


def survey(runs: Sequence[Run], question: Question) -> Survey:
    """Read what runs have recorded, and find out what there is to compare.

    Raises:
        SuitecaseError: There is nothing, or something that was named is not there.
    """
    if not runs:
        raise SuitecaseError("no run was given: name one or more.")
    by = "" if question.by == "none" else question.by
    conditions, notes = find_conditions(runs, by=by or TASK, pool=question.pool)
    told_by_config = has_strata(conditions, asked=bool(by))
    if not told_by_config:
        conditions, notes = find_conditions(runs, pool=question.pool)
    if question.conditions:
        chosen = chosen_conditions(conditions, question.conditions)
        if left := len(conditions) - len(chosen):
            notes += (f"{left} condition{'s are' if left > 1 else ' is'} left out, as asked.",)
        conditions = chosen
    labels = [*dict.fromkeys(filter(None, (question.cluster, by or TASK)))]
    logs = read_logs(case for each in conditions for case in each.cases)
    readings = {each.name: tuple(read_case(case, logs, labels) for case in each.cases) for each in conditions}
    everything = [reading for of_condition in readings.values() for reading in of_condition]
    strata, found_by = strata_of(everything, by, told_by_config, asked=question.by)
    metrics = find_metrics(everything, question.metrics, question.better, all_results=question.all_results)
    if question.cluster and not any(any(each.items.labels.get(question.cluster, ())) for each in everything):
        raise NotFoundError(f"--cluster {question.cluster}: no item says it, neither in its output nor its metadata.")
    seeds = question.seeds
    if seeds == "auto":
        seeds = "repeats" if all(run.mode == "inspect" for run in runs) else "systems"
    if len(strata) > 1:
        notes += (f"{len(strata)} strata by {found_by} ({listed(strata)}): a comparison for each, and their average.",)
    return Survey(
        tuple(runs), question, tuple(conditions), readings, tuple(metrics), found_by, strata, seeds, tuple(notes)
    )


def chosen_conditions(conditions: Sequence[Condition], names: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions that are named, in their own order."""
    chosen = [each.name for name in names for each in find_named(conditions, name)]
    return tuple(each for each in conditions if each.name in chosen)


def has_strata(conditions: Sequence[Condition], *, asked: bool) -> bool:
    """Whether cases say in their configs which stratum they belong to, and there is more than one to compare in."""
    strata = [{case.stratum for case in each.cases} for each in conditions]
    if asked:
        return any(found != {""} for found in strata)
    return len(conditions) > 1 and all(len(found) > 1 for found in strata)


def strata_of(readings: Sequence[Reading], by: str, by_config: bool, asked: str) -> tuple[tuple[str, ...], str]:
    """The strata, and the field that tells them apart.

    Raises:
        NotFoundError: Nothing has the field that was asked for.
    """
    if asked == "none":
        return ("",), ""
    name = by or TASK
    if by_config:
        return tuple(dict.fromkeys(reading.case.stratum for reading in readings)), name
    found = sorted({label for reading in readings for label in reading.items.labels.get(name, ()) if label})
    if len(found) > 1 or (found and by):
        return tuple(found), name
    if by:
        fields = sorted({field for reading in readings for field in reading.case.fields})
        where = "neither a config nor an item has this field"
        if not any(reading.items.labels for reading in readings):
            where = "no config has this field, and no case has recorded items that might have it"
        raise NotFoundError(f"--by {by}: {where}. Configs have {listed(fields)}.")
    return ("",), ""
