"""Asks a run that goes on to end, and finds the command by which one that ended goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.queries.selection import project_root
from suitecase.rundir import CaseRun, Run, RunReader, layout
from suitecase.scaffold import project_python

__all__ = ["Cancelled", "CannotCancelError", "Resume", "cancel", "find_resume", "patience_s"]

POLL_S = 0.1

HOW_TO_RUN = {
    "-p": True, "--parallelism": True, "--timeout": True, "--grace": True, "--max-attempts": True, "--retry-on": True,
    "--backoff": True, "--fail-fast": False, "--max-failure-rate": True, "--cpus-per-case": True,
    "--gpus-per-case": True, "--memory-per-case": True, "--continue-exit-code": True, "--nice": True,
    "--isolate": False, "--env-file": True,
}  # fmt: skip
"""Flags of a suite that say how its cases are executed, and whether a value follows. A resume keeps them."""

OTHERS_WITH_VALUES = (
    *("--resume", "--only", "--set", "--note", "--results-dir", "--debug", "--confirm-above"),
    *("--launcher", "--launcher-option"),  # the runner itself finds them in the record
)


# --- Ending ----------------------------------------------------------------------------------------------------------


class CannotCancelError(SuitecaseError):
    """There is nothing left to end; no file was created."""


@dataclass(frozen=True)
class Cancelled:
    """What became of a request to end a run, or one of its cases.

    Attributes:
        done: Whether what was asked for has come about.
        message: What happened, in a sentence.
        statuses: Status of every case that was asked to end.
    """

    done: bool
    message: str
    statuses: dict[str, str]


def patience_s(run: Run) -> float:
    """Seconds after which a runner that heeds a request must have ended its cases: their grace, and half a minute."""
    policy: object = run.asked.get("policy")
    grace_s: object = cast(dict[str, Any], policy).get("grace_s") if isinstance(policy, dict) else None
    return (float(grace_s) if isinstance(grace_s, int | float) else 10.0) + 30


def cancel(run: Run, variant: str | None = None, *, timeout_s: float = 60.0) -> Cancelled:
    """Ask the runner to end a run or one case, by the file `cancel`, and wait until the journal tells that it has.

    The runner looks for the file once a second, asks the processes to end, and kills them after the grace period,
    so that a hung case ends as well. A case that has not begun is never launched: for that nobody waits.

    Args:
        timeout_s: Seconds to wait; with 0 the request is only made.

    Where attempts outlive their runner, as on a cluster, they look for the file themselves: then it needs none.

    Raises:
        CannotCancelError: No runner is alive, or the case has ended.
    """
    name = f"{run.experiment}/{run.name}"
    if not run.is_owned and run.status in ("interrupted", "running") and run.launcher.get("outlives_runner"):
        return cancel_unattended(run, variant)
    if not run.is_owned:
        evidence = f" ({run.owner.evidence})" if run.owner else ""
        raise CannotCancelError(f"{name} has no runner that could end anything; its status is {run.status}{evidence}.")
    case = run.cases[variant] if variant is not None else None
    if case is not None and case.status not in ("running", "pending"):
        raise CannotCancelError(f"case {case.variant!r} of {name} has ended already: {case.status}.")
    file = cancel_file(run, case)
    if case is not None and case.status == "pending":
        message = f"case {case.variant!r} of {name} has not begun: it ends as cancelled when its turn comes."
        return Cancelled(True, message, {case.variant: "pending"})
    if timeout_s <= 0:
        return Cancelled(True, f"{file} is there: the runner looks once a second.", asked_to_end(run, case))
    return wait_for_end(run, case, file, timeout_s)


def cancel_file(run: Run, case: CaseRun | None) -> Path:
    """The file by which anybody may ask a case or a run to end, made."""
    file = (case.path if case else run.path) / layout.CANCEL
    try:
        file.touch()
    except OSError as error:
        raise CannotCancelError(f"{file} can't be created: {error.strerror}.") from None
    return file


def cancel_unattended(run: Run, variant: str | None) -> Cancelled:
    """Ask attempts that have no runner to end; who resumes the run writes down that they have."""
    name = f"{run.experiment}/{run.name}"
    case = run.cases[variant] if variant is not None else None
    if case is not None and case.status not in ("interrupted", "running", "pending"):
        raise CannotCancelError(f"case {case.variant!r} of {name} has ended already: {case.status}.")
    file = cancel_file(run, case)
    message = (
        f"{name} has no runner, and its attempts look for {file} themselves: those that run end within seconds, or are "
        "killed after their grace; those that wait end when their turn comes."
    )
    return Cancelled(True, message, asked_to_end(run, case))


def asked_to_end(run: Run, case: CaseRun | None) -> dict[str, str]:
    """Status of the cases that a request is about."""
    if case is not None:
        return {case.variant: run.cases[case.variant].status}
    return {variant: each.status for variant, each in run.cases.items()}


def wait_for_end(before: Run, case: CaseRun | None, file: Path, timeout_s: float) -> Cancelled:
    """Read the journal until what was asked for has ended."""
    name = f"{before.experiment}/{before.name}"
    reader = RunReader(before.path)
    end = time.monotonic() + timeout_s
    while True:
        run = reader.refresh()
        lives = run.is_owned
        if not lives or (case is not None and run.cases[case.variant].status not in ("running", "pending")):
            break
        if time.monotonic() >= end:
            message = (
                f"{name} has not ended within {timeout_s:g} s. The request stands ({file}): the runner kills what is "
                "left when the grace period is over, unless it is stopped itself."
            )
            return Cancelled(False, message, asked_to_end(run, case))
        time.sleep(POLL_S)
    return what_happened(before, run, case, file)


def what_happened(before: Run, run: Run, case: CaseRun | None, file: Path) -> Cancelled:
    """What a request has come to. One that came too late is taken back."""
    name = f"{run.experiment}/{run.name}"
    statuses = asked_to_end(run, case)
    if case is not None:
        now = run.cases[case.variant]
        done, message = now.status == "cancelled", f"case {case.variant!r} of {name} is {now.status}"
        message += "." if done else f": it ended before the request reached it{f' ({now.cause})' if now.cause else ''}."
    else:
        earlier = {variant for variant, each in before.cases.items() if each.status == "cancelled"}
        ended = [variant for variant, status in statuses.items() if status == "cancelled" and variant not in earlier]
        counts = ", ".join(f"{count} {status}" for status, count in run.counts.items())
        words = "1 case was ended" if len(ended) == 1 else f"{len(ended)} cases were ended"
        stopped = run.exit_code is not None and run.exit_code > 128
        done = stopped or run.status == "interrupted"
        message = f"{name}: {words}; now {counts}." if stopped else f"{name} ended by itself: {counts}."
        message = f"{name}: its runner has died; now {counts}." if run.status == "interrupted" else message
    if not done:
        file.unlink(missing_ok=True)
    return Cancelled(done, message, statuses)


# --- Going on --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resume:
    """How a run goes on.

    Attributes:
        command: The interpreter first; empty if there is nothing to do.
        folder: Where to run it.
        notes: What is other than recorded, a sentence each.
    """

    command: tuple[str, ...]
    folder: Path
    notes: tuple[str, ...] = ()


def find_resume(run: Run, flags: Sequence[str] = ()) -> Resume:
    """The command that goes on with a run: its suite and interpreter, its results folder, and how its cases ran.

    `--set` needs no flag: the runner replays it. Where the project was moved, the suite is looked for at the same place
    within the project that the run lies in now.

    Args:
        flags: Further flags; one that says how cases are executed goes before what was recorded.

    Raises:
        SuitecaseError: The run tells no suite, or that is gone.
    """
    if not run.asked:
        raise SuitecaseError(f"{run.path} records no suite: resume it by SUITE.py --resume {run.path}.")
    if not run.cases and run.problems:
        raise SuitecaseError(run.problems)
    notes: list[str] = []
    root = project_root(run.path)
    finished = bool(run.cases) and all(case.status == "succeeded" for case in run.cases.values())
    try:
        suite = find_suite(run, root, notes)
    except NotFoundError:
        if finished and "--again" not in flags:
            return Resume((), root)
        raise
    command: object = run.asked.get("command")
    recorded = [str(word) for word in cast(list[object], command)] if isinstance(command, list) and command else [""]
    python = Path(recorded[0])
    if not (python.is_absolute() and os.access(python, os.X_OK)):
        python = project_python(root, project_root(suite.parent))
        notes.append(f"{recorded[0] or 'the interpreter'}, which began the run, is gone: {python} goes on.")
    folder = Path(str(run.asked.get("current_folder") or ""))
    folder = folder if folder.is_dir() and folder.is_absolute() else project_root(suite.parent)
    kept = how_it_ran(recorded[1:], flags)
    words = (str(python), str(suite), "--resume", str(run.path), "--results-dir", str(results_dir_of(run)))
    return Resume((*words, *kept, *flags), folder, tuple(notes))


def find_suite(run: Run, root: Path, notes: list[str]) -> Path:
    """The suite file of a run."""
    recorded: object = run.asked.get("suite")
    told = cast(dict[str, Any], recorded).get("path") if isinstance(recorded, dict) else None
    if not isinstance(told, str):
        raise SuitecaseError(f"{run.path} was begun without a suite file, by a program or a notebook: resume it there.")
    path = Path(told)
    if path.is_file():
        return path
    old_root = Path(str(run.asked.get("project_root") or ""))
    moved = root / path.relative_to(old_root) if path.is_relative_to(old_root) else path
    if not moved.is_file():
        raise NotFoundError(
            f"the suite of {run.experiment}/{run.name}, {path}, is gone: restore it, or call the suite that has taken "
            f"its place with --resume {run.path}."
        )
    notes.append(f"{path} is gone: {moved} goes on.")
    return moved


def results_dir_of(run: Run) -> Path:
    """The results folder that a run lies in, by the name that it was recorded with if that still leads there."""
    recorded = Path(str(run.asked.get("results_dir") or ""))
    experiment = layout.experiment_folder(run.path)
    there = experiment.parent if experiment.name == run.experiment else recorded
    return recorded if recorded.is_absolute() and recorded.resolve() == there.resolve() else there


def how_it_ran(recorded: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The flags of a recorded command line that say how cases are executed, those aside that are given anew."""
    given = {name for name, _ in split_flags(flags)}
    return [word for name, words in split_flags(recorded) if name in HOW_TO_RUN and name not in given for word in words]


def split_flags(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """A command line as pairs of a flag's name and its words, as in `("--timeout", ["--timeout", "5"])`."""
    pairs: list[tuple[str, list[str]]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = "-p" if word.startswith("-p") else word.partition("=")[0]
        name = "-p" if name == "--parallelism" else name
        takes_value = HOW_TO_RUN.get(name, name in OTHERS_WITH_VALUES)
        value_follows = takes_value and (word == "-p" or (word.startswith("--") and "=" not in word))
        pairs.append((name, [word, rest.pop(0)] if value_follows and rest else [word]))
    return pairs
