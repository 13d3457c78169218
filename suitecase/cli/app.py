"""The commands, by name; each imports what it needs when it is called, so that `--help` is there at once."""

from __future__ import annotations

import sys

import typer

from suitecase.cli import comparing, listing, reproducing
from suitecase.cli.common import problems_end_the_program

__all__ = ["app", "run"]

HELP = """Ask run directories: what ran, with which code, what came out, how two runs differ.

RUN is a path, the beginning of a run's name, an experiment (its latest run), or 'latest'.
Exit codes: 0 yes, 1 no or failed, 2 wrong use. Every command has --json.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LOOK = "Look"
app.command("ls", rich_help_panel=LOOK)(listing.list_)
app.command(rich_help_panel=LOOK)(listing.show)
app.command(rich_help_panel=LOOK)(listing.results)
app.command(rich_help_panel=LOOK)(comparing.diff)

REPRODUCE = "Reproduce"
app.command(rich_help_panel=REPRODUCE)(reproducing.verify)
app.command(rich_help_panel=REPRODUCE)(reproducing.reproduce)
app.command(rich_help_panel=REPRODUCE)(reproducing.export)


def run() -> None:
    """Run the command that `sys.argv` names, and exit."""
    with problems_end_the_program():
        app()
