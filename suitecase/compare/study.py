"""Runs in, a study out: every condition against the baseline, in every metric, by the rule of automatic choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suitecase.compare.cautions import cautions_of, interim, observation_cautions
from suitecase.compare.conditions import Condition, find_baseline
from suitecase.compare.describing import condition_facts, describe, metric_facts, run_facts
from suitecase.compare.families import Pair, compared
from suitecase.compare.following import Asked, hold_to_plan
from suitecase.compare.model import Description, Study
from suitecase.compare.observations import Missing, Observations, refuse_missing
from suitecase.compare.pairing import Paired, PairingError, align
from suitecase.compare.survey import Question, Seeds, Survey, survey
from suitecase.errors import SuitecaseError
from suitecase.rundir import Run, read_run

if TYPE_CHECKING:
    from suitecase.stats.choice import TestName
    from suitecase.stats.corrections import Correction

__all__ = ["compare_runs", "describe_runs"]


def compare_runs(
    runs: Iterable[Run | Path | str],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    by: str | None = None,
    paired: Paired | None = None,
    seeds: Seeds | None = None,
    missing: Missing | None = None,
    cluster: str | None = None,
    pool: bool = False,
    alpha: float | None = None,
    correction: Correction | None = None,
    power: float = 0.8,
    margin: float | None = None,
    test: TestName | None = None,
    transform: Literal["log"] | None = None,
    seed: int = 0,
) -> Study:
    """Hold the conditions of some runs against a baseline.

    What is `None` is as the plan says that was recorded before the runs, and else as it is said here.

    Args:
        runs: Runs, or their folders.
        baseline: A condition's name, a variant, or `field=value`; by default the only one called baseline or control.
        metrics: What to compare, `latency_s@p99` for a quantile; by default all that the records say what is better in.
        conditions: Only these beside the baseline; by default all.
        by: A field of configs or items that tells strata apart, which are compared each and on average; by default
            `task`, where there are several. "none" for none.
        paired: Whether values with the same id, or seed, are pairs; by default ("auto") items with equal inputs are.
        seeds: Whether cases with different seeds are different "systems" (as after training) or "repeats" of one; by
            default systems, and in Inspect mode repeats.
        missing: How failed items count: by default ("auto") as wrong for rates and else as missing; "wrong" as 0;
            "drop" as missing; "refuse" raises an error.
        cluster: A field of items whose equal values depend on each other.
        pool: Whether cases of different code may be repeats of one condition.
        alpha: The error rate that the family of all comparisons is held to; by default 0.05.
        correction: How p-values are adjusted over it; by default "holm".
        power: For the least difference that could have been seen.
        margin: Differences smaller than this don't matter; it must have been fixed beforehand.
        test: Instead of the rule's own test.
        transform: "log" compares geometric means.
        seed: Of everything that is drawn.

    Raises:
        SuitecaseError: Something that was named is not there, or it can't be told what are pairs.
    """
    read_runs = [read(run) for run in runs]
    asked = Asked(
        baseline, metrics, conditions, by, paired, seeds, missing, cluster, alpha, correction, margin, test, transform
    )
    held = hold_to_plan(read_runs, asked)
    found = survey(read_runs, replace(held.question, pool=pool))
    reference = find_baseline(found.conditions, held.baseline)
    others = [each for each in found.conditions if each is not reference]
    if not others:
        raise SuitecaseError(f"{reference.name} is the only condition: there is nothing to hold against it.")
    pairs, gaps = pairs_of(found, others, reference)
    held = held.at_share(least_units(pairs), any(interim(found, [each.name]) for each in found.conditions))
    comparisons = compared(found, pairs, held, power=power, test=test, transform=transform, seed=seed)
    return Study(
        **facts_of(found),
        descriptions=descriptions_of(found, pairs),
        comparisons=comparisons,
        baseline=reference.name,
        alpha=held.alpha,
        correction=held.correction,
        differences=differences_of(pairs),
        explanations=(*found.notes, *explanations_of(found, pairs)),
        warnings=(*held.warnings, *cautions_of(found), *gaps),
        plan=held.facts,
    )


def facts_of(found: Survey) -> dict[str, Any]:
    """What a study says of runs, conditions and metrics."""
    return {
        "runs": tuple(map(run_facts, found.runs)),
        "conditions": tuple(map(condition_facts, found.conditions)),
        "metrics": tuple(metric_facts(found, metric) for metric in found.metrics),
    }


def describe_runs(
    runs: Iterable[Run | Path | str],
    *,
    metrics: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    by: str | None = None,
    seeds: Seeds | None = None,
    missing: Missing | None = None,
    cluster: str | None = None,
    pool: bool = False,
    alpha: float = 0.05,
) -> Study:
    """Describe the conditions of some runs: a study without comparisons. Arguments as for `compare_runs`.

    Without `metrics` all that say what came out are described.

    Raises:
        SuitecaseError: Something that was named is not there.
    """
    question = Question(
        tuple(metrics or ()), tuple(conditions or ()), by or "", cluster or "", "auto", seeds or "auto",
        missing or "auto", pool, all_results=True,
    )  # fmt: skip
    found = survey([read(run) for run in runs], question)
    observed = [
        found.observe(each.name, metric, stratum, found.unit_for([each.name], metric, stratum))
        for stratum in found.strata for metric in found.metrics for each in found.conditions
    ]  # fmt: skip
    refuse(found, observed)
    known = {key_of(each) for each in observed if each.present}
    return Study(
        **facts_of(found),
        descriptions=tuple(
            describe(each, found.by, 1 - alpha) for each in observed if each.values and key_of(each) in known
        ),
        comparisons=(),
        baseline="",
        alpha=alpha,
        correction="none",
        explanations=found.notes,
        warnings=(*cautions_of(found), *dict.fromkeys(c for each in observed for c in observation_cautions(each))),
    )


def key_of(observed: Observations) -> tuple[str, str]:
    """The table that a description belongs in; one in which no condition has a value says nothing."""
    return observed.stratum, observed.metric.name


def read(run: Run | Path | str) -> Run:
    """A run, read if it is a folder.

    Raises:
        SuitecaseError: It is none.
    """
    if isinstance(run, Run):
        return run
    path = Path(run)
    if not path.is_dir():
        raise SuitecaseError(f"{path} is no run directory.")
    return read_run(path)


# --- Pairs of conditions ---------------------------------------------------------------------------------------------


def pairs_of(found: Survey, others: Sequence[Condition], reference: Condition) -> tuple[list[Pair], list[str]]:
    """Every condition with the baseline, for each metric in each stratum; and what can't be compared, in sentences.

    Raises:
        PairingError: It can't be told what are pairs; with a sentence for each such pair of conditions.
    """
    pairs: list[Pair] = []
    gaps: list[str] = []
    problems: dict[str, None] = {}
    for stratum in found.strata:
        for metric in found.metrics:
            for other in others:
                unit = found.unit_for([other.name, reference.name], metric, stratum)
                first = found.observe(other.name, metric, stratum, unit)
                second = found.observe(reference.name, metric, stratum, unit)
                empty = [each.condition for each in (first, second) if not each.present]
                if empty:
                    where = f" in {found.by}={stratum}" * bool(stratum)
                    gaps.append(
                        f"{' and '.join(empty)}: no value of {metric.name}{where}, so nothing is compared there."
                    )
                    continue
                try:
                    pairs.append(Pair(first, second, align(first, second, found.question.paired)))
                except PairingError as error:
                    problems.update(dict.fromkeys(error.problems))
    if problems:
        raise PairingError(list(problems))
    refuse(found, [each for pair in pairs for each in (pair.first, pair.second)])
    if not pairs:
        raise SuitecaseError([*dict.fromkeys(gaps), "There is nothing to compare yet."])
    return pairs, list(dict.fromkeys(gaps))


def refuse(found: Survey, observed: Iterable[Observations]) -> None:
    if found.question.missing == "refuse":
        refuse_missing(observed)


def differences_of(pairs: Iterable[Pair]) -> dict[tuple[str, str], tuple[float, ...]]:
    """The differences of each paired comparison; of several strata one after the other."""
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for pair in pairs:
        if pair.aligned.paired:
            key = (pair.first.condition, pair.first.metric.name)
            differences = (a - b for a, b in zip(pair.aligned.first, pair.aligned.second, strict=True))
            found[key] = found.get(key, ()) + tuple(differences)
    return found


def descriptions_of(found: Survey, pairs: Sequence[Pair]) -> tuple[Description, ...]:
    """Each condition's values as they were compared, the baseline first."""
    observed: dict[tuple[str, str, str, str], Observations] = {}
    for each in (side for pair in pairs for side in (pair.second, pair.first)):
        observed.setdefault((each.stratum, each.metric.name, each.condition, each.unit), each)
    return tuple(describe(each, found.by) for each in observed.values())


def least_units(pairs: Sequence[Pair]) -> int:
    """Units of the smallest side that is compared."""
    return min(min(len(pair.aligned.first), len(pair.aligned.second)) for pair in pairs)


def explanations_of(found: Survey, pairs: Sequence[Pair]) -> list[str]:
    """What is the unit, and how pairs were found."""
    notes: dict[str, None] = {}
    for pair in pairs:
        notes[unit_words(found, pair)] = None
        notes[f"{pair.aligned.why}."] = None
    return list(notes)


def unit_words(found: Survey, pair: Pair) -> str:
    """Why cases or items are the unit."""
    if pair.first.unit == "case":
        if found.seeds == "systems":
            return "Cases are the unit: each seed is a system of its own, and there are at least two per condition."
        return "Cases are the unit, for no items were recorded."
    if found.seeds == "repeats":
        return "Items are the unit: seeds and repeats are averaged per item."
    return "Items are the unit, for not every condition has two cases: this speaks about these systems on new items."
