"""Run directories in the documented format, written without running anything: as many cases as a test needs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["RecordedCase", "RecordedLog", "record_run"]


@dataclass(frozen=True)
class RecordedLog:
    """A finished log of Inspect.

    Attributes:
        samples: As its summaries have them.
        metrics: What its header says of the scorer "match".
        served: By the name that was asked for, the models that answered, and how many calls each.
    """

    samples: Sequence[Mapping[str, Any]]
    task: str = "sums"
    model: str = "m"
    metrics: Sequence[str] = ("accuracy", "stderr")
    served: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


@dataclass(frozen=True)
class RecordedCase:
    """A case that has ended.

    Attributes:
        items: By key the metrics of each item, or `None` for one that failed.
        dataset: What the loop's header says that the items are.
        commit, tree: The code that it saw; the tree is recorded where it was dirty.
    """

    variant: str
    config: Mapping[str, Any]
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    items: Mapping[str, Mapping[str, float] | None] | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    status: str = "succeeded"
    dataset: str = "d1"
    commit: str = "a1b2c3d4e5f6"
    tree: str = ""
    logs: Sequence[RecordedLog] = ()


def record_run(
    results: Path,
    cases: Sequence[RecordedCase],
    *,
    experiment: str = "exp",
    name: str = "20260128_143052_a1b2c3d",
    ended: bool = True,
    annotations: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write a run directory, and give its path.

    Args:
        ended: Whether the runner has said that the run is at its end.
        annotations: What `before_run` hooks returned.
    """
    inspect = any(case.logs for case in cases)
    run = results / experiment / (".runs" if inspect else "") / name
    run.mkdir(parents=True)
    start = "2026-01-28T14:30:52.000Z"
    events: list[dict[str, Any]] = [{"event": "run_started", "time": start, "host": "h", "pid": 1}]
    events += [{"event": "run_annotated", "time": start, "extra": dict(extra)} for extra in annotations]
    for case in cases:
        events += record_case(run / case.variant, case)
    if ended:
        events.append({"event": "run_ended", "time": "2026-01-28T14:40:52.000Z", "exit_code": 0})
    (run / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    tree = next((case.tree for case in cases if case.tree), None)
    asked = {
        "format_version": 1, "experiment": experiment, "mode": "inspect" if inspect else "standard",
        "started_at": start,
        "code": {"label": name[16:], "commit": "a1b2c3d4e5f6", "dirty": bool(tree), "tree": tree},
        "cases": [{"variant": case.variant} for case in cases],
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(asked))
    return run


def record_case(folder: Path, case: RecordedCase) -> list[dict[str, Any]]:
    """Write a case's folder; the events of its attempt."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"output_dir": str(folder), **case.config}))
    if case.results:
        (folder / "results.json").write_text(json.dumps(case.results))
    if case.items is not None:
        write_items(folder / "items.jsonl", case)
    about = {"variant": case.variant, "time": "2026-01-28T14:31:00.000Z", "attempt": 1}
    started = {**about, "event": "attempt_started", "commit": case.commit, "tree": case.tree, "dirty": bool(case.tree)}
    if case.status in ("pending", "running"):
        return [started] if case.status == "running" else []
    ended = {**about, "event": "attempt_ended", "status": case.status, "exit_code": 0, "duration_s": 2.0}
    names = [write_log(folder, log, number) for number, log in enumerate(case.logs)]
    published = {**about, "event": "logs_published", "logs": [{"file": name, "status": "success"} for name in names]}
    return [started, ended, *([published] if names else []), {**about, "event": "case_ended", "status": case.status}]


def write_log(folder: Path, log: RecordedLog, number: int) -> str:
    """Write a log with what is read of it; its name."""
    name = f"a1b2c3d_{folder.name}_{folder.parent.name[:15]}_{number}.eval"  # the folder is that of all runs
    header = {
        "status": "success",
        "eval": {
            "task": log.task,
            "task_id": str(number),
            "model": log.model,
            "metadata": {"served_models": log.served},
        },
        "results": {
            "total_samples": len(log.samples),
            "scores": [{"name": "match", "metrics": {metric: {"value": 0.5} for metric in log.metrics}}],
        },
    }  # fmt: skip
    with zipfile.ZipFile(folder.parent.parent.parent / name, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        archive.writestr("summaries.json", json.dumps(list(log.samples)))
    return name


def write_items(path: Path, case: RecordedCase) -> None:
    """The rows that `suitecase.items` leaves."""
    items = case.items or {}
    begun = {"event": "begun", "items": len(items), "dataset": case.dataset, "seed": 42, "repeats": 1}
    rows = [
        {
            "key": key, "repeat": 0, "index": index, "status": "failed" if metrics is None else "succeeded",
            "metrics": metrics or {}, "output": case.outputs.get(key), "latency_s": 0.01, "duration_s": 0.02,
        }
        for index, (key, metrics) in enumerate(items.items())
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in (begun, *rows)))
