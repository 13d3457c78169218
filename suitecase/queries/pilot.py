"""Tries a few items of every case of a suite, and tells from them what all items would take and cost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.queries.estimate import (
    Estimate,
    NoBasisError,
    PlannedSuite,
    predict,
    predictions,
    recorded_cost_usd,
)
from suitecase.queries.simulation import SEED
from suitecase.rundir import CaseRun, Run, find_runs, layout, read_run
from suitecase.rundir.files import read_lines
from suitecase.rundir.spending import is_amount

__all__ = ["MAX_ITEMS", "estimate_by_pilot"]

MAX_ITEMS = "SUITECASE_MAX_ITEMS"
"""The variable by which `suitecase.items` is told to stop after so many rows; its `results.json` still counts all."""

SIMULATIONS = 1000


@dataclass(frozen=True)
class Tried:
    """What a case did in the pilot.

    Attributes:
        outside_s: Seconds before its first item began and after the last one ended.
        inside_s: Seconds between.
        total: Rows that the whole case has.
        durations_s: Seconds of each row that was done.
        costs_usd: Of each row that was done; empty if the case recorded none.
    """

    outside_s: float
    inside_s: float
    total: int
    durations_s: tuple[float, ...]
    costs_usd: tuple[float, ...]

    @property
    def factor(self) -> float:
        """How many times the rows that were done the whole case has."""
        return self.total / len(self.durations_s)


def estimate_by_pilot(suite: PlannedSuite, items: int, flags: Sequence[str] = ()) -> Estimate:
    """Run a suite on a few items per case, in a results folder that is removed afterwards, and extrapolate.

    The first case runs alone: if it does not heed the limit, the others aren't run. Seconds between the first item and
    the last grow with the number of items, those before and after don't. How uncertain the mean of so few items is, is
    told by drawing them again with replacement (Efron, Bootstrap methods, Annals of Statistics 7, 1979).

    Args:
        items: Rows per case.
        flags: `--set` and the like, as the suite was described with.

    Raises:
        NoBasisError: A case failed, or did not heed the limit.
    """
    folder = Path(tempfile.mkdtemp(prefix="suitecase-pilot-"))
    try:
        variants = [case.variant for case in suite.cases]
        first = run_cases(suite, folder, items, ["--only", variants[0], *flags])
        tried = {variants[0]: tried_of(first, first.cases[variants[0]], items)}
        if rest := variants[1:]:
            only = [word for variant in rest for word in ("--only", variant)]
            both = run_cases(suite, folder, items, ["--resume", str(first.path), "-p", str(suite.places), *only])
            tried |= {variant: tried_of(both, both.cases[variant], items) for variant in rest}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return extrapolated(suite, list(tried.values()), items)


def run_cases(suite: PlannedSuite, folder: Path, items: int, arguments: Sequence[str]) -> Run:
    """Run some cases of a suite on a few items; the run as it was then."""
    command = [*suite.command, "--results-dir", str(folder), "--quiet", "--note", f"pilot: {items} items", *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, MAX_ITEMS: str(items)}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _, told = process.communicate()
    except BaseException:
        process.terminate()  # the runner ends its cases first
        process.communicate()
        raise
    runs = list(find_runs(folder))
    if not runs:
        raise SuitecaseError([f"the pilot did not start: {line}" for line in told.splitlines()[-5:] if line.strip()])
    return read_run(runs[-1])


def tried_of(run: Run, case: CaseRun, items: int) -> Tried:
    """What a case did in the pilot.

    Raises:
        NoBasisError: It failed, or it did more than so many items, or told nothing of any.
    """
    results, _ = case.results()
    counts: object = results.get("items")
    duration_s = case.last.duration_s if case.last else None
    rows = [row for row in read_lines(case.path / layout.ITEMS, having=b'"key"') if is_row(row)]
    if not isinstance(counts, dict) or not 0 < len(rows) <= items or duration_s is None:
        if case.status != "succeeded":
            raise NoBasisError(
                f"the pilot failed: case {case.variant!r} {case.cause or case.status}.{end_of_log(case)}"
            )
        raise NoBasisError(
            f"case {case.variant!r} did not heed {MAX_ITEMS}, as suitecase.items does, and ran in full "
            f"({duration_s or 0:.1f} s). The others were not run: run the suite once, and its runs will tell."
        )
    total = cast(dict[str, Any], counts).get("total")
    ends_s = [datetime.fromisoformat(row["time"]).timestamp() for row in rows]
    begun_s = min(end_s - row["duration_s"] for end_s, row in zip(ends_s, rows, strict=True))
    inside_s = min(duration_s, max(ends_s) - begun_s)
    return Tried(
        outside_s=duration_s - inside_s,
        inside_s=inside_s,
        total=max(len(rows), total) if isinstance(total, int) else len(rows),
        durations_s=tuple(float(row["duration_s"]) for row in rows),
        costs_usd=costs_of(run, case, rows),
    )


def costs_of(run: Run, case: CaseRun, rows: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """What each row cost; where only the case tells, the same for each."""
    if any(is_amount(row.get("cost_usd")) for row in rows):
        return tuple(float(row["cost_usd"]) if is_amount(row.get("cost_usd")) else 0.0 for row in rows)
    cost_usd = recorded_cost_usd(run, case)
    return () if cost_usd is None else (cost_usd / len(rows),) * len(rows)


def is_row(row: dict[str, Any]) -> bool:
    return isinstance(row.get("duration_s"), int | float) and isinstance(row.get("time"), str)


def end_of_log(case: CaseRun) -> str:
    from suitecase.queries.overview import log_tail

    log = case.log_path()
    return "".join(f"\n  | {line}" for line in log_tail(log, 5)) if log else ""


def extrapolated(suite: PlannedSuite, tried: Sequence[Tried], items: int) -> Estimate:
    """The estimate for all items of all cases."""
    rng = random.Random(SEED)
    means_s = [each.outside_s + each.inside_s * each.factor for each in tried]
    costs_usd = [sum(each.costs_usd) * each.factor for each in tried]
    durations: list[list[float]] = []
    costs: list[list[float]] = []
    for _ in range(SIMULATIONS if any(len(each.durations_s) > 1 for each in tried) else 0):
        durations.append([t.outside_s + t.inside_s * t.factor * redrawn(t.durations_s, rng) for t in tried])
        costs.append([sum(t.costs_usd) * t.factor * redrawn(t.costs_usd, rng) for t in tried])
    notes = [
        f"A pilot of {items} items per case; cases that keep more calls than that in flight will be faster than this."
    ]
    if not durations:
        notes.append("No interval: one item per case tells nothing of how much items vary.")
    return Estimate(
        suite.experiment,
        len(suite.cases),
        suite.places,
        *predictions(durations, means_s, suite.places),
        predict(costs, costs_usd, sum) if any(each.costs_usd for each in tried) else None,
        {"pilot": len(tried)},
        (),
        len(durations),
        (*suite.notes, *notes),
    )


def redrawn(values: Sequence[float], rng: random.Random) -> float:
    """The mean of values drawn again with replacement, relative to their mean."""
    total = sum(values)
    return sum(rng.choices(values, k=len(values))) / total if total > 0 else 1.0
