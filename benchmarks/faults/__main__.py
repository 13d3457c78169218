"""Break runs on purpose, and count what held.

    python3 dev.py faults [--quick] [--only F1,F2] [--seed N] [--isolate | --launcher warm]

Every row tries one promise against one fault, with real processes, and fails if the promise broke or the fault never
fired. A whole run writes docs/reliability.md, with `--launcher warm` its section about that; `--quick`, `--only` and
`--isolate` print the table only.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .document import figure, write_document, write_section_of_warm
from .framework import Campaign, Outcome, Row
from .harness import ROOT, sweep

MODULES = ("rows_processes", "rows_load", "rows_disk", "rows_input")
DOCUMENT = ROOT / "docs" / "reliability.md"
SEED = 20261120


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="dev.py faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few rounds of each row: three minutes")
    parser.add_argument("--only", default="", metavar="ROWS", help="some rows, such as F1,F2")
    parser.add_argument("--seed", type=int, default=SEED, help="of all chance; the same seed tries the same")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--isolate", action="store_true", help="run suites with --isolate wherever a row can")
    how.add_argument("--launcher", choices=["warm"], default="", help="run suites with it, and break its server too")
    options = parser.parse_args()
    rows = all_rows(options.launcher)
    wanted = [name.strip().upper() for name in options.only.split(",") if name.strip()] or list(rows)
    if unknown := [name for name in wanted if name not in rows]:
        parser.error(f"no such row: {', '.join(unknown)}. There are {', '.join(rows)}")
    signal.signal(signal.SIGTERM, as_interrupt)
    for number in (signal.SIGINT, signal.SIGHUP):  # as under nohup: the runners would inherit it, and ignore them too
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, pass_over)
    outcomes: dict[str, Outcome] = {}
    console = Console(highlight=False)
    if not console.is_terminal:  # a log may be wide
        console.width = 160
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="suitecase-faults-")).resolve()
    try:
        for name in wanted:
            outcomes[name] = run_row(name, rows[name], options, folder, console)
    except KeyboardInterrupt:
        show(console, outcomes)
        console.print("interrupted: everything that was started is being ended")
        return 130
    finally:
        sweep(folder)
        shutil.rmtree(folder, ignore_errors=True)
    show(console, outcomes)
    is_whole = not (options.quick or options.only or options.isolate)
    if is_whole:
        functions = {name: rows[name] for name in outcomes}
        write = write_section_of_warm if options.launcher else write_document
        write(DOCUMENT, outcomes, functions, options.seed, time.monotonic() - started)
        console.print(f"written: {DOCUMENT.relative_to(ROOT)}")
    return 0 if all(outcome.passed or outcome.skipped for outcome in outcomes.values()) else 1


def all_rows(launcher: str = "") -> dict[str, Row]:
    """The rows of all modules that exist, by name; those of a launcher's own module go before others."""
    rows: dict[str, Row] = {}
    for module in (*MODULES, *(["rows_server"] if launcher else [])):
        if (Path(__file__).parent / f"{module}.py").exists():
            rows |= importlib.import_module(f".{module}", __package__).ROWS
    return dict(sorted(rows.items(), key=lambda item: ("FLB".index(item[0][0]), int(item[0][1:]))))


def as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def pass_over(_number: int, _frame: FrameType | None) -> None:
    """A signal's handler, which isn't inherited."""


def run_row(name: str, row: Row, options: argparse.Namespace, folder: Path, console: Console) -> Outcome:
    """Run one row in a folder of its own; afterwards nothing of it is left, neither processes nor files."""
    own = folder / name
    own.mkdir()
    started = time.monotonic()
    status = console.status(f"{name} …")
    shown = 0.0

    def progress(text: str) -> None:
        nonlocal shown
        status.update(escape(text))
        if not console.is_terminal and time.monotonic() - shown > 15:  # a log wants a line now and then
            shown = time.monotonic()
            console.print(escape(text))

    campaign = Campaign(
        options.seed, options.quick, own, sys.executable, workers=os.cpu_count() or 2, progress=progress,
        isolate=options.isolate, launcher=options.launcher,
    )  # fmt: skip
    try:
        with status:
            outcome = row(campaign)
    except Exception as error:
        traceback.print_exc()
        seconds = time.monotonic() - started
        bad = f"{name}, seed {options.seed}: the row itself broke: {error!r}"
        outcome = Outcome(name, "", tried=1, held=0, survivors_or_bad=[bad], fired=0, seconds=seconds)
    finally:
        sweep(own)
        shutil.rmtree(own, ignore_errors=True)
    console.print(f"{name}: {verdict(outcome)} ({outcome.held}/{outcome.tried} in {outcome.seconds:.0f} s)")
    for bad in outcome.survivors_or_bad:  # at once: the whole campaign takes a while
        console.print(f"broken: {bad}", style="red", markup=False, soft_wrap=True)
    return outcome


def verdict(outcome: Outcome) -> str:
    if outcome.skipped:
        return "skipped"
    if outcome.fired == 0:
        return "not fired"
    return "held" if outcome.passed else "BROKEN"


def show(console: Console, outcomes: dict[str, Outcome]) -> None:
    """The table, then every note and figure."""
    table = Table("row", "promise", "held / tried", "fired", "seconds", "verdict", "seed-shaped runner")
    for outcome in outcomes.values():
        style = "yellow" if outcome.skipped else "" if outcome.passed else "red"
        cells = (
            outcome.row, outcome.promise, f"{outcome.held} / {outcome.tried}", str(outcome.fired),
            f"{outcome.seconds:.0f}", outcome.skipped or verdict(outcome), outcome.peer,
        )  # fmt: skip
        table.add_row(*map(escape, cells), style=style)
    console.print(table)
    for outcome in outcomes.values():
        if outcome.skipped:
            console.print(f"skipped {outcome.row}: {outcome.skipped}", style="yellow", markup=False)
        for note in notes_of(outcome):
            console.print(f"note: {note}", style="yellow", markup=False)
        for name, value in outcome.detail.items():
            if name not in ("matrix", "notes"):
                console.print(f"{outcome.row} {name.replace('_', ' ')}: {figure(value)}", markup=False, soft_wrap=True)


def notes_of(outcome: Outcome) -> list[str]:
    notes = outcome.detail.get("notes", [])
    return [str(note) for note in notes] if isinstance(notes, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


if __name__ == "__main__":
    sys.exit(main())
