"""The commands, by name; each imports what it needs when it is called, so that `--help` is there at once."""

from __future__ import annotations

import gc
import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from suitecase import __version__
from suitecase.cli import (
    comparing,
    exporting,
    following,
    hedging,
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
from suitecase.cli.examples import EXAMPLES

__all__ = ["app", "run"]

HELP = """Start experiments, steer runs, and ask run directories: what ran, with which code, what came out.

RUN is a path, the beginning of a run's name, an experiment (its latest run), or 'latest'; 'latest~1' is the one before.
Exit codes: 0 yes, 1 no or failed, 2 wrong use. Every command has --json.
"""


class Command(TyperCommand):
    """A command whose help names its arguments as the manual does, and ends with examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command's name: `RUN [CASE]`; typer would write `{RUN} [CASE]`."""
        return [piece.translate(BRACES) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments without their types, which are all text, and options."""
        records = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        arguments = [
            (record[0].partition(" <")[0], record[1].removesuffix("[required]").rstrip())
            for param, record in records
            if record and param.param_type_name == "argument"
        ]
        options = [record for param, record in records if record and param.param_type_name == "option"]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples, a line each: they are to be copied."""
        examples = EXAMPLES.get(self.name or "", ())
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"  {example}\n")


BRACES = str.maketrans("", "", "{}")


class Commands(TyperGroup):
    """Ends each command as all end: before typer sees what was raised, which has exit codes of its own."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by what they are for."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panels.setdefault(str(command.rich_help_panel), []).append((name, command.get_short_help_str(limit=200)))
        width = max(len(name) for rows in panels.values() for name, _ in rows)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), words) for name, words in rows])

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        with problems_end_the_program():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)

PANELS = {
    "Start": {"init": starting.init, "estimate": starting.estimate, "export-job": exporting.export_job},
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
        app.command(name, cls=Command, rich_help_panel=panel)(command)
app.add_typer(judging.plan, name="plan", rich_help_panel="Compare")
app.add_typer(hedging.app, name="hedging", rich_help_panel="Compare")


def print_version(asked: bool) -> None:
    """Print the version, if it was asked for, and end."""
    if asked:
        print(f"suitecase {__version__}")
        raise typer.Exit


@app.callback(help=HELP)
def whole(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """A group, also of one command: typer would take the only one of a `Typer` for the program itself."""


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
