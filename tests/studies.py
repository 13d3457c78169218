"""Studies made by hand, for tests of what is written about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from suitecase.compare import ConditionFacts, Description, MetricFacts, RunFacts, Study
from suitecase.stats import Assumption, Comparison, Effect, Interval, TestResult

HOSTILE = (
    "<script>alert(1)</script>", "50%_a&b", "$x$ and $y$", "=cmd()|' /C calc'!A0", "🎉 fête 评测", "a\\b{c}~d^e#f",
    "[link](javascript:alert(1))", "`code` **bold** | pipe", "--resume 'it''s' \"quoted\"", "\x00\ud800\u202e\nend",
    "</textarea><!-- ]]> -->", "{{ 7 * 7 }} {% if %}", "\\input{/etc/passwd} \\end{document}",
)  # fmt: skip
"""Names that do something in HTML, LaTeX, Markdown, mathtext, spreadsheets, terminals or templates."""


def describe(condition: str, metric: str, values: np.ndarray[Any, Any], missing: int = 0) -> Description:
    """A description with the t-interval of the mean."""
    n, mean, sd = len(values), float(values.mean()), float(values.std(ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * sd / n**0.5
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return Description(
        condition=condition, metric=metric, unit="item", n=n, missing=missing, mean=mean, sd=sd, median=middle,
        quartiles=(low, high), minimum=float(values.min()), maximum=float(values.max()),
        interval=Interval(mean - half, mean + half, 0.95, "t"), values=tuple(values.tolist()),
    )  # fmt: skip


def held_against(
    first: str, second: str, metric: MetricFacts, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], family: int
) -> Comparison:
    """A paired t-test with Bonferroni's correction: its interval has the level that it leaves."""
    d = a - b
    n, mean, error = len(d), float(d.mean()), max(float(d.std(ddof=1)), 1e-9) / len(d) ** 0.5
    level, t = 1 - 0.05 / family, mean / error
    half = float(stdtrit(n - 1, 1 - 0.025 / family)) * error
    p = float(2 * stdtr(n - 1, -abs(t)))
    interval = Interval(mean - half, mean + half, level, "paired t")
    effect = Effect(
        "Cohen d_z", mean / (error * n**0.5), Interval(-0.1, 0.4, 0.95, "noncentral t"), "small", "Cohen 1988"
    )
    test = TestResult(
        "Paired t-test", p, (n,), "t", t, (float(n - 1),), estimate_name="mean difference", estimate=mean,
        interval=interval, effect=effect, references=("Student (1908)",),
        assumptions=(Assumption("differences are nearly normal, or many", f"skewness 0.2, n = {n}", True),),
    )  # fmt: skip
    adjusted = min(1.0, family * p)
    return Comparison(
        first=first, second=second, metric=metric.name, unit="item", paired=True, n=(n, n),
        means=(float(a.mean()), float(b.mean())), difference=mean, interval=interval, p=p, p_adjusted=adjusted,
        alpha=0.05, correction="holm", family=f"{family} comparisons", test=test, effect=effect,
        beside=TestResult("Sign-flip permutation test", min(1.0, p * 1.05), (n,), details={"draws": 9999}),
        detectable=float((ndtri(1 - 0.025 / family) + ndtri(0.8)) * error), power=0.8,
        verdict="no evidence of a difference" if adjusted >= 0.05 else "higher" if mean > 0 else "lower",
        better=metric.better, why=("Items are the units: one seed per condition.",),
        warnings=("This speaks about these models on new items, not about the methods.",),
    )  # fmt: skip


def make_study(
    names: Sequence[str] = ("bare", "role", "steps", "examples"),
    n: int = 300,
    seed: int = 1,
    metrics: Sequence[str] = ("accuracy", "latency_s"),
    **changes: Any,
) -> Study:
    """The first condition is the baseline; the metrics are `accuracy` (0 or 1) and `latency_s`."""
    random = np.random.default_rng(seed)
    known = (MetricFacts("accuracy", "rate", "", "higher"), MetricFacts("latency_s", "number", "s", "lower"))
    wanted = tuple(metric for metric in known if metric.name in metrics)
    hard = random.normal(size=n)
    values: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    for place, name in enumerate(names):
        values[name, "accuracy"] = (hard + random.normal(size=n) * 0.6 + 0.35 + 0.16 * place > 0).astype(float)
        values[name, "latency_s"] = random.gamma(4.0, 0.01 * (1 + 0.3 * place), size=n)
    family = len(wanted) * (len(names) - 1)
    comparisons = [
        held_against(name, names[0], metric, values[name, metric.name], values[names[0], metric.name], family)
        for metric in wanted
        for name in names[1:]
    ]
    facts: Mapping[str, Any] = {
        "runs": (
            RunFacts(
                "20260128_143052_a1b2c3d", "prompts", "results/prompts/20260128_143052_a1b2c3d", "a1b2c3d", "failed",
                {"succeeded": len(names) - 1, "failed": 1}, "2026-01-28T14:30:52.000Z", 512.5, 1.25,
            ),
        ),
        "conditions": tuple(
            ConditionFacts(
                name, {"template": name}, (name,), (42,), ("a1b2c3d",), 1, 1, 60.0 + 20 * place, 0.02 * (1 + place) ** 2
            )
            for place, name in enumerate(names)
        ),
        "metrics": wanted,
        "descriptions": tuple(describe(name, m, each) for (name, m), each in values.items() if m in metrics),
        "comparisons": tuple(comparisons),
        "baseline": names[0],
        "alpha": 0.05,
        "correction": "holm",
        "differences": {
            (each.first, each.metric): tuple(
                (values[each.first, each.metric] - values[names[0], each.metric]).tolist()
            )
            for each in comparisons
        },
        "explanations": ("Conditions are the values of template.", "Pairs are items with the same id and input."),
        "warnings": (f"{names[-1]}: 1 of 1 cases did not succeed (1 failed).",),
    }  # fmt: skip
    return Study(**{**facts, **changes})
