"""Inspect AI: its logs read, its evaluations run as cases, its models asked by name, alone or before one another.

The only importer of inspect_ai. Importing this package imports nothing heavy: reading a log rarely needs Inspect, and
what runs an evaluation imports it when called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from suitecase.errors import missing_extra
from suitecase.inspect_bridge.calls import ModelCall, read_calls
from suitecase.inspect_bridge.logs import (
    EvalLog,
    ScoreSource,
    labels_of,
    log_damage,
    read_eval_log,
    read_reductions,
    read_samples,
)

if TYPE_CHECKING:
    from suitecase.inspect_bridge.evaluation import EvaluationError, run_inspect
    from suitecase.inspect_bridge.prediction import predict

__all__ = [
    "EvalLog",
    "EvaluationError",
    "ModelCall",
    "ScoreSource",
    "labels_of",
    "log_damage",
    "predict",
    "read_calls",
    "read_eval_log",
    "read_reductions",
    "read_samples",
    "run_inspect",
]

HOME = {"EvaluationError": "evaluation", "predict": "prediction", "run_inspect": "evaluation"}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "inspect_ai":
            raise missing_extra(f"suitecase.inspect_bridge.{name}", "inspect") from error
        raise
    return getattr(module, name)
