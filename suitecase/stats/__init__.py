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
    from suitecase.stats.conversions import EffectScale, convert_effect
    from suitecase.stats.corrections import Adjustment, Correction, Family, MaxT, adjust, max_t
    from suitecase.stats.effects import (
        cliffs_delta,
        cohens_d,
        cohens_d_one_sample,
        cohens_dz,
        epsilon_squared,
        eta_squared,
        glass_delta,
        hedges_g,
        omega_squared,
        rank_biserial,
    )
    from suitecase.stats.intervals import (
        BootstrapMethod,
        bootstrap_interval,
        mean_interval,
        median_interval,
        quantile_interval,
    )
    from suitecase.stats.posthoc import PairResult, dunn, dunnett, games_howell, tukey
    from suitecase.stats.quantiles import quantile_difference
    from suitecase.stats.resampling import bootstrap_means
    from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
    from suitecase.stats.samples import DataError

__all__ = [
    "Adjustment",
    "Alternative",
    "Assumption",
    "Better",
    "BootstrapMethod",
    "Comparison",
    "Correction",
    "DataError",
    "Effect",
    "EffectScale",
    "Family",
    "Interval",
    "MaxT",
    "PairResult",
    "TestResult",
    "Verdict",
    "adjust",
    "bootstrap_interval",
    "bootstrap_means",
    "cliffs_delta",
    "cohens_d",
    "cohens_d_one_sample",
    "cohens_dz",
    "convert_effect",
    "dunn",
    "dunnett",
    "epsilon_squared",
    "eta_squared",
    "games_howell",
    "glass_delta",
    "hedges_g",
    "max_t",
    "mean_interval",
    "median_interval",
    "omega_squared",
    "quantile_difference",
    "quantile_interval",
    "rank_biserial",
    "tukey",
]

MODULES = {
    "comparisons": ["Better", "Comparison", "Verdict"],
    "conversions": ["EffectScale", "convert_effect"],
    "corrections": ["Adjustment", "Correction", "Family", "MaxT", "adjust", "max_t"],
    "effects": [
        "cliffs_delta",
        "cohens_d",
        "cohens_d_one_sample",
        "cohens_dz",
        "epsilon_squared",
        "eta_squared",
        "glass_delta",
        "hedges_g",
        "omega_squared",
        "rank_biserial",
    ],
    "intervals": ["BootstrapMethod", "bootstrap_interval", "mean_interval", "median_interval", "quantile_interval"],
    "posthoc": ["PairResult", "dunn", "dunnett", "games_howell", "tukey"],
    "quantiles": ["quantile_difference"],
    "resampling": ["bootstrap_means"],
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
