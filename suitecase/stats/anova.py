"""Analysis of variance: one-way, Welch's, repeated measures, two-way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.special import fdtrc

from suitecase.stats.effects import epsilon_squared, eta_squared, omega_squared
from suitecase.stats.normality import normal_residuals
from suitecase.stats.results import Assumption, TestResult
from suitecase.stats.samples import (
    Array,
    DataError,
    Groups,
    Values,
    blocks_of,
    codes_of,
    groups_of,
    is_constant,
    sample_of,
    size_of,
)
from suitecase.stats.variances import equal_variances, refuse_constant
from suitecase.stats.wording import number_text, p_text

__all__ = ["one_way_anova", "repeated_anova", "two_way_anova", "welch_anova"]

stats = cast(Any, scipy.stats)  # scipy ships no types

Labels = Sequence[Hashable] | NDArray[Any]

FISHER = "Fisher 1925, Statistical Methods for Research Workers, 7"

SPHERICITY_BOUND = 0.75
"""Below, Greenhouse & Geisser's correction is advised (Girden 1992, 21)."""


def one_way_anova(groups: Groups) -> TestResult:
    """Fisher's one-way analysis of variance: whether all means are equal, with equal variances taken for granted.

    Args:
        groups: Two or more groups of 2 independent values or more each.

    Returns:
        With ω² as the effect, since η² is biased upwards; η², ε² and the sums of squares stand in the details. Their
        90 % intervals exclude 0 exactly if p < .05.

    Raises:
        DataError: For bad values, or if every group is constant.
    """
    named = groups_of(groups, least=2)
    arrays = list(named.values())
    centred = np.concatenate([each - each.mean() for each in arrays])
    if is_constant(centred, size_of(*arrays)):
        raise DataError("every group is constant, so an analysis of variance has nothing to compare with.")
    found = stats.f_oneway(*arrays)
    n = sum(map(len, arrays))
    within = float(centred @ centred)
    f, df = float(found.statistic), (len(arrays) - 1.0, float(n - len(arrays)))
    return TestResult(
        test="one-way ANOVA",
        statistic_name="F",
        statistic=f,
        df=df,
        p=float(found.pvalue),
        n=tuple(map(len, arrays)),
        effect=omega_squared(f, *df),
        assumptions=(equal_variances(named), normal_residuals(centred)),
        references=(FISHER,),
        details={"ss_between": f * df[0] * within / df[1], "ss_within": within} | shares(f, df) | means(named),
    )


def welch_anova(groups: Groups) -> TestResult:
    """Welch's one-way analysis of variance, which doesn't take the variances as equal: R's `oneway.test`.

    Args:
        groups: Two or more groups of 2 independent values or more each.

    Returns:
        With ω² from Welch's F as the effect.

    Raises:
        DataError: For bad values, or a constant group.
    """
    named = groups_of(groups, least=2)
    refuse_constant(named, "Welch's analysis of variance")
    arrays = list(named.values())
    found = stats.f_oneway(*arrays, equal_var=False)
    weights = np.array([len(each) / each.var(ddof=1) for each in arrays])
    k = len(arrays)
    left = float(((1 - weights / weights.sum()) ** 2 / np.array([len(each) - 1 for each in arrays])).sum())
    f, df = float(found.statistic), (k - 1.0, (k * k - 1) / (3 * left))
    n = sum(map(len, arrays))
    return TestResult(
        test="Welch's ANOVA",
        statistic_name="F",
        statistic=f,
        df=df,
        p=float(found.pvalue),
        n=tuple(map(len, arrays)),
        effect=omega_squared(f, *df, n=n),
        assumptions=(normal_residuals(np.concatenate([(each - each.mean()) / each.std(ddof=1) for each in arrays])),),
        references=("Welch 1951, Biometrika 38:330–336",),
        details=means(named),
    )


def repeated_anova(conditions: Groups) -> TestResult:
    """The analysis of variance of one factor whose conditions every subject (item, seed) went through.

    The reported p takes sphericity for granted, as statsmodels' `AnovaRM` does; ε says how far off it is, and the
    details have the p-values corrected by Greenhouse & Geisser (1959) and by Huynh & Feldt (1976). The sums of squares
    are worked out here, since `AnovaRM` needs a column per subject, too many for 10,000 items.

    Args:
        conditions: Of each of 2 conditions or more one value per subject, the subjects in the same order.

    Returns:
        With partial η² as the effect; generalised η² (Olejnik & Algina 2003) stands in the details.

    Raises:
        DataError: For bad values, unequal lengths, or if the conditions differ by the same amount in every subject.
    """
    names, table = blocks_of(conditions)
    n, k = table.shape
    grand = float(table.mean())
    columns, rows = table.mean(axis=0) - grand, table.mean(axis=1) - grand
    rest = table - grand - columns - rows[:, None]
    if is_constant(rest.ravel(), size_of(table)):
        raise DataError("the conditions differ by the same in every subject, so there is no error to compare with.")
    of_conditions, of_subjects, error = n * float(columns @ columns), k * float(rows @ rows), float((rest * rest).sum())
    df = k - 1.0, (k - 1.0) * (n - 1)
    f = of_conditions / df[0] / (error / df[1])
    greenhouse, huynh = epsilons(table)
    corrected = float(fdtrc(df[0] * greenhouse, df[1] * greenhouse, f))
    bad = k > 2 and greenhouse < SPHERICITY_BOUND
    return TestResult(
        test="repeated-measures ANOVA",
        statistic_name="F",
        statistic=f,
        df=df,
        p=float(fdtrc(*df, f)),
        n=(n,),
        effect=replace(eta_squared(f, *df, n=n * k), name="partial η²"),
        assumptions=(
            Assumption("sphericity", f"Greenhouse–Geisser ε = {number_text(greenhouse)} (1 is spherical)", not bad),
            normal_residuals(rest.ravel()),
        ),
        references=(FISHER, "Greenhouse & Geisser 1959, Psychometrika 24:95–112"),
        warnings=(f"Sphericity doesn't hold (ε = {number_text(greenhouse)}): take the corrected {p_text(corrected)}.",)
        * bad,
        details={
            "ss_conditions": of_conditions,
            "ss_subjects": of_subjects,
            "ss_error": error,
            "generalised_eta_squared": of_conditions / (of_conditions + of_subjects + error),
            "epsilon_greenhouse_geisser": greenhouse,
            "p_greenhouse_geisser": corrected,
            "epsilon_huynh_feldt": huynh,
            "p_huynh_feldt": float(fdtrc(df[0] * huynh, df[1] * huynh, f)),
        }
        | {f"mean_{name}": float(mean) for name, mean in zip(names, columns + grand, strict=True)},
    )


def epsilons(table: Array) -> tuple[float, float]:
    """ε̂ of Greenhouse & Geisser (1959) and ε̃ of Huynh & Feldt (1976), of values of shape (subjects, conditions)."""
    n, k = table.shape
    if k == 2:
        return 1.0, 1.0
    covariance = np.cov(table, rowvar=False)
    centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None] + covariance.mean()
    greenhouse = float(np.trace(centred) ** 2 / ((k - 1) * (centred * centred).sum()))
    room = (k - 1) * (n - 1 - (k - 1) * greenhouse)
    huynh = (n * (k - 1) * greenhouse - 2) / room if room > 0 else 1.0
    return min(greenhouse, 1.0), min(max(huynh, greenhouse), 1.0)


def two_way_anova(
    values: Values,
    first: Labels,
    second: Labels,
    *,
    names: tuple[str, str] = ("first", "second"),
    sums: Literal["II", "III"] = "II",
) -> dict[str, TestResult]:
    """The analysis of variance of two factors and their interaction.

    Args:
        values: Independent values, shape (n,).
        first: Of each value, the level of the first factor.
        second: Of each value, the level of the second factor.
        names: What the factors are called.
        sums: Type II sums of squares (the default; each factor beside the other one, more powerful where there is no
            interaction; R's `car::Anova`), or type III (beside the other one and the interaction, by effect coding).
            For the same number of values in every cell both are the same, and equal to R's `aov`.

    Returns:
        Of each factor, and of the interaction as `first:second`, the test, with partial η² as the effect.

    Raises:
        DataError: For bad values, factors with one level, combinations of levels without a value, no combination with
            two, or if all combinations are constant.
    """
    if sums not in ("II", "III"):
        raise DataError(f'sums={sums!r}: type "II" or "III".')
    x = sample_of(values)
    levels = codes_of(first, len(x), names[0]), codes_of(second, len(x), names[1])
    k, m = (int(each.max()) + 1 for each in levels)
    cell = levels[0] * m + levels[1]
    counts = np.bincount(cell, minlength=k * m)
    refuse_design(k, m, counts, names)
    cell_means = np.bincount(cell, weights=x, minlength=k * m) / counts
    rest = x - cell_means[cell]
    if is_constant(rest, size_of(x)):
        raise DataError("every combination of levels is constant, so there is no error to compare with.")
    error, df_error = float(rest @ rest), float(len(x) - k * m)
    both = f"{names[0]}:{names[1]}"
    explained = explained_by(cell_means - float(x.mean()), counts, (k, m), sums)
    df = {names[0]: k - 1.0, names[1]: m - 1.0, both: (k - 1.0) * (m - 1)}
    assumptions = (
        equal_variances({str(number): x[cell == number] for number in range(k * m)}),
        normal_residuals(rest),
    )
    found: dict[str, TestResult] = {}
    for term, squares in zip(df, explained, strict=True):
        f = squares / df[term] / (error / df_error)
        found[term] = TestResult(
            test=f"two-way ANOVA (type {sums}), {term}",
            statistic_name="F",
            statistic=f,
            df=(df[term], df_error),
            p=float(fdtrc(df[term], df_error, f)),
            n=(len(x),),
            effect=replace(eta_squared(f, df[term], df_error, n=len(x)), name="partial η²"),
            assumptions=assumptions,
            references=(FISHER,),
            details={
                "ss": squares,
                "ss_error": error,
                "partial_omega_squared": omega_squared(f, df[term], df_error, n=len(x)).value,
            },
        )
    return found


def explained_by(
    cell_means: Array, counts: NDArray[np.intp], shape: tuple[int, int], sums: Literal["II", "III"]
) -> tuple[float, float, float]:
    """The sums of squares of both factors and of their interaction, from the cells' means and counts alone.

    The cells say all that the values do about the means, so least squares over cells, weighted by counts, give the same
    sums as over values, in the memory of the cells.
    """
    k, m = shape
    rows, columns = (each.ravel() for each in np.indices(shape))
    effects = [np.vstack((np.eye(size - 1), -np.ones(size - 1))) for size in shape]
    of_first, of_second = effects[0][rows], effects[1][columns]
    interaction = (of_first[:, :, None] * of_second[:, None, :]).reshape(k * m, -1)
    weight = np.sqrt(counts)

    def left_by(*terms: Array) -> float:
        design = np.column_stack((np.ones(k * m), *terms)) * weight[:, None]
        rest = cell_means * weight - design @ np.linalg.lstsq(design, cell_means * weight)[0]
        return float(rest @ rest)

    main = left_by(of_first, of_second)
    if sums == "III":
        return left_by(of_second, interaction), left_by(of_first, interaction), main
    return left_by(of_second) - main, left_by(of_first) - main, main


def refuse_design(k: int, m: int, counts: NDArray[np.intp], names: tuple[str, str]) -> None:
    problems = [
        f"{name} has one level, and 2 are needed." for name, size in zip(names, (k, m), strict=True) if size < 2
    ]
    empty = int((counts == 0).sum())
    if empty:
        problems.append(f"{empty} of {k * m} combinations of {names[0]} and {names[1]} have no value: each needs one.")
    elif counts.sum() <= k * m:
        problems.append("there is one value per combination of levels, so interaction and error can't be told apart.")
    if problems:
        raise DataError(problems)


def shares(f: float, df: tuple[float, float]) -> dict[str, float]:
    return {"eta_squared": eta_squared(f, *df).value, "epsilon_squared": epsilon_squared(f, *df).value}


def means(named: dict[str, Array]) -> dict[str, float]:
    """Each group's mean and standard deviation."""
    found = {f"mean_{name}": float(values.mean()) for name, values in named.items()}
    return found | {f"sd_{name}": float(values.std(ddof=1)) for name, values in named.items()}
