"""What every launcher must do, as a class of tests for pytest: real runs of a suite, which then are read.

from suitecase.launchers.conformance import Conformance

class TestMine(Conformance):
    arguments = ("--launcher", "mine", "--launcher-option", "queue=short")
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from suitecase.rundir import CaseRun, Run, read_run

__all__ = ["Conformance", "Experiment"]

T = TypeVar("T")

CONFIG = '''\
from experiment_config import BaseExperimentConfig


class Config(BaseExperimentConfig):
    """What a case does, and values that are hard to carry."""

    do: str = "read"
    text: str = ""
    number: float = 0.0
    values: dict[str, list[int | None]] = {}
'''

ENTRY_POINT = """\
import json, os, signal, subprocess, sys, time
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
with (folder / "starts").open("a") as starts:  # one line an attempt, whoever launched it
    starts.write(f"{os.environ['SUITECASE_ATTEMPT']}\\n")


def read():
    from conformance_config import Config  # what it imports takes longer than the rest of a case

    config = Config()
    results = {"score": 1.0, "seen": json.loads(config.model_dump_json())}
    Path(config.output_dir, "results.json").write_text(json.dumps(results))


def look():
    seen = {
        "cwd": os.getcwd(), "stdin": sys.stdin.read(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith("SUITECASE_") or k == "ONLY_HERE"},
    }
    (folder / "results.json").write_text(json.dumps({"score": 1.0, "seen": seen}))


def speak():
    print("to the output", flush=True)
    os.write(2, b"to the error, raw: \\xff\\n")


def fail():
    sys.exit(3)


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def sleep():
    time.sleep(600)


def mend():
    if os.environ["SUITECASE_ATTEMPT"] == "1":
        sys.exit(7)


def leave():
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (folder / "left").write_text(str(left.pid))


def wait():
    while not (folder / "go").exists():
        time.sleep(0.05)


do = json.loads((folder / "config.json").read_text())["do"]
{name: value for name, value in globals().items() if callable(value)}[do]()
"""

SUITE = """\
from experiment_runner import ExecutionPolicy, ExperimentCase, Resources, run_experiments_cli

from conformance_config import Config

base = Config()
cases = [
    ExperimentCase("exact", base.copy_with(text="zwölf\\n'quoted' $HOME", number=0.1 + 0.2, values={"a": [1, None]})),
    ExperimentCase("environment", base.copy_with(do="look"), env={"ONLY_HERE": "a b"}),
    ExperimentCase("speaks", base.copy_with(do="speak")),
    ExperimentCase("fails", base.copy_with(do="fail")),
    ExperimentCase("dies", base.copy_with(do="die")),
    ExperimentCase("late", base.copy_with(do="sleep"), resources=Resources(timeout_s=3)),
    ExperimentCase("mended", base.copy_with(do="mend")),
    ExperimentCase("leaves", base.copy_with(do="leave")),
]
policy = ExecutionPolicy(max_attempts=2, retry_on=(7,), backoff_s=0.0, grace_s=3.0)
run_experiments_cli(cases, "run_conformance.py", "conformance", policy=policy)
"""

WAITING_SUITE = """\
from experiment_runner import ExecutionPolicy, ExperimentCase, run_experiments_cli

from conformance_config import Config

cases = [ExperimentCase(name, Config().copy_with(do="wait")) for name in ("one", "two")]
run_experiments_cli(cases, "run_conformance.py", "waiting", policy=ExecutionPolicy(grace_s=3.0))
"""


@dataclass
class Experiment:
    """A folder with suites of the conformance tests, and the runners that were started there.

    Attributes:
        arguments: What makes a suite use the launcher.
        patience_s: Seconds within which anything should have happened.
    """

    root: Path
    arguments: Sequence[str]
    environment: Mapping[str, str]
    patience_s: float
    runners: list[subprocess.Popen[str]] = field(default_factory=list["subprocess.Popen[str]"])

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        files = {
            "conformance_config.py": CONFIG, "run_conformance.py": ENTRY_POINT, "suite_conformance.py": SUITE,
            "suite_waiting.py": WAITING_SUITE,
        }  # fmt: skip
        for name, content in files.items():
            (self.root / name).write_text(content, encoding="utf-8")

    def start(self, suite: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a suite with the launcher."""
        runner = subprocess.Popen(
            [sys.executable, suite, *self.arguments, *arguments], cwd=self.root, env=dict(self.environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self.runners.append(runner)
        return runner

    def finish(self, runner: subprocess.Popen[str]) -> tuple[int, str]:
        """The exit code of a runner, and what it said."""
        said, _ = runner.communicate(timeout=self.patience_s)
        return runner.returncode, said

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        """The value of a condition once it holds."""
        deadline = time.monotonic() + self.patience_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {self.patience_s:g} s"
            time.sleep(0.05)
        return value

    def run(self, experiment: str) -> Run:
        """The last run of an experiment as its directory tells it."""
        return read_run(max((self.root / "results" / experiment).glob("[0-9]*")))

    def events(self, experiment: str, variant: str) -> list[str]:
        """The names of a case's events, in order."""
        lines = (self.run(experiment).path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event["event"] for event in events if event.get("variant") == variant]

    def wait_for_start(self, *variants: str) -> Path:
        """The run directory, once the journal has the start of these cases and they have begun."""
        runner = self.runners[-1]

        def begun() -> Path | None:
            ended = runner.poll() is not None
            with suppress(ValueError, OSError, KeyError):
                run = self.run("waiting")
                cases = [run.cases[variant] for variant in variants]
                if all(case.attempts and (case.path / "starts").exists() for case in cases):
                    return run.path
            said = runner.stdout.read() if ended and runner.stdout else ""
            assert not ended, f"the runner ended with exit code {runner.returncode}: {said}"
            return None

        found = self.wait_for(begun, f"start of {', '.join(variants)}")
        assert found is not None
        return found

    def close(self) -> None:
        """End the runners that a failed test left."""
        for runner in self.runners:
            if runner.poll() is None:
                runner.kill()
            runner.communicate()


def starts(case: CaseRun) -> list[str]:
    """The attempts of a case that really began."""
    return (case.path / "starts").read_text().split()


class Conformance:
    """Subclass it in a test file, say how the launcher is asked for, and pytest does the rest.

    Attributes:
        arguments: What makes a suite use the launcher.
        environment: Variables of the runner beside this process's own.
        patience_s: Seconds within which a run of short cases should be over.
    """

    arguments: ClassVar[Sequence[str]] = ()
    environment: ClassVar[Mapping[str, str]] = {}
    patience_s: ClassVar[float] = 120.0

    @classmethod
    def experiment_in(cls, root: Path) -> Experiment:
        """A folder to run in; a launcher that needs a certain place, such as a shared disk, overrides this."""
        return Experiment(root, cls.arguments, {**os.environ, **cls.environment}, cls.patience_s)

    @pytest.fixture(scope="class")
    @classmethod
    def ended(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
        """One run of cases that end in every way."""
        experiment = cls.experiment_in(tmp_path_factory.mktemp("conformance"))
        exit_code, said = experiment.finish(experiment.start("suite_conformance.py"))
        assert exit_code == 1, said
        yield experiment.run("conformance")
        experiment.close()

    @pytest.fixture
    def waiting(self, tmp_path: Path) -> Iterator[Experiment]:
        """Two cases that wait for a word."""
        experiment = self.experiment_in(tmp_path)
        yield experiment
        with suppress(ValueError):  # there is no run
            for case in experiment.run("waiting").cases.values():
                (case.path / "go").touch()
        experiment.close()

    def test_a_config_arrives_exactly(self, ended: Run) -> None:
        case = ended.cases["exact"]
        seen = case.results()[0]["seen"]
        assert case.status == "succeeded"
        assert {name: seen[name] for name in case.config()[0]} == case.config()[0]
        assert (seen["text"], seen["number"], seen["values"]) == (
            "zwölf\n'quoted' $HOME", 0.30000000000000004, {"a": [1, None]}
        )  # fmt: skip

    def test_the_surroundings_are_those_of_a_case(self, ended: Run) -> None:
        case = ended.cases["environment"]
        seen = case.results()[0]["seen"]
        assert seen["environment"]["ONLY_HERE"] == "a b"
        assert seen["environment"]["SUITECASE_VARIANT"] == "environment"
        assert seen["environment"]["SUITECASE_OUTPUT_DIR"] == str(case.path)
        assert seen["stdin"] == ""
        assert Path(seen["cwd"]).resolve() == ended.path.parents[2].resolve()

    def test_the_log_has_every_byte(self, ended: Run) -> None:
        log = ended.cases["speaks"].log_path(1)
        assert log is not None
        assert log.read_bytes() == b"to the output\nto the error, raw: \xff\n"

    def test_exit_codes_and_signals_are_told(self, ended: Run) -> None:
        fails, dies = ended.cases["fails"].last, ended.cases["dies"].last
        assert fails is not None
        assert dies is not None
        assert (fails.status, fails.exit_code, fails.signal) == ("failed", 3, None)
        assert (dies.status, dies.exit_code, dies.signal) == ("failed", None, signal.SIGSEGV)

    def test_what_takes_too_long_is_ended(self, ended: Run) -> None:
        case = ended.cases["late"]
        assert case.status == "timed_out"
        assert case.last is not None
        assert case.last.duration_s is not None
        assert 3 <= case.last.duration_s < 60
        assert "took longer than 3 s" in case.cause

    def test_a_failure_is_retried(self, ended: Run) -> None:
        case = ended.cases["mended"]
        assert case.status == "succeeded"
        assert [(attempt.number, attempt.exit_code) for attempt in case.attempts] == [(1, 7), (2, 0)]
        assert starts(case) == ["1", "2"]

    def test_nothing_that_a_case_started_outlives_it(self, ended: Run) -> None:
        case = ended.cases["leaves"]
        assert case.status == "succeeded"
        if case.last and case.last.host == os.uname().nodename:
            assert not is_alive(int((case.path / "left").read_text()))

    def test_the_journal_tells_it_in_order(self, ended: Run) -> None:
        lines = (ended.path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        told = [event["event"] for event in events if event.get("variant") == "mended"]
        once = ["attempt_started", "attempt_ended"]
        assert told == [*once, "retry_scheduled", *once, "case_ended"]
        assert events[-1]["event"] == "run_ended"
        assert all(case.last and case.last.host for case in ended.cases.values())

    def test_a_case_and_a_run_can_be_cancelled(self, waiting: Experiment) -> None:
        runner = waiting.start("suite_waiting.py")
        run_dir = waiting.wait_for_start("one", "two")
        (run_dir / "one" / "cancel").touch()
        waiting.wait_for(lambda: waiting.run("waiting").statuses["one"] == "cancelled", "the end of case one")
        assert waiting.run("waiting").statuses["two"] == "running"
        runner.send_signal(signal.SIGINT)
        assert waiting.finish(runner)[0] == 130
        assert dict(waiting.run("waiting").statuses) == {"one": "cancelled", "two": "cancelled"}

    def test_a_killed_runner_is_resumed(self, waiting: Experiment) -> None:
        """What outlives it is adopted, and never runs twice; what doesn't is gone, and runs again."""
        runner = waiting.start("suite_waiting.py")
        run_dir = waiting.wait_for_start("one", "two")
        run = json.loads((run_dir / "run.json").read_text())
        outlives = run["launcher"]["outlives_runner"]
        runner.kill()
        waiting.finish(runner)
        again = waiting.start("suite_waiting.py", "--resume", str(run_dir))
        if not outlives:
            waiting.wait_for(lambda: len(starts(waiting.run("waiting").cases["one"])) == 2, "the second attempt")
        for variant in ("one", "two"):
            (run_dir / variant / "go").touch()
        exit_code, said = waiting.finish(again)
        assert exit_code == 0, said
        attempts = ["1"] if outlives else ["1", "2"]
        assert {variant: starts(case) for variant, case in waiting.run("waiting").cases.items()} == {
            "one": attempts,
            "two": attempts,
        }
        ends = waiting.events("waiting", "one")
        assert ends.count("attempt_ended") == 1
        assert ends.count("attempt_started") == len(attempts)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; a zombie doesn't."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")
