"""`logs` and `watch`: what cases print, and what runs do, also while they do it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suitecase.cli.common import (
    RUN_HELP,
    AsJson,
    CaseName,
    ResultsDir,
    RunName,
    complete_run,
    console,
    duration,
    local_time,
    open_run,
    print_jsonl,
    status_text,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from suitecase.queries.logs import Line
    from suitecase.queries.watching import Begun, Change, RunWatch, Seen
    from suitecase.rundir import CaseRun, Run

__all__ = ["logs", "watch"]


def logs(
    run: RunName,
    case: CaseName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the case has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(metavar="N", min=1, help="Instead of the latest.")] = None,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", metavar="N", min=0, help="Only the last so many.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only lines with this regular expression.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What the case told at this level or above, with time and data.")
    ] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Print what a case printed, made safe for a terminal.

    With --json an object per line.
    """
    from suitecase.cli.tabular import check_choice
    from suitecase.queries import find_case
    from suitecase.queries.logs import LEVELS, compile_pattern

    pattern = compile_pattern(grep) if grep is not None else None
    if level is not None:
        check_choice("--level", level, LEVELS)
    found = open_run(run, results_dir)
    chosen = find_case(found, case)
    if level is not None:
        source = told_lines(found, chosen, level, attempt, follow)
        source = fitting_lines(source, pattern, None if follow else lines)
    elif follow:
        source = followed_lines(found, chosen, attempt, lines)
        source = fitting_lines(source, pattern, None)
    else:
        from suitecase.queries.logs import find_attempt, read_attempt

        source = read_attempt(chosen, find_attempt(chosen, attempt), lines, pattern)
    for line in source:
        print_log_line(line, as_json, flush=follow)


def told_lines(run: Run, case: CaseRun, level: str, attempt: int | None, follow: bool) -> Iterator[Line]:
    """What a case told, at first and as it comes."""
    from suitecase.queries.logs import POLL_S, GrowingFile, told_events
    from suitecase.rundir import RunReader, layout

    growing, reader = GrowingFile(case.path / layout.TRACKING), RunReader(run.path)
    while True:
        ended = not follow or reader.refresh().cases[case.variant].status not in ("running", "pending")
        yield from told_events(growing.lines(unfinished=False), level, attempt)
        if ended:
            return
        time.sleep(POLL_S)


def followed_lines(run: Run, case: CaseRun, attempt: int | None, last: int | None) -> Iterator[Line]:
    """The lines of a case as they come; a further attempt is announced on standard error."""
    from suitecase.queries.logs import attempts_with_log, find_attempt, follow_case
    from suitecase.rundir import RunReader

    first = find_attempt(case, attempt) if attempt or attempts_with_log(case.path) else None
    shown = first
    for line in follow_case(RunReader(run.path), case.variant, first, last, only_first=attempt is not None):
        if line is None:
            continue
        if shown not in (None, line.attempt):
            print(f"suitecase: attempt {line.attempt} of {case.variant}", file=sys.stderr)
        shown = line.attempt
        yield line


def fitting_lines(lines: Iterator[Line], pattern: re.Pattern[str] | None, last: int | None) -> Iterator[Line]:
    """Those in which a pattern is found, the last of them if so many are wanted."""
    from collections import deque

    fitting = (line for line in lines if pattern is None or pattern.search(line.text))
    return fitting if last is None else iter(deque(fitting, maxlen=last))


def print_log_line(line: Line, as_json: bool, *, flush: bool) -> None:
    """A line for people, or for programs."""
    from suitecase.tables.formats import cell_text

    told = {"level": line.level, "time": line.time, "data": dict(line.data)} if line.level is not None else {}
    if as_json:
        print_jsonl({"attempt": line.attempt, "text": line.text, **told})
    elif line.level is None:
        print(line.text, flush=flush)
    else:
        data = "".join(f"  {name}={safe(cell_text(value))}" for name, value in line.data.items())
        print(f"{local_time(line.time)}  {line.level:<7}  {line.text}{data}", flush=flush)


def safe(text: str) -> str:
    """Text on one line that no terminal obeys."""
    from suitecase.queries.logs import shown_text

    return shown_text(text.replace("\n", "\\n").encode("utf-8", "backslashreplace"))


def watch(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]…", help=f"{RUN_HELP} All that run if none is named.", autocompletion=complete_run
        ),
    ] = None,
    interval_s: Annotated[float, typer.Option("--interval", metavar="SECONDS", min=0.05, help="Between looks.")] = 1.0,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Watch runs until all have ended.

    Exit code 0: all cases succeeded. With --json an object per change.

    Runs that begin meanwhile are taken up: of an experiment if it was named, of all with 'latest' or no name.
    """
    from suitecase.queries import Filter, find_results_dir, find_runs_named, list_runs
    from suitecase.queries.watching import Begun, RunWatch, all_succeeded, meant_experiment

    folder = find_results_dir(given=results_dir)
    begun = Begun(folder, None)
    if runs:
        found = find_runs_named(folder, runs)
        meant = [meant_experiment(name, path) for name, path in zip(runs, found, strict=True)]
        begun.experiments = None if "" in meant else {experiment for experiment in meant if experiment}
        paths = list(dict.fromkeys(found))
    else:
        paths = [run.path for run in list_runs(folder, Filter(statuses=("running",)))]
        if not paths:
            print("suitecase: nothing runs.", file=sys.stderr)
            return
    watches = [RunWatch(path) for path in paths]
    if sys.stdout.isatty() and not as_json:
        seen = watch_on_terminal(watches, begun, interval_s)
    else:
        seen = watch_by_lines(watches, begun, interval_s, as_json)
    raise typer.Exit(0 if all_succeeded(seen) else 1)


def watch_by_lines(watches: list[RunWatch], begun: Begun, interval_s: float, as_json: bool) -> list[Seen]:
    """A line per change, until all runs are over, those included that begin meanwhile."""
    while True:
        watches += begun.take()
        for each in watches:
            for change in each.changes():
                print_change(each, change, as_json)
        seen = [each.seen for each in watches if each.seen is not None]
        if all(each.over for each in seen):
            return seen
        time.sleep(interval_s)


def print_change(watched: RunWatch, change: Change, as_json: bool) -> None:
    """A change for people, or for programs."""
    assert watched.seen is not None
    run, now = watched.seen.run, datetime.now(UTC)
    if as_json:
        of = {"variant": change.variant} if change.variant is not None else {}
        start = {"time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "experiment": run.experiment}
        print_jsonl({**start, "run": run.name, **of, "status": change.status, **change.facts})
        return
    subject = f"{run.experiment}/{run.name}" + (f" {change.variant}" if change.variant is not None else "")
    words = f"{subject} {change.status}" + (f": {change.words}" if change.words else "")
    print(safe(f"{now.astimezone():%H:%M:%S} {words}"), flush=True)


def watch_on_terminal(watches: list[RunWatch], begun: Begun, interval_s: float) -> list[Seen]:
    """A table that is drawn anew, until all runs are over, those included that begin meanwhile."""
    from rich.live import Live

    out = console()
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            watches += begun.take()
            seen = [each.look() for each in watches]
            over = all(each.over for each in seen)
            live.update(view(seen, None if over else out.height), refresh=True)
            if over:
                return seen
            time.sleep(interval_s)


def view(seen: Sequence[Seen], height: int | None) -> RenderableType:
    """The runs, what runs in them, and what failed; no higher than a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    runs = Table(box=None, pad_edge=False)
    for name in ("run", "status", "cases", "left"):
        runs.add_column(name, overflow="fold")
    for each in seen:
        counts = ", ".join(f"{count} {status}" for status, count in each.run.counts.items())
        left = f"about {duration(each.eta_s)}" if each.eta_s is not None else ""
        runs.add_row(f"{each.run.experiment}/{each.run.name}", status_text(each.run.status), counts, left)
    running = Table(box=None, pad_edge=False, show_header=False)
    rows = [row for each in seen for row in running_rows(each)]
    room = max(1, height - 3 * len(seen) - 8) if height else len(rows)
    for row in rows[:room]:
        running.add_row(*row)
    failures = [
        Text(f"{case.variant}: {safe(case.cause)}", style="red", overflow="ellipsis", no_wrap=True)
        for each in seen
        for case in each.failures
    ]
    more = [Text(f"… and {len(rows) - room} more", style="dim")] if len(rows) > room else []
    gone = [Text(f"{each.run.name}: {each.run.owner.evidence}") for each in seen if each.over and each.run.owner]
    return Group(runs, running, *more, *failures[-5:], *gone)


def running_rows(seen: Seen) -> Iterator[list[Any]]:
    """A row per running case: name, how long, how far."""
    for progress in seen.running:
        far = ""
        if progress.done is not None:
            far = f"{progress.done:g}" + (f"/{progress.total:g}" if progress.total is not None else "")
        again = f"attempt {progress.attempt}" if progress.attempt > 1 else ""
        yield [progress.variant, duration(progress.elapsed_s), far, progress.message, again]
