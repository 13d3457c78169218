"""The commands, by name; each imports what it needs when it is called, so that `--help` is there at once."""

from __future__ import annotations

import gc
import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from suitecase.cli import (
    comparing,
    following,
    judging,
    listing,
    powering,
    reporting,
    reproducing,
    running,
    starting,
    tabular,
)
from suitecase.cli.common import problems_end_the_program

__all__ = ["app", "run"]

HELP = """Start experiments, steer runs, and ask run directories: what ran, with which code, what came out.

RUN is a path, the beginning of a run's name, an experiment (its latest run), or 'latest'.
Exit codes: 0 yes, 1 no or failed, 2 wrong use. Every command has --json.
"""


class Commands(TyperGroup):
    """Ends each command as all end: before typer sees what was raised, which has exit codes of its own."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        with problems_end_the_program():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS = {
    "Start": {"init": starting.init, "estimate": starting.estimate},
    "Look": {
        "ls": listing.list_,
        "show": listing.show,
        "results": listing.results,
        "logs": following.logs,
        "watch": following.watch,
        "table": tabular.table,
        "query": tabular.query,
        "diff": comparing.diff,
    },
    "Compare": {
        "compare": judging.compare,
        "describe": judging.describe,
        "power": powering.power,
        "report": reporting.report,
    },
    "Steer": {"cancel": running.cancel, "resume": running.resume, "replay": running.replay, "gc": running.gc},
    "Reproduce": {
        "verify": reproducing.verify,
        "reproduce": reproducing.reproduce,
        "export": reproducing.export,
    },
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
app.add_typer(judging.plan, name="plan", rich_help_panel="Compare")


@app.callback(help=HELP)
def whole() -> None:
    """Nothing but a group: typer would take the only one of a `Typer` for the command itself."""


def run() -> None:
    """Run the command that `sys.argv` names, and exit."""
    gc.set_threshold(1_000_000)  # what is read has no cycles; to look for some takes a third of the time of `ls`
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may have what the terminal's encoding lacks
    with problems_end_the_program():
        # typer reads the signatures of all commands: of the one that was named is enough.
        named = [each for each in app.registered_commands if each.name in sys.argv[1:2]]
        app.registered_commands = named or app.registered_commands
        app()
