"""What a case's files say about its metrics: item by item where they tell, else as one number."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from suitecase.compare.conditions import Case, listed
from suitecase.inspect_bridge import EvalLog, ScoreSource, labels_of, read_eval_log, read_reductions, read_samples
from suitecase.rundir import layout
from suitecase.rundir.files import parse_object, read_lines
from suitecase.stats.comparisons import Better
from suitecase.tables.formats import cell_text
from suitecase.tables.rows import flatten, metric_rows

__all__ = ["Items", "Logs", "MetricNote", "Reading", "Unit", "read_case", "read_logs"]

NAN = math.nan


class Unit(NamedTuple):
    """What names an item: equal in two conditions if they worked on the same thing.

    Attributes:
        task: Of the log, where some case has several; else empty.
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
        measured: By task the metrics that its items have; all, where nobody said.
    """

    units: tuple[Unit, ...] = ()
    failed: tuple[bool, ...] = ()
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    expected: int = 0
    measured: Mapping[str, Set[str]] = field(default_factory=dict[str, Set[str]])

    def without(self, metric: str) -> tuple[bool, ...]:
        """For each row whether it failed to have a value of a metric, which items of its task have."""
        if not self.measured:
            return self.failed
        return tuple(
            bad and metric in self.measured.get(unit.task, (metric,))
            for unit, bad in zip(self.units, self.failed, strict=True)
        )

    def column(self, metric: str) -> tuple[float, ...]:
        """A metric's value per row."""
        return self.values.get(metric) or (NAN,) * len(self.units)


class RowOfItem(NamedTuple):
    """What is kept of a row while a case is read."""

    unit: Unit
    failed: bool
    values: Mapping[str, Any]
    labels: tuple[str, ...]


def items_of(
    rows: Sequence[RowOfItem], labels: Sequence[str], expected: int, measured: Mapping[str, Set[str]]
) -> Items:
    """Rows as columns; what is no finite number is no value."""
    names = dict.fromkeys(chain.from_iterable(row.values for row in rows))
    columns = {name: numbers([row.values.get(name) for row in rows]) for name in names}
    return Items(
        units=tuple(row.unit for row in rows),
        failed=tuple(row.failed for row in rows),
        values={name: column for name, column in columns.items() if not all(map(math.isnan, column))},
        labels={name: tuple(row.labels[i] for row in rows) for i, name in enumerate(labels)},
        expected=expected,
        measured=measured,
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


@dataclass(frozen=True)
class Logs:
    """The logs of some cases of Inspect, and what tells their scores and samples apart: the same in all of them.

    Attributes:
        by_case: Those that can be read, by the case's folder.
        problems: What is wrong with the others, by the case's folder.
    """

    by_case: Mapping[Path, Sequence[EvalLog]] = field(default_factory=dict[Path, Sequence[EvalLog]])
    problems: Mapping[Path, Sequence[str]] = field(default_factory=dict[Path, Sequence[str]])

    @cached_property
    def is_alone(self) -> bool:
        """Whether each log has one scorer, so that its name says nothing."""
        return all(log.is_alone for logs in self.by_case.values() for log in logs)

    @cached_property
    def has_tasks(self) -> bool:
        """Whether a case has logs of several tasks, so that a sample's id alone does not name it."""
        return any(len({log.task for log in logs}) > 1 for logs in self.by_case.values())


def read_logs(cases: Iterable[Case]) -> Logs:
    """The headers of all logs of some cases."""
    logs: dict[Path, list[EvalLog]] = {}
    problems: dict[Path, list[str]] = {}
    for case in cases:
        for path in case.run.eval_logs(case.variant):
            log, problem = read_eval_log(path)
            if log is None:
                problems.setdefault(case.record.path, []).append(problem)
            else:
                logs.setdefault(case.record.path, []).append(log)
    return Logs(logs, problems)


def read_case(case: Case, logs: Logs, labels: Sequence[str] = ()) -> Reading:
    """Read all that a case recorded about its metrics.

    Args:
        logs: Those of all cases that it will be compared with.
        labels: Fields of items to keep: of a row, of its output, or of a sample's metadata.
    """
    results, problem = case.record.results()
    problems = [*([problem] if problem else []), *logs.problems.get(case.record.path, ())]
    notes = notes_of(results)
    rows, expected = read_item_rows(case, labels)
    mine = logs.by_case.get(case.record.path, ())
    limits: Counter[str] = Counter()
    measured: dict[str, set[str]] = {}
    for log, label in zip(mine, labels_of(mine), strict=True):
        task = log.task if logs.has_tasks else ""
        samples = sorted(read_samples(log.path), key=lambda each: (str(each.get("id")), each.get("epoch", 1)))
        rows += sample_rows(log, samples, labels, task, alone=logs.is_alone)
        limits.update(str(sample["limit"]) for sample in samples if sample.get("limit"))
        expected += log.total_samples or 0
        names = {name: metric for source in log.sources for name, metric in item_metrics(source, logs.is_alone)}
        measured.setdefault(task, set()).update(names, (source.value_name for source in log.sources))
        notes |= {name: MetricNote(better="higher") for name, metric in names.items() if metric == "accuracy"}
        scores = log.named_scores(alone=logs.is_alone)
        told = {name: value for name, value in scores.items() if not (samples and name in names) and says_result(name)}
        results |= told if len(mine) == 1 else {f"{label}.{name}": value for name, value in told.items()}
    items = items_of(rows, labels, expected, measured)
    problems += log_cautions(case.variant, mine, limits)
    return Reading(case, items, case_numbers(case, results), notes, tuple(problems))


def log_cautions(variant: str, logs: Sequence[EvalLog], limits: Mapping[str, int]) -> list[str]:
    """What a reader must know about how a case's samples count.

    Args:
        limits: How many samples each kind of limit ended.
    """
    cautions: list[str] = []
    if limits:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(limits.items()))
        cautions.append(f"{variant}: samples ended at a limit ({kinds}) and count as they were scored.")
    for task in dict.fromkeys(log.task for log in logs):
        models = list(dict.fromkeys(log.model for log in logs if log.task == task))
        if len(models) > 1:
            cautions.append(f"{variant}: items of {task} are averaged over {len(models)} models ({listed(models)}).")
    return cautions


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

SPREAD = re.compile(r"(bootstrap_)?stderr\d*|std\d*|var\d*")

SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Words that are scores, as Inspect's `value_to_float` takes them."""


def sample_rows(
    log: EvalLog, samples: Iterable[Mapping[str, Any]], labels: Sequence[str], task: str, *, alone: bool
) -> list[RowOfItem]:
    """The samples of a log, a row per sample and epoch.

    Where epochs became one value otherwise than by their mean, each of them has that value.
    """
    reduced = read_reductions(log.path) if any(source.reducer for source in log.sources) else {}
    rows: list[RowOfItem] = []
    for sample in samples:
        scores = {
            scorer: score.get("value")
            for scorer, score in (cast(dict[str, dict[str, Any]], sample.get("scores")) or {}).items()
        }
        values = sample_numbers(sample)
        for scorer, value in scores.items():
            values.update(score_values(scorer, value))
        for source in log.sources:
            of_epochs = reduced.get((source.scorer, source.reducer), {}).get(str(sample.get("id")))
            number = score_number(inner(of_epochs if source.reducer else scores.get(source.scorer), source.key))
            if number is not None:
                values.update((name, number) for name, _ in item_metrics(source, alone))
        unit = Unit(task, str(sample.get("id")), content_hash(sample))
        failed = bool(sample.get("error")) or not scores
        labelled = tuple(label_of({"task": task, **sample} if task else sample, name) for name in labels)
        rows.append(RowOfItem(unit, failed, values, labelled))
    return rows


def content_hash(sample: Mapping[str, Any]) -> str:
    """Of a sample's input and target, without the ids of messages, which are others in each evaluation."""
    given: object = sample.get("input")
    if isinstance(given, list):
        messages = cast(list[dict[str, Any]], given)
        given = [{name: value for name, value in message.items() if name != "id"} for message in messages]
    text = json.dumps([given, sample.get("target")], sort_keys=True, default=str)
    return blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def item_metrics(source: ScoreSource, alone: bool) -> list[tuple[str, str]]:
    """The metrics of a source of which each sample has a value: the name, and what Inspect calls it."""
    return [(source.name(metric, alone=alone), metric) for metric in source.metrics if metric in MEANS]


def inner(value: object, key: str) -> object:
    """A score, or what an object has for a key."""
    return cast(dict[str, object], value).get(key) if key and isinstance(value, dict) else value


def says_result(name: str) -> bool:
    """Whether a metric of Inspect says what came out, and not how sure that is, which is found anew."""
    return SPREAD.fullmatch(name.rpartition(".")[2]) is None


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
