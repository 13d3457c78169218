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
    from suitecase.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
    from suitecase.stats.anova import one_way_anova, repeated_anova, two_way_anova, welch_anova
    from suitecase.stats.association import kendall, pearson, spearman
    from suitecase.stats.bayes import (
        Posterior,
        posterior_of_mean,
        posterior_of_means,
        posterior_of_paired_rates,
        posterior_of_rate,
        posterior_of_rates,
    )
    from suitecase.stats.calibration import Calibration, CalibrationBin, calibration_of, spiegelhalter_test
    from suitecase.stats.clustered_rates import clustered_rate
    from suitecase.stats.clusters import clustered_difference, clustered_mean, clustered_paired_difference
    from suitecase.stats.comparing import Side, compare, compare_many, compare_paired, compare_sides
    from suitecase.stats.comparisons import Better, Comparison, Verdict
    from suitecase.stats.contingency import chi_square, cramers_v, fisher_exact
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
    from suitecase.stats.effects_of_rates import cohens_h, odds_ratio, risk_ratio
    from suitecase.stats.equivalence import non_inferiority, tost, tost_one, tost_paired
    from suitecase.stats.estimates import Estimate
    from suitecase.stats.evaluations import (
        Rank,
        RankBands,
        VarianceSplit,
        pass_at,
        pass_hat,
        rank_bands,
        split_variance,
    )
    from suitecase.stats.intervals import (
        BootstrapMethod,
        bootstrap_interval,
        mean_interval,
        median_interval,
        quantile_interval,
    )
    from suitecase.stats.judges import (
        JudgeAgreement,
        corrected_mean,
        draw_labels,
        judge_agreement,
        position_bias,
        rogan_gladen,
    )
    from suitecase.stats.means import t_test, t_test_one, t_test_paired
    from suitecase.stats.meta import MetaAnalysis, MetaStudy, meta_analysis
    from suitecase.stats.nested import nested_difference, nested_mean
    from suitecase.stats.normality import Description, describe, shapiro_wilk
    from suitecase.stats.paired_permutation import permutation_test_paired, sign_flip_tests
    from suitecase.stats.paired_rates import cochran_q, mcnemar, paired_rate_interval, two_paired_rates
    from suitecase.stats.permutation import permutation_test
    from suitecase.stats.planning import PlannedTest, minimum_detectable
    from suitecase.stats.planning_means import (
        Correlation,
        EquivalentMeans,
        ManyMeans,
        OneMean,
        PairedItems,
        PairedMeans,
        Ranks,
        TwoMeans,
        TwoVariances,
        cohen_f,
    )
    from suitecase.stats.planning_rates import OneRate, PairedRates, TwoRates
    from suitecase.stats.planning_simulated import SimulatedPower, simulated_power
    from suitecase.stats.posthoc import PairResult, dunn, dunnett, games_howell, tukey
    from suitecase.stats.quantiles import quantile_difference
    from suitecase.stats.ranks import friedman, kruskal_wallis, mann_whitney, sign_test, wilcoxon
    from suitecase.stats.rates import one_rate, rate_difference_interval, rate_interval, two_rates
    from suitecase.stats.resampling import bootstrap_means
    from suitecase.stats.results import Alternative, Assumption, Effect, Interval, TestResult
    from suitecase.stats.samples import DataError
    from suitecase.stats.sequential import StoppingBounds, alpha_spent, stopping_bounds
    from suitecase.stats.variances import bartlett, brown_forsythe, f_test, fligner, levene

__all__ = [
    "Adjustment",
    "Alternative",
    "Assumption",
    "Better",
    "BootstrapMethod",
    "Calibration",
    "CalibrationBin",
    "Comparison",
    "Correction",
    "Correlation",
    "DataError",
    "Description",
    "Effect",
    "EffectScale",
    "EquivalentMeans",
    "Estimate",
    "Family",
    "Interval",
    "JudgeAgreement",
    "ManyMeans",
    "MaxT",
    "MetaAnalysis",
    "MetaStudy",
    "OneMean",
    "OneRate",
    "PairResult",
    "PairedItems",
    "PairedMeans",
    "PairedRates",
    "PlannedTest",
    "Posterior",
    "Rank",
    "RankBands",
    "Ranks",
    "Side",
    "SimulatedPower",
    "StoppingBounds",
    "TestResult",
    "TwoMeans",
    "TwoRates",
    "TwoVariances",
    "VarianceSplit",
    "Verdict",
    "adjust",
    "alpha_spent",
    "bartlett",
    "bootstrap_interval",
    "bootstrap_means",
    "brown_forsythe",
    "calibration_of",
    "chi_square",
    "cliffs_delta",
    "clustered_difference",
    "clustered_mean",
    "clustered_paired_difference",
    "clustered_rate",
    "cochran_q",
    "cohen_f",
    "cohen_kappa",
    "cohens_d",
    "cohens_d_one_sample",
    "cohens_dz",
    "cohens_h",
    "compare",
    "compare_many",
    "compare_paired",
    "compare_sides",
    "convert_effect",
    "corrected_mean",
    "cramers_v",
    "describe",
    "draw_labels",
    "dunn",
    "dunnett",
    "epsilon_squared",
    "eta_squared",
    "f_test",
    "fisher_exact",
    "fleiss_kappa",
    "fligner",
    "friedman",
    "games_howell",
    "glass_delta",
    "hedges_g",
    "judge_agreement",
    "kendall",
    "krippendorff_alpha",
    "kruskal_wallis",
    "levene",
    "mann_whitney",
    "max_t",
    "mcnemar",
    "mean_interval",
    "median_interval",
    "meta_analysis",
    "minimum_detectable",
    "nested_difference",
    "nested_mean",
    "non_inferiority",
    "odds_ratio",
    "omega_squared",
    "one_rate",
    "one_way_anova",
    "paired_rate_interval",
    "pass_at",
    "pass_hat",
    "pearson",
    "permutation_test",
    "permutation_test_paired",
    "position_bias",
    "posterior_of_mean",
    "posterior_of_means",
    "posterior_of_paired_rates",
    "posterior_of_rate",
    "posterior_of_rates",
    "quantile_difference",
    "quantile_interval",
    "rank_bands",
    "rank_biserial",
    "rate_difference_interval",
    "rate_interval",
    "repeated_anova",
    "risk_ratio",
    "rogan_gladen",
    "shapiro_wilk",
    "sign_flip_tests",
    "sign_test",
    "simulated_power",
    "spearman",
    "spiegelhalter_test",
    "split_variance",
    "stopping_bounds",
    "t_test",
    "t_test_one",
    "t_test_paired",
    "tost",
    "tost_one",
    "tost_paired",
    "tukey",
    "two_paired_rates",
    "two_rates",
    "two_way_anova",
    "welch_anova",
    "wilcoxon",
]

MODULES = {
    "agreement": ["cohen_kappa", "fleiss_kappa", "krippendorff_alpha"],
    "anova": ["one_way_anova", "repeated_anova", "two_way_anova", "welch_anova"],
    "association": ["kendall", "pearson", "spearman"],
    "bayes": [
        "Posterior",
        "posterior_of_mean",
        "posterior_of_means",
        "posterior_of_paired_rates",
        "posterior_of_rate",
        "posterior_of_rates",
    ],
    "calibration": ["Calibration", "CalibrationBin", "calibration_of", "spiegelhalter_test"],
    "clustered_rates": ["clustered_rate"],
    "clusters": ["clustered_difference", "clustered_mean", "clustered_paired_difference"],
    "comparing": ["Side", "compare", "compare_many", "compare_paired", "compare_sides"],
    "comparisons": ["Better", "Comparison", "Verdict"],
    "contingency": ["chi_square", "cramers_v", "fisher_exact"],
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
    "effects_of_rates": ["cohens_h", "odds_ratio", "risk_ratio"],
    "equivalence": ["non_inferiority", "tost", "tost_one", "tost_paired"],
    "estimates": ["Estimate"],
    "evaluations": ["Rank", "RankBands", "VarianceSplit", "pass_at", "pass_hat", "rank_bands", "split_variance"],
    "intervals": ["BootstrapMethod", "bootstrap_interval", "mean_interval", "median_interval", "quantile_interval"],
    "judges": ["JudgeAgreement", "corrected_mean", "draw_labels", "judge_agreement", "position_bias", "rogan_gladen"],
    "means": ["t_test", "t_test_one", "t_test_paired"],
    "meta": ["MetaAnalysis", "MetaStudy", "meta_analysis"],
    "nested": ["nested_difference", "nested_mean"],
    "normality": ["Description", "describe", "shapiro_wilk"],
    "paired_permutation": ["permutation_test_paired", "sign_flip_tests"],
    "paired_rates": ["cochran_q", "mcnemar", "paired_rate_interval", "two_paired_rates"],
    "permutation": ["permutation_test"],
    "planning": ["PlannedTest", "minimum_detectable"],
    "planning_means": [
        "Correlation",
        "EquivalentMeans",
        "ManyMeans",
        "OneMean",
        "PairedItems",
        "PairedMeans",
        "Ranks",
        "TwoMeans",
        "TwoVariances",
        "cohen_f",
    ],
    "planning_rates": ["OneRate", "PairedRates", "TwoRates"],
    "planning_simulated": ["SimulatedPower", "simulated_power"],
    "posthoc": ["PairResult", "dunn", "dunnett", "games_howell", "tukey"],
    "quantiles": ["quantile_difference"],
    "ranks": ["friedman", "kruskal_wallis", "mann_whitney", "sign_test", "wilcoxon"],
    "rates": ["one_rate", "rate_difference_interval", "rate_interval", "two_rates"],
    "resampling": ["bootstrap_means"],
    "results": ["Alternative", "Assumption", "Effect", "Interval", "TestResult"],
    "samples": ["DataError"],
    "sequential": ["StoppingBounds", "alpha_spent", "stopping_bounds"],
    "variances": ["bartlett", "brown_forsythe", "f_test", "fligner", "levene"],
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
