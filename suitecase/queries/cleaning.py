"""Finds run directories that may go, says why, and deletes them so that a half-deleted one is never taken for a run."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from suitecase.errors import SuitecaseError
from suitecase.rundir import Run, find_runs, layout, read_run
from suitecase.rundir.runs import parse_time

__all__ = ["Disposable", "Rules", "Verdicts", "delete", "find_disposable"]

UNFINISHED = re.compile(r"\.\d{8}_\d{6}_.+\.(building|deleting(-\d+)?)")
LEFTOVER_AGE_S = 86_400.0
"""A run directory is built within seconds; a day is far beyond any builder's life."""


@dataclass(frozen=True)
class Rules:
    """Which runs may go: those to which all the rules apply that are given. Without any, no run may.

    Attributes:
        before: Last heard of before that moment.
        keep: So many of each experiment's latest runs stay, whatever became of them.
        statuses: Any of these.
        logs: Whether a run's published logs of Inspect go with it.
    """

    before: datetime | None = None
    keep: int | None = None
    statuses: tuple[str, ...] = ()
    logs: bool = False

    def __bool__(self) -> bool:
        return self.before is not None or self.keep is not None or bool(self.statuses)


@dataclass(frozen=True)
class Disposable:
    """Something that may be deleted.

    Attributes:
        path: The run directory, or what a crash left of one.
        size_bytes: Of the files in it, and of the logs; links count as themselves.
        why: Which rules apply, in words.
        logs: Published logs that go with it.
    """

    path: Path
    experiment: str
    size_bytes: int
    why: str
    logs: tuple[Path, ...] = ()
    is_run: bool = True


@dataclass(frozen=True)
class Verdicts:
    """What may go, and which runs stay although the rules apply, with the reason."""

    disposable: tuple[Disposable, ...]
    spared: tuple[tuple[Path, str], ...]


def find_disposable(results_dir: Path, rules: Rules) -> Verdicts:
    """What may be deleted from a results folder. Nothing is changed.

    Stays, whatever the rules say: a run whose runner lives, one that a link in the results folder points to or that is
    reached by a link, one of a newer format, and everything that is no run directory. Half-built directories
    older than a day, and half-deleted ones, may always go.
    """
    disposable: list[Disposable] = []
    spared: list[tuple[Path, str]] = []
    links = linked_targets(results_dir)
    runs = [read_run(path) for path in find_runs(results_dir)] if rules else []
    newest_first: Counter[Path] = Counter()
    for run in sorted(runs, key=lambda run: run.name, reverse=True):
        newest_first[layout.experiment_folder(run.path)] += 1
        why = reasons(run, rules, newest_first[layout.experiment_folder(run.path)])
        if why is None:
            continue
        if against := reason_to_spare(run, results_dir, links):
            spared.append((run.path, against))
            continue
        logs = tuple(own_logs(run)) if rules.logs else ()
        size_bytes = size_of(run.path) + sum(log.stat().st_size for log in logs)
        disposable.append(Disposable(run.path, run.experiment, size_bytes, why, logs))
    disposable.sort(key=lambda each: (each.experiment, each.path.name))
    return Verdicts((*disposable, *leftovers(results_dir)), tuple(sorted(spared)))


def reasons(run: Run, rules: Rules, place: int) -> str | None:
    """Why the rules let a run go; None if they don't. Its place is 1 for the latest run of its experiment."""
    if rules.statuses and run.status not in rules.statuses:
        return None
    if rules.keep is not None and place <= rules.keep:
        return None
    heard = last_heard(run)
    if rules.before is not None and heard >= rules.before:
        return None
    days = (datetime.now(UTC) - heard).total_seconds() / 86_400
    words = [f"{days:.0f} days old" if days >= 1 else f"{days * 24:.0f} hours old"] if rules.before else []
    words += [str(run.status)] if rules.statuses else []
    words += [f"not of the latest {rules.keep}"] if rules.keep is not None else []
    return ", ".join(words)


def last_heard(run: Run) -> datetime:
    """When something last happened in a run; by its name where nothing else tells."""
    for text in (run.ended_at, run.started_at):
        with suppress(ValueError):
            if text:
                return parse_time(text)
    return datetime.strptime(run.name[:15], "%Y%m%d_%H%M%S").astimezone()


def reason_to_spare(run: Run, results_dir: Path, links: Sequence[tuple[Path, Path]]) -> str:
    """Why a run must stay, whatever the rules say; nothing if it needn't."""
    if run.status == "running":
        return f"it runs: {run.owner.evidence}" if run.owner else "it runs"
    if run.format_version not in (0, layout.FORMAT_VERSION):
        return f"its format is {run.format_version}, which this suitecase does not know"
    if not (run.asked or any(os.path.exists(case.path / layout.CONFIG) for case in run.cases.values())):
        return run.problems[0].rstrip(".") if run.problems else "it has neither run.json nor a case"
    real = run.path.resolve()
    if real != results_dir.resolve() / run.path.relative_to(results_dir):
        return f"it is reached by a link, and lies in {real.parent}"
    link = next((link for link, target in links if target.is_relative_to(real)), None)
    return f"{link} points to it" if link else ""


def linked_targets(results_dir: Path) -> list[tuple[Path, Path]]:
    """The links beside and in a results folder, those within runs aside, with what they point to in the end."""
    experiments = folders_in(results_dir)
    places = [results_dir.parent, results_dir, *experiments, *(each / layout.INSPECT_RUNS for each in experiments)]
    found: list[tuple[Path, Path]] = []
    for place in places:
        with suppress(OSError), os.scandir(place) as entries:
            found += [(Path(entry.path), Path(entry.path).resolve()) for entry in entries if entry.is_symlink()]
    return found


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, links aside."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    return []


def own_logs(run: Run) -> Iterator[Path]:
    """The published logs of a run that lie where logs are published."""
    folder = layout.experiment_folder(run.path)
    for log in dict.fromkeys(run.eval_logs()):
        if log.parent == folder and log.suffix == ".eval" and log.is_file() and not log.is_symlink():
            yield log


def leftovers(results_dir: Path) -> Iterator[Disposable]:
    """What a crash left half built more than a day ago, or half deleted."""
    for experiment in folders_in(results_dir):
        for folder in (*folders_in(experiment), *folders_in(experiment / layout.INSPECT_RUNS)):
            found = UNFINISHED.fullmatch(folder.name)
            if found is None:
                continue
            age_s = time.time() - folder.stat().st_mtime
            if found[1] == "building" and (age_s < LEFTOVER_AGE_S or is_owned(folder)):
                continue
            why = "half built, by a start that died" if found[1] == "building" else "half deleted"
            yield Disposable(folder, experiment.name, size_of(folder), why, is_run=False)


def is_owned(folder: Path) -> bool:
    try:
        with owned(folder):
            return False
    except SuitecaseError:
        return True


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def delete(disposable: Disposable) -> None:
    """Delete a run directory, and the logs that go with it.

    It gets a dot-name first, in one step and while its journal is locked: no runner can take it up again, and what is
    left if this dies half-way is no run.

    Raises:
        SuitecaseError: It came to life since, or can't be deleted.
    """
    path = disposable.path
    if disposable.is_run and read_run(path).status == "running":
        raise SuitecaseError(f"{path} is running by now: it stays.")
    try:
        target = path
        with owned(path):
            if disposable.is_run:
                target = dot_name(path)
                path.rename(target)
        for log in disposable.logs:
            log.unlink(missing_ok=True)
        shutil.rmtree(target)
    except OSError as error:
        raise SuitecaseError(f"{error.filename or path} can't be deleted: {error.strerror}.") from None


def dot_name(path: Path) -> Path:
    """A name for a run that is being deleted; nobody has it."""
    names = (f".{path.name}.deleting{f'-{number}' if number else ''}" for number in range(1000))
    return next(place for name in names if not os.path.lexists(place := path.with_name(name)))


@contextmanager
def owned(run_dir: Path) -> Generator[None]:
    """Hold the lock of a run's journal, as its runner would.

    Raises:
        SuitecaseError: Somebody else holds it.
    """
    try:
        descriptor = os.open(run_dir / layout.JOURNAL, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:  # none to lock, as in a directory of the simple original
        yield
        return
    try:
        with suppress(OSError):  # without locks, heartbeats have told that nobody is there
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SuitecaseError(f"{run_dir} is in use by now: it stays.") from None
        yield
    finally:
        os.close(descriptor)
