"""Holds a comparison to the plan that was recorded before the runs, and says where it leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from suitecase.compare.survey import Question
from suitecase.rundir import Run

if TYPE_CHECKING:
    from suitecase.compare.plans import Registered

__all__ = ["Asked", "Held", "hold_to_plan"]


@dataclass(frozen=True)
class Asked:
    """What a person asks for; `None` where they leave it to the plan, or to the rule."""

    baseline: str | None = None
    metrics: Sequence[str] | None = None
    conditions: Sequence[str] | None = None
    by: str | None = None
    paired: Any = None
    seeds: Any = None
    missing: Any = None
    cluster: str | None = None
    alpha: float | None = None
    correction: Any = None
    margin: float | None = None
    test: Any = None
    transform: Any = None


@dataclass(frozen=True)
class Held:
    """What is done in the end.

    Attributes:
        planned: Names of the metrics whose comparisons are as planned; `None` without a plan.
        facts: The plan's path, sha256 and contents, for the study.
        margins: By metric.
    """

    question: Question
    baseline: str
    alpha: float
    correction: Any
    margins: Mapping[str, float]
    margin: float | None
    planned: frozenset[str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()
    plan: Registered | None = None

    def label(self, metric: str) -> str:
        """How a comparison is to be called; empty without a plan."""
        if self.planned is None:
            return ""
        return "planned" if metric in self.planned else "exploratory"

    def at_share(self, units: int, unfinished: bool) -> Held:
        """The same at the error rate that the plan allows after so many units."""
        if self.plan is None or not self.planned:
            return self
        contents = self.plan.contents
        if contents.sample.n is None or (len(contents.stopping.looks) == 1 and not unfinished):
            return self
        share = min(units / contents.sample.n, 1.0) if unfinished else 1.0
        allowed = contents.alpha_at(share)
        if allowed <= 0:
            why = f"The plan has no look at {units} of {contents.sample.n} units: nothing may be claimed yet."
            return replace(self, planned=frozenset(), warnings=(*self.warnings, why))
        why = f"At {share:.0%} of the planned sample the plan's {contents.stopping.rule} rule claims at {allowed:.4g}."
        return replace(self, alpha=allowed, warnings=(*self.warnings, why))


def hold_to_plan(runs: Sequence[Run], asked: Asked) -> Held:
    """What is asked for, and the recorded plan where that leaves it open; what contradicts the plan is exploratory."""
    plan, warnings = common_plan(runs)
    contents = plan.contents if plan else None
    planned_metrics = [metric.name for metric in contents.metrics] if contents else []

    def chosen(name: str, default: Any) -> Any:
        given = getattr(asked, name)
        return given if given is not None else getattr(contents, name) if contents else default

    metrics = tuple(asked.metrics or planned_metrics)
    question = Question(
        metrics=metrics,
        conditions=tuple(chosen("conditions", ())),
        by=chosen("by", ""),
        cluster=chosen("cluster", ""),
        paired=chosen("paired", "auto"),
        seeds=chosen("seeds", "auto"),
        missing=chosen("missing", "auto"),
        better={metric.name: metric.better for metric in contents.metrics if metric.better} if contents else {},
    )
    baseline = chosen("baseline", "")
    if question.conditions and baseline:
        question = replace(question, conditions=(*question.conditions, baseline))
    held = Held(
        question, baseline, chosen("alpha", 0.05), chosen("correction", "holm"),
        margins={metric.name: metric.margin for metric in contents.metrics if metric.margin} if contents else {},
        margin=asked.margin, warnings=tuple(warnings), plan=plan,
    )  # fmt: skip
    if plan is None or contents is None:
        return held
    left = departures(asked, contents)
    if left:
        warnings.append(f"Exploratory: the plan has another {', another '.join(left)}.")
    facts = {
        "path": path_in_project(plan.path, runs),
        "sha256": plan.sha256,
        "changed": bool(plan.changed),
        "contents": contents.model_dump(),
    }
    planned = frozenset(() if left else planned_metrics)
    return replace(held, planned=planned, facts=facts, warnings=tuple(warnings))


def path_in_project(path: str, runs: Sequence[Run]) -> str:
    """A path as the repository has it: what is handed on tells nothing of anybody's folders."""
    roots = [str(run.asked.get("project_root") or "") for run in runs]
    known = [root for root in roots if root and PurePath(path).is_relative_to(root)]
    return str(PurePath(path).relative_to(known[0])) if known else PurePath(path).name


def departures(asked: Asked, contents: Any) -> list[str]:
    """What is asked for and is not what the plan says; metrics aside, which are told apart one by one."""
    left: list[str] = []
    for each in fields(asked):
        given = getattr(asked, each.name)
        if given is None or each.name == "metrics":
            continue
        planned = getattr(contents, each.name, None)
        if given != planned and not (isinstance(given, (list, tuple)) and tuple(given) == planned):  # type: ignore[arg-type]
            left.append(each.name)
    return left


def common_plan(runs: Sequence[Run]) -> tuple[Registered | None, list[str]]:
    """The one plan that all runs have; and what is wrong with that, in sentences."""
    from suitecase.compare.plans import registered_plan

    found = {run.name: registered_plan(run) for run in runs}
    there = [plan for plan in found.values() if plan is not None]
    if not there:
        return None, []
    warnings = [sentence for plan in there for sentence in plan.changed]
    if len({plan.sha256 for plan in there}) > 1:
        warnings.append("The runs have different plans: none is followed, and everything is exploratory.")
        return None, warnings
    without = [name for name, plan in found.items() if plan is None]
    if without:
        warnings.append(f"No plan was recorded before {', '.join(without)}: what is compared there is exploratory.")
        return None, warnings
    return there[0], warnings
