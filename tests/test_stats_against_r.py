"""R itself on generated data, where it is installed: every test that base R has, or that its functions make in a line.

Not in base R, and held by other tests: Tango's and Miettinen and Nurminen's intervals, Dunnett, bootstraps, PPI.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HERE

from suitecase import stats

R = shutil.which("Rscript")
pytestmark = pytest.mark.skipif(R is None, reason="NO R HERE: without r-base-core nothing is compared with R itself")


def generated(seed: int) -> dict[str, Any]:
    """Data of one draw, with every shape that the tests need."""
    rng: Any = np.random.default_rng(seed)
    n, m = int(rng.integers(12, 30)), int(rng.integers(12, 30))
    a, b = rng.normal(0.4, 1, n), rng.gamma(2, 1, m) - 1
    sizes = rng.integers(6, 12, 3)
    return {
        "a": a, "b": b, "d": a * 0.5 + rng.normal(0, 1, n),
        "values": np.concatenate([rng.normal(i / 3, 1 + i / 2, size) for i, size in enumerate(sizes)]),
        "groups": np.repeat(["x", "y", "z"], sizes), "cluster": np.arange(sizes.sum()) % 5,
        "measured": rng.normal(size=24) + np.tile([0.0, 0.5, 1.0], 8), "condition": np.tile(["p", "q", "r"], 8),
        "subject": np.repeat(np.arange(8), 3),
        "crossed": rng.normal(size=24), "first": np.repeat(["u", "v"], 12), "second": np.tile(["k", "l", "m"], 8),
        "counts": rng.integers(5, 30, (2, 3)), "square": rng.integers(3, 30, (2, 2)),
        "k": int(rng.integers(5, 35)), "n": 40, "j": int(rng.integers(5, 25)), "m": 30, "raw": rng.random(6) ** 2,
    }  # fmt: skip


def as_r(value: Any) -> str:
    """A value as R reads it."""
    if not hasattr(value, "tolist"):
        return repr(value)
    items = ", ".join(f'"{each}"' if isinstance(each, str) else repr(each) for each in value.ravel().tolist())
    if value.ndim == 2:
        return f"matrix(c({items}), nrow = {len(value)}, byrow = TRUE)"
    return f"factor(c({items}))" if value.dtype.kind == "U" else f"c({items})"


def of(name: str, found: Any) -> dict[str, float]:
    """A test's figures, as the script names them."""
    figures = {"statistic": found.statistic, "p": found.p, "estimate": found.estimate}
    if found.df:
        figures["df"] = found.df[-1]
    if found.interval:
        figures |= {"low": found.interval.low, "high": found.interval.high}
    return {f"{name}/{what}": value for what, value in figures.items()}


def ours(data: dict[str, Any]) -> dict[str, float]:
    """The same by our functions."""
    a, b, d, values, square = (data[name] for name in ("a", "b", "d", "values", "square"))
    named = {name: values[data["groups"] == name] for name in "xyz"}
    repeated = {name: data["measured"][data["condition"] == name] for name in "pqr"}
    small = a[:6], b[:6]
    k, n, j, m = (data[name] for name in ("k", "n", "j", "m"))
    two_way = list(stats.two_way_anova(data["crossed"], data["first"], data["second"]).values())
    d_interval = stats.cohens_d(a, b).interval
    wilson, newcombe = stats.rate_interval(k, n), stats.rate_difference_interval(k, n, j, m, method="newcombe")
    mcnemar = stats.mcnemar(square)
    assert d_interval is not None
    first_two = {"x": named["x"], "y": named["y"], "z": named["z"]}
    found = (
        of("welch", stats.t_test(a, b)) | of("welch less", stats.t_test(a, b, alternative="less"))
        | of("student", stats.t_test(a, b, equal_variances=True)) | of("paired", stats.t_test_paired(a, d))
        | of("one", stats.t_test_one(a, 0.3)) | of("f", stats.f_test(a, b))
        | of("rank sum", stats.mann_whitney(a, b))
        | of("rank sum greater", stats.mann_whitney(a, b, alternative="greater"))
        | of("rank sum ties", stats.mann_whitney(a.round(), b.round()))
        | of("signed rank", stats.wilcoxon(a, d)) | of("sign", stats.sign_test(a, d))
        | of("shapiro", stats.shapiro_wilk(a)) | of("bartlett", stats.bartlett(named))
        | of("fligner", stats.fligner(named)) | of("levene mean", stats.levene(named))
        | of("levene median", stats.brown_forsythe(named)) | of("anova", stats.one_way_anova(named))
        | of("welch anova", stats.welch_anova(named)) | of("kruskal", stats.kruskal_wallis(named))
        | of("repeated", stats.repeated_anova(repeated)) | of("friedman", stats.friedman(repeated))
        | of("two-way 1", two_way[0]) | of("two-way 2", two_way[1]) | of("two-way 3", two_way[2])
        | of("pearson", stats.pearson(a, d)) | of("spearman", stats.spearman(a, d))
        | of("kendall", stats.kendall(a, d)) | of("spearman small", stats.spearman(a[:8], d[:8]))
        | of("chi", stats.chi_square(data["counts"])) | of("chi corrected", stats.chi_square(square, correction=True))
        | of("fisher", stats.fisher_exact(square)) | of("mcnemar corrected", stats.mcnemar(square, method="corrected"))
        | of("mcnemar exact", stats.mcnemar(square, method="exact"))
        | of("binomial", stats.one_rate(k, n, 0.6, method="exact")) | of("two rates", stats.two_rates(k, n, j, m))
        | of("tost", stats.tost_paired(a, d, 1.0)) | of("permutation", stats.permutation_test(*small))
        | of("sign flips", stats.permutation_test_paired(a[:10], d[:10]))
        | of("nested", stats.nested_mean(values, data["cluster"]))
    )  # fmt: skip
    for pair in stats.tukey(first_two):
        low, high = (pair.interval.low, pair.interval.high) if pair.interval else (math.nan, math.nan)
        found |= {f"tukey {pair.second}-{pair.first}/p": pair.p, f"tukey {pair.second}-{pair.first}/low": -high}
        found |= {f"tukey {pair.first}-{pair.second}/p": pair.p, f"tukey {pair.first}-{pair.second}/low": low}
    for method in ("holm", "hommel", "bonferroni", "bh", "by"):
        for i, p in enumerate(stats.adjust(data["raw"], method).p, 1):
            found[f"adjust {method} {i}/p"] = p
    return found | {
        "mcnemar/statistic": mcnemar.statistic**2, "mcnemar/p": mcnemar.p,
        "wilson/low": wilson.low, "wilson/high": wilson.high, "newcombe/low": newcombe.low,
        "power two/p": stats.TwoMeans().power_of(0.7, 17), "power paired/p": stats.OneMean().power_of(0.7, 17),
        "power anova/p": stats.ManyMeans(groups=4).power_of(math.sqrt(3 / 4 / 5), 12),
        "power rates/p": stats.TwoRates(rate=0.6, exact=False).power_of(0.15, 80),
        "cohens d/low": d_interval.low, "cohens d/high": d_interval.high,
        "clustered/se_cr1": stats.clustered_mean(values, data["cluster"]).details["se_cr1"],
        "dunn/p": stats.dunn(named)[0].p_raw, "games-howell/p": stats.games_howell(named)[0].p,
        "quantile/q1": stats.describe(a).q1, "median interval/low": stats.median_interval(a).low,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1])
def test_generated_data(seed: int, tmp_path: Path) -> None:
    """Every value that the script prints, within 1e-6."""
    data = generated(seed)
    file = tmp_path / "data.R"
    file.write_text("".join(f"{name} <- {as_r(value)}\n" for name, value in data.items()), encoding="utf-8")
    command = [str(R), "--vanilla", str(HERE / "tests" / "against_r.R"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}
    assert len(theirs) > 100
    mine = ours(data)
    off = {
        name: (mine.get(name), value)
        for name, value in theirs.items()
        if not math.isclose(mine.get(name, math.nan), value, rel_tol=1e-6, abs_tol=1e-12)
    }
    assert off == {}
