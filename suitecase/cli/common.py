"""What all commands share: their options, how they speak, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from suitecase.rundir import Run

__all__ = [
    "GAP",
    "RUN_HELP",
    "STATUSES",
    "AsJson",
    "CaseName",
    "ResultsDir",
    "RunName",
    "RunNames",
    "cells",
    "complete_case",
    "complete_experiment",
    "complete_run",
    "console",
    "counted",
    "duration",
    "fail",
    "local_time",
    "open_run",
    "print_json",
    "print_jsonl",
    "print_problems",
    "print_table",
    "problems_end_the_program",
    "size",
    "status_text",
    "words_of",
]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
ResultsDir = Annotated[
    Path | None, typer.Option("--results-dir", metavar="DIR", help="Instead of the project's results folder.")
]


def complete_run(incomplete: str) -> list[str]:
    """Experiments and runs, for the shell; nothing where that fails."""
    with suppress(Exception):
        from suitecase.queries.completion import run_names

        return run_names(incomplete)
    return []


def complete_case(ctx: typer.Context, incomplete: str) -> list[str]:
    """The cases of the run that was typed before, for the shell; nothing where that fails."""
    with suppress(Exception):
        from suitecase.queries.completion import case_names

        return case_names(str(ctx.params["run"]), incomplete)
    return []


def complete_experiment(incomplete: str) -> list[str]:
    """Experiments, for the shell; nothing where that fails."""
    with suppress(Exception):
        from suitecase.queries.completion import experiment_names

        return experiment_names(incomplete)
    return []


def words_of(*words: str) -> Callable[[str], list[str]]:
    """Some words, for the shell."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


RUN_HELP = "Path, beginning of its name, EXPERIMENT (its latest run), or 'latest'."
RunName = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP, autocompletion=complete_run)]
RunNames = Annotated[list[str], typer.Argument(metavar="RUN", help=RUN_HELP, autocompletion=complete_run)]
CaseName = Annotated[
    str, typer.Argument(metavar="CASE", help="Its name, or the beginning.", autocompletion=complete_case)
]

STYLES = {
    "pending": "",
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "timed_out": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "skipped": "yellow",
    "unknown": "magenta",
}
STATUSES = tuple(STYLES)


@contextmanager
def problems_end_the_program() -> Generator[None]:
    """A user's mistake is a message and exit code 2; a reader that went away (`| head`) is no error."""
    from suitecase.errors import SuitecaseError

    try:
        yield
        sys.stdout.flush()
    except SuitecaseError as error:
        fail(error.problems)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains
        raise SystemExit(0) from None
    except OSError as error:
        fail([f"{error.filename or 'the output'}: {error.strerror}."], exit_code=1)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def fail(problems: Sequence[str], exit_code: int = 2) -> NoReturn:
    """Say what is wrong, and exit.

    Raises:
        SystemExit: Always.
    """
    print_problems(problems)
    raise SystemExit(exit_code)


def open_run(given: str, results_dir: Path | None) -> Run:
    """The run that a person names, as it is now."""
    from suitecase.queries import find_results_dir, find_run
    from suitecase.rundir import read_run

    return read_run(find_run(find_results_dir(given=results_dir), given))


def console() -> Console:
    """Where tables go: as wide as they need where nobody's terminal limits them; colours where a terminal is."""
    from rich.console import Console

    class Output(Console):
        """Leaves a reader that went away to `problems_end_the_program`; rich would call it a failure."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    # Names and logs are shown as they are: "[red]" is no colour in them, and ":x:" no picture.
    width = None if sys.stdout.isatty() else 10_000
    return Output(markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def coloured() -> bool:
    """Whether rich may print what is more than text."""
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


GAP = 2
"""Spaces between columns."""


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = (), names: Sequence[str] = ()
) -> None:
    """A table without a frame; cells are text, or rich's Text.

    Where nobody's terminal limits the width, and for thousands of rows, lines are padded here: rich takes half a
    millisecond for each. So they are where a terminal is too narrow even with cells broken into lines.

    Args:
        names: Columns whose cells stay in one piece, because people copy them.
    """
    rows = [[one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not coloured() or len(rows) > 1000 or not fits_terminal(columns, rows, names):
        print_padded([columns, *([str(cell) for cell in row] for row in rows)], [name in right for name in columns])
        return
    from rich import box
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, padding=(0, GAP - 1, 0, 0), show_edge=False)
    for name in columns:
        whole = not terminal or name in names
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def fits_terminal(columns: Sequence[str], rows: Sequence[Sequence[Any]], names: Sequence[str]) -> bool:
    """Whether a table fits, with cells broken between words where they need not stay whole."""
    if not sys.stdout.isatty():
        return True
    needed = 0
    for name, *column in zip(columns, *rows, strict=True):
        texts = [name, *map(str, column)]
        parts = texts if name in names else [word for text in texts for word in text.split()]
        needed += max(map(cells, parts), default=0) + GAP
    return needed <= shutil.get_terminal_size().columns


def one_line(text: str) -> str:
    """A cell without line breaks, and without what a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def print_padded(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Lines whose columns are as wide as the widest cell in them, two spaces apart."""
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            (" " * (width - cells(text)) + text) if to_right else text + " " * (width - cells(text))
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print((" " * GAP).join(padded).rstrip())


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: most take one, Chinese two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def status_text(status: str) -> Any:
    """A status in its colour; plain text where there are none."""
    if not coloured():
        return status
    from rich.text import Text

    return Text(status, style=STYLES.get(status, ""))


def print_json(value: Any) -> None:
    """One strict JSON document; NaN and infinities are strings."""
    from suitecase.tables.formats import strict

    print(json.dumps(strict(value), indent=2, ensure_ascii=False, default=str), flush=True)


def print_jsonl(value: Any) -> None:
    """One line of strict JSON."""
    from suitecase.tables.formats import strict

    print(json.dumps(strict(value), ensure_ascii=False, default=str), flush=True)


def print_problems(problems: Sequence[str]) -> None:
    """What is wrong, on standard error; a command that can show something all the same goes on."""
    for problem in problems:
        print(f"suitecase: {problem}", file=sys.stderr)


def size(size_bytes: int | None) -> str:
    """Bytes as people read them, in powers of 1000; nothing for None."""
    if size_bytes is None:
        return ""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


def counted(count: int, thing: str) -> str:
    """1 case, 2 cases."""
    return f"{count} {thing}{'s' * (count != 1)}"


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 0.8 s, 37.2 s, 4:05, 2:13:20; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def local_time(text: str | None) -> str:
    """A recorded time in the local zone, to the second; nothing for None."""
    if text is None:
        return ""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return text
