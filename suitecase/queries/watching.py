"""What runs do right now, from their files alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.files import parse_object
from suitecase.rundir.ownership import is_locked
from suitecase.rundir.runs import RunReader, find_runs, parse_time

__all__ = ["Begun", "Change", "Progress", "RunWatch", "Seen", "all_succeeded", "last_progress", "meant_experiment"]

TAIL_BYTES = 1 << 16
"""How far from its end a `tracking.jsonl` is searched for the last progress."""

FAILURES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running case is.

    Attributes:
        elapsed_s: Since its attempt began.
        done, total, message: What it told last; None and "" if it tells nothing.
    """

    variant: str
    attempt: int
    elapsed_s: float
    done: float | None = None
    total: float | None = None
    message: str = ""

    @property
    def remaining_s(self) -> float | None:
        """What is left of it if it goes on as it did; None if it does not tell how far it is."""
        if not self.done or not self.total or self.done > self.total:
            return None
        return self.elapsed_s * (self.total - self.done) / self.done


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at a moment.

    Attributes:
        eta_s: Seconds until it ends, estimated; None if it has ended or no case has finished yet.
        failures: The cases that failed last.
        over: Whether nothing more comes: it has ended, or its runner is gone.
    """

    run: Run
    running: tuple[Progress, ...]
    eta_s: float | None
    failures: tuple[CaseRun, ...]
    over: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Something new in a run.

    Attributes:
        variant: The case that it happened to; None for the run.
        status: What the case or the run is now.
        words: The rest: how long it took, why it failed, how far it is.
    """

    variant: str | None
    status: str
    words: str
    facts: Mapping[str, Any]


class RunWatch:
    """Looks at a run again and again, each time reading only what has come since."""

    def __init__(self, path: Path) -> None:
        self.reader = RunReader(path)
        self.seen: Seen | None = None

    def look(self) -> Seen:
        """The run as it is now."""
        run = self.reader.refresh()
        now = datetime.now(UTC)
        running = tuple(progress_of(case, now) for case in run.cases.values() if case.status == "running")
        over = run.status != "running" and not (run.owner is None and run.status == "unknown" and is_starting(run))
        failed = [case for case in run.cases.values() if case.status in ("failed", "timed_out")]
        failed.sort(key=lambda case: (case.last and case.last.ended_at) or "")
        eta_s = None if over else estimate(run, running)
        self.seen = Seen(run, running, eta_s, tuple(failed[-FAILURES_SHOWN:]), over)
        return self.seen

    def changes(self) -> Iterator[Change]:
        """What is new since the last look; at the first one only what the run is."""
        before = self.seen
        now = self.look()
        if before is not None:
            told = {progress.variant: progress for progress in before.running}
            for variant, case in now.run.cases.items():
                if case is not before.run.cases.get(variant):
                    yield case_change(case)
            for progress in now.running:
                if progress.done is not None and progress_told(progress) != progress_told(told.get(progress.variant)):
                    yield progress_change(progress)
        if before is None or before.run.status != now.run.status:
            yield run_change(now)


def case_change(case: CaseRun) -> Change:
    last = case.last
    facts: dict[str, Any] = {"attempt": len(case.attempts)}
    words: list[str] = [f"attempt {len(case.attempts)}"] if len(case.attempts) > 1 else []
    status: str = case.status
    if status == "running" and last is not None and last.status != "running":
        status = "waiting"
        words.append(f"its attempt {last.number} {last.status}")
    elif last is not None and last.duration_s is not None:
        facts["duration_s"] = last.duration_s
        words.append(f"after {last.duration_s:.1f} s")
    if case.cause:
        facts["cause"] = case.cause
        words.append(case.cause)
    return Change(case.variant, status, ", ".join(words), facts)


def progress_change(progress: Progress) -> Change:
    of = f" of {progress.total:g}" if progress.total is not None else ""
    words = f"{progress.done:g}{of} {progress.message}".rstrip()
    facts = {"done": progress.done, "total": progress.total, "message": progress.message, "attempt": progress.attempt}
    return Change(progress.variant, "running", words, facts)


class Begun:
    """Finds the runs that begin from now on, of some experiments or of all."""

    def __init__(self, results_dir: Path, experiments: Collection[str] | None) -> None:
        self.results_dir = results_dir
        self.experiments = experiments
        self.known = set(find_runs(results_dir))

    def take(self) -> list[RunWatch]:
        """Those that have begun since the last time."""
        new = [path for path in find_runs(self.results_dir) if path not in self.known]
        self.known.update(new)
        meant = self.experiments
        return [RunWatch(path) for path in new if meant is None or layout.experiment_folder(path).name in meant]


def meant_experiment(given: str, run_dir: Path) -> str | None:
    """The experiment that a person meant by a name that led to this run, "" for any; None if it was the run itself."""
    if given in ("", "latest"):
        return ""
    experiment, name = layout.experiment_folder(run_dir).name, given.rstrip("/")
    is_path = Path(given).is_dir() and Path(given).resolve() == run_dir.resolve()
    return experiment if experiment.startswith(name) and not run_dir.name.startswith(name) and not is_path else None


def run_change(seen: Seen) -> Change:
    run = seen.run
    counts = ", ".join(f"{count} {status}" for status, count in run.counts.items())
    why = f"; {run.owner.evidence}" if run.owner is not None and run.status == "interrupted" else ""
    return Change(None, run.status, counts + why, {"counts": dict(run.counts), "exit_code": run.exit_code})


def progress_told(progress: Progress | None) -> tuple[Any, ...]:
    return (progress.attempt, progress.done, progress.total, progress.message) if progress else ()


def progress_of(case: CaseRun, now: datetime) -> Progress:
    """How far a running case is."""
    last = case.last
    number = last.number if last else 0
    try:
        elapsed_s = (now - parse_time((last and last.started_at) or "")).total_seconds()
    except ValueError:
        elapsed_s = 0.0
    told = last_progress(case.path / layout.TRACKING)
    if told.get("attempt", number) != number:
        told = {}
    done, total = (value if isinstance(value := told.get(name), int | float) else None for name in ("done", "total"))
    message = "".join(c if c.isprintable() else " " for c in str(told.get("message") or ""))
    return Progress(case.variant, number, max(0.0, elapsed_s), done, total, message)


def last_progress(path: Path) -> dict[str, Any]:
    """The last `progress` in a `tracking.jsonl`, looked for in its last 64 KiB; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            finished = file.read(TAIL_BYTES).rpartition(b"\n")[0]
    except OSError:
        return {}
    for line in reversed(finished.splitlines()):
        if b'"progress"' in line and (event := parse_object(line)) and event.get("event") == "progress":
            return event
    return {}


def estimate(run: Run, running: Sequence[Progress]) -> float | None:
    """Seconds until a run ends: what is left to do, as long as a finished case took on average, over its parallelism.

    A running case that tells how far it is counts by that. It takes no less than the longest of these.
    """
    took = [case.last.duration_s for case in run.cases.values() if case.last and case.last.duration_s is not None]
    mean_s = fmean(took) if took else None
    left: list[float] = []
    for progress in running:
        if (remaining_s := progress.remaining_s) is None:
            if mean_s is None:
                return None
            remaining_s = max(0.0, mean_s - progress.elapsed_s)
        left.append(remaining_s)
    pending = sum(case.status == "pending" for case in run.cases.values())
    if pending and mean_s is None:
        return None
    parallelism: object = run.asked.get("parallelism")
    at_once = parallelism if isinstance(parallelism, int) and parallelism > 0 else max(1, len(running))
    total_s = sum(left) + pending * (mean_s or 0.0)
    return max(total_s / min(at_once, max(1, len(left) + pending)), *left, 0.0)


def is_starting(run: Run) -> bool:
    """Whether a run has a living runner that has not said yet that it begins."""
    return is_locked(run.path / layout.JOURNAL) is True


def all_succeeded(seen: Sequence[Seen]) -> bool:
    """Whether every case of every run succeeded."""
    return all(each.run.status == "succeeded" for each in seen)
