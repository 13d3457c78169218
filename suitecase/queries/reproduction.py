"""Runs a recorded suite again: its code, its flags, its interpreter, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.queries.code import code_repository, find_repository, left_out_files
from suitecase.queries.comparison import Difference, Value, compare_environments, compare_results, environment_of, part
from suitecase.rundir import Run, find_runs, read_run

__all__ = ["Plan", "Reproduction", "compare_with_original", "plan_reproduction", "reproduce_run", "workplace"]

PROBE = """\
import json, os, sys
from importlib.metadata import distributions
packages = {dist.metadata["Name"]: dist.version for dist in distributions() if dist.metadata["Name"]}
print(json.dumps({"python": {"version": sys.version}, "packages": packages}))
"""


@dataclass(frozen=True)
class Plan:
    """How a run will be run again.

    Attributes:
        repository: Where git finds its commit.
        root: The recorded project folder; paths below it are looked for in the rebuilt code.
        suite: Path of the suite in the repository.
        variants: The cases to compare.
        arguments: Flags of the suite.
        differences: Where the environment here is another than the recorded one.
        notes: What a person should know before it starts, a sentence each.
    """

    run: Run
    repository: Path
    root: Path
    suite: Path
    python: str
    variants: tuple[str, ...]
    arguments: tuple[str, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """What came of running again.

    Attributes:
        run: The new run; None if the suite did not get that far.
        exit_code: Of the suite.
        failures: Cases that ended otherwise than the first time, and a suite that would not start, a sentence each.
        values: Each result, held against the recorded one.
    """

    run: Run | None
    exit_code: int
    failures: tuple[str, ...]
    values: tuple[Value, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether every case ended as before, with the results that it had."""
        return not self.failures and all(value.verdict in ("equal", "close", "time") for value in self.values)


def plan_reproduction(run: Run, cases: Sequence[str] = ()) -> Plan:
    """Work out how a run can be run again. Nothing is started but the interpreter, to ask it for its packages.

    Args:
        cases: Variants; by default all of the run.

    Raises:
        SuitecaseError: It can't be, with every reason.
    """
    ended = tuple(variant for variant in cases or run.cases if run.cases[variant].status in ENDED)
    problems = reasons_against(run, ended)
    try:
        repository = find_repository(run)
    except SuitecaseError as error:
        raise SuitecaseError([*problems, *(error.problems if run.asked else ())]) from None
    if problems:
        raise SuitecaseError(problems)
    root, suite = recorded_root(run), Path(str(part(run.asked, "suite")["path"]))
    python, notes = interpreter(run)
    notes += [*run.problems, *code_notes(run)]
    recorded = environment_of(run)
    if recorded is None:
        notes.append("environment.json is missing: nobody can tell whether the environment is the same.")
    # Cases that --only left out are pending, as they were meant to be.
    narrowed = bool(run.asked.get("only") or run.asked.get("debug"))
    left = [variant for variant in cases or run.cases if variant not in ended]
    if left := [variant for variant in left if cases or not (narrowed and run.cases[variant].status == "pending")]:
        notes.append(
            f"{', '.join(left[:5])}{', …' * (len(left) > 5)}: had not come to an end, and {LEFT[len(left) > 1]}."
        )
    return Plan(
        run, repository, root, suite.relative_to(root), python, ended, tuple(flags(run, ended)),
        tuple(environment_differences(recorded, python)), tuple(notes),
    )  # fmt: skip


def reasons_against(run: Run, ended: Sequence[str]) -> list[str]:
    """Why a run can't be run again, as far as its record tells."""
    if not run.asked:
        return [f"{run.path} has no run.json: nobody recorded which suite and which code it was."]
    problems: list[str] = []
    root = recorded_root(run)
    suite, entry_point = (part(run.asked, name).get("path") for name in ("suite", "entry_point"))
    if suite is None:
        problems.append(
            f"{run.name} was started from no suite file (a notebook, or a test), so there is none to start."
        )
    for what, path in (("suite", suite), ("entry point", entry_point)):
        if path is not None and not Path(str(path)).is_relative_to(root):
            problems.append(f"{what} {path} lies outside the repository {root}, so its code was not recorded.")
    if left_out := left_out_files(run):
        problems.append(f"the record of the code is not complete: it lacks {', '.join(left_out)}.")
    if run.owner and run.owner.lives:
        problems.append(f"{run.name} goes on ({run.owner.evidence}): reproduce it when it has ended.")
    if not run.cases:
        problems.append(f"{run.name} has no cases that can be read: `suitecase verify` says more.")
    elif not ended:
        problems.append(f"no case of {run.name} has come to an end, so there is nothing to compare with.")
    return problems


def recorded_root(run: Run) -> Path:
    return Path(str(run.asked.get("project_root") or "/"))


ENDED = ("succeeded", "failed", "timed_out")
LEFT = ("is left out", "are left out")


def interpreter(run: Run) -> tuple[str, list[str]]:
    """The recorded interpreter, else this one, which is said."""
    command: object = run.asked.get("command")
    recorded = str(cast(list[object], command)[0]) if isinstance(command, list) and command else ""
    if os.path.isabs(recorded) and os.access(recorded, os.X_OK):
        return recorded, []
    return sys.executable, [
        f"the recorded interpreter {recorded or '(unknown)'} is not here: {sys.executable} is used."
    ]


def code_notes(run: Run) -> list[str]:
    """Cases whose last attempt ran other code than the run began with, which is what is run again."""
    trees = {variant: case.last.tree for variant, case in run.cases.items() if case.last}
    other = [variant for variant, tree in trees.items() if tree is not None and tree != run.code.tree]
    if not other:
        return []
    listed = ", ".join(other[:5]) + ", …" * (len(other) > 5)
    return [f"{listed}: the code had changed when it ran, and here it gets the code that the run began with."]


def flags(run: Run, variants: Sequence[str]) -> list[str]:
    """The recorded `--set`, and the cases, where they are not all that the suite declares."""
    set_ = cast(list[str], run.asked.get("set") or [])
    narrowed = bool(len(variants) < len(run.cases) or run.asked.get("only") or run.asked.get("debug"))
    return [*(f"--set={text}" for text in set_), *(f"--only={variant}" for variant in variants if narrowed)]


def environment_differences(recorded: Mapping[str, Any] | None, python: str) -> list[Difference]:
    """How the interpreter and this machine differ from what was recorded, as far as can be told before a run."""
    if recorded is None:
        return []
    try:
        asked = subprocess.run(
            [python, "-c", PROBE], cwd="/", capture_output=True, check=True, timeout=120, stdin=subprocess.DEVNULL
        )
        found: dict[str, Any] = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SuitecaseError(f"{python} can't be asked for its packages: {error}.") from None
    uname = os.uname()
    system = {"name": uname.sysname, "release": uname.release, "machine": uname.machine}
    here = {**recorded, **found, "host": uname.nodename, "system": system}  # of the rest the new run will tell
    return compare_environments(recorded, here) or []


@contextmanager
def workplace(to: Path | None, *, keep: bool = False) -> Generator[Path]:
    """A folder for code and results: temporary, or `to`, which must be new or empty. Interrupted, it is removed.

    Raises:
        SuitecaseError: `to` is taken.
    """
    if to is not None and (to.exists() or to.is_symlink()) and not (to.is_dir() and not any(to.iterdir())):
        raise SuitecaseError(f"{to} is there already: name a new folder, or an empty one.")
    place = Path(tempfile.mkdtemp(prefix="suitecase-reproduce-")) if to is None else to.absolute()
    place.mkdir(parents=True, exist_ok=True)
    kept = keep or to is not None
    try:
        with handling(interrupt):
            yield place
    except BaseException:
        kept = False
        raise
    finally:
        if not kept:
            shutil.rmtree(place, ignore_errors=True)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def reproduce_run(plan: Plan, place: Path) -> tuple[Run | None, int, str]:
    """Rebuild the code in `place/code`, run the suite there with results in `place/results`.

    Returns:
        The new run, if there is one; the suite's exit code; what it said on standard error.

    Raises:
        SuitecaseError: The code can't be rebuilt, or has no such suite.
        KeyboardInterrupt: Ctrl-C, TERM or HUP came; the suite has ended.
    """
    code, results = place / "code", place / "results"
    code.mkdir()
    with code_repository([plan.repository], code) as repository:
        repository.check_out(plan.run)
    if not (code / plan.suite).is_file():
        raise SuitecaseError(f"the recorded code has no {plan.suite}: git ignores it, or it lies in a submodule.")
    command = [plan.python, str(code / plan.suite), "--quiet", f"--results-dir={results}", *plan.arguments]
    recorded_folder = Path(str(plan.run.asked.get("current_folder") or plan.root))
    folder = moved(recorded_folder, plan.root, code)
    folder = folder if folder.is_dir() else code
    with (place / "suite.log").open("wb") as log:
        exit_code = run_to_its_end(command, folder, suite_environment(plan, code), log.fileno())
    said = (place / "suite.log").read_text(encoding="utf-8", errors="replace").strip()
    made_runs = list(find_runs(results))
    return (read_run(made_runs[-1]) if made_runs else None), exit_code, said


def moved(path: Path, root: Path, code: Path) -> Path:
    """Where a path of the project lies in the rebuilt code; paths elsewhere stay."""
    return code / path.relative_to(root) if path.is_relative_to(root) else path


def suite_environment(plan: Plan, code: Path) -> dict[str, str]:
    """This environment, with the recorded thread counts, and with imports from the rebuilt code.

    A package of the project that is installed as editable would otherwise come from the user's working tree.
    """
    recorded = {name: str(value) for name, value in part(plan.run.asked, "environment_set").items()}
    folders = filter(None, recorded.pop("PYTHONPATH", "").split(os.pathsep))
    recorded["PYTHONPATH"] = os.pathsep.join(str(moved(Path(entry), plan.root, code)) for entry in folders)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUITECASE_", "GIT_"))}
    return {**kept, **{name: value for name, value in recorded.items() if value}}


def run_to_its_end(command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int) -> int:
    """Run a suite; its exit code. Signals are passed on once each, and are heeded when it has ended.

    In a process group of its own: Ctrl-C on a terminal would otherwise reach it twice, which means "at once" to it.
    """
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    with handling(pass_on):
        process = subprocess.Popen(
            command, cwd=folder, env=environment, process_group=0,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if received:
            process.send_signal(received[-1])
        exit_code = process.wait()
    if received:
        raise KeyboardInterrupt
    return exit_code


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Handle the signals that ask a program to end; only the main thread can."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def compare_with_original(
    plan: Plan, outcome: tuple[Run | None, int, str], *, tolerance: float = 0.0, ignore: Sequence[str] = ()
) -> Reproduction:
    """Hold what came out against what was recorded."""
    run, exit_code, said = outcome
    if run is None:
        tail = " / ".join(said.splitlines()[-5:]) or "it said nothing"
        return Reproduction(
            None, exit_code, (f"the suite ended with exit code {exit_code} before a run began: {tail}",)
        )
    failures: list[str] = []
    for variant in plan.variants:
        before, after = plan.run.cases[variant].status, run.cases.get(variant)
        if after is None:
            failures.append(f"{variant} is not in the new run.")
        elif after.status != before:
            cause = f" ({after.cause})" if after.cause else ""
            failures.append(f"{variant} was recorded as {before}, and is now {after.status}{cause}.")
    changed = [name for name in plan.variants if name in run.cases and config(plan.run, name) != config(run, name)]
    failures += [f"{variant}: its config is not the recorded one." for variant in changed]
    if run.code.tree != plan.run.code.tree:
        failures.append("the new run saw other code than the recorded one: something changed it while it ran.")
    values, problems = compare_results(plan.run, run, tolerance=tolerance, ignore=ignore, variants=plan.variants)
    return Reproduction(run, exit_code, (*failures, *problems), tuple(values))


def config(run: Run, variant: str) -> dict[str, Any]:
    return run.cases[variant].config()[0]
