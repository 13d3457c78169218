"""results.json: what the rows say, and nothing else; the same rows give the same file."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from suitecase.items.ledger import FAILED, NONE, SKIPPED, SUCCEEDED, Ledger, Rows, encode, write_whole
from suitecase.items.metrics import Schema
from suitecase.items.records import Estimate, Row
from suitecase.items.stops import Stop
from suitecase.rundir.spending import PICO

__all__ = ["RESERVED", "estimate", "quantile", "summarise", "write_results"]

CONFIDENCE = 0.95
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
RESERVED = frozenset({
    "metrics", "items", "latency_s", "cost_usd", "cost_per_item_usd", "input_tokens", "output_tokens", "errors",
    "stopped", "output", "derived_errors",
})  # fmt: skip
"""Names that no metric can have."""

Derived = Mapping[str, Callable[[Sequence[Row]], object]]


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The quantile of sorted values, 0 ≤ fraction ≤ 1, between neighbours on a straight line.

    Source:
        Definition 7 of Hyndman & Fan (1996), Am. Stat. 50:361-365; the default of numpy, R and pandas.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.5
    """
    place = fraction * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    return low + (high - low) * (place - below)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of independent values, one an item, with the interval of Student's t.

    The interval is mean ± t(0.975; n - 1) · s / √n. One value, or equal ones, say nothing about their spread: no
    interval. Nor have values an interval whose squares are too large for a float.

    Source:
        Student (1908), Biometrika 6:1-25. Sums are exact before they are rounded once (`math.fsum`), so the order of
        the values doesn't matter.

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, n=3, ci_low=-0.48413771175033027, ci_high=4.48413771175033)
    """
    n = len(values)
    if n == 1 or min(values) == max(values):
        return Estimate(values[0], n, None, None)
    try:
        mean = math.fsum(values) / n
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    except OverflowError:  # values beyond 1e150, as the perplexity of a model that has diverged
        return Estimate(math.fsum(value / n for value in values), n, None, None)
    half = student_t(n - 1) * deviation / math.sqrt(n)
    return Estimate(mean, n, mean - half, mean + half)


def student_t(degrees: int) -> float:
    # What scipy.stats.t.ppf calls; scipy.stats itself takes a second to import, and 40 MB.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


class Values:
    """A metric's values, gathered item by item: with repeats, an item counts once, with its mean."""

    def __init__(self) -> None:
        self.means = array("d")
        self.index = -1
        self.of_item: list[float] = []
        self.rows = 0

    def add(self, index: int, value: float) -> None:
        if index != self.index:
            self.finish_item()
            self.index = index
        self.of_item.append(value)
        self.rows += 1

    def finish_item(self) -> None:
        if self.of_item:
            self.means.append(math.fsum(self.of_item) / len(self.of_item))
            self.of_item.clear()


def summarise(
    ledger: Ledger, schema: Schema, *, items: int, repeats: int, failed_counts_as: Mapping[str, float],
    derived: Derived, stop: Stop,
) -> tuple[dict[str, Any], dict[str, Estimate]]:  # fmt: skip
    """What results.json says, and the metrics."""
    gathered = Gathered(failed_counts_as)
    for row in ledger.rows():
        gathered.add(row)
    estimates = {name: estimate(values) for name, values in sorted(gathered.finished().items())}
    counts = ledger.counts
    done = len(ledger.status) - counts[NONE]
    results: dict[str, Any] = {name: each.mean for name, each in estimates.items()}
    if ledger.cost is not None:
        results["cost_usd"] = ledger.cost / PICO
    results["metrics"] = {
        name: described(name, each, schema, done - gathered.metrics[name].rows, failed_counts_as)
        for name, each in estimates.items()
    }
    results["items"] = {
        "total": len(ledger.status), "succeeded": counts[SUCCEEDED], "failed": counts[FAILED],
        "skipped": counts[SKIPPED], "remaining": counts[NONE], "items": items, "repeats": repeats,
        "invalid": gathered.invalid, "hook_failures": gathered.hook_failures,
    }  # fmt: skip
    results["latency_s"] = latency(gathered.latencies)
    if ledger.cost is not None and done:
        results["cost_per_item_usd"] = ledger.cost / PICO / done
    results |= gathered.tokens
    results["errors"] = dict(sorted(gathered.errors.items()))
    results["stopped"] = {"by": stop.by, "reason": stop.reason} if stop.by else None
    return results | derive(derived, ledger.rows()), estimates


class Gathered:
    """What one pass over the rows, in the order of the dataset, leaves in memory."""

    def __init__(self, failed_counts_as: Mapping[str, float]) -> None:
        self.failed_counts_as = failed_counts_as
        self.metrics: defaultdict[str, Values] = defaultdict(Values)
        self.latencies = array("d")
        self.errors: Counter[str] = Counter()
        self.tokens: dict[str, int] = {}
        self.invalid = 0
        self.hook_failures = 0
        self.place = -1
        self.key: str | None = None

    def add(self, row: Row) -> None:
        if row["key"] != self.key:  # rows of an item follow each other
            self.key = row["key"]
            self.place += 1
        for name, value in row["metrics"].items():
            self.metrics[name].add(self.place, value)
        if row["status"] == "failed":
            for name, value in self.failed_counts_as.items():
                if name not in row["metrics"]:
                    self.metrics[name].add(self.place, value)
        elif row["status"] == "succeeded":
            self.latencies.append(row["latency_s"])
        for error in row["errors"]:
            self.errors[error["class"]] += 1
        for name in ("input_tokens", "output_tokens"):
            if row[name] is not None:
                self.tokens[name] = self.tokens.get(name, 0) + row[name]
        self.invalid += "invalid" in row
        self.hook_failures += len(row.get("hook_errors", ()))

    def finished(self) -> dict[str, Sequence[float]]:
        for values in self.metrics.values():
            values.finish_item()
        return {name: values.means for name, values in self.metrics.items()}


def described(
    name: str, each: Estimate, schema: Schema, missing: int, failed_counts_as: Mapping[str, float]
) -> dict[str, Any]:
    """A metric as results.json has it; `missing` counts finished rows without a value."""
    metric = schema.leaves.get(name)
    found: dict[str, Any] = {
        **asdict(each), "confidence": CONFIDENCE, "missing": missing,
        "unit": metric.unit if metric else "", "better": metric.better if metric else None,
    }  # fmt: skip
    if name in failed_counts_as:
        found["failed_counts_as"] = failed_counts_as[name]
    return found


def latency(values: Iterable[float]) -> dict[str, Any]:
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    quantiles = {name: quantile(ordered, fraction) for name, fraction in QUANTILES.items()}
    return {"n": len(ordered), "mean": math.fsum(ordered) / len(ordered), **quantiles}


def derive(derived: Derived, rows: Rows) -> dict[str, Any]:
    """The user's own figures; one that can't be computed is null and named, and spoils nothing else."""
    found: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, compute in derived.items():
        try:
            found[name] = compute(rows)
        except Exception as error:
            found[name] = None
            errors[name] = f"{type(error).__name__}: {error}"
    return found | ({"derived_errors": errors} if errors else {})


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results.json whole: a reader finds the old one or the new one."""
    text = json.dumps(json.loads(encode(results)), indent=2, ensure_ascii=False)
    write_whole(path, iter([text.encode("utf-8"), b"\n"]))
