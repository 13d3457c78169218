"""`diff`: how two runs differ, and what may explain it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from suitecase.cli.common import (
    AsJson,
    ResultsDir,
    RunName,
    console,
    counted,
    duration,
    print_json,
    print_problems,
    print_table,
)

__all__ = ["diff", "value_rows"]

SHOWN = 40
"""Rows of a table; `--json` has all."""


def diff(
    before: RunName,
    after: RunName,
    tolerance: Annotated[
        float, typer.Option(metavar="X", min=0, help="Numbers this near to each other count as close.")
    ] = 0.0,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: code, environment, configs, results.

    It says which difference may explain which, and when nobody can tell.
    """
    from suitecase.queries import find_results_dir, find_runs_named
    from suitecase.queries.comparison import compare_runs
    from suitecase.rundir import read_run

    paths = find_runs_named(find_results_dir(given=results_dir), [before, after])
    compared = compare_runs(*map(read_run, paths), tolerance=tolerance)
    print_json(compared) if as_json else print_comparison(compared)
    print_problems(compared["problems"])


def print_comparison(compared: dict[str, Any]) -> None:
    """A comparison for people."""
    from suitecase.tables.formats import cell_text

    out = console()
    for name in ("before", "after"):
        run = compared[name]
        out.print(f"{name + ':':<8}{run['experiment']}  {run['run']}  {run['status']}, {counted(run['cases'], 'case')}")
    out.print(f"\nCode: {code_words(compared['code'])}", style="bold")
    files = compared["code"]["files"]
    counts = [
        (file["path"], *("binary" if file[key] is None else str(file[key]) for key in ("added", "removed")))
        for file in files
    ]
    print_shortened(["file", "lines added", "removed"], counts, right=["lines added", "removed"])
    known, differing = compared["environment_known"], compared["environment"]
    out.print(f"Environment: {('the same' if not differing else 'differs') if known else 'not recorded'}", style="bold")
    print_differences(differing)
    configs = compared["configs"]
    out.print(f"Configs: {len(configs)} of {compared['matched']} matched cases differ", style="bold")
    fields = [(each["what"], each, variant) for variant, found in configs.items() for each in found]
    print_groups("field", fields)
    for name in ("before", "after"):
        if compared[f"only_{name}"]:
            out.print(f"  only {name}: {', '.join(compared[f'only_{name}'])}")
    print_groups("", [("status", each, each["what"]) for each in compared["statuses"]])
    telling = [value for value in compared["results"] if value["verdict"] != "time"]
    times = len(compared["results"]) - len(telling)
    words = f"{compared['equal_values']} values are equal, {len(telling)} are not"
    out.print(f"Results: {words}" + f"; {times} that tell times are left out" * bool(times), style="bold")
    print_shortened(VALUE_COLUMNS, value_rows(telling), right=VALUE_COLUMNS[2:])
    times_of = {value["key"] for value in compared["results"] if value["verdict"] == "time"}
    means = [mean for mean in compared["means"] if mean["key"] not in times_of]
    rows = [
        (mean["key"], str(mean["n"]), *(cell_text(mean[name]) for name in ("before", "after", "difference")))
        for mean in means
    ]
    print_shortened(
        ["mean over cases", "n", "before", "after", "difference"], rows, right=["n", "before", "after", "difference"]
    )
    durations = [(each["what"], duration(each["before"]), duration(each["after"])) for each in compared["durations"]]
    if durations:
        out.print("Durations", style="bold")
    print_shortened(["", "before", "after"], durations[:11], right=["before", "after"])
    out.print("What may explain what", style="bold")
    for sentence in compared["findings"]:
        out.print(f"  - {sentence}")


def code_words(code: dict[str, Any]) -> str:
    """Whether the code is the same, in words."""
    labels = f"{code['before']['label']} and {code['after']['label']}"
    if code["equal"]:
        return f"the same ({labels}, tree {code['before']['tree'][:12]})"
    if code["equal"] is None:
        left_out = f"; not recorded: {', '.join(code['left_out'])}" if code["left_out"] else ""
        return f"{labels}: nobody can tell whether it is the same{left_out}"
    return f"differs ({labels})" + f"; in which files can't be told: {code['problem']}" * bool(code["problem"])


VALUE_COLUMNS = ["case", "result", "before", "n", "after", "n", "difference", "relative"]


def value_rows(values: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row per value that differs, for `VALUE_COLUMNS`."""
    from suitecase.tables.formats import cell_text

    def relative(value: dict[str, Any]) -> str:
        return "" if value["relative"] is None else f"{value['relative']:+.2%}"

    return [
        (
            value["variant"], value["key"], cell_text(value["before"])[:60], cell_text(value["n_before"]),
            cell_text(value["after"])[:60], cell_text(value["n_after"]),
            "missing" if value["verdict"] == "missing" else cell_text(value["difference"]), relative(value),
        )
        for value in values
    ]  # fmt: skip


def print_differences(differences: Sequence[dict[str, Any]]) -> None:
    from suitecase.tables.formats import cell_text

    rows = [
        (each["what"], *(cell_text(each[name])[:60] or "–" for name in ("before", "after"))) for each in differences
    ]
    print_shortened(["", "before", "after"], rows)


def print_groups(title: str, found: Sequence[tuple[str, dict[str, Any], str]]) -> None:
    """A row for each change that some cases share, with the cases."""
    from suitecase.tables.formats import cell_text

    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, change, variant in found:
        before, after = (cell_text(change[side])[:60] or "–" for side in ("before", "after"))
        groups.setdefault((name, before, after), []).append(variant)
    rows = [
        (*key, str(len(variants)), ", ".join(variants[:3]) + ", …" * (len(variants) > 3))
        for key, variants in groups.items()
    ]
    print_shortened([title, "before", "after", "cases", ""], rows, right=["cases"])


def print_shortened(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """A table, if there are rows; the first of them, if there are many."""
    if rows:
        print_table(columns, rows[:SHOWN], right=right)
    if len(rows) > SHOWN:
        console().print(f"  … and {len(rows) - SHOWN} more: --json has all.")
