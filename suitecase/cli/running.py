"""`cancel`, `resume`, `replay`, `gc`: end a run, go on with one, ask again what failed, and make room."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from suitecase.cli.common import (
    STATUSES,
    AsJson,
    ResultsDir,
    RunName,
    complete_case,
    console,
    fail,
    open_run,
    print_json,
    print_problems,
    print_table,
    size,
    words_of,
)

if TYPE_CHECKING:
    from suitecase.queries.cleaning import Disposable, Verdicts
    from suitecase.queries.replay import DeadLetters
    from suitecase.queries.steering import Resume
    from suitecase.rundir import Run

__all__ = ["cancel", "gc", "replay", "resume"]

EXIT_LOCKED = 75
"""As the runner says that somebody else owns a run directory; EX_TEMPFAIL of sysexits.h."""


def cancel(
    run: RunName,
    case: Annotated[
        str | None, typer.Argument(metavar="CASE", help="Only this case.", autocompletion=complete_case)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it has ended; or only ask for it.")] = True,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="S", help="Wait so long; default: its grace and 30 s.")
    ] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """End a run that goes on, or one of its cases."""
    from dataclasses import asdict

    from suitecase.queries import find_case
    from suitecase.queries.steering import CannotCancelError, patience_s
    from suitecase.queries.steering import cancel as ask_to_end

    found = open_run(run, results_dir)
    variant = find_case(found, case).variant if case is not None else None
    seconds = (patience_s(found) if timeout_s is None else timeout_s) if wait else 0
    try:
        told = ask_to_end(found, variant, timeout_s=seconds)
    except CannotCancelError as error:
        fail(error.problems, exit_code=1)
    if as_json:
        print_json(asdict(told))
    elif told.done:
        console().print(told.message)
    if not told.done:
        fail([told.message], exit_code=1)


def resume(
    run: RunName,
    flags: Annotated[list[str] | None, typer.Argument(metavar="FLAG", help="Flags of the suite, after --.")] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run, from anywhere.

    Its suite, its interpreter and its folders are those that the run recorded.
    """
    from suitecase.queries.steering import find_resume

    found = open_run(run, results_dir)
    refuse_running(found, "there is nothing to resume")
    how = find_resume(found, [*(flags or []), *["--json"] * as_json])
    if not how.command:
        console().print(f"Nothing left to do in {found.path}: all its cases have succeeded.")
        return
    become(how)


def refuse_running(run: Run, meaning: str) -> None:
    """Say that a run goes on, and exit as the runner does."""
    if run.is_owned:
        evidence = f" ({run.owner.evidence})" if run.owner else ""
        fail([f"{run.experiment}/{run.name} is running{evidence}: {meaning}."], exit_code=EXIT_LOCKED)


def become(how: Resume, environment: Mapping[str, str] | None = None) -> NoReturn:
    """Be the runner from here on: signals and the exit code are its own."""
    words = shlex.join([*(f"{name}={value}" for name, value in (environment or {}).items()), *how.command])
    for note in (*how.notes, f"cd {shlex.quote(str(how.folder))} && {words}"):
        print(f"suitecase: {note}", file=sys.stderr, flush=True)
    os.chdir(how.folder)
    os.execve(how.command[0], how.command, {**os.environ, **(environment or {})})


def replay(
    run: RunName,
    case: Annotated[
        str | None, typer.Argument(metavar="CASE", help="Only this case.", autocompletion=complete_case)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be asked again; start nothing.")] = False,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask again for the items that failed for good, the dead letters.

    Every other item is taken from what was recorded.
    """
    from suitecase.queries import find_case
    from suitecase.queries.replay import REPLAY, CannotReplayError, find_dead_letters, find_replay

    found = open_run(run, results_dir)
    refuse_running(found, "wait for its end")
    variant = find_case(found, case).variant if case is not None else None
    try:
        dead, left_out = find_dead_letters(found, variant)
    except CannotReplayError as error:
        fail(error.problems, exit_code=1)
    how = find_replay(found, dead, ["--json"] * as_json)
    if dry_run:
        show_replay(dead, left_out, how, as_json)
        return
    print_problems(left_out)
    count = sum(len(each.letters) for each in dead)
    of_cases = f"{len(dead)} case{'s' * (len(dead) != 1)}"
    print(f"suitecase: {count} item{'s' * (count != 1)} of {of_cases} to ask again.", file=sys.stderr, flush=True)
    become(how, REPLAY)


def show_replay(dead: Sequence[DeadLetters], left_out: Sequence[str], how: Resume, as_json: bool) -> None:
    """What a replay would ask again."""
    from dataclasses import asdict

    if as_json:
        cases = [asdict(each) for each in dead]
        print_json({"cases": cases, "left_out": left_out, "command": how.command, "folder": str(how.folder)})
        return
    print_problems(left_out)
    rows = [[each.variant, letter.key, str(letter.repeat), letter.error] for each in dead for letter in each.letters]
    print_table(["case", "item", "repeat", "last error"], rows, right=["repeat"])


def gc(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Runs of which nothing was heard for 30d, 12h.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="All but the latest N runs of each experiment.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS", help="Runs with this status; may be repeated.", autocompletion=words_of(*STATUSES)
        ),
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Their published logs of Inspect too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it they are only listed.")] = False,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """List old runs with their sizes, or delete them with --yes.

    A run may go if all the rules that are given say so, and if it isn't running.
    """
    from suitecase.queries import find_results_dir, parse_since
    from suitecase.queries.cleaning import Rules, find_disposable
    from suitecase.queries.selection import check_statuses

    before = parse_since(older_than) if older_than is not None else None
    rules = Rules(before, keep, check_statuses(status or []), logs)
    folder = find_results_dir(given=results_dir)
    found = find_disposable(folder, rules)
    gone, problems = delete_all(found) if yes else ([], [])
    if as_json:
        print_json(as_document(found, gone))
    else:
        print_verdicts(found, folder, bool(rules))
        if gone:
            console().print(f"Deleted {len(gone)}: {size(sum(each.size_bytes for each in gone))}.")
        elif found.disposable and not yes:
            console().print("Nothing was deleted: --yes deletes what is listed.")
    if problems:
        fail(problems, exit_code=1)


def delete_all(found: Verdicts) -> tuple[list[Disposable], list[str]]:
    """Delete what may go; what is gone, and why the rest is not."""
    from suitecase.errors import SuitecaseError
    from suitecase.queries.cleaning import delete

    gone: list[Disposable] = []
    problems: list[str] = []
    for each in found.disposable:
        try:
            delete(each)
            gone.append(each)
        except SuitecaseError as error:
            problems += error.problems
    return gone, problems


def as_document(found: Verdicts, gone: list[Disposable]) -> dict[str, object]:
    """The verdicts for programs."""
    listed = [
        {
            "path": str(each.path), "experiment": each.experiment, "size_bytes": each.size_bytes, "why": each.why,
            "logs": [str(log) for log in each.logs], "deleted": each in gone,
        }
        for each in found.disposable
    ]  # fmt: skip
    return {"disposable": listed, "spared": [{"path": str(path), "why": why} for path, why in found.spared]}


def print_verdicts(found: Verdicts, folder: Path, has_rules: bool) -> None:
    """What may go and what stays, for people."""
    out = console()
    rows = [
        [each.experiment, each.path.name, size(each.size_bytes), each.why + logs_words(len(each.logs))]
        for each in found.disposable
    ]
    if rows:
        print_table(["experiment", "run", "size", "why"], rows, right=["size"])
        out.print(f"{len(rows)} in all: {size(sum(each.size_bytes for each in found.disposable))}.")
    else:
        out.print(f"Nothing to delete in {folder}.")
    for path, why in found.spared:
        out.print(f"{path.relative_to(folder)} stays: {why}.", style="yellow")
    if not has_rules:
        out.print("Of runs nothing is listed without a rule: --older-than 30d, --keep 5, --status failed.")


def logs_words(count: int) -> str:
    return f"; with {count} log{'s' * (count != 1)}" if count else ""
