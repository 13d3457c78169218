"""`table` and `query`: rows for other programs, and questions in SQL."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suitecase.cli.common import GAP, AsJson, ResultsDir, RunNames, cells, print_problems, print_table, words_of

if TYPE_CHECKING:
    from suitecase.tables import Table

__all__ = ["query", "table"]

FORMATS = ("csv", "json", "jsonl", "markdown", "latex", "parquet")
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=words_of(*FORMATS),
        help="csv, json, jsonl, markdown, latex, parquet; by -o FILE's ending.",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.")]

ENDINGS = {
    ".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".md": "markdown", ".tex": "latex", ".parquet": "parquet",
}  # fmt: skip


def table(
    runs: RunNames,
    rows: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            autocompletion=words_of("cases", "attempts", "metrics", "items", "logs", "runs"),
            help="A row per: cases, attempts, metrics, items, logs or runs.",
        ),
    ] = "cases",
    metrics: Annotated[bool, typer.Option("--metrics", help="Short for --rows metrics.")] = False,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these columns, in this order; 'result.*' is allowed.")
    ] = None,
    format_name: OutputFormat = None,
    output: Output = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Print tidy rows of runs: a table on a terminal, else CSV."""
    from suitecase.queries import find_results_dir, find_runs_named
    from suitecase.rundir import read_run
    from suitecase.tables import Table
    from suitecase.tables.rows import ROWS

    what = "metrics" if metrics else rows
    chosen = check_format("json" if as_json else format_name, output)
    check_choice("--rows", what, list(ROWS))
    found = [read_run(path) for path in find_runs_named(find_results_dir(given=results_dir), runs)]
    made = Table(ROWS[what](found))
    of_cases = made.column("problems") if what == "cases" and "problems" in made.columns else []
    if columns is not None:
        made = made.only(matching_columns(made.columns, columns.split(",")))
    put_out(made, chosen, output, whole=columns is not None)
    print_problems([*(problem for run in found for problem in run.problems), *chain(*filter(None, of_cases))])
    if not len(made) and not as_json and not sys.stdout.isatty():
        print_problems([f"no rows: {NOTHING_TOLD.get(what, 'these runs have no cases')}."])


NOTHING_TOLD = {
    "metrics": "no case has told a metric (`tracking.metric`)",
    "items": "no case has recorded items (`suitecase.items`)",
    "logs": "none of these runs has published logs of Inspect",
    "attempts": "no case has begun",
}
"""Why a table has no rows."""


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT over runs, cases, attempts, metrics, items.")
    ] = None,
    format_name: OutputFormat = None,
    output: Output = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask all runs of the project in SQL.

    Without SQL it lists tables and columns. Needs the extra 'query'. Names with a dot need quotes.
    """
    from suitecase.queries import find_results_dir
    from suitecase.queries.sql import columns_of_tables, run_sql
    from suitecase.tables import Table

    chosen = check_format("json" if as_json else format_name, output)
    folder = find_results_dir(given=results_dir)
    if sql is None:
        named = columns_of_tables(folder)
        listed = ({"table": name, "column": column} for name, columns in named.items() for column in columns)
        put_out(Table(listed), chosen, output, whole=True)
        return
    put_out(Table(run_sql(folder, sql)), chosen, output, whole=True)


def check_format(given: str | None, output: Path | None) -> str | None:
    """The format that is meant; None for a table to look at.

    Raises:
        SuitecaseError: It is unknown, or needs a file.
    """
    from suitecase.errors import SuitecaseError

    chosen = given or (ENDINGS.get(output.suffix.lower()) if output else None)
    if output and chosen is None:
        raise SuitecaseError(f"{output}: its ending tells no format; give --format {', '.join(FORMATS)}.")
    if chosen is None:
        return None if sys.stdout.isatty() else "csv"
    check_choice("--format", chosen, FORMATS)
    if chosen == "parquet" and output is None:
        raise SuitecaseError("parquet is no text: give a file to write it to (-o FILE).")
    return chosen


def check_choice(option: str, given: str, choices: Iterable[str]) -> None:
    """A word that must be one of some.

    Raises:
        SuitecaseError: It is none.
    """
    from difflib import get_close_matches

    from suitecase.errors import SuitecaseError

    if given not in (known := list(choices)):
        near = get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
        raise SuitecaseError(f"{option} {given}: {hint}")


def matching_columns(known: list[str], wanted: Iterable[str]) -> list[str]:
    """The columns that names and patterns mean, in their order.

    Raises:
        NotFoundError: A sentence for each that means none.
    """
    from difflib import get_close_matches
    from fnmatch import fnmatchcase

    from suitecase.errors import NotFoundError

    found: dict[str, None] = {}
    problems: list[str] = []
    for name in wanted:
        fitting = [name] if name in known else [column for column in known if fnmatchcase(column, name)]
        if not fitting:
            near = get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}."
            problems.append(f"no row has a column {name!r}: {hint}")
        found.update(dict.fromkeys(fitting))
    if problems:
        raise NotFoundError(problems)
    return list(found)


def put_out(made: Table, chosen: str | None, output: Path | None, *, whole: bool) -> None:
    """Write a table, or show it: to look at, what is the same in all rows stands below once, unless `whole`."""
    from suitecase.tables import write_table
    from suitecase.tables.formats import cell_text
    from suitecase.tables.table import is_numeric

    if chosen is not None:
        text = write_table(made, chosen, output)
        print(text if output is None else "", end="")
        return
    if not len(made):
        print("No rows.")
        return
    shown = made.columns if whole or len(made) == 1 else made.varying()
    varying = shown
    cells_of = {name: [cell_text(value) for value in made.column(name)] for name in shown}
    if not whole:
        shown = fitting_columns(cells_of, shutil.get_terminal_size().columns)
    right = [name for name in shown if is_numeric(made.column(name))]
    print_table(shown, list(zip(*(cells_of[name] for name in shown), strict=True)), right=right, names=shown)
    if left_out := [name for name in varying if name not in shown]:
        print(f"\nTo see as well, by --columns or in a file (-o): {', '.join(left_out)}")
    first = next(made.dicts())
    same = [
        f"{name}={cell_text(first[name])}" for name in made.columns if name not in varying and first[name] is not None
    ]
    if same:
        print(f"\nall {len(made)} rows: {', '.join(same)}")


LEAST_ASKED = (
    "commit", "host", "pid", "tree", "gpus", "ended_at", "started_at", "system_cpu_s", "user_cpu_s", "dirty",
    "max_rss_bytes", "mode", "passes", "mixes_code", "tags", "problems", "attempts", "cause", "duration_s",
)  # fmt: skip
"""What a terminal does without that is too narrow for all columns, in this order; then the last columns."""


def fitting_columns(cells_of: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """The columns that have room side by side, two at least."""
    widths = {name: max(map(cells, (name, *texts))) + GAP for name, texts in cells_of.items()}
    spare = [*(name for name in LEAST_ASKED if name in widths), *reversed([n for n in widths if n not in LEAST_ASKED])]
    while len(widths) > 2 and sum(widths.values()) > width:
        del widths[spare.pop(0)]
    return list(widths)
