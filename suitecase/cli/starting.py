"""`init`, `estimate`: how an experiment begins, and what running it will take."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suitecase.cli.common import AsJson, ResultsDir, console, duration, fail, print_json, words_of

if TYPE_CHECKING:
    from suitecase.queries.estimate import Estimate
    from suitecase.queries.simulation import Interval

__all__ = ["estimate", "init"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the project is, or will be.")] = Path(),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the experiment; by default my-experiment.")
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="basic, inspect (an evaluation by Inspect AI) or sweep (a grid).",
            autocompletion=words_of("basic", "inspect", "sweep"),
        ),
    ] = "basic",
    use_package: Annotated[
        bool, typer.Option("--use-package", help="Import the installed package; copy no files.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Compare copies with the installed files; replace unedited ones.")
    ] = False,
    skill: Annotated[
        bool, typer.Option("--skill", help="The skill for coding agents too; where suites are already, it alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a project with an experiment that runs as it is. Nothing is overwritten."""
    from dataclasses import asdict

    from suitecase.queries import find_results_dir, project_root
    from suitecase.scaffold import make_project

    folder = Path(os.path.abspath(folder))
    if update:
        update_copies(folder, as_json)
        return
    root = project_root(folder)
    has_suites = any(folder.glob("experiments/*/suite_*.py"))
    made = make_project(
        folder,
        root=root,
        results_dir=find_results_dir(folder),
        name=name or "my-experiment",
        template=template,
        copy_files=not use_package,
        with_experiment=not (skill and has_suites and name is None),
        with_skill=skill,
    )
    if as_json:
        print_json(asdict(made))
        return
    out = console()
    for path in made.written:
        out.print(f"wrote {folder / path}")
    if made.ignored:
        out.print(f"added {' and '.join(made.ignored)} to {root / '.gitignore'}")
    for note in made.notes:
        out.print(note, style="yellow")
    if made.commands:
        out.print("\nNext:")
    for command in made.commands:
        out.print(f"  {command}")


def update_copies(folder: Path, as_json: bool) -> None:
    """Show how copies differ from the installed files, replace those that nobody edited; 1 if others are left."""
    from dataclasses import asdict

    from suitecase.scaffold import compare_copies, replace_copies

    copies = compare_copies(folder)
    replaced = replace_copies(folder, copies)
    if as_json:
        print_json([{**asdict(copy), "replaced": copy.path in replaced} for copy in copies])
    else:
        out = console()
        for copy in copies:
            out.print(copy.difference)
        for copy in copies:
            if copy.path in replaced:
                out.print(f"{copy.path}: replaced.")
            else:
                out.print(f"{copy.path}: left alone, because {REASONS[copy.state]}. To take the installed one:")
                out.print(f"  cp {copy.source} {folder / copy.path}")
        if not copies:
            out.print("Every copy is the installed version.")
    if len(replaced) < len(copies):
        raise typer.Exit(1)


REASONS = {
    "edited": "it was edited since it was copied",
    "unrecorded": "it was copied by hand, so that nothing tells whether it was edited",
    "newer": "it is newer than the installed one",
}


def estimate(
    suite: Annotated[Path, typer.Argument(metavar="SUITE", help="The suite's file.")],
    parallelism: Annotated[
        int | None, typer.Option("-p", "--parallelism", min=1, metavar="N", help="Cases at a time.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="As of the suite.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As of the suite.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN_DIR", help="As of the suite: what is left to do there.")
    ] = None,
    pilot: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Run N items of every case now, and go by them.")
    ] = None,
    confirm_above: Annotated[
        float | None,
        typer.Option(min=0, metavar="USD", help="Ask if it may cost more; exit 2 where nobody can be asked."),
    ] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Estimate time and cost of a suite, from earlier runs or a pilot."""
    from dataclasses import asdict

    from suitecase.queries.estimate import NoBasisError, describe_suite, estimate_from_runs
    from suitecase.queries.pilot import estimate_by_pilot

    changes = [word for text in set_ or [] for word in ("--set", text)]
    flags = [*changes, *(word for pattern in only or [] for word in ("--only", pattern))]
    if resume is not None:
        if pilot is not None:
            fail(["a pilot begins anew: leave --pilot or --resume out."])
        flags += ["--resume", resume]
    planned = describe_suite(suite, places=parallelism, flags=flags, results_dir=results_dir)
    try:
        found = estimate_from_runs(planned) if pilot is None else estimate_by_pilot(planned, pilot, changes)
    except NoBasisError as error:
        if confirm_above is None:
            fail(error.problems, exit_code=1)
        confirm(None, confirm_above, "; ".join(error.problems))
        return
    print_json(asdict(found)) if as_json else print_estimate(found)
    if confirm_above is not None:
        confirm(found.cost_usd, confirm_above, "no earlier case recorded what it cost")


def print_estimate(found: Estimate) -> None:
    """An estimate for people."""
    out = console()
    share = f"{found.confidence:.0%}"
    out.print(f"{found.experiment}: {found.cases} cases, {found.places} at a time", style="bold")
    for name, interval, words in (
        ("time", found.duration_s, duration),
        ("cases", found.case_time_s, duration),
        ("cost", found.cost_usd, usd),
    ):
        if interval is None:
            out.print(f"  {name + ':':<7}unknown: no earlier case recorded cost_usd")
            continue
        between = "" if interval.low is None else f"  ({share}: {words(interval.low)} to {words(interval.high)})"
        out.print(f"  {name + ':':<7}{words(interval.expected)}{' in all' * (name == 'cases')}{between}")
    out.print(f"  {'basis:':<7}{basis_words(found)}")
    for note in found.notes:
        out.print(f"  {note}", style="yellow")


def usd(amount: float | None) -> str:
    """An amount of money: cents from a dollar on, else two significant digits."""
    return "" if amount is None else f"{amount:.2f} USD" if amount >= 1 else f"{amount:.2g} USD"


BASES = {
    "config": "by cases with the same config, seed aside",
    "variant": "by cases of the same name, with another config",
    "experiment": "by all cases of the experiment",
    "pilot": "by their own first items",
}


def basis_words(found: Estimate) -> str:
    """What an estimate rests on, and how it was made."""
    kinds = ", ".join(f"{count} {BASES[kind]}" for kind, count in found.basis.items())
    of_runs = f"; {len(found.runs)} run{'s' * (len(found.runs) != 1)}" if found.runs else ""
    method = f"; {found.simulations} simulations, seed {found.seed}" if found.simulations else ""
    return kinds + of_runs + method


def confirm(cost: Interval | None, limit_usd: float, unknown: str) -> None:
    """Ask whether a cost above a limit is fine; a cost that nobody knows is taken to be above it.

    Raises:
        typer.Exit: 1 if the answer is no, 2 where there is no terminal.
    """
    most = None if cost is None else cost.expected if cost.high is None else cost.high
    if most is not None and most <= limit_usd:
        return
    what = f"it may cost {usd(most)}" if most is not None else f"its cost is unknown ({unknown.rstrip('.')})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail([f"{what}, and --confirm-above is {limit_usd:g} USD: nobody is here to confirm it."])
    if not typer.confirm(f"{what[0].upper()}{what[1:]}, more than {limit_usd:g} USD. Go on?", err=True):
        raise typer.Exit(1)
