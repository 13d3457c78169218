"""Runs as tidy rows, one at a time: a table of any length takes the memory of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from suitecase.inspect_bridge import labels_of, read_eval_log, read_samples
from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.files import read_lines

__all__ = [
    "ROWS",
    "Row",
    "attempt_rows",
    "case_results",
    "case_rows",
    "flatten",
    "item_rows",
    "log_rows",
    "metric_rows",
    "run_rows",
]

Row = dict[str, Any]

NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""How a metric's value that JSON doesn't know is written."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> Row:
    """Nested objects with dotted names: `{"a": {"b": 1}}` is `{"a.b": 1}`. Lists and empty objects stay as they are."""
    flat: Row = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(cast(dict[str, Any], value), f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def run_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per run: when, which code, what became of it."""
    for run in runs:
        yield {
            **identity(run),
            "mode": run.mode,
            "status": run.status,
            "cases": len(run.cases),
            **dict(run.counts.items()),
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "duration_s": run.duration_s,
            "passes": run.passes,
            "commit": run.code.commit,
            "dirty": run.code.dirty,
            "mixes_code": run.mixes_code,
            "note": run.asked.get("note") or None,
            "tags": run.asked.get("tags") or None,
            "problems": list(run.problems) or None,
        }


def case_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per case: its status, its last attempt's figures, `config.…`, `result.…`, and `problems` of its files."""
    for run in runs:
        for case in run.cases.values():
            last = case.last
            config, problem = case.config()
            results, problems = case_results(run, case)
            problems = [*([problem] if problem else []), *problems]
            yield {
                **identity(run),
                "variant": case.variant,
                "status": case.status,
                "cause": case.cause or None,
                "attempts": len(case.attempts),
                "duration_s": last and last.duration_s,
                "user_cpu_s": last and last.user_cpu_s,
                "system_cpu_s": last and last.system_cpu_s,
                "max_rss_bytes": last and last.max_rss_bytes,
                "started_at": last and last.started_at,
                "ended_at": last and last.ended_at,
                "commit": (last and last.commit) or run.code.commit,
                "dirty": run.code.dirty if last is None else last.dirty,
                "host": last and last.host,
                **flatten(config, "config."),
                **flatten(results, "result."),
                **({"problems": problems} if problems else {}),
            }


def case_results(run: Run, case: CaseRun) -> tuple[dict[str, Any], list[str]]:
    """What came out of a case, and what is wrong with its files.

    In Inspect mode the scores of its logs count as well: by metric where there is one scorer, else by scorer and
    metric, and by task before that where there are several logs (by its arguments or model, too, if it comes again).
    """
    results, problem = case.results()
    problems = [problem] if problem else []
    read = [read_eval_log(path) for path in run.eval_logs(case.variant)]
    problems += [problem for log, problem in read if log is None]
    logs = [log for log, _ in read if log is not None]
    for log, label in zip(logs, labels_of(logs), strict=True):
        scores = log.named_scores(alone=log.is_alone)
        results |= scores if len(read) == 1 else {f"{label}.{name}": value for name, value in scores.items()}
    return results, problems


def attempt_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per attempt."""
    for run in runs:
        for case in run.cases.values():
            for attempt in case.attempts:
                facts = asdict(attempt)
                number = facts.pop("number")
                yield {**identity(run), "variant": case.variant, "attempt": number, **facts, "gpus": list(attempt.gpus)}


def metric_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per value of a metric that a case told while it ran: name, step, value."""
    for run in runs:
        for case in run.cases.values():
            for line in read_lines(case.path / layout.TRACKING, having=b'"metric"'):
                if line.get("event") == "metric":
                    value = line.get("value")
                    yield {
                        **identity(run),
                        "variant": case.variant,
                        "attempt": line.get("attempt"),
                        "name": line.get("name"),
                        "step": line.get("step"),
                        "value": NOT_FINITE.get(value, value) if isinstance(value, str) else value,
                        "time": line.get("time"),
                    }


def item_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per item of `items.jsonl`, or per sample of an Inspect log."""
    for run in runs:
        for case in run.cases.values():
            start = {**identity(run), "variant": case.variant}
            for line in last_rows(case.path / layout.ITEMS):
                yield {**start, **flatten(line)}
            for path in run.eval_logs(case.variant):
                for sample in read_samples(path):
                    yield {**start, "log": path.name, **flatten(sample)}


def last_rows(path: Path) -> Iterator[Row]:
    """The rows of an `items.jsonl` that count: of an item and repeat that was done again, the last one."""
    last: dict[tuple[str, int], int] = {}
    for number, line in enumerate(read_lines(path, having=b'"key"')):
        last[str(line.get("key")), line.get("repeat", 0)] = number
    counting = set(last.values())
    for number, line in enumerate(read_lines(path, having=b'"key"')):
        if number in counting and "key" in line:
            yield line


def log_rows(runs: Iterable[Run]) -> Iterator[Row]:
    """A row per published log of Inspect."""
    for run in runs:
        for variant, path in run.published:
            log, problem = read_eval_log(path)
            start = {**identity(run), "variant": variant, "log": path.name}
            if log is None:
                yield {**start, "status": "unknown", "error": problem}
                continue
            apart = ("path", "sources", "metadata", "task_args")
            facts = {name: value for name, value in asdict(log).items() if name not in apart}
            yield {**start, **facts, **flatten(log.task_args, "task_args."), **flatten(log.scores, "score.")}


def identity(run: Run) -> Row:
    return {"experiment": run.experiment, "run": run.name}


ROWS: Final[dict[str, Callable[[Iterable[Run]], Iterator[Row]]]] = {
    "cases": case_rows, "attempts": attempt_rows, "metrics": metric_rows, "items": item_rows, "logs": log_rows,
    "runs": run_rows,
}  # fmt: skip
"""What a row may be, by the name that a person gives it."""
