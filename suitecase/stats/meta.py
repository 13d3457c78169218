"""Meta-analysis: one estimate from several runs, and how far the runs differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from scipy import optimize, special

from suitecase.stats.results import Interval, Result
from suitecase.stats.samples import Array, DataError, Values, check_level, pairs_of
from suitecase.stats.wording import number_text

__all__ = ["HeterogeneityMethod", "MetaAnalysis", "MetaModel", "MetaStudy", "meta_analysis"]

MetaModel: TypeAlias = Literal["random", "fixed"]
HeterogeneityMethod: TypeAlias = Literal["paule-mandel", "reml", "dersimonian-laird"]

REFERENCES = {
    "fixed": ("Cochran (1937), J. R. Stat. Soc. 4 (Suppl.):102-118",),
    "paule-mandel": ("Paule & Mandel (1982), J. Res. NBS 87:377-385",),
    "reml": ("Viechtbauer (2005), J. Educ. Behav. Stat. 30:261-293",),
    "dersimonian-laird": ("DerSimonian & Laird (1986), Control. Clin. Trials 7:177-188",),
}
HKSJ = ("Hartung & Knapp (2001), Stat. Med. 20:3875-3889", "Sidik & Jonkman (2002), Stat. Med. 21:3153-3159")


@dataclass(frozen=True)
class MetaStudy(Result):
    """One row of a forest plot.

    Attributes:
        name: The study, or run.
        estimate: Its estimate.
        interval: Its normal interval.
        weight: Its share of the combined estimate; all add up to 1.
    """

    name: str
    estimate: float
    interval: Interval
    weight: float


@dataclass(frozen=True)
class MetaAnalysis(Result):
    """What several studies say together; with `studies` all that a forest plot shows.

    Attributes:
        model: "random": studies estimate different values, and the mean of those is asked for. "fixed": the weighted
            mean of just these studies.
        estimate: The combined estimate.
        standard_error: Its standard error.
        interval: Its confidence interval.
        p: Two-sided, against 0; from the same distribution as the interval.
        q: Cochran's Q.
        q_df: Its degrees of freedom.
        q_p: Its p-value: a small one says that studies differ by more than chance.
        i2: I², the share of the variation beyond chance, (Q − df)/Q, at least 0 (Higgins & Thompson 2002).
        tau2: τ², the variance of the true values; also told with the fixed model, which doesn't use it.
        tau2_interval: By the Q-profile (Viechtbauer 2007).
        tau2_method: How τ² was estimated.
        prediction: Where the true value of a new study lies (t(k − 2); Higgins, Thompson & Spiegelhalter 2009); `None`
            for the fixed model or fewer than 3 studies.
        studies: In the order given.
        references: Where the methods are published.
        warnings: What a reader must know, one sentence each.
    """

    model: MetaModel
    estimate: float
    standard_error: float
    interval: Interval
    p: float
    q: float
    q_df: int
    q_p: float
    i2: float
    tau2: float
    tau2_interval: Interval
    tau2_method: HeterogeneityMethod
    prediction: Interval | None
    studies: tuple[MetaStudy, ...]
    references: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The result in one line."""
        prediction = ""
        if self.prediction:
            low, high = number_text(self.prediction.low), number_text(self.prediction.high)
            prediction = f"; a new study's true value is expected in [{low}, {high}]"
        return (
            f"{self.model.capitalize()}-effects meta-analysis of {len(self.studies)} studies: "
            f"{number_text(self.estimate)}, {self.interval}; I² = {number_text(100 * self.i2)} %, "
            f"τ² = {number_text(self.tau2)}{prediction}."
        )


def meta_analysis(
    estimates: Values,
    standard_errors: Values,
    names: Sequence[str] | None = None,
    *,
    model: MetaModel = "random",
    tau2: HeterogeneityMethod = "paule-mandel",
    hksj: bool = True,
    level: float = 0.95,
) -> MetaAnalysis:
    """Combine estimates of several runs or studies by the inverse of their variances.

    Args:
        estimates: Of the same quantity, shape (k,), on a scale where a normal distribution is fair: differences, or
            logarithms of ratios.
        standard_errors: Of each, positive, shape (k,).
        names: Of the studies.
        model: "random" is right where studies differ in more than chance, as runs with other settings do.
        tau2: How the variance between studies is estimated. Paule–Mandel and REML are recommended (Veroniki & al.
            2016, Res. Synth. Methods 7:55-79); DerSimonian–Laird is too small for few studies.
        hksj: For the random model the interval of Hartung, Knapp, Sidik & Jonkman with t(k − 1), which is much nearer
            to its level than the normal one (IntHout & al. 2014, BMC Med. Res. Methodol. 14:25). It is wide for 2 or 3
            studies, and that is what they are worth.
        level: The confidence level.

    Raises:
        DataError: For fewer than 2 studies, standard errors that aren't positive, or a different number of them.
    """
    check_level(level)
    y, errors = pairs_of(estimates, standard_errors, ("estimates", "standard_errors"), least=2)
    named = [f"study {i}" for i in range(1, len(y) + 1)] if names is None else [str(each) for each in names]
    problems = ["standard_errors: each is positive."] * bool(np.any(errors <= 0))
    problems += [f"{len(named)} names for {len(y)} studies."] * (len(named) != len(y))
    if model not in ("random", "fixed") or tau2 not in ESTIMATORS:
        problems.append(f"model={model!r}, tau2={tau2!r}: a model or method that isn't known.")
    if problems:
        raise DataError(problems)
    # Everything is computed on the scale of the typical error, so that no unit is too small for a tolerance.
    unit = float(np.median(errors))
    z, v = (y - np.median(y)) / unit, (errors / unit) ** 2
    k, df = len(y), len(y) - 1
    between = ESTIMATORS[tau2](z, v)
    weights = 1 / (v + (between if model == "random" else 0.0))
    mean = float(weights @ z / weights.sum())
    squared_error, of_t = 1 / float(weights.sum()), math.inf
    warnings: list[str] = []
    factor = q_of(z, v, between) / df
    if model == "random" and hksj and factor < 1e-12:
        warnings.append("All estimates are the same, so the HKSJ interval has no width: the normal one is given.")
    elif model == "random" and hksj:
        squared_error, of_t = factor * squared_error, df
        if factor * quantile(level, df) ** 2 < quantile(level, math.inf) ** 2:
            warnings.append("The HKSJ interval is narrower than the normal one here, by chance: use hksj=False.")
    if model == "random" and k < 5:
        warnings.append(f"{k} studies: τ² is hardly known, and neither is the interval of a random-effects mean.")
    error = unit * math.sqrt(squared_error)
    estimate = float(np.median(y)) + unit * mean
    q = q_of(z, v, 0.0)
    q_p = float(special.chdtrc(df, q))
    if model == "fixed" and q_p < 0.1:
        warnings.append("The studies differ by more than chance, which the fixed model's interval leaves out.")
    prediction = None
    if model == "random" and k > 2:
        half = quantile(level, k - 2) * math.hypot(error, unit * math.sqrt(between))
        prediction = Interval(estimate - half, estimate + half, level, "prediction, t(k − 2)")
    low, high = profile(z, v, level)
    return MetaAnalysis(
        model=model,
        estimate=estimate,
        standard_error=error,
        interval=around(estimate, error, level, of_t, "HKSJ" if of_t < math.inf else "normal"),
        p=p_of(estimate, error, of_t),
        q=q,
        q_df=df,
        q_p=q_p,
        i2=max(0.0, (q - df) / q) if q > 0 else 0.0,
        tau2=between * unit**2,
        tau2_interval=Interval(low * unit**2, high * unit**2, level, "Q-profile"),
        tau2_method=tau2,
        prediction=prediction,
        studies=tuple(
            MetaStudy(name, float(value), around(float(value), float(each), level, math.inf, "normal"), float(weight))
            for name, value, each, weight in zip(named, y, errors, weights / weights.sum(), strict=True)
        ),
        references=REFERENCES["fixed"] if model == "fixed" else REFERENCES[tau2] + HKSJ * hksj,
        warnings=tuple(warnings),
    )


def quantile(level: float, df: float) -> float:
    """How many standard errors to each side."""
    tail = (1 + level) / 2
    return float(special.ndtri(tail) if df == math.inf else special.stdtrit(df, tail))


def around(value: float, error: float, level: float, df: float, method: str) -> Interval:
    half = quantile(level, df) * error
    return Interval(value - half, value + half, level, method)


def p_of(value: float, error: float, df: float) -> float:
    """Two-sided, against 0."""
    t = -abs(value) / error
    return float(2 * (special.ndtr(t) if df == math.inf else special.stdtr(df, t)))


def q_of(y: Array, v: Array, tau2: float) -> float:
    """Cochran's Q with the variance τ² added to each, which falls as τ² grows."""
    weights = 1 / (v + tau2)
    return float(weights @ (y - weights @ y / weights.sum()) ** 2)


def tau2_where(y: Array, v: Array, q: float) -> float:
    """The τ² at which the generalised Q has a value; 0 if it is below that already."""
    if q_of(y, v, 0.0) <= q:
        return 0.0
    high = 1.0
    while q_of(y, v, high) > q:
        high *= 2

    def excess(tau2: float) -> float:
        return q_of(y, v, tau2) - q

    return float(cast(Any, optimize).brentq(excess, 0.0, high, xtol=1e-14, rtol=1e-14))


def profile(y: Array, v: Array, level: float) -> tuple[float, float]:
    """The interval of τ²: where the generalised Q is a quantile of χ²(k − 1)."""
    tail = (1 - level) / 2
    low, high = (float(special.chdtri(len(y) - 1, each)) for each in (tail, 1 - tail))
    return tau2_where(y, v, low), tau2_where(y, v, high)


def dersimonian_laird(y: Array, v: Array) -> float:
    weights = 1 / v
    excess = q_of(y, v, 0.0) - (len(y) - 1)
    return max(0.0, float(excess / (weights.sum() - (weights**2).sum() / weights.sum())))


def paule_mandel(y: Array, v: Array) -> float:
    return tau2_where(y, v, len(y) - 1)


def reml(y: Array, v: Array) -> float:
    """Restricted maximum likelihood, where its derivative is 0; the best of its maxima, 0 among them."""

    def slope(tau2: float) -> float:
        weights = 1 / (v + tau2)
        total = float(weights.sum())
        residuals = y - weights @ y / total
        return float((weights**2) @ residuals**2 - total + (weights**2).sum() / total) / 2

    def likelihood(tau2: float) -> float:
        weights = 1 / (v + tau2)
        return float(np.log(weights).sum() - math.log(weights.sum()) - q_of(y, v, tau2)) / 2

    # The slope may change its sign more than once, so it is looked at on a grid that reaches beyond any maximum.
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 100 * (float(np.var(y, ddof=1)) + float(v.max())), 200)])
    slopes = np.array([slope(float(each)) for each in grid])
    tops = [0.0] + [
        float(cast(Any, optimize).brentq(slope, grid[i], grid[i + 1], xtol=1e-14, rtol=1e-14))
        for i in np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
    ]
    return max(tops, key=likelihood)


ESTIMATORS: dict[str, Callable[[Array, Array], float]] = {
    "paule-mandel": paule_mandel,
    "reml": reml,
    "dersimonian-laird": dersimonian_laird,
}
