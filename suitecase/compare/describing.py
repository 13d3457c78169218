"""Facts about runs, conditions and metrics, and the values of one condition in a few numbers."""

from __future__ import annotations

import math
from typing import Any

from suitecase.compare.conditions import Condition
from suitecase.compare.model import ConditionFacts, Description, MetricFacts, RunFacts
from suitecase.compare.observations import Metric, Observations
from suitecase.compare.survey import Survey
from suitecase.rundir import Run, layout
from suitecase.rundir.files import read_lines
from suitecase.stats.results import Interval
from suitecase.stats.samples import DataError
from suitecase.tables.rows import case_results

__all__ = ["condition_facts", "describe", "metric_facts", "run_facts"]


def run_facts(run: Run) -> RunFacts:
    """A run as a report tells of it."""
    costs = [cost for case in run.cases.values() if (cost := cost_of(run, case)) is not None]
    return RunFacts(
        name=run.name, experiment=run.experiment, path=str(run.path), code=run.code.label, status=run.status,
        counts=dict(run.counts.items()), started_at=run.started_at, duration_s=run.duration_s,
        cost_usd=math.fsum(costs) if costs else None,
    )  # fmt: skip


def cost_of(run: Run, case: Any) -> float | None:
    """What a case says that it cost: in its results, or line by line while it ran."""
    told: object = case_results(run, case)[0].get("cost_usd")
    if isinstance(told, int | float) and not isinstance(told, bool):
        return float(told)
    lines = read_lines(case.path / layout.TRACKING, having=b'"cost"')
    costs = [line.get("usd") for line in lines if line.get("event") == "cost"]
    known = [float(usd) for usd in costs if isinstance(usd, int | float)]
    return math.fsum(known) if known else None


def condition_facts(condition: Condition) -> ConditionFacts:
    """A condition as a report tells of it."""
    durations = [last.duration_s for case in condition.cases if (last := case.record.last) and last.duration_s]
    costs = [cost for case in condition.cases if (cost := cost_of(case.run, case.record)) is not None]
    return ConditionFacts(
        name=condition.name,
        fields=condition.fields,
        variants=tuple(case.variant for case in condition.cases),
        seeds=tuple(case.seed for case in condition.cases),
        code=condition.code,
        succeeded=sum(case.succeeded for case in condition.cases),
        cases=len(condition.cases),
        duration_s=math.fsum(durations) if durations else None,
        cost_usd=math.fsum(costs) if costs else None,
    )


def metric_facts(found: Survey, metric: Metric) -> MetricFacts:
    """A metric as the records describe it."""
    by_item = metric.is_rate and any(unit == "item" for (_, name, _, unit) in found.known if name == metric.name)
    return MetricFacts(metric.name, "rate" if by_item else "number", metric.note.unit, metric.note.better)


def describe(observed: Observations, by: str, level: float = 0.95) -> Description:
    """One condition's values of one metric, shape (n,), in a few numbers; NaN where they can't be told."""
    values = sorted(observed.present)
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan
    low, median, high = (at(values, fraction) for fraction in (0.25, 0.5, 0.75))
    interval, standard_error = spread_of(observed, sd, level)
    return Description(
        condition=observed.condition, metric=observed.metric.name, unit=observed.unit, n=n, missing=observed.missing,
        mean=mean, sd=sd, median=median, quartiles=(low, high), minimum=at(values, 0), maximum=at(values, 1),
        interval=interval, standard_error=standard_error, values=tuple(observed.present),
        stratum=f"{by}={observed.stratum}" if observed.stratum else "",
    )  # fmt: skip


def at(ordered: list[float], fraction: float) -> float:
    from suitecase.items.results import quantile

    return quantile(ordered, fraction) if ordered else math.nan


def spread_of(observed: Observations, sd: float, level: float) -> tuple[Interval | None, float]:
    """The interval of the mean, of the rate, or of the quantile, and the standard error of the mean.

    `None` and NaN where the values say nothing about their spread.
    """
    from suitecase.stats.clusters import clustered_mean
    from suitecase.stats.intervals import mean_interval, quantile_interval
    from suitecase.stats.rates import rate_interval

    values = observed.present
    error = sd / math.sqrt(len(values)) if values and observed.metric.quantile is None else math.nan
    try:
        if observed.metric.quantile is not None and observed.unit == "item":
            return quantile_interval(values, observed.metric.quantile, level=level), error
        if observed.clusters:
            labels = [observed.clusters[name] for name, value in observed.values.items() if value == value]
            found = clustered_mean(values, labels, level=level)
            return found.interval, found.details["se"]
        if observed.unit == "item" and set(values) <= {0.0, 1.0}:
            return rate_interval(int(sum(values)), len(values), level=level), error
        return mean_interval(values, level=level), error
    except DataError:
        return None, math.nan
