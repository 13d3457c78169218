"""The command `suitecase`, each call in a process of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from conftest import DEADLINE_S, HERE, Finished, Project, clean_environment
from forking import read_once

COMMAND = (sys.executable, "-c", "from suitecase.cli import main; main()")

# Has imported what commands import, and forks a process for each call: most of what a call takes is its imports.
# What a command imports by itself, and how quickly it is there, is for test_layers.py and the documents to show.
SERVER = f"""\
import gc, json, os, sys, tempfile
sys.path.insert(0, {str(HERE / "tests")!r})
from contextlib import suppress
from forking import run_to_its_end
import pydantic.type_adapter, pydantic.types, rich.console
import suitecase.cli.app, suitecase.queries, suitecase.queries.logs, suitecase.queries.overview
for name in ("pydantic.plugin._loader", "typer._adapters"):  # imported late, and half of what a call takes
    with suppress(ImportError):
        __import__(name)
for line in sys.stdin:
    request = json.loads(line)
    for name in request["imports"]:
        __import__(name)
    gc.freeze()  # or each fork would copy what its collections touch
    pid = os.fork()
    if pid == 0:
        for number, path in enumerate(request["streams"]):
            os.dup2(os.open(path, os.O_RDWR), number)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        tempfile.tempdir = None  # the variables may name another one
        del sys.path[0]
        break
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
run_to_its_end(["-c", {COMMAND[2]!r}, *request["arguments"]])
"""
STATISTICS = ("pandas", "suitecase.compare.gates", "suitecase.compare.study", "suitecase.stats.comparing")
IMPORTS = {**dict.fromkeys(("compare", "describe", "power", "plan", "report"), STATISTICS), "query": ("duckdb",)}
"""What takes a second to import, by the command that needs it."""


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
    return suitecase(*map(str, arguments), cwd=project.root, env=env)


def suitecase(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command in a folder to its end; with variables that are read by an import, in a new Python."""
    environment = {**clean_environment(), "PYTHONPATH": str(HERE), **(env or {})}
    if env and read_once(env):
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in printed:
            path.touch()
        request = {
            "arguments": arguments, "cwd": str(cwd), "env": environment,
            "streams": [os.devnull, *map(str, printed)], "imports": IMPORTS.get("".join(arguments[:1]), ()),
        }  # fmt: skip
        return Finished(forked(request), *(path.read_text(encoding="utf-8") for path in printed))


def forked(request: Mapping[str, Any]) -> int:
    """The exit code of a call that the server makes, one at a time."""
    process = server()
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    if not select.select([process.stdout], [], [], DEADLINE_S)[0]:
        end(process)
        raise TimeoutError(f"suitecase {' '.join(request['arguments'])}: took longer than {DEADLINE_S:.0f} s")
    return int(process.stdout.readline())


@functools.cache
def server() -> subprocess.Popen[str]:
    """This process's server, started when it is needed; it ends with the tests."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=HERE, env={**clean_environment(), "PYTHONPATH": str(HERE)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    atexit.register(end, process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    """End a server and what it has forked; the next call starts another one."""
    server.cache_clear()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def answer(project: Project, *arguments: str | Path, code: int = 0, **env: str) -> dict[str, Any]:
    """The JSON document of a command that ends with this exit code."""
    done = ask(project, *arguments, "--json", **env)
    assert done.code == code, done
    return json.loads(done.stdout)
