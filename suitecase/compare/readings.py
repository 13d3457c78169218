"""What a case's files say about its metrics: item by item where they tell, else as one number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from suitecase.compare.conditions import Case
from suitecase.inspect_bridge import EvalLog, read_eval_log, read_samples
from suitecase.rundir import layout
from suitecase.rundir.files import parse_object, read_lines
from suitecase.stats.comparisons import Better
from suitecase.tables.formats import cell_text
from suitecase.tables.rows import case_results, flatten, metric_rows

__all__ = ["Items", "MetricNote", "Reading", "Unit", "read_case"]

NAN = math.nan


class Unit(NamedTuple):
    """What names an item: equal in two conditions if they worked on the same thing.

    Attributes:
        task: Of the log, where a case has several; else empty.
        key: The item's id.
        content: A hash of what the item is: its input and target, or of the whole dataset; empty if none was recorded.
        repeat: Which of the item's repeats, from 0, where each counts for itself.
    """

    task: str
    key: str
    content: str
    repeat: int = 0


@dataclass(frozen=True)
class MetricNote:
    """What a case's records say about a metric.

    Attributes:
        better: Which values are wanted; empty where nobody said.
        failed_counts_as: The value of an item that failed, as the entry point declared it.
    """

    unit: str = ""
    better: Better = ""
    failed_counts_as: float | None = None


@dataclass(frozen=True)
class Items:
    """Rows of a case: one for each item and repeat that has ended.

    Attributes:
        units: The item of each row.
        failed: Whether it failed; one that was passed over did not.
        values: By metric a value per row, NaN where there is none.
        labels: By field what each row says there, as text; empty if nothing.
        expected: Rows that a complete file has; 0 if nobody said.
    """

    units: tuple[Unit, ...] = ()
    failed: tuple[bool, ...] = ()
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    expected: int = 0

    def column(self, metric: str) -> tuple[float, ...]:
        """A metric's value per row."""
        return self.values.get(metric) or (NAN,) * len(self.units)


class RowOfItem(NamedTuple):
    """What is kept of a row while a case is read."""

    unit: Unit
    failed: bool
    values: Mapping[str, Any]
    labels: tuple[str, ...]


def items_of(rows: Sequence[RowOfItem], labels: Sequence[str], expected: int) -> Items:
    """Rows as columns; what is no finite number is no value."""
    names = dict.fromkeys(chain.from_iterable(row.values for row in rows))
    columns = {name: numbers([row.values.get(name) for row in rows]) for name in names}
    return Items(
        units=tuple(row.unit for row in rows),
        failed=tuple(row.failed for row in rows),
        values={name: column for name, column in columns.items() if not all(map(math.isnan, column))},
        labels={name: tuple(row.labels[i] for row in rows) for i, name in enumerate(labels)},
        expected=expected,
    )


def numbers(values: list[Any]) -> tuple[float, ...]:
    """Values as numbers, NaN for what is none."""
    if set(map(type, values)) == {float} and all(map(math.isfinite, values)):
        return tuple(values)
    return tuple(float(value) if is_number(value) else NAN for value in values)


@dataclass(frozen=True)
class Reading:
    """A case and what its files say.

    Attributes:
        items: Its rows; none where it recorded no items.
        results: Numbers of the case as a whole, nested ones with dotted names.
        notes: What is recorded about metrics.
    """

    case: Case
    items: Items
    results: Mapping[str, float]
    notes: Mapping[str, MetricNote]
    problems: tuple[str, ...] = ()


def read_case(case: Case, labels: Sequence[str] = ()) -> Reading:
    """Read all that a case recorded about its metrics.

    Args:
        labels: Fields of items to keep: of a row, of its output, or of a sample's metadata.
    """
    results, problems = case_results(case.run, case.record)
    notes = notes_of(results)
    rows, expected = read_item_rows(case, labels)
    logs = [log for path in case.run.eval_logs(case.variant) if (log := read_eval_log(path)[0]) is not None]
    for log in logs:
        rows += sample_rows(log, labels, task=log.task if len({each.task for each in logs}) > 1 else "")
        expected += log.total_samples or 0
        notes.update(dict.fromkeys(item_metric_names(log, "accuracy"), MetricNote(better="higher")))
    items = items_of(rows, labels, expected)
    return Reading(case, items, case_numbers(case, results), notes, tuple(problems))


def notes_of(results: Mapping[str, Any]) -> dict[str, MetricNote]:
    """What `results.json` says about metrics, in the form that `suitecase.items` gives it."""
    described: object = results.get("metrics")
    notes: dict[str, MetricNote] = {}
    for name, facts in (cast(dict[str, object], described) if isinstance(described, dict) else {}).items():
        if isinstance(facts, dict):
            told = cast(dict[str, Any], facts)
            better = told.get("better")
            counts_as = told.get("failed_counts_as")
            notes[name] = MetricNote(
                unit=str(told.get("unit") or ""),
                better=better if better in ("higher", "lower") else "",
                failed_counts_as=number_of(counts_as),
            )
    return notes


DESCRIPTIONS = ("metrics", "items", "errors", "stopped", "derived_errors")
"""Keys of `results.json` that describe the loop of `suitecase.items`, and are no results."""


def case_numbers(case: Case, results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a case: how it ran, what it told last while it did, and its results, which go before others."""
    last = case.record.last
    ran = {name: getattr(last, name) for name in ("duration_s", "user_cpu_s", "max_rss_bytes")} if last else {}
    told: dict[str, Any] = {}
    if (case.record.path / layout.TRACKING).exists():
        for row in metric_rows([only(case)]):
            told[str(row["name"])] = row["value"]
    flat = flatten({name: value for name, value in results.items() if name not in DESCRIPTIONS})
    return {name: float(value) for name, value in {**ran, **told, **flat}.items() if is_number(value)}


def only(case: Case) -> Any:
    """The run with this case alone."""
    from dataclasses import replace

    return replace(case.run, cases={case.variant: case.record})


def number_of(value: object) -> float | None:
    """A value as a number, if it is one."""
    return float(cast(float, value)) if is_number(value) else None


def is_number(value: object) -> bool:
    """Whether a value counts as one; NaN doesn't, and booleans do."""
    return isinstance(value, int | float) and math.isfinite(value)


# --- Items of suitecase.items ----------------------------------------------------------------------------------------

ROW_NUMBERS = ("latency_s", "duration_s", "cost_usd", "input_tokens", "output_tokens")
"""Numbers that a row has beside its metrics."""


def read_item_rows(case: Case, labels: Sequence[str]) -> tuple[list[RowOfItem], int]:
    """The rows of `items.jsonl`, of an item and repeat that was done again the last one; and how many there will be."""
    content, expected = "", 0
    rows: dict[tuple[str, int], RowOfItem] = {}
    for line in read_lines(case.record.path / layout.ITEMS, parse=parse_row):
        if "key" not in line:
            if line.get("event") == "begun":
                content = str(line.get("dataset") or "")
                expected = int(line.get("items") or 0) * int(line.get("repeats") or 1)
            continue
        key, failed = str(line["key"]), line.get("status") == "failed"
        values = cast(dict[str, Any], line.get("metrics") or {})
        for name in ROW_NUMBERS[2:] if failed else ROW_NUMBERS:  # how long a failure took is no latency
            values.setdefault(name, line.get(name))
        labelled = tuple(label_of(line, name) for name in labels)
        rows[key, line.get("repeat", 0)] = RowOfItem(Unit("", key, content), failed, values, labelled)
    return [rows[name] for name in sorted(rows)], expected


def parse_row(line: bytes) -> dict[str, Any] | None:
    """A line of `items.jsonl`; pydantic's parser takes a quarter of the time, but refuses lone surrogates."""
    try:
        return cast(dict[str, Any], from_json(line, cache_strings="keys"))
    except ValueError:
        return parse_object(line)


def label_of(row: Mapping[str, Any], name: str) -> str:
    """What a row says in a field of its own, of its output, or of its metadata; empty if nothing."""
    if name in row:
        return cell_text(row[name])
    for place in (row.get("output"), row.get("metadata")):
        if isinstance(place, dict):
            inner = cast(dict[str, Any], place)
            found = inner if "." not in name or name in inner else flatten(inner)
            if name in found:
                return cell_text(found[name])
    return ""


# --- Samples of Inspect ----------------------------------------------------------------------------------------------

MEANS = ("accuracy", "mean")
"""Metrics of Inspect that are the mean of the samples' scores, so that a sample has a value of them."""

SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Words that are scores, as Inspect's `value_to_float` takes them."""


def sample_rows(log: EvalLog, labels: Sequence[str], task: str) -> list[RowOfItem]:
    """The samples of a log, a row per sample and epoch."""
    names = scorer_names(log)
    rows: list[RowOfItem] = []
    for sample in sorted(read_samples(log.path), key=lambda each: (str(each.get("id")), each.get("epoch", 1))):
        values = sample_numbers(sample)
        for scorer, score in (cast(dict[str, Any], sample.get("scores")) or {}).items():
            for name, value in score_values(scorer, score.get("value")):
                values.update(dict.fromkeys((name, *names.get(name, ())), value))
        content = json.dumps([sample.get("input"), sample.get("target")], sort_keys=True, default=str)
        unit = Unit(task, str(sample.get("id")), blake2b(content.encode(errors="replace"), digest_size=8).hexdigest())
        failed = bool(sample.get("error")) or not sample.get("scores")
        labelled = tuple(label_of({"task": task, **sample} if task else sample, name) for name in labels)
        rows.append(RowOfItem(unit, failed, values, labelled))
    return rows


def sample_numbers(sample: Mapping[str, Any]) -> dict[str, float]:
    """Times and tokens of a sample."""
    usage = cast(Iterable[dict[str, Any]], (sample.get("model_usage") or {}).values())
    found: dict[str, Any] = {"total_time_s": sample.get("total_time"), "working_time_s": sample.get("working_time")}
    found["input_tokens"], found["output_tokens"] = (
        sum(each.get(name) or 0 for each in usage) for name in ("input_tokens", "output_tokens")
    )
    return {name: float(value) for name, value in found.items() if is_number(value)}


def score_values(scorer: str, value: object) -> list[tuple[str, float]]:
    """A score as numbers: one under the scorer's name, or of an object one for each of its keys."""
    if isinstance(value, dict):
        inner = cast(dict[str, object], value).items()
        return [(f"{scorer}.{key}", number) for key, each in inner if (number := score_number(each)) is not None]
    number = score_number(value)
    return [] if number is None else [(scorer, number)]


def score_number(value: object) -> float | None:
    if isinstance(value, str):
        if value in SCORES or value.lower() in SCORES:
            return SCORES.get(value, SCORES.get(value.lower()))
        try:
            value = float(value)
        except ValueError:
            return None
    return number_of(value)


def scorer_names(log: EvalLog) -> dict[str, list[str]]:
    """For each scorer the names under which the mean of its scores is known: `match.accuracy`, alone `accuracy`."""
    scorers = {name.rpartition(".")[0] for name in log.scores}
    names: dict[str, list[str]] = {}
    for name in log.scores:
        scorer, _, metric = name.rpartition(".")
        if metric in MEANS:
            names.setdefault(scorer, []).append(metric if len(scorers) == 1 else name)
    return names


def item_metric_names(log: EvalLog, metric: str) -> list[str]:
    """Names of a log's item metrics that end in this metric of Inspect."""
    return [name for names in scorer_names(log).values() for name in names if name.endswith(metric)]
