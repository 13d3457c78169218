"""`ls`, `show`, `results`: what ran, and what came out."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suitecase.cli.common import (
    STATUSES,
    AsJson,
    ResultsDir,
    RunName,
    complete_case,
    complete_experiment,
    console,
    counted,
    duration,
    fail,
    local_time,
    open_run,
    print_json,
    print_problems,
    print_table,
    size,
    status_text,
    words_of,
)

if TYPE_CHECKING:
    from suitecase.errors import NotFoundError
    from suitecase.rundir import Run

__all__ = ["list_", "results", "show"]


def list_(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="EXPERIMENT", help="Only this experiment.", autocompletion=complete_experiment),
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Runs with such a case: model=svm 'accuracy>0.9'."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS", help="Only runs with this status; may be repeated.", autocompletion=words_of(*STATUSES)
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Begun after: 2h, 3d, or a date.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="METRIC", help="By the best value of a result; -METRIC: the lowest first.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", metavar="N", min=1, help="At most so many, the latest.")
    ] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the latest last."""
    from suitecase.queries import Filter, find_results_dir, list_runs, parse_condition, parse_since
    from suitecase.queries.selection import check_fields, check_statuses, unreadable_folders

    given = [*([experiment] if experiment else []), *(conditions or [])]
    named = [text for text in given[:1] if not any(sign in text for sign in "=<>")]
    chosen = Filter(
        experiment=named[0] if named else None,
        statuses=check_statuses(status or []),
        since=parse_since(since) if since else None,
        conditions=tuple(parse_condition(text) for text in given[len(named) :]),
    )
    folder = find_results_dir(given=results_dir)
    if results_dir is not None and not folder.is_dir():
        fail([f"there is no folder {folder}."])
    runs = sorted(list_runs(folder, chosen), key=lambda run: run.name)
    if chosen.conditions and not runs:
        check_fields(list(list_runs(folder, Filter(chosen.experiment))), [each.field for each in chosen.conditions])
    if sort is not None:
        check_fields(runs, [sort.removeprefix("-")])
        runs = sorted_by_metric(runs, sort)
    runs = runs[-limit:] if limit else runs
    if as_json:
        from suitecase.tables import run_rows

        rows = zip(runs, run_rows(runs), strict=True)
        print_json([{**row, "path": str(run.path)} for run, row in rows])
        print_problems(unreadable_folders(folder, chosen.experiment))
        return
    unreadable = unreadable_folders(folder, chosen.experiment)
    if runs:
        columns = ["experiment", "run", "status", "cases", "started", "took", "note"]
        rows = [row_of(run) for run in runs]
        if not any(row[-1] for row in rows):
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        print_table(columns, rows, names=["experiment", "run"])
    elif not unreadable:
        console().print(f"No such run in {folder}." if given or status or since else f"No runs in {folder} yet.")
    print_problems([*unreadable, *(problem for run in runs for problem in run.problems)])
    if unreadable and not runs:
        raise typer.Exit(1)


def row_of(run: Run) -> list[Any]:
    counts = ", ".join(f"{count} {status}" for status, count in run.counts.items())
    return [
        run.experiment, run.name, status_text(run.status), counts, local_time(run.started_at), duration(run.duration_s),
        str(run.asked.get("note") or ""),
    ]  # fmt: skip


def sorted_by_metric(runs: Sequence[Run], metric: str) -> list[Run]:
    """By the best value that a case of each has; runs without one come first."""
    from suitecase.queries.selection import best_value

    name, sign = metric.removeprefix("-"), -1 if metric.startswith("-") else 1
    values = {run.path: best_value(run, name, sign) for run in runs}
    return sorted(runs, key=lambda run: sign * values[run.path])


SHOWN_CASES = 1_000


def show(
    run: RunName,
    case: Annotated[
        str | None, typer.Argument(metavar="CASE", help="One case, in full.", autocompletion=complete_case)
    ] = None,
    results_dir: ResultsDir = None,
    all_: Annotated[
        bool, typer.Option("--all", help=f"Every case of a run that has more than {SHOWN_CASES:,}.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run or a case: what was asked, and what came out."""
    from suitecase.queries import find_case
    from suitecase.queries.overview import case_overview, run_overview

    found = open_run(run, results_dir)
    if case is not None:
        overview = case_overview(found, find_case(found, case))
        print_json(overview) if as_json else print_case(found, overview)
        print_problems(overview["problems"])
        return
    overview = run_overview(found, None if all_ or as_json else SHOWN_CASES)
    print_json(overview) if as_json else print_run(found, overview)
    print_problems(overview["problems"])


def print_run(run: Run, overview: dict[str, Any]) -> None:
    """A run for people."""
    from suitecase.queries.served import served_words
    from suitecase.tables.formats import cell_text

    out = console()
    out.print(f"{run.experiment}  {run.name}", style="bold")
    out.print(status_text(run.status), *([f"({overview['evidence']})"] if overview["evidence"] else []))
    told = {**overview, "started": local_time(overview["started"]), "took": duration(overview["took"])}
    for name in ("description", "note", "code", "launcher", "started", "took", "command", "path"):
        if told[name]:
            out.print(f"  {name + ':':<13}{told[name]}")
    if overview["same_config"]:
        same = ", ".join(f"{name}={cell_text(value)}" for name, value in overview["same_config"].items())
        out.print(f"  {'these cases:' if overview['left_out'] else 'all cases:':<13}{same}")
    for line in served_words(overview["served_models"]):
        out.print(f"  {'served:':<13}{line}")
    columns = ["case", "status", "took", "memory", *overview["config_columns"], *overview["result_columns"]]
    rows = [
        [
            row["variant"], status_text(row["status"]), duration(row["duration_s"]), size(row["max_rss_bytes"]),
            *(cell_text(row["config"].get(name)) for name in overview["config_columns"]),
            *(result_text(row["results"], name) for name in overview["result_columns"]),
        ]
        for row in overview["cases"]
    ]  # fmt: skip
    if not rows:
        return
    out.print()
    print_table(columns, rows, right=["took", "memory", *overview["result_columns"]], names=["case"])
    if overview["left_out"]:
        out.print(f"… and {overview['left_out']:,} more: --all shows them, and what was spent.", style="yellow")
    if overview["spending"]:
        print_spending(overview["spending"])
    counts = ", ".join(f"{count} {status}" for status, count in run.counts.items())
    out.print(f"\n{counted(len(run.cases), 'case')}: {counts}")
    for row in overview["cases"]:
        if row["cause"]:
            out.print(f"  {row['variant']}: {row['cause']}", style="red")
    for what, command in overview["commands"].items():
        out.print(f"{what + ':':<10}{command}")


def print_spending(spending: list[dict[str, Any]]) -> None:
    """What was spent, by model and condition, and in all."""
    from suitecase.tables.formats import cell_text

    rows = [
        [
            row["model"] or "not told",
            ", ".join(f"{name}={cell_text(value)}" for name, value in row["condition"].items()),
            f"{row['calls']:,}", f"{row['input_tokens']:,}", f"{row['output_tokens']:,}", f"{row['usd']:.6g}",
        ]
        for row in spending
    ]  # fmt: skip
    if len(rows) > 1:
        rows.append(["in all", "", "", "", "", f"{sum(row['usd'] for row in spending):.6g}"])
    figures = ["calls", "input tokens", "output tokens", "USD"]
    console().print("\nspent:")
    print_table(["model", "condition", *figures], rows, right=figures)


def result_text(results: dict[str, Any], name: str) -> str:
    """A result as people read it; a mean of `suitecase.items` with its interval and n."""
    from suitecase.tables.formats import cell_text

    text, about = cell_text(results.get(name)), f"metrics.{name}."
    if results.get(f"{about}n") is None:
        return text
    low, high = results.get(f"{about}ci_low"), results.get(f"{about}ci_high")
    interval = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{text}{interval} n={results[f'{about}n']}"


def print_case(run: Run, overview: dict[str, Any]) -> None:
    """A case for people."""
    from suitecase.tables.formats import cell_text

    out = console()
    out.print(f"{run.experiment}  {run.name}  {overview['variant']}", style="bold")
    out.print(status_text(overview["status"]), *([overview["cause"]] if overview["cause"] else []))
    for title in ("config", "results"):
        if overview[title]:
            out.print(f"{title}:")
            for name, value in overview[title].items():
                out.print(f"  {name} = {cell_text(value)}")
    out.print("attempts:")
    for attempt in overview["attempts"]:
        facts = [duration(attempt["duration_s"])]
        facts += [f"exit code {attempt['exit_code']}"] if attempt["exit_code"] else []
        facts += [f"signal {attempt['signal']}"] if attempt["signal"] else []
        facts += [size(attempt["max_rss_bytes"])] if attempt["max_rss_bytes"] else []
        out.print(f"  {attempt['number']}  ", status_text(attempt["status"]), "  " + ", ".join(filter(None, facts)))
    if overview["files"]:
        out.print(f"files in {overview['path']}: {', '.join(overview['files'])}")
    for line in overview["log_tail"]:
        out.print(f"  | {line}")
    for what, command in overview["commands"].items():
        out.print(f"{what + ':':<10}{command}")


def results(
    run: RunName,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only this result.")] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Print what the cases of a run wrote as their results."""
    from suitecase.tables import flatten
    from suitecase.tables.rows import case_results

    found = open_run(run, results_dir)
    values: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for case in found.cases.values():
        told, wrong = case_results(found, case)
        values[case.variant] = told
        problems += wrong
    everything = {variant: flatten(told) for variant, told in values.items()}
    if key is not None:
        values = {variant: only_key(told, key) for variant, told in values.items()}
        if not any(values.values()):
            raise no_such_key(found, key, {name for told in everything.values() for name in told})
    if as_json:
        print_json(values)
    elif not any(values.values()):
        console().print(f"No case of {found.experiment}/{found.name} has results yet.")
    else:
        columns = list(dict.fromkeys(name for told in values.values() for name in flatten(told)))
        rows = [[variant, *(result_text(told, name) for name in columns)] for variant, told in everything.items()]
        print_table(["case", *columns], rows, right=columns)
    print_problems(problems)


def only_key(told: dict[str, Any], key: str) -> dict[str, Any]:
    """The results with that name, or below it: `latency_s` has `latency_s.p50`."""
    from suitecase.tables import flatten

    if key in told:
        return {key: told[key]}
    return {name: value for name, value in flatten(told).items() if name == key or name.startswith(f"{key}.")}


def no_such_key(run: Run, key: str, known: Set[str]) -> NotFoundError:
    """A result that no case has is a mistake, most likely of spelling."""
    from difflib import get_close_matches

    from suitecase.errors import NotFoundError

    near = get_close_matches(key, sorted(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known)[:8]) or 'none'}."
    return NotFoundError(f"no case of {run.name} has a result {key!r}: {hint}")
