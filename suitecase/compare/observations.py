"""The values of a condition: one for each unit, whether that is a case or an item, and what became of those without."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Literal, TypeAlias

from suitecase.compare.readings import MetricNote, Reading, Unit
from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.items.results import quantile
from suitecase.stats.comparisons import Better

__all__ = [
    "Metric",
    "Missing",
    "Observations",
    "UnitName",
    "case_observations",
    "find_metrics",
    "item_observations",
    "metrics_known",
    "summary",
]

UnitName: TypeAlias = Literal["case", "item"]
Missing: TypeAlias = Literal["auto", "wrong", "drop", "refuse"]
"""How an item that failed counts: by the rule, as 0, as missing, or not at all since nothing is computed then."""

QUANTILE = re.compile(r"(?P<column>.+)@p(?P<percent>\d{1,2}(?:\.\d+)?)")
NAN = math.nan


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Attributes:
        name: As it was asked for: `accuracy`, `latency_s@p99`.
        column: What the records call it.
        quantile: A fraction in (0, 1), where not the mean is compared.
        note: What the records say about it.
        is_rate: Whether every item is 0 or 1.
    """

    name: str
    column: str
    quantile: float | None = None
    note: MetricNote = field(default_factory=MetricNote)
    is_rate: bool = False

    def of_failure(self, missing: Missing) -> float:
        """What an item that failed counts as: NaN if it is missing."""
        if missing == "wrong":
            return 0.0
        if missing != "auto":
            return NAN
        if self.note.failed_counts_as is not None:
            return self.note.failed_counts_as
        return 0.0 if self.is_rate else NAN


@dataclass(frozen=True)
class Observations:
    """One condition's values of one metric, in one stratum.

    Attributes:
        unit: What was repeated, and so counts as one.
        values: By what names the unit, its seed or item; NaN for one without a value.
        clusters: By what names the unit, the cluster that it belongs to; empty where none were asked for. A unit that
            says none is one of its own.
        failed: Items that failed.
        counted_as: What these counted as; NaN if they are missing.
        unread: Items that have not ended.
        unlabelled: Items that say no cluster.
    """

    condition: str
    metric: Metric
    stratum: str
    unit: UnitName
    values: Mapping[Hashable, float]
    clusters: Mapping[Hashable, str] = field(default_factory=dict[Hashable, str])
    failed: int = 0
    counted_as: float = NAN
    unread: int = 0
    unlabelled: int = 0

    @cached_property
    def present(self) -> list[float]:
        """The values that are there."""
        return [value for value in self.values.values() if not math.isnan(value)]

    @property
    def missing(self) -> int:
        """Units without a value."""
        return len(self.values) - len(self.present)


# --- Metrics ---------------------------------------------------------------------------------------------------------


def metrics_known(readings: Iterable[Reading]) -> list[str]:
    """The metrics of some cases: first those of items, then those of cases alone."""
    found: dict[str, None] = {}
    listed = list(readings)
    for reading in listed:
        found.update(dict.fromkeys(sorted(reading.items.values)))
    for reading in listed:
        found.update(dict.fromkeys(sorted(reading.results)))
    return list(found)


def find_metrics(
    readings: Sequence[Reading], asked: Sequence[str], better: Mapping[str, str], *, all_results: bool = False
) -> list[Metric]:
    """The metrics that are meant: those asked for, else all of which the records say what is better, else the only one.

    Args:
        better: Which values are wanted, by metric, where a plan says so; it goes before the records.
        all_results: Whether without a name all metrics are meant that say what came out, not how it ran.

    Raises:
        NotFoundError: There is none; those that there are, are listed.
    """
    known = metrics_known(readings)
    stated = [name for name in known if note_of(readings, name).better]
    candidates = [name for name in known if name not in RAN]
    if not asked:
        asked = candidates if all_results else stated or (candidates if len(candidates) == 1 else [])
    if not asked:
        if not known:
            raise NotFoundError("no case has recorded a number: there is nothing to compare yet.")
        raise NotFoundError(f"say what to compare (--metric NAME), for no metric states what is better: {shown(known)}")
    problems: list[str] = []
    metrics: list[Metric] = []
    for name in dict.fromkeys(asked):
        found = QUANTILE.fullmatch(name)
        column = found["column"] if found and name not in known else name
        if column not in known:
            problems.append(unknown_metric(column, known))
            continue
        note = note_of(readings, column)
        if wanted := better.get(name, better.get(column)):
            note = MetricNote(note.unit, "higher" if wanted == "higher" else "lower", note.failed_counts_as)
        fraction = float(found["percent"]) / 100 if found and column != name else None
        metrics.append(Metric(name, column, fraction, note, fraction is None and is_rate(readings, column)))
    if problems:
        raise NotFoundError(problems)
    return metrics


RAN = ("duration_s", "user_cpu_s", "max_rss_bytes", "latency_s", "cost_usd", "input_tokens", "output_tokens")
"""Numbers that say how something ran, not what came out: never compared unless asked for."""


def unknown_metric(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else shown(known)
    return f"no case has a metric {name!r}: {hint}"


def shown(known: Sequence[str]) -> str:
    return f"there are {', '.join(known[:20])}{', …' * (len(known) > 20)}."


def note_of(readings: Iterable[Reading], name: str) -> MetricNote:
    """What the cases say about a metric; nothing of what they contradict each other in."""
    notes = {reading.notes[name] for reading in readings if name in reading.notes}
    if len(notes) == 1:
        return notes.pop()
    units = {note.unit for note in notes}
    betters: set[Better] = {note.better for note in notes}
    counts = {note.failed_counts_as for note in notes}
    return MetricNote(
        units.pop() if len(units) == 1 else "",
        betters.pop() if len(betters) == 1 else "",
        counts.pop() if len(counts) == 1 else None,
    )


def is_rate(readings: Iterable[Reading], name: str) -> bool:
    """Whether all values that items have are 0 or 1."""
    found = {value for reading in readings for value in reading.items.values.get(name, ()) if value == value}
    return bool(found) and found <= {0.0, 1.0}


# --- Values ----------------------------------------------------------------------------------------------------------


def item_observations(
    condition: str,
    metric: Metric,
    readings: Sequence[Reading],
    *,
    missing: Missing = "auto",
    by: str = "",
    stratum: str = "",
    cluster: str = "",
) -> Observations:
    """A value per item: the mean of its repeats, whatever case they are of. For a quantile each repeat counts itself.

    Args:
        readings: Of the condition's cases.
        by: The field that tells strata apart.
        cluster: The field that tells clusters apart.
    """
    counted_as = metric.of_failure(missing)
    gathered: dict[Hashable, list[float]] = {}
    repeats: Counter[Unit] = Counter()
    clusters: dict[Hashable, str] = {}
    failed, unread = 0, 0
    for reading in readings:
        units, values, fell, labels = rows_of(reading, metric, by, stratum, cluster)
        if not stratum or reading.case.stratum:
            unread += max(reading.items.expected - len(reading.items.units), 0)
        failed += sum(fell)
        if any(fell):
            values = [counted_as if bad and value != value else value for value, bad in zip(values, fell, strict=True)]
        names = units if metric.quantile is None else numbered(units, repeats)
        clusters.update(zip(names, labels, strict=False))
        for name, value in zip(names, values, strict=True):
            gathered.setdefault(name, []).append(value)
    means = {name: values[0] if len(values) == 1 else mean_of_present(values) for name, values in gathered.items()}
    lone = [name for name, label in clusters.items() if not label]
    clusters.update({name: f"{name} alone" for name in lone})
    return Observations(condition, metric, stratum, "item", means, clusters, failed, counted_as, unread, len(lone))


def numbered(units: Sequence[Unit], repeats: Counter[Unit]) -> list[Unit]:
    """Units that are told apart where they come again; `repeats` counts on."""
    names: list[Unit] = []
    for unit in units:
        names.append(unit._replace(repeat=repeats[unit]))
        repeats[unit] += 1
    return names


def mean_of_present(values: Sequence[float]) -> float:
    """The mean of the values that are there; NaN if none is."""
    return summary([value for value in values if value == value], None)


def rows_of(
    reading: Reading, metric: Metric, by: str, stratum: str, cluster: str
) -> tuple[Sequence[Unit], Sequence[float], Sequence[bool], Sequence[str]]:
    """The rows of a case in a stratum: items, values, whether they failed, and clusters if those were asked for."""
    items = reading.items
    labels = items.labels.get(cluster, ()) if cluster else ()
    columns = (items.units, items.column(metric.column), items.without(metric.column), labels)
    if not stratum or reading.case.stratum == stratum:
        return columns
    if reading.case.stratum:
        return (), (), (), ()
    inside = [label == stratum for label in items.labels.get(by, ())]
    units, values, failed, clusters = (tuple(compress(column, inside)) for column in columns)
    return units, values, failed, clusters  # pyright: ignore[reportReturnType]


def case_observations(
    condition: str,
    metric: Metric,
    readings: Sequence[Reading],
    *,
    missing: Missing = "auto",
    by: str = "",
    stratum: str = "",
) -> Observations:
    """A value per case: the mean, or the quantile, of its items, else the number that it recorded.

    A case that did not succeed has none. Cases are named by their seeds, or by their variants where two have the same.
    """
    chosen = [reading for reading in readings if not stratum or reading.case.stratum in ("", stratum)]
    seeds = [reading.case.seed for reading in chosen]
    unique = None not in seeds and len(set(seeds)) == len(seeds)
    values: dict[Hashable, float] = {}
    failed, counted_as = 0, NAN
    for reading in chosen:
        name: Hashable = reading.case.seed if unique else reading.case.variant
        if not reading.case.succeeded:
            values[name] = NAN
            continue
        if metric.column not in reading.items.values:
            known = metric.quantile is None and (not stratum or bool(reading.case.stratum))
            values[name] = reading.results.get(metric.column, NAN) if known else NAN
            continue
        found = item_observations(condition, metric, [reading], missing=missing, by=by, stratum=stratum)
        failed += found.failed
        counted_as = found.counted_as
        values[name] = summary(found.present, metric.quantile)
    return Observations(condition, metric, stratum, "case", values, {}, failed, counted_as)


def summary(values: Sequence[float], fraction: float | None) -> float:
    """The mean, or the quantile at this fraction; NaN of nothing."""
    if not values:
        return NAN
    return math.fsum(values) / len(values) if fraction is None else quantile(sorted(values), fraction)


def refuse_missing(observed: Iterable[Observations]) -> None:
    """Allow nothing to be missing.

    Raises:
        SuitecaseError: With a sentence for each condition and metric that lacks values.
    """
    problems = [
        f"{each.condition} has {each.missing} of {len(each.values)} {each.unit}s without {each.metric.name}."
        for each in observed
        if each.missing
    ]
    if problems:
        raise SuitecaseError([*dict.fromkeys(problems), "Nothing is compared, for --missing refuse was given."])
