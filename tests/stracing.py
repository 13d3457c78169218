"""Runners under `strace`, which lets system calls fail, or kills whoever makes them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from conftest import DEADLINE_S, Finished, Project, wait_for


@contextmanager
def under_strace(runner: subprocess.Popen[str], output: Path, *options: str) -> Generator[None]:
    """Let a runner that was forked as `stopped` go on under strace; at the end, wait for what strace has written."""
    status = Path(f"/proc/{runner.pid}/status")
    wait_for(lambda: "State:\tT" in status.read_text(), "the stop of the runner")
    command = ["strace", "-o", str(output), *options, "-p", str(runner.pid)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            assert "attached" in said, said
            runner.send_signal(signal.SIGCONT)
            yield
            strace.communicate(timeout=DEADLINE_S)
        finally:
            strace.kill()


def traced(project: Project, output: Path, *arguments: str, options: tuple[str, ...]) -> tuple[Finished, list[str]]:
    """Run a project's suite under strace: its end, and the lines of the trace."""
    runner = project.fork(*arguments, stopped=True)
    with under_strace(runner, output, *options):
        done = project.finish(runner)
    return done, output.read_text(errors="replace").splitlines()
