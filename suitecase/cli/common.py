"""What all commands share: their options, how they speak, and how they end."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from suitecase.rundir import Run

__all__ = [
    "AsJson",
    "ResultsDir",
    "RunName",
    "console",
    "duration",
    "fail",
    "local_time",
    "open_run",
    "print_json",
    "print_jsonl",
    "print_problems",
    "problems_end_the_program",
    "rich_table",
    "status_text",
]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
ResultsDir = Annotated[
    Path | None, typer.Option("--results-dir", metavar="DIR", help="Instead of the project's results folder.")
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Path, beginning of its name, EXPERIMENT (its latest run), or 'latest'.")
]

STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "timed_out": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "skipped": "yellow",
    "unknown": "magenta",
}


@contextmanager
def problems_end_the_program() -> Generator[None]:
    """A user's mistake is a message and exit code 2; a reader that went away (`| head`) is no error."""
    from suitecase.errors import SuitecaseError

    try:
        yield
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
    for problem in problems:
        print(f"suitecase: {problem}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    raise SystemExit(exit_code)


def open_run(given: str, results_dir: Path | None) -> Run:
    """The run that a person names, as it is now."""
    from suitecase.queries import find_results_dir, find_run
    from suitecase.rundir import read_run

    return read_run(find_run(find_results_dir(given=results_dir), given))


def console() -> Console:
    """Where tables go: as wide as they need where nobody's terminal limits them; colours where a terminal is."""
    from rich.console import Console

    # Names and logs are shown as they are: "[red]" is no colour in them, and ":x:" no picture.
    width = None if sys.stdout.isatty() else 10_000
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> RichTable:
    """A plain table without a frame; cells are text, or rich's Text."""
    from rich import box
    from rich.table import Table

    table = Table(box=None if not sys.stdout.isatty() else box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(
            name, justify="right" if name in right else "left", overflow="fold", no_wrap=not sys.stdout.isatty()
        )
    for row in rows:
        table.add_row(*row)
    return table


def status_text(status: str) -> Any:
    """A status in its colour."""
    from rich.text import Text

    return Text(status, style=STYLES.get(status, ""))


def print_json(value: Any) -> None:
    """One strict JSON document; NaN and infinities are strings."""
    print(json.dumps(strict(value), indent=2, ensure_ascii=False, default=str), flush=True)


def print_jsonl(value: Any) -> None:
    """One line of strict JSON."""
    print(json.dumps(strict(value), ensure_ascii=False, default=str), flush=True)


def strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): strict(each) for name, each in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in cast(Sequence[Any], value)]
    return value


def print_problems(problems: Sequence[str]) -> None:
    """What is damaged, on standard error: what can be shown is shown all the same."""
    for problem in problems:
        print(f"suitecase: {problem}", file=sys.stderr)


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
