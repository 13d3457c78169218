"""Runs held against each other: which cases are repeats of one condition, what the unit is, which values are pairs.

    compare_runs(["results/prompts/20260128_143052_a1b2c3d"], baseline="bare", metrics=["accuracy"])

Importing this package imports no statistics; a name's module is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from suitecase.compare.model import ConditionFacts, Description, MetricFacts, RunFacts, Study
from suitecase.errors import missing_extra

if TYPE_CHECKING:
    from suitecase.compare.plans import Plan
    from suitecase.compare.study import compare_runs, describe_runs

__all__ = [
    "ConditionFacts",
    "Description",
    "MetricFacts",
    "Plan",
    "RunFacts",
    "Study",
    "compare_runs",
    "describe_runs",
]

HOME = {"Plan": "plans", "compare_runs": "study", "describe_runs": "study"}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("numpy", "scipy", "statsmodels"):
            raise missing_extra(f"suitecase.compare.{name}", "analysis") from error
        raise
