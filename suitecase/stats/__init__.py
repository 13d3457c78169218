"""Statistics of experiments: pure functions of arrays, whose frozen results say themselves in a sentence.

Numbers come from scipy and statsmodels (extra `analysis`); what is ours is selection, wording and honesty. The sign of
a difference is that of the first argument minus the second, as in R. Importing this package imports neither library: a
name's module is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from suitecase.errors import missing_extra

if TYPE_CHECKING:
    from suitecase.stats.comparisons import Better, Comparison, Verdict
    from suitecase.stats.effects import (
        cliffs_delta,
        cohens_d,
        cohens_d_one_sample,
        cohens_dz,
        convert_effect,
        epsilon_squared,
        eta_squared,
        glass_delta,
        hedges_g,
        omega_squared,
        rank_biserial,
    )
    from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
    from suitecase.stats.samples import DataError

__all__ = [
    "Alternative",
    "Assumption",
    "Better",
    "Comparison",
    "DataError",
    "Effect",
    "Interval",
    "TestResult",
    "Verdict",
    "cliffs_delta",
    "cohens_d",
    "cohens_d_one_sample",
    "cohens_dz",
    "convert_effect",
    "epsilon_squared",
    "eta_squared",
    "glass_delta",
    "hedges_g",
    "omega_squared",
    "rank_biserial",
]

MODULES = {
    "comparisons": ["Better", "Comparison", "Verdict"],
    "effects": [
        "cliffs_delta",
        "cohens_d",
        "cohens_d_one_sample",
        "cohens_dz",
        "convert_effect",
        "epsilon_squared",
        "eta_squared",
        "glass_delta",
        "hedges_g",
        "omega_squared",
        "rank_biserial",
    ],
    "results": ["Alternative", "Assumption", "Effect", "Interval", "TestResult"],
    "samples": ["DataError"],
}
"""Where each public name lives."""

HOME = {name: module for module, names in MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("numpy", "scipy", "statsmodels", "pandas"):
            raise missing_extra(f"suitecase.stats.{name}", "analysis") from error
        raise
    return getattr(module, name)
