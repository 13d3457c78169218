"""The logs of Inspect AI. The only module that imports inspect_ai, and only where reading the file itself won't do.

A `.eval` file is a zip archive: `header.json`, written last, holds status, scores and metadata, `summaries.json` a line
per sample. Reading those two costs a thirtieth of the CPU time of Inspect's own reader, whose import alone takes
seconds; but the format is no public specification, so on any surprise Inspect's reader is asked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from suitecase.errors import missing_extra

__all__ = ["EvalLog", "ScoreSource", "labels_of", "log_damage", "read_eval_log", "read_reductions", "read_samples"]

MEAN = (None, "", "mean")
"""Reducers of epochs that need no name, for everybody takes them."""


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Which values of samples a log's metrics are computed from.

    Attributes:
        scorer: Its name in the samples.
        key: Of a score that is an object, which of its values; else empty.
        reducer: How epochs became one value: `pass_at_2`, `mode`, …; empty for their mean.
        metrics: What was computed, by name.
    """

    scorer: str
    key: str
    reducer: str
    metrics: Mapping[str, Any]

    @property
    def value_name(self) -> str:
        """Of a sample's own value: `match`, `graded.fluency`."""
        return ".".join(filter(None, (self.scorer, self.key)))

    def name(self, metric: str, *, alone: bool) -> str:
        """`match.accuracy`; without the scorer where there is no other."""
        return ".".join(filter(None, ("" if alone else self.value_name, self.reducer, metric)))


@dataclass(frozen=True, slots=True)
class EvalLog:
    """What the header of a log says.

    Attributes:
        status: started (not finished), success, error or cancelled.
        sources: Where its scores come from, in the log's order.
        task_args: What the task was made with.
        started_at, completed_at: ISO 8601, as Inspect wrote them.
        error: The message of the error that ended it.
        metadata: What the task and the runner wrote into it.
    """

    path: Path
    status: str
    task: str
    task_id: str
    model: str
    sources: tuple[ScoreSource, ...]
    total_samples: int | None = None
    completed_samples: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    started_at: str | None = None
    completed_at: str | None = None
    error: str | None = None
    metadata: Mapping[str, Any] | None = None
    task_args: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_alone(self) -> bool:
        """Whether one scorer gave all scores, so that names need not say which."""
        return len({(source.scorer, source.key) for source in self.sources}) <= 1

    @property
    def scores(self) -> dict[str, Any]:
        """Value by `scorer.metric`; of epochs reduced otherwise than to their mean by `scorer.reducer.metric`."""
        return self.named_scores(alone=False)

    def named_scores(self, *, alone: bool) -> dict[str, Any]:
        """Value by name, without the scorer's if it is alone."""
        return {
            source.name(metric, alone=alone): value
            for source in self.sources
            for metric, value in source.metrics.items()
        }

    @property
    def served_models(self) -> dict[str, dict[str, int]]:
        """By the name that was asked for: the model ids that answered, and how many calls each, by `run_inspect`."""
        with suppress(AttributeError, TypeError, ValueError):  # anybody may write metadata
            told: dict[str, dict[str, Any]] = (self.metadata or {}).get("served_models") or {}
            return {str(asked): {str(name): int(n) for name, n in ids.items()} for asked, ids in told.items()}
        return {}


def labels_of(logs: Sequence[EvalLog]) -> list[str]:
    """What tells the logs of a case apart: their tasks; where those are the same, arguments, models or ids as well."""
    arguments = {name: {repr(log.task_args.get(name)) for log in logs} for log in logs for name in log.task_args}
    differing = [name for name, values in arguments.items() if len(values) > 1]

    def label(log: EvalLog, *more: str) -> str:
        told = [*(f"{name}={log.task_args[name]}" for name in differing if name in log.task_args), *more]
        return f"{log.task}({','.join(told)})" if told else log.task

    ways = (
        [log.task for log in logs],
        [label(log) for log in logs],
        [label(log, log.model) for log in logs],
        [label(log, log.task_id) for log in logs],
    )
    return next((labels for labels in ways if len(set(labels)) == len(logs)), ways[-1])


def read_eval_log(path: Path) -> tuple[EvalLog | None, str]:
    """The header of a log, and what is wrong with the file. Raises nothing."""
    with suppress(Exception):  # a damaged file can raise nearly anything, from zlib.error to RecursionError
        return from_header(path, header_of(path)), ""
    try:
        return from_header(path, header_by_inspect(path)), ""
    except Exception as error:
        return None, f"{path} can't be read: {str(error).partition(chr(10))[0] or type(error).__name__}."


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """The summary of each sample of a log: id, epoch, target, scores, times, tokens. Nothing if it can't be read."""
    with suppress(Exception):
        yield from cast(list[dict[str, Any]], member(path, "summaries.json"))
        return
    with suppress(Exception):
        from inspect_ai.log import read_eval_log_sample_summaries

        for summary in read_eval_log_sample_summaries(str(path)):
            yield summary.model_dump(mode="json")


def read_reductions(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The value that each sample's epochs became, by scorer and reducer, by the sample's id; nothing if unreadable."""
    reductions: list[dict[str, Any]] = []
    with suppress(Exception):
        reductions = cast(list[dict[str, Any]], member(path, "reductions.json"))
        return reduced_values(reductions)
    with suppress(Exception):
        from inspect_ai.log import read_eval_log as read

        reductions = [each.model_dump(mode="json") for each in read(str(path)).reductions or ()]
    return reduced_values(reductions)


def reduced_values(reductions: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (str(each["scorer"]), str(each.get("reducer") or "")): {
            str(sample["sample_id"]): sample["value"] for sample in each["samples"]
        }
        for each in reductions
    }


def log_damage(path: Path) -> str:
    """What is wrong with a log by the checksums of its archive; empty if nothing is."""
    try:
        allow_zstandard()
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # as in `read_eval_log`
        return f"{path} can't be read: {error}."
    return f"{path} is damaged in its part {damaged}." if damaged else ""


def header_of(path: Path) -> dict[str, Any]:
    """The header as the file has it; of a log that isn't finished, what it began with."""
    try:
        return cast(dict[str, Any], member(path, "header.json"))
    except KeyError:
        return {"status": "started", **cast(dict[str, Any], member(path, "_journal/start.json"))}


def member(path: Path, name: str) -> object:
    allow_zstandard()
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(name))


def allow_zstandard() -> None:
    """Teach zipfile a method that comes with Inspect, and with Python from 3.14."""
    with suppress(ImportError):
        import zipfile_zstd  # noqa: F401  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]


def header_by_inspect(path: Path) -> dict[str, Any]:
    try:
        from inspect_ai.log import read_eval_log as read
    except ImportError:
        raise missing_extra("reading this log", "inspect") from None
    return read(str(path), header_only=True).model_dump(mode="json")


def from_header(path: Path, header: Mapping[str, Any]) -> EvalLog:
    evaluation: dict[str, Any] = header["eval"]
    results: dict[str, Any] = header.get("results") or {}
    stats: dict[str, Any] = header.get("stats") or {}
    used: dict[str, dict[str, Any]] = stats.get("model_usage") or {}
    usage = list(used.values())
    error: dict[str, Any] = header.get("error") or {}
    scored: list[dict[str, Any]] = results.get("scores") or []
    return EvalLog(
        path=path,
        status=str(header["status"]),
        task=str(evaluation["task"]),
        task_id=str(evaluation["task_id"]),
        model=str(evaluation["model"]),
        sources=tuple(map(source_of, scored)),
        total_samples=results.get("total_samples", evaluation.get("dataset", {}).get("samples")),
        completed_samples=results.get("completed_samples"),
        input_tokens=sum(each.get("input_tokens") or 0 for each in usage) if usage else None,
        output_tokens=sum(each.get("output_tokens") or 0 for each in usage) if usage else None,
        started_at=stats.get("started_at") or None,
        completed_at=stats.get("completed_at") or None,
        error=error.get("message"),
        metadata={**(evaluation.get("metadata") or {}), **(header.get("metadata") or {})},
        task_args=evaluation.get("task_args") or {},
    )


def source_of(score: Mapping[str, Any]) -> ScoreSource:
    name, reducer = str(score["name"]), score.get("reducer")
    metrics: dict[str, dict[str, Any]] = score["metrics"]
    scorer = str(score.get("scorer") or name)
    return ScoreSource(
        scorer=scorer,
        key="" if name == scorer else name,
        reducer="" if reducer in MEAN else str(reducer),
        metrics={metric: told["value"] for metric, told in metrics.items()},
    )
