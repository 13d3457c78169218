# pyright: basic, reportMissingImports=false
"""doit: a task for each case. A program that writes nothing has no target."""

import os
import shlex
from collections.abc import Iterator

from cases import CASES, MODULE, arguments, folder
from doit.tools import run_once


def task_case() -> Iterator[dict[str, object]]:
    """The cases."""
    for n in range(CASES):
        yield {
            "name": str(n),
            "actions": [f"{os.environ['COMPARE_PROGRAM']} {shlex.join(arguments(n))}"],
            "targets": [f"{folder(n)}/results.json"] if MODULE else [],
            "uptodate": [run_once],
        }
