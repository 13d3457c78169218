"""What limits a study, found in the records: failures, mixed code, runs that go on, items that are missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from suitecase.compare.observations import Observations
from suitecase.compare.survey import Survey
from suitecase.stats.wording import number_text

__all__ = ["cautions_of", "interim", "observation_cautions"]

UNFINISHED = frozenset({"running", "interrupted", "pending"})


def interim(found: Survey, conditions: Iterable[str]) -> bool:
    """Whether some of these conditions belong to a run that is not at its end."""
    return any(
        reading.case.run.status in ("running", "interrupted")
        for name in conditions
        for reading in found.readings[name]
    )  # fmt: skip


def cautions_of(found: Survey) -> list[str]:
    """What a reader must know about the runs as a whole, one sentence each."""
    cautions: list[str] = []
    for run in found.runs:
        if run.status in ("running", "interrupted"):
            done = run.counts.get("succeeded", 0)
            cautions.append(f"Interim: {run.name} is {run.status}, {done} of {len(run.cases)} cases succeeded so far.")
        if run.mixes_code:
            cautions.append(f"{run.name} was resumed with other code: its cases don't all have the same.")
    codes = {code for condition in found.conditions for code in condition.code}
    if len(codes) > 1:
        listed = "; ".join(f"{each.name}: {', '.join(each.code)}" for each in found.conditions[:6])
        more = "; …" * (len(found.conditions) > 6)
        cautions.append(f"Mixed code, which may make a difference of its own ({listed}{more}).")
    for condition in found.conditions:
        ended = Counter(case.record.status for case in condition.cases if not case.succeeded)
        if ended:
            words = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in ended.items())
            cautions.append(
                f"{condition.name}: {sum(ended.values())} of {len(condition.cases)} cases did not succeed ({words})."
            )
    cautions += [p for name in found.readings for reading in found.readings[name] for p in reading.problems]
    return cautions


def observation_cautions(observed: Observations) -> list[str]:
    """What a reader must know about one condition's values of a metric."""
    name, metric = observed.condition, observed.metric.name
    cautions: list[str] = []
    if observed.failed:
        one = observed.failed == 1
        counted = f"count{'s' * one} as {number_text(observed.counted_as)}"
        if math.isnan(observed.counted_as):
            counted = "is missing" if one else "are missing"
        cautions.append(f"{name}: {observed.failed} failed item{'s' * (not one)} {counted} in {metric}.")
    if observed.missing:
        cautions.append(f"{name}: {observed.missing} of {len(observed.values)} {observed.unit}s have no {metric}.")
    if observed.unlabelled:
        cautions.append(f"{name}: {observed.unlabelled} items say no cluster; each counts as one of its own.")
    if observed.unread:
        cautions.append(f"{name}: {observed.unread} items have not ended.")
    return cautions
