"""`verify`, `reproduce`, `export`: whether a run is whole, whether it comes out again, and how others get it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suitecase.cli.common import (
    AsJson,
    ResultsDir,
    RunName,
    console,
    counted,
    open_run,
    print_json,
    print_problems,
    print_table,
)

if TYPE_CHECKING:
    from suitecase.queries.reproduction import Plan, Reproduction

__all__ = ["export", "reproduce", "verify"]


def verify(run: RunName, results_dir: ResultsDir = None, as_json: AsJson = False) -> None:
    """Check a run against its own hashes, sizes and counts.

    Exit code 0: it is whole; 1: something is wrong.
    """
    from suitecase.queries import find_results_dir, find_run
    from suitecase.queries.verification import verify_run

    found = verify_run(find_run(find_results_dir(given=results_dir), run))
    if as_json:
        print_json(
            {
                "run": found.run.name, "path": str(found.run.path), "whole": found.is_whole,
                "problems": found.problems, "notes": found.notes, "proved": found.counts,
            }
        )  # fmt: skip
    else:
        out, counts = console(), found.counts
        verdict = "whole" if found.is_whole else f"{len(found.problems)} problem{'s' * (len(found.problems) > 1)}"
        out.print(f"{found.run.experiment}  {found.run.name}: {verdict}", style="green" if found.is_whole else "red")
        out.print(
            f"  {counts['journal_lines']} journal lines, {counts['configs']} configs and {counts['files_by_hash']} "
            f"files have their hashes, {counts['files_by_size']} larger files their sizes."
        )
        for problem in found.problems:
            out.print(f"  - {problem}", style="red")
        for note in found.notes:
            out.print(f"  note: {note}")
    raise typer.Exit(0 if found.is_whole else 1)


def reproduce(
    run: RunName,
    case: Annotated[list[str] | None, typer.Option(metavar="VARIANT", help="Only this case; may be repeated.")] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="X", min=0, help="Numbers this near count as reproduced; absolute or relative.")
    ] = 0.0,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A result that doesn't count; a pattern.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with code and results.")] = False,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="That folder; it is kept.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse where the environment is not the recorded one.")
    ] = False,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a run again, with its code, and compare the results.

    Exit code 0: they are equal; 1: they are not; 2: it can't be done.
    Works in a folder of its own: your files, index and branches stay as they are.
    """
    from suitecase.errors import SuitecaseError
    from suitecase.queries import find_case
    from suitecase.queries.reproduction import compare_with_original, plan_reproduction, reproduce_run, workplace

    original = open_run(run, results_dir)
    plan = plan_reproduction(original, [find_case(original, name).variant for name in case or []])
    if not as_json:
        print_plan(plan)
    if strict and (differing := [each for each in plan.differences if each.what != "host"]):
        raise SuitecaseError(
            [
                f"--strict: {each.what} was {each.before or 'absent'}, and is {each.after or 'absent'} here."
                for each in differing
            ]
        )
    with workplace(to, keep=keep) as place:
        if not as_json:
            console().print(f"Running in {place} …")
        done = compare_with_original(plan, reproduce_run(plan, place), tolerance=tolerance, ignore=ignore or [])
    kept = place if keep or to else None
    if as_json:
        print_json(as_document(plan, done, kept))
    else:
        print_reproduction(done)
    if kept and not as_json:
        console().print(f"Code and results: {kept}")
    raise typer.Exit(0 if done.is_equal else 1)


def print_plan(plan: Plan) -> None:
    """What will be run, and what is not as it was."""
    out = console()
    code = plan.run.code
    out.print(
        f"{plan.run.experiment}  {plan.run.name}: {counted(len(plan.variants), 'case')}, code {code.label}",
        style="bold",
    )
    for difference in plan.differences:
        out.print(
            f"  {difference.what}: {difference.before or 'absent'}, here {difference.after or 'absent'}", style="yellow"
        )
    for note in plan.notes:
        out.print(f"  {note}", style="yellow")


def print_reproduction(done: Reproduction) -> None:
    """A row per value that did not come out again, and how many did."""
    from suitecase.tables.formats import cell_text

    out = console()
    rows = [
        (
            value.variant, value.key, cell_text(value.before)[:60], cell_text(value.after)[:60],
            value.verdict if value.difference is None else f"{value.verdict} by {value.difference:.6g}",
        )
        for value in done.values
        if value.verdict not in ("equal", "time")
    ]  # fmt: skip
    if rows:
        print_table(["case", "result", "recorded", "now", "verdict"], rows, right=["recorded", "now"])
    for failure in done.failures:
        out.print(failure, style="red")
    counts = {verdict: sum(value.verdict == verdict for value in done.values) for verdict in WORDS}
    words = ", ".join(f"{count} {WORDS[verdict]}" for verdict, count in counts.items() if count)
    verdict = "Reproduced" if done.is_equal else "Not reproduced"
    out.print(f"{verdict}: {words or 'no results to compare'}.", style="green" if done.is_equal else "red")


WORDS = {
    "equal": "equal",
    "close": "within the tolerance",
    "differs": "differ",
    "missing": "only in one of the runs",
    "time": "that tell times, which don't count",
}


def as_document(plan: Plan, done: Reproduction, place: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": plan.run.name,
        "path": str(plan.run.path),
        "equal": done.is_equal,
        "cases": plan.variants,
        "environment": [asdict(each) for each in plan.differences],
        "notes": plan.notes,
        "exit_code": done.exit_code,
        "failures": done.failures,
        "values": [asdict(value) for value in done.values],
        "kept": place and str(place),
    }


def export(
    run: RunName,
    to: Annotated[Path, typer.Option(metavar="DIR|FILE.zip", help="A new folder, or a new archive.")],
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Put a run, its code and results where others can check them."""
    from suitecase.queries.export import export_run

    made = export_run(open_run(run, results_dir), to)
    if as_json:
        print_json({"path": str(made.path), "files": made.files, "size_bytes": made.size_bytes, "notes": made.notes})
    else:
        console().print(f"{made.path}: {made.files} files, {made.size_bytes / 1e6:.1f} MB")
        print_problems(made.notes)
