"""Values that R 4.2.2 and NIST publish or print, and the same by the public functions of `suitecase.stats`.

    python -m benchmarks.agreement

writes the table of docs/statistics.md. Its rows are the list that `tests/test_stats_agreement.py` holds.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import scipy.optimize
import scipy.stats

from benchmarks.pages import ROOT, STATISTICS, table, write_section
from suitecase.stats import (
    Correction,
    Interval,
    ManyMeans,
    OneMean,
    PairedItems,
    TestResult,
    TwoMeans,
    TwoRates,
    adjust,
    bartlett,
    brown_forsythe,
    clustered_mean,
    cohens_d,
    cohens_dz,
    describe,
    f_test,
    fisher_exact,
    fligner,
    friedman,
    hedges_g,
    kruskal_wallis,
    levene,
    mann_whitney,
    mcnemar,
    one_rate,
    one_way_anova,
    pass_at,
    pass_hat,
    pearson,
    permutation_test_paired,
    posterior_of_rate,
    rate_interval,
    shapiro_wilk,
    t_test,
    t_test_one,
    t_test_paired,
    tukey,
    two_way_anova,
    welch_anova,
    wilcoxon,
)

sys.path[:0] = [str(ROOT / "tests")]
from r_data import (  # noqa: E402
    INSECT_SPRAYS,
    MPG,
    PLANT_GROWTH,
    ROUNDING_TIMES,
    SLEEP_1,
    SLEEP_2,
    TOOTH_GROWTH,
    WEIGHT,
)

__all__ = ["NIST_FILES", "Value", "digits_of", "values"]

NIST_FILES = Path(str(scipy.stats.__file__)).parent / "tests" / "data" / "nist_anova"
"""The certified analyses of variance come with scipy, unless it was installed without its tests."""

FAR_TAIL = "R leaves out the far tail"
QTUKEY = "R's `qtukey` iterates to a tolerance"
ROOT_TOLERANCE = "R's `uniroot` stops at 1e-4"


@dataclass(frozen=True)
class Value:
    """One published value.

    Attributes:
        data: The data, or the task.
        what: The function and the quantity.
        theirs: As it is printed.
        ours: Computes it.
        digits: To how many it agrees at the least; `None` for all that are printed.
        source: Who published it.
        why: Why not all digits agree.
    """

    data: str
    what: str
    theirs: str
    ours: Callable[[], float]
    digits: int | None = None
    source: str = "R"
    why: str = ""

    @property
    def printed(self) -> int:
        """How many significant digits `theirs` has; 15 for whole numbers and NIST's values, which are exact."""
        if self.source == "NIST":
            return 15
        mantissa = self.theirs.lower().partition("e")[0].lstrip("-")
        return len(mantissa.replace(".", "").lstrip("0")) if "." in mantissa else 15


def digits_of(value: Value) -> float:
    """The log relative error, at most as many digits as are printed; all of them where ours rounds to theirs."""
    ours, theirs = value.ours(), float(value.theirs)
    if value.printed < 15 and f"{ours:.{value.printed - 1}e}" == f"{theirs:.{value.printed - 1}e}":
        return value.printed
    error = abs(ours - theirs) / (abs(theirs) or 1.0)
    return min(-math.log10(error) if error > 0 else 15.0, value.printed)


def values() -> list[Value]:
    """All of them, in the table's order."""
    parts = (nist(), sleep(), plant_growth(), other_means(), rates(), corrections(), planning(), answers())
    return [value for part in parts for value in part]


def nist() -> Iterator[Value]:
    """NIST StRD: analyses of variance by their certified F, and means and standard deviations of constructed data."""
    digits = {"AtmWtAg": 10, "SiRstv": 13, "SmLs01": 13, "SmLs02": 13, "SmLs03": 13}
    digits |= {f"SmLs0{i}": 10 if i < 7 else 4 for i in range(4, 10)}
    hard = "the data's leading digits are alike, and float64 has 16"
    for name, least in digits.items() if NIST_FILES.is_dir() else ():
        f, groups = nist_anova(name)
        ours = partial(f_of, groups)
        yield Value(name, "`one_way_anova`, F", f, ours, least, "NIST", hard if least < 13 else "")
    constructed = {"NumAcc1": [10000001.0, 10000003.0, 10000002.0]}
    for name, base in (("NumAcc2", 1.0), ("NumAcc3", 1e6), ("NumAcc4", 1e7)):
        constructed[name] = [base + 0.2] + [base + 0.1, base + 0.3] * 500
    certified = {
        "NumAcc1": ("10000002", "1", 14), "NumAcc2": ("1.2", "0.1", 14),
        "NumAcc3": ("1000000.2", "0.1", 9), "NumAcc4": ("10000000.2", "0.1", 8),
    }  # fmt: skip
    for name, (mean, sd, least) in certified.items():
        why = hard if least < 14 else ""
        yield Value(name, "`describe`, mean", mean, partial(mean_of, constructed[name]), 14, "NIST")
        ours = partial(sd_of, constructed[name])
        yield Value(name, "`describe`, sd", sd, ours, least, "NIST", why)


def f_of(groups: dict[str, list[float]]) -> float:
    return one_way_anova(groups).statistic


def mean_of(x: list[float]) -> float:
    return describe(x).mean


def sd_of(x: list[float]) -> float:
    return cast(float, describe(x).sd)


def end_of(find: Callable[[], Interval], which: str) -> float:
    return find().low if which == "low" else find().high


def nist_anova(name: str) -> tuple[str, dict[str, list[float]]]:
    """The certified F, and the groups."""
    lines = (NIST_FILES / f"{name}.dat").read_text(encoding="utf-8").splitlines()
    certified = next(line.split()[-1] for line in lines if line.startswith("Between"))
    groups: dict[str, list[float]] = defaultdict(list)
    for line in lines[60:]:
        if len(parts := line.split()) == 2:
            groups[parts[0]].append(float(parts[1]))
    return certified, dict(groups)


def quantities_of(data: str, name: str, found: Any, theirs: dict[str, str]) -> Iterator[Value]:
    """Several quantities of one result: "statistic", "p", "df", "low", "high", or a name of its details."""

    def quantity(what: str) -> float:
        if what in ("low", "high"):
            return float(getattr(found().interval, what))
        if what == "df":
            return float(found().df[-1])
        if what == "effect":
            return float(found().effect.value)
        return float(getattr(found(), what) if hasattr(found(), what) else found().details[what])

    for what, printed in theirs.items():
        yield Value(data, f"{name}, {what}", printed, partial(quantity, what))


def sleep() -> Iterator[Value]:
    """R's `sleep`: two drugs, the same ten sleepers."""
    a, b, of = SLEEP_1, SLEEP_2, partial(quantities_of, "sleep")
    yield from of("`t_test`", cache(lambda: t_test(a, b)), {
        "statistic": "-1.8608134675", "df": "17.7764735162", "p": "0.0793941401874",
        "low": "-3.3654832307", "high": "0.2054832307",
    })  # fmt: skip
    student = cache(lambda: t_test(a, b, equal_variances=True))
    theirs = {"p": "0.0791867142159", "low": "-3.3638740323", "high": "0.2038740323"}
    yield from of("`t_test`, Student", student, {"df": "18"} | theirs)
    yield from of("`t_test_paired`", cache(lambda: t_test_paired(a, b)), {
        "statistic": "-4.0621276834", "df": "9", "p": "0.00283289019738",
        "low": "-2.4598857633", "high": "-0.7001142367",
    })  # fmt: skip
    yield from of("`t_test_one`", cache(lambda: t_test_one(a)), {"statistic": "1.3257101407", "p": "0.217597780068"})
    yield from of("`f_test`", cache(lambda: f_test(a, b)), {"statistic": "0.7983426180", "p": "0.742719931726"})
    yield from of("`mann_whitney`", cache(lambda: mann_whitney(a, b)), {"statistic": "25.5", "p": "0.0693275754336"})
    yield from of("`wilcoxon`", cache(lambda: wilcoxon(a, b)), {"statistic": "0", "p": "0.00909069801593"})
    yield from of("`permutation_test_paired`", cache(lambda: permutation_test_paired(a, b)), {"p": "0.00390625"})
    for name, x, theirs in (
        ("`shapiro_wilk`, first", a, {"statistic": "0.9258060289", "p": "0.4079287964"}),
        ("`shapiro_wilk`, second", b, {"statistic": "0.9192977013", "p": "0.3511346854"}),
    ):
        for value in of(name, cache(partial(shapiro_wilk, x)), theirs):
            yield replace(value, digits=8, why="R's and scipy's code round differently")
    yield Value("sleep", "`cohens_d`", "-0.8321810813", lambda: cohens_d(a, b).value)
    yield Value("sleep", "`hedges_g`", "-0.7969352392", lambda: hedges_g(a, b).value)
    yield Value("sleep", "`cohens_dz`", "-1.2845575626", lambda: cohens_dz(a, b).value)


def plant_growth() -> Iterator[Value]:
    """R's `PlantGrowth`: three groups of ten."""
    of = partial(quantities_of, "PlantGrowth")
    yield from of("`one_way_anova`", cache(lambda: one_way_anova(PLANT_GROWTH)), {
        "statistic": "4.846087862", "p": "0.01590995833", "ss_between": "3.76634", "ss_within": "10.49209",
        "eta_squared": "0.2641482968", "epsilon_squared": "0.2096407633", "effect": "0.2040788460",
    })  # fmt: skip
    yield from of("`welch_anova`", cache(lambda: welch_anova(PLANT_GROWTH)), {
        "statistic": "5.1809724081", "df": "17.1284186166", "p": "0.0173928214902",
    })  # fmt: skip
    yield from of("`kruskal_wallis`", cache(lambda: kruskal_wallis(PLANT_GROWTH)), {
        "statistic": "7.9882287494", "p": "0.0184237557315",
    })  # fmt: skip
    yield from of("`bartlett`", cache(lambda: bartlett(PLANT_GROWTH)), {
        "statistic": "2.8785737872", "p": "0.237096773635",
    })  # fmt: skip
    yield from of("`fligner`", cache(lambda: fligner(PLANT_GROWTH)), {"p": "0.308828687386"})
    yield from of("`brown_forsythe`", cache(lambda: brown_forsythe(PLANT_GROWTH)), {
        "statistic": "1.1191856949", "p": "0.341226624125",
    })  # fmt: skip
    yield from of("`levene`", cache(lambda: levene(PLANT_GROWTH)), {"p": "0.306194922991"})
    pairs = cache(lambda: {frozenset((pair.first, pair.second)): pair for pair in tukey(PLANT_GROWTH)})

    def tukey_p(key: frozenset[str]) -> float:
        return pairs()[key].p

    for first, second, difference, p in (
        ("trt1", "ctrl", "-0.371", ".390871144202"), ("trt2", "ctrl", "0.494", ".197995991300"),
        ("trt2", "trt1", "0.865", ".012006423979"),
    ):  # fmt: skip
        key = frozenset((first, second))

        def signed(key: frozenset[str] = key, first: str = first) -> float:
            pair = pairs()[key]
            return pair.difference if pair.first == first else -pair.difference

        yield Value("PlantGrowth", f"`tukey`, {first} − {second}", difference, signed)
        yield Value("PlantGrowth", f"`tukey`, {first} − {second}, p", p, partial(tukey_p, key))
    last = frozenset(("trt1", "trt2"))

    def ends() -> tuple[float, float]:
        interval = cast(Any, pairs()[last].interval)
        return tuple(sorted((abs(interval.low), abs(interval.high))))

    yield Value("PlantGrowth", "`tukey`, trt2 − trt1, low", ".17378394859", lambda: ends()[0], 10, why=QTUKEY)
    yield Value("PlantGrowth", "`tukey`, trt2 − trt1, high", "1.55621605141", lambda: ends()[1], 10, why=QTUKEY)


def other_means() -> Iterator[Value]:
    """R's `InsectSprays`, `ToothGrowth`, `RoundingTimes` and `mtcars`."""
    yield from quantities_of("InsectSprays", "`one_way_anova`", cache(lambda: one_way_anova(INSECT_SPRAYS)), {
        "statistic": "34.7022820555", "p": "3.18258372615e-17",
    })  # fmt: skip
    yield from quantities_of("InsectSprays", "`kruskal_wallis`", cache(lambda: kruskal_wallis(INSECT_SPRAYS)), {
        "statistic": "54.6913446224", "p": "1.51084443942e-10",
    })  # fmt: skip
    lengths = [each for cell in TOOTH_GROWTH.values() for each in cell]
    cells = [cell for cell in TOOTH_GROWTH for _ in range(10)]
    two_way = cache(
        lambda: two_way_anova(lengths, [c[0] for c in cells], [c[1] for c in cells], names=("supp", "dose"))
    )

    def of_term(term: str) -> TestResult:
        return two_way()[term]

    for term, theirs in (
        ("supp", {"statistic": "15.57198", "p": ".00023118"}), ("dose", {"statistic": "91.99996"}),
        ("supp:dose", {"statistic": "4.10699", "p": ".02186027"}),
    ):  # fmt: skip
        found = partial(of_term, term)
        yield from quantities_of("ToothGrowth", f"`two_way_anova`, {term}", found, theirs)
    yield from quantities_of("ToothGrowth", "`clustered_mean`", cache(lambda: clustered_mean(lengths, cells)), {
        "se_naive": "0.9875223424", "se_cr0": "2.7588762473", "se_cr1": "3.0221975081",
    })  # fmt: skip
    yield from quantities_of("RoundingTimes", "`friedman`", cache(lambda: friedman(ROUNDING_TIMES.T)), {
        "statistic": "11.1428571429", "p": ".00380504077551",
    })  # fmt: skip
    yield from quantities_of("mtcars", "`pearson`", cache(lambda: pearson(MPG, WEIGHT)), {
        "estimate": "-0.867659376517", "p": "1.29395870135e-10", "low": "-.9338264133", "high": "-.7440871965",
    })  # fmt: skip


def rates() -> Iterator[Value]:
    """Counts."""
    performance = [[794, 150], [86, 570]]
    yield from quantities_of("Performance", "`mcnemar`, corrected", cache(
        lambda: mcnemar(performance, method="corrected")
    ), {"statistic": "16.8177966102", "p": "4.11456228135e-05"})  # fmt: skip
    yield from quantities_of("Performance", "`mcnemar`, exact", cache(
        lambda: mcnemar(performance, method="exact")
    ), {"p": "3.71593613957e-05"})  # fmt: skip
    tea = cache(lambda: fisher_exact([[3, 1], [1, 3]]))
    yield from quantities_of("Lady tasting tea", "`fisher_exact`", tea, {"p": ".485714285714"})
    for what, theirs, ours, least in (
        ("odds ratio", "6.4083088670", lambda: tea().estimate, 5),
        ("low", ".2117329153", lambda: cast(Any, tea().interval).low, 4),
        ("high", "621.9337505454", lambda: cast(Any, tea().interval).high, 2),  # R looks for 1/626 with that tolerance
    ):
        yield Value("Lady tasting tea", f"`fisher_exact`, {what}", theirs, ours, least, why=ROOT_TOLERANCE)
    yield from quantities_of("682 of 925", "`one_rate`, exact", cache(
        lambda: one_rate(682, 925, 0.75, method="exact")
    ), {"p": ".382491559575", "low": ".707668264079", "high": ".765406558242"})  # fmt: skip
    for (k, n), method, low, high in (
        ((682, 925), "wilson", ".707995987620", ".764635800971"),
        ((8, 10), "wilson", ".490162471537", ".943317848546"),
        ((8, 10), "jeffreys", ".497225503560", ".955940586447"),
        ((8, 10), "clopper-pearson", ".443904537692", ".974789273673"),
    ):
        found = partial(rate_interval, k, n, method=cast(Any, method))
        for what, theirs in (("low", low), ("high", high)):
            ours = partial(end_of, found, what)
            yield Value(f"{k} of {n}", f"`rate_interval` ({method}), {what}", theirs, ours)
    for what, theirs in (("low", ".482244147640"), ("high", ".939782265827")):
        ours = partial(end_of, lambda: posterior_of_rate(8, 10).interval, what)
        yield Value("8 of 10", f"`posterior_of_rate`, Beta(1, 1), {what}", theirs, ours)


def corrections() -> Iterator[Value]:
    """`p.adjust` of six p-values."""
    raw = (0.01, 0.04, 0.03, 0.005, 0.20, 0.55)

    def adjusted(method: Correction, i: int) -> float:
        return adjust(raw, method).p[i]

    printed_p: dict[Correction, str] = {
        "holm": "0.05 0.12 0.12 0.03 0.4 0.55", "bh": "0.03 0.06 0.06 0.03 0.24 0.55",
        "hommel": "0.05 0.12 0.09 0.03 0.4 0.55", "by": "0.0735 0.147 0.147 0.0735 0.588 1",
    }  # fmt: skip
    for method, theirs in printed_p.items():
        for i, printed in enumerate(theirs.split()):
            ours = partial(adjusted, method, i)
            yield Value("six p-values", f"`adjust` ({method}), p = {raw[i]:g}", printed, ours)


def planning() -> Iterator[Value]:
    """`power.t.test`, `power.prop.test`, `power.anova.test`, the package pwr: n where `power_of` reaches the power."""

    def needed(power_of: Callable[[float], float], power: float) -> float:
        def lacking(n: float) -> float:
            return power_of(n) - power

        return float(cast(Any, scipy.optimize).brentq(lacking, 2, 1e4, xtol=1e-10))

    def items_for(planned: PairedItems) -> float:
        return float(planned.n_for(0.03))

    two, one, of_rates = TwoMeans(), OneMean(), TwoRates(rate=0.5, exact=False)
    yield Value("power", "`TwoMeans`, n = 20, d = 1", ".868952801692", lambda: two.power_of(1, 20), 6, why=FAR_TAIL)
    for what, theirs, power_of, power, least in (
        ("`TwoMeans`, d = 0.5, 80 %", "63.7657637143", partial(two.power_of, 0.5), 0.8, 5),
        ("`OneMean`, d = 0.5, 80 %", "33.367204088", partial(one.power_of, 0.5), 0.8, 5),
        ("`TwoMeans`, d = 1, 90 %", "22.0210977039", partial(two.power_of, 1), 0.9, 5),
        ("`TwoRates`, 0.5 and 0.75, 90 %", "76.7069301141", partial(of_rates.power_of, 0.25), 0.9, 6),
        ("`PairedItems`, h = 0.3, 80 %", "174.419122434", partial(PairedItems(between=2).power_of, 0.3), 0.8, 6),
    ):  # fmt: skip
        yield Value("n", what, theirs, partial(needed, power_of, power), least, why=ROOT_TOLERANCE)
    four = ManyMeans(groups=4)
    yield Value(
        "n", "`ManyMeans`, 4 groups, variances 1 and 3, 80 %", "11.9261309577",
        lambda: needed(partial(four.power_of, 0.5), 0.8), 5, why=ROOT_TOLERANCE,
    )  # fmt: skip
    yield Value(
        "n", "`ManyMeans`, 3 groups, f = 0.25, 80 %", "52.3966016056",
        lambda: needed(partial(ManyMeans(groups=3).power_of, 0.25), 0.8), 6, why=ROOT_TOLERANCE,
    )  # fmt: skip
    for within, k, theirs in ((0.0, 1, "969"), (1 / 6, 1, "3876"), (1 / 6, 10, "1260")):
        planned = PairedItems(between=1 / 9, within=(within, within), answers=(k, k))
        ours = partial(items_for, planned)
        yield Value("n", f"`PairedItems`, σ² = {within:.3g}, K = {k}", theirs, ours, None, "Miller 2024")


def answers() -> Iterator[Value]:
    """pass@k and pass^k of 3 right answers in 10."""

    def at_least_one(k: int) -> float:
        return pass_at([3, 3], 10, k).value

    def all_of(k: int) -> float:
        return pass_hat([3, 3], 10, k).value

    for k, theirs in ((1, "0.3"), (5, ".916667"), (8, "1.0")):
        ours = partial(at_least_one, k)
        yield Value("3 of 10", f"`pass_at`, k = {k}", theirs, ours, None, "Chen 2021")
    for k, theirs in ((1, "0.3"), (2, ".066667"), (3, ".008333")):
        ours = partial(all_of, k)
        yield Value("3 of 10", f"`pass_hat`, k = {k}", theirs, ours, None, "Yao 2024")


def main() -> int:
    found = [(value, digits_of(value)) for value in values()]
    rows = [
        (
            value.data, value.what, value.source, value.theirs, f"{value.ours():.{min(value.printed + 2, 15)}g}",
            f"{digits:.3g} of {value.printed}" + f": {value.why}" * (digits < value.printed and bool(value.why)),
        )
        for value, digits in found
    ]  # fmt: skip
    write_section(STATISTICS, "agreement", table(("data", "function", "source", "theirs", "ours", "digits"), rows))
    lacking = [value for value, digits in found if digits < (value.digits or value.printed)]
    for value in lacking:
        print(f"{value.data}, {value.what}: theirs {value.theirs}, ours {value.ours():.15g}", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
