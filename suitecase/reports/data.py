"""The data of a report for other programs: the cases as CSV, and everything that was computed as strict JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from suitecase.compare.model import Study
from suitecase.reports.document import Claim, Document, Points
from suitecase.rundir import Run
from suitecase.tables import Table, case_rows
from suitecase.tables.formats import strict, to_csv

__all__ = ["analysis", "to_analysis_json", "to_results_csv"]

MOST_VALUES: Final = 200_000
"""Above so many, about 4 MB, the raw values stay in the run directories."""


def to_results_csv(study: Study, runs: Sequence[Run]) -> str:
    """A row per case, formulas made harmless; without runs, a row per condition and metric."""
    if runs:
        return to_csv(Table(case_rows(runs)))
    return to_csv(
        Table({"experiment": "", "run": "", **description_row(each.to_dict())} for each in study.descriptions)
    )


def description_row(values: dict[str, Any]) -> dict[str, Any]:
    interval: dict[str, Any] = values.pop("interval") or {}
    return {**values, **{f"interval_{name}": value for name, value in interval.items()}}


def to_analysis_json(study: Study, document: Document) -> str:
    """One strict JSON object; what isn't finite or known is null."""
    return json.dumps(strict(analysis(study, document)), indent=1, ensure_ascii=False, default=str) + "\n"


def analysis(study: Study, document: Document) -> dict[str, Any]:
    """The study, with what the report says of it."""
    made = study.to_dict()
    if sum(len(each.values) for each in study.descriptions) <= MOST_VALUES:
        for description, told in zip(study.descriptions, made["descriptions"], strict=True):
            told["values"] = list(description.values)
    for comparison, told in zip(study.comparisons, made["comparisons"], strict=True):
        told["sentence"] = comparison.sentence()
        told["test"]["sentence"] = comparison.test.sentence()
    named = {section.name: section for section in document.sections}
    return {
        "made_by": "suitecase report",
        "format_version": 1,
        "title": document.title,
        "claims": [block.text for block in named["summary"].blocks if isinstance(block, Claim)],
        "limitations": [
            item for block in named["limitations"].blocks if isinstance(block, Points) for item in block.items
        ],
        **made,
    }
