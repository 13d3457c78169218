"""Run a command of the user's when something happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from suitecase.policies.records import as_json, check, event_problems, log, number_problems, told

if TYPE_CHECKING:
    from experiment_runner import HookRecord

__all__ = ["Command"]

EVENTS = ("run_started", "attempt_ended", "attempt_failed", "run_ended")
LAST_BYTES = 2000
TOLD_IN_VARIABLES = ("run", "run_dir", "experiment", "variant", "output_dir", "attempt", "status", "exit_code")


class Command:
    """Runs a command at the events named in `on`, and never ends or fails a run.

    The command gets the record as one line of JSON on standard input, with `event`, `time` and `host`, and
    `SUITECASE_EVENT`, `SUITECASE_RUN`, `SUITECASE_RUN_DIR`, `SUITECASE_EXPERIMENT`, `SUITECASE_VARIANT`,
    `SUITECASE_OUTPUT_DIR`, `SUITECASE_ATTEMPT`, `SUITECASE_STATUS` and `SUITECASE_EXIT_CODE` in its environment
    (unset where there is nothing to tell). It runs in the runner's folder. If it fails, the end of what it printed is
    logged. Hooks are called one after the other: the runner waits with the case's next step, and with nothing else.

    Args:
        command: A program and its arguments, or a text for the shell.
        on: Events: `run_started`, `attempt_ended`, `attempt_failed` (its status is failed or timed_out), `run_ended`.
        timeout_s: Seconds until the command and all it started are killed.

    Raises:
        ValueError: With every argument that is wrong.

    >>> Command("notify-send done")
    Command('notify-send done', on=('run_ended',), timeout_s=60.0)
    """

    def __init__(
        self, command: Sequence[str], *, on: Collection[str] = ("run_ended",), timeout_s: float = 60.0
    ) -> None:
        problems = event_problems(on, EVENTS) + number_problems("timeout_s", timeout_s)
        given: object = command
        words = [given] if isinstance(given, str) else list(command) if isinstance(given, list | tuple) else []
        if not words or any("\0" in str(word) or not is_text(word) for word in words) or not words[0].strip():
            problems.append(f"command is {given!r}: give a list of texts, or one text for the shell.")
        check(problems)
        self.command: str | tuple[str, ...] = command if isinstance(command, str) else tuple(command)
        self.on = tuple(on)
        self.timeout_s = timeout_s
        self.hook_timeout_s = timeout_s + 5  # to kill and log before the runner gives up on us

    def __repr__(self) -> str:
        return f"Command({self.command!r}, on={self.on!r}, timeout_s={self.timeout_s!r})"

    def before_run(self, record: HookRecord) -> None:
        """Warn of a program that isn't there while somebody looks; tell `run_started`."""
        if not isinstance(self.command, str) and shutil.which(self.command[0]) is None:
            log.warning("%s: there is no such program", self.command[0])
        self.tell("run_started", record)

    def after_case(self, record: HookRecord) -> None:
        """Tell `attempt_ended`, or else `attempt_failed`: once, if both are asked for."""
        if "attempt_ended" in self.on:
            self.tell("attempt_ended", record)
        elif record.status in ("failed", "timed_out"):
            self.tell("attempt_failed", record)

    def after_run(self, record: HookRecord) -> None:
        """Tell `run_ended`."""
        self.tell("run_ended", record)

    def tell(self, event: str, record: HookRecord) -> None:
        """Run the command, if it is for this event."""
        if event not in self.on:
            return
        values = told(event, record)
        variables = {"event": event, **{name: values[name] for name in TOLD_IN_VARIABLES}}
        environment = dict(os.environ)
        for name, value in variables.items():
            environment.pop(variable := f"SUITECASE_{name.upper()}", None)
            if value not in ("", None):
                environment[variable] = str(value)
        # Files, not pipes: a command need not read its input, and what it leaves running may keep its output open.
        with tempfile.TemporaryFile() as told_file, tempfile.TemporaryFile() as output:
            told_file.write(as_json(values))
            told_file.seek(0)
            try:
                process = subprocess.Popen(
                    self.command, shell=isinstance(self.command, str), env=environment, stdin=told_file,
                    stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                log.warning("%s: could not be started: %s", self.name, getattr(error, "strerror", error))
                return
            problem = self.problem_of(process)
            if problem:
                output.seek(max(0, output.seek(0, os.SEEK_END) - LAST_BYTES))
                log.warning("%s: %s%s", self.name, problem, last_lines(output.read()))

    @property
    def name(self) -> str:
        """The command as a log line can show it; its arguments may hold secrets."""
        words = self.command.split() if isinstance(self.command, str) else self.command
        return f"command {words[0]!r}"

    def problem_of(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the command; what went wrong, if anything."""
        try:
            code = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):  # it ended just now
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"killed after {self.timeout_s:g} s"
        return f"exit code {code}" if code > 0 else f"killed by signal {-code}" if code < 0 else ""


def is_text(value: object) -> bool:
    return isinstance(value, str)


def last_lines(output: bytes) -> str:
    """The end of what a command printed, without what would steer a terminal."""
    lines = output.decode("utf-8", "replace").strip().splitlines()[-5:]
    return "".join("\n    " + "".join(c if c.isprintable() else " " for c in line) for line in lines)
