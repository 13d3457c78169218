"""Learning curves from what cases told while they ran: the mean over cases at each step, with a band."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, Final

from suitecase.compare.model import Study
from suitecase.reports.document import Block, FigureBlock, Prose, Section
from suitecase.reports.figures.curves import Curve
from suitecase.reports.words import file_name
from suitecase.rundir import Run, layout
from suitecase.stats.wording import number_text
from suitecase.tables.rows import metric_rows

__all__ = ["curves_of", "learning"]

LEAST_STEPS: Final = 3
MOST_METRICS: Final = 4
MOST_STEPS: Final = 400
"""Points of a curve: a page has no room for more."""
MOST_CURVES: Final = 12
MOST_BYTES: Final = 250_000_000
"""Of tracking files, which take about 10 s to read: a report waits no longer for its curves."""

Told = dict[str, dict[str, dict[float, dict[str, float]]]]
"""Metric, condition, step, case: the value told last."""


def learning(study: Study, runs: Sequence[Run]) -> list[Section]:
    """A figure for each metric that was told over steps."""
    size = sum(size_of(run) for run in runs)
    if size > MOST_BYTES:
        words = (
            f"The cases told {number_text(size / 1e6)} MB over time; curves are drawn of up to "
            f"{number_text(MOST_BYTES / 1e6)} MB."
        )
        return [Section("curves", "Over time", (Prose(words),), level=3)]
    blocks = [figure for name, told in told_values(study, runs).items() for figure in curve_figures(name, told)]
    return [Section("curves", "Over time", tuple(blocks[:MOST_METRICS]), level=3)] if blocks else []


def size_of(run: Run) -> int:
    """Bytes of what the cases of a run told."""
    files = (case.path / layout.TRACKING for case in run.cases.values())
    return sum(file.stat().st_size for file in files if file.exists())


def told_values(study: Study, runs: Iterable[Run]) -> Told:
    """The values of all cases by metric, condition, step and case."""
    condition_of = {variant: each.name for each in study.conditions for variant in each.variants}
    found: Told = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in metric_rows(runs):
        condition, step, value = condition_of.get(row["variant"]), row["step"], row["value"]
        if condition is not None and is_number(step) and is_number(value):
            found[str(row["name"])][condition][float(step)][f"{row['run']}/{row['variant']}"] = float(value)
    return found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def curve_figures(name: str, told: Mapping[str, Mapping[float, Mapping[str, float]]]) -> list[Block]:
    """A figure, if there are steps enough."""
    from suitecase.reports import figures

    curves = [curves_of(condition, steps) for condition, steps in told.items() if len(steps) >= LEAST_STEPS]
    if not curves:
        return []
    more = f" The first {MOST_CURVES} of {len(curves)} conditions." if len(curves) > MOST_CURVES else ""
    return [
        FigureBlock(
            file_name("curve", name),
            f"{name} over steps: mean over the cases of each condition that told a value at the step; band: 95 % "
            f"t-interval, at each step by itself.{more}",
            "; ".join(f"{each.condition} ends at {number_text(each.mean[-1])}" for each in curves[:20]) + ".",
            partial(figures.learning_curves, curves[:MOST_CURVES], name),
        )
    ]


def curves_of(condition: str, steps: Mapping[float, Mapping[str, float]]) -> Curve:
    """Mean and t-interval at up to `MOST_STEPS` steps, evenly chosen; the last is among them."""
    import numpy as np
    from scipy.special import stdtrit

    places: list[float] = sorted(steps)
    if len(places) > MOST_STEPS:
        places = [places[round(at)] for at in np.linspace(0, len(places) - 1, MOST_STEPS).tolist()]
    means: list[float] = []
    halves: list[float] = []
    for step in places:
        values = np.array(list(steps[step].values()))
        n = len(values)
        means.append(float(values.mean()))
        halves.append(float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / n**0.5) if n > 1 else float("nan"))
    return Curve(
        condition, tuple(places), tuple(means),
        tuple(mean - half for mean, half in zip(means, halves, strict=True)),
        tuple(mean + half for mean, half in zip(means, halves, strict=True)),
    )  # fmt: skip
