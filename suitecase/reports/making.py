"""From run directories to a report: what can be compared is compared, and what can't is described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from suitecase.compare.model import Study
from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.reports.writing import DEFAULT_FORMATS, check_formats, write_report
from suitecase.rundir import Run
from suitecase.tables import case_rows
from suitecase.tables.table import is_numeric

__all__ = ["report_runs", "study_of"]

DESCRIBING: Final = ("metrics", "conditions", "by", "seeds", "missing", "cluster", "pool")
"""What a description may be asked for."""
MOST_METRICS: Final = 6
"""That are described where nobody says which."""


def report_runs(
    runs: Sequence[Run],
    folder: Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    force: bool = False,
    baseline: str | None = None,
    **asked: Any,
) -> tuple[Study, list[Path]]:
    """Compare runs and write what was found.

    Args:
        runs: What was read of them.
        folder: Where the files go.
        formats: Of `FORMATS`.
        force: Replace files of the same names that no report wrote.
        baseline: The condition that the others are held against. Without one the study is compared if the plan or a
            condition's name tells one, and else described.
        asked: Further arguments of `compare_runs`; `metrics` among them.

    Returns:
        What was found, and the files that a person opens.

    Raises:
        SuitecaseError: What was asked for can't be answered, or a file is somebody else's.
    """
    check_formats(formats)
    study = study_of(runs, baseline=baseline, **asked)
    return study, write_report(study, folder, formats=formats, runs=runs, force=force)


def study_of(runs: Sequence[Run], *, baseline: str | None = None, **asked: Any) -> Study:
    """A comparison, or a description that says why nothing was compared.

    Raises:
        SuitecaseError: With a baseline: it can't be compared. Without one: not even described.
    """
    from suitecase.compare import compare_runs, describe_runs

    try:
        return compare_runs(runs, baseline=baseline, **asked)
    except SuitecaseError as error:
        if baseline is not None:
            raise
        problems = error.problems
    question: dict[str, Any] = {name: value for name, value in asked.items() if name in DESCRIBING}
    try:
        described = describe_runs(runs, **question)
    except NotFoundError:
        if question.get("metrics") is not None:
            raise
        question["metrics"] = numbers_of(runs)
        described = describe_runs(runs, **question)
    return replace(described, warnings=(*described.warnings, f"Nothing was compared: {' '.join(problems)}"))


def numbers_of(runs: Sequence[Run]) -> list[str]:
    """The results that are numbers and not all the same, in their order; else how long cases took."""
    values: dict[str, list[Any]] = {}
    for row in case_rows(runs):
        for name, value in row.items():
            if name.startswith("result.") and name.count(".") == 1:
                values.setdefault(name.removeprefix("result."), []).append(value)
    return [name for name, each in values.items() if is_numeric(each) and len({*each}) > 1][:MOST_METRICS] or [
        "duration_s"
    ]
