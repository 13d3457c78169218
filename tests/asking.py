"""The command `suitecase`, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import DEADLINE_S, HERE, Finished, Project, clean_environment

COMMAND = (sys.executable, "-c", "from suitecase.cli import main; main()")


def start(project: Project, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
    """Start a command in a project's folder."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=project.root, env={**clean_environment(), "PYTHONPATH": str(HERE), **env},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    project.processes.append(process)
    return process


def ask(project: Project, *arguments: str | Path, **env: str) -> Finished:
    """Run a command to its end."""
    process = start(project, *arguments, **env)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    return Finished(process.returncode, stdout, stderr)


def answer(project: Project, *arguments: str | Path, code: int = 0, **env: str) -> dict[str, Any]:
    """The JSON document of a command that ends with this exit code."""
    done = ask(project, *arguments, "--json", **env)
    assert done.code == code, done
    return json.loads(done.stdout)
