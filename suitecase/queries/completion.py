"""What a shell offers while a person types: names alone, from listings of folders, within a blink."""

from __future__ import annotations

from itertools import islice

from suitecase.queries.selection import find_results_dir, find_run, shown
from suitecase.rundir import find_runs, layout
from suitecase.rundir.runs import RunReader

__all__ = ["case_names", "experiment_names", "run_names"]

OFFERED = 200
"""Names at most; nobody reads more."""


def experiment_names(incomplete: str) -> list[str]:
    """Experiments that begin like that."""
    names = dict.fromkeys(layout.experiment_folder(run).name for run in find_runs(find_results_dir()))
    return list(islice((name for name in names if name.startswith(incomplete)), OFFERED))


def run_names(incomplete: str) -> list[str]:
    """`latest`, experiments and runs that begin like that; `EXPERIMENT/RUN` once the experiment is typed."""
    runs = list(find_runs(find_results_dir()))
    if "/" in incomplete:
        names = [shown(run) for run in reversed(runs)]
    else:
        experiments = dict.fromkeys(layout.experiment_folder(run).name for run in runs)
        names = ["latest", *experiments, *(run.name for run in reversed(runs))]
    return list(islice((name for name in names if name.startswith(incomplete)), OFFERED))


def case_names(run: str, incomplete: str) -> list[str]:
    """The cases of a run that begin like that; the journal is not read."""
    reader = RunReader(find_run(find_results_dir(), run))
    reader.describe()
    return list(islice((variant for variant in reader.known if variant.startswith(incomplete)), OFFERED))
