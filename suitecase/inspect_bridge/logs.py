"""The logs of Inspect AI. The only module that imports inspect_ai, and only where reading the file itself won't do.

A `.eval` file is a zip archive: `header.json`, written last, holds status, scores and metadata, `summaries.json` a line
per sample. Reading those two costs a thirtieth of the CPU time of Inspect's own reader, whose import alone takes
seconds; but the format is no public specification, so on any surprise Inspect's reader is asked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from suitecase.errors import missing_extra

__all__ = ["EvalLog", "log_damage", "read_eval_log", "read_samples"]


@dataclass(frozen=True, slots=True)
class EvalLog:
    """What the header of a log says.

    Attributes:
        status: started (not finished), success, error or cancelled.
        scores: Value by `scorer.metric`.
        started_at, completed_at: ISO 8601, as Inspect wrote them.
        error: The message of the error that ended it.
        metadata: What the task and the runner wrote into it.
    """

    path: Path
    status: str
    task: str
    task_id: str
    model: str
    scores: Mapping[str, Any]
    total_samples: int | None = None
    completed_samples: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    started_at: str | None = None
    completed_at: str | None = None
    error: str | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def served_models(self) -> dict[str, dict[str, int]]:
        """By the name that was asked for: the model ids that answered, and how many calls each, by `run_inspect`."""
        with suppress(AttributeError, TypeError, ValueError):  # anybody may write metadata
            told: dict[str, dict[str, Any]] = (self.metadata or {}).get("served_models") or {}
            return {str(asked): {str(name): int(n) for name, n in ids.items()} for asked, ids in told.items()}
        return {}


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
    scores: dict[str, Any] = {}
    for score in scored:
        metrics: dict[str, dict[str, Any]] = score["metrics"]
        scores |= {f"{score['name']}.{name}": metric["value"] for name, metric in metrics.items()}
    return EvalLog(
        path=path,
        status=str(header["status"]),
        task=str(evaluation["task"]),
        task_id=str(evaluation["task_id"]),
        model=str(evaluation["model"]),
        scores=scores,
        total_samples=results.get("total_samples", evaluation.get("dataset", {}).get("samples")),
        completed_samples=results.get("completed_samples"),
        input_tokens=sum(each.get("input_tokens") or 0 for each in usage) if usage else None,
        output_tokens=sum(each.get("output_tokens") or 0 for each in usage) if usage else None,
        started_at=stats.get("started_at") or None,
        completed_at=stats.get("completed_at") or None,
        error=error.get("message"),
        metadata={**(evaluation.get("metadata") or {}), **(header.get("metadata") or {})},
    )
