"""Latencies that the cases of a run have recorded: of hedged requests, of calls of models by Inspect, and of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge import read_calls
from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.files import read_lines

__all__ = ["Latencies", "find_latencies"]


@dataclass
class Latencies:
    """Latencies of single attempts at one target.

    Attributes:
        target: Its name, a model's by Inspect; "items" for the calls of an item loop, whose target nobody recorded.
        seen: Seconds, and whether the attempt was cut off then.
    """

    target: str
    seen: list[tuple[float, bool]] = field(default_factory=list[tuple[float, bool]])


def find_latencies(run: Run) -> list[Latencies]:
    """By target, the most latencies first. Where calls were recorded one by one, items that made them don't count.

    Of hedged calls only primaries count: backups go to requests that are slow.

    Raises:
        SuitecaseError: No case has recorded any.
    """
    by_target: dict[str, Latencies] = {}
    for case in run.cases.values():
        for target, latency_s, censored in list(primaries(case)) or [*calls(run, case), *items(case)]:
            by_target.setdefault(target, Latencies(target)).seen.append((latency_s, censored))
    if not by_target:
        raise SuitecaseError(
            f"{run.experiment}/{run.name} has recorded no latencies: its cases have neither items.jsonl, nor "
            "logs of Inspect, nor hedged calls in tracking.jsonl (give HedgePolicy observe=tracking.observe)."
        )
    return sorted(by_target.values(), key=lambda each: -len(each.seen))


def primaries(case: CaseRun) -> Iterator[tuple[str, float, bool]]:
    for line in read_lines(case.path / layout.TRACKING, having=b'"hedged call"'):
        data = line.get("data")
        calls: Any = cast("Mapping[str, Any]", data).get("calls") if isinstance(data, Mapping) else None
        if not isinstance(calls, list) or not calls or not isinstance(calls[0], Mapping):
            continue
        primary = cast("Mapping[str, Any]", calls[0])
        if is_time(primary.get("latency_s")):
            yield str(primary.get("target")), float(primary["latency_s"]), bool(primary.get("censored"))


def calls(run: Run, case: CaseRun) -> Iterator[tuple[str, float, bool]]:
    for path in run.eval_logs(case.variant):
        for call in read_calls(path):
            yield call.model, call.latency_s, False


def items(case: CaseRun) -> Iterator[tuple[str, float, bool]]:
    for row in read_lines(case.path / layout.ITEMS, having=b'"latency_s"'):
        if "key" in row and is_time(row.get("latency_s")):
            yield "items", float(row["latency_s"]), row.get("status") != "succeeded"


def is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
