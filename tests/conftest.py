"""A real repository with a config, an entry point and a suite, and real processes that run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from forking import Forked
from hypothesis import HealthCheck, settings

# How fast examples are made tells about the machine, and nothing about the code. A change is judged by the same
# examples as the last one; whoever works on it tries others each time.
settings.register_profile(
    "suitecase", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("suitecase")

HERE = Path(__file__).resolve().parent.parent

# For a machine that is slow and busy: nothing here takes a tenth of it. What a test starts only to see it stopped must
# last longer.
DEADLINE_S = 120.0

CONFIG = '''\
from experiment_config import BaseExperimentConfig


class Config(BaseExperimentConfig):
    """What a case does."""

    do: str = ""
    x: int = 0
    name: str = "n"
'''

# Cheap to start: it reads its config.json, as an entry point may, and executes the field `do`.
ENTRY_POINT = """\
import json, os, sys, time
from pathlib import Path

assert sys.argv[1] == "--output_dir", sys.argv
folder = Path(sys.argv[2])
config = json.loads((folder / "config.json").read_text())
exec(config["do"])
"""


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.stdout.splitlines()


def wait_for(condition: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Poll until a condition holds, and give its value; fail loudly after the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what or condition} did not come true within {deadline_s:.0f} s"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Project:
    """A git repository with both reference files, `config.py` (`Config`), `work.py` and what a test adds.

    `work.py` executes the field `do` of its config, with `config` (a dict) and `folder` (a Path) at hand.
    """

    root: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list["subprocess.Popen[str]"])

    def write(self, path: str, content: str) -> Path:
        """Write a file of the repository."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file

    def suite(
        self,
        cases: Mapping[str, str] | str,
        *,
        entry_point: str = "work.py",
        experiment: str = "exp",
        more: str = "",
        before: str = "",
        path: str = "suite.py",
    ) -> Path:
        """Write a suite.

        Args:
            cases: The code that each variant executes, or an expression for the list of cases.
            more: Further arguments of `run_experiments_cli`.
            before: Statements before the cases are made.
        """
        if not isinstance(cases, str):
            made = (f"ExperimentCase({variant!r}, Config(do={code!r}))" for variant, code in cases.items())
            cases = f"[{', '.join(made)}]"
        content = [
            '"""What the suite is about."""',
            "from experiment_runner import ExperimentCase, SuiteError, run_experiments, run_experiments_cli",
            "from config import Config",
            before,
            f"cases = {cases}",
            f"run_experiments_cli(cases, {entry_point!r}, {experiment!r}, {more})",
        ]
        return self.write(path, "\n".join(content) + "\n")

    def start(
        self,
        *arguments: str,
        suite: str = "suite.py",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start the suite; `before` is a command to run it by, such as `nohup`."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(
            [*before, sys.executable, str(self.root / suite), *arguments],
            cwd=cwd or self.root, env={**clean_environment(), **(env or {})},
            text=True, encoding="utf-8", errors="surrogateescape", **{**pipes, **options},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, *arguments: str, **options: Any) -> Finished:
        """Run the suite to its end; the options are those of `start`."""
        return self.finish(self.start(*arguments, **options))

    def fork(
        self,
        *arguments: str,
        suite: str = "suite.py",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start the suite as `start` does, for half of what that costs: in a fork of a process that has imported what
        runners import. The other options are those of `forking.Forked`.
        """
        environment = {**clean_environment(), **(env or {})}
        process = Forked([str(self.root / suite), *arguments], cwd or self.root, environment, **options)
        self.processes.append(process)
        return process

    def run_forked(self, *arguments: str, **options: Any) -> Finished:
        """Run the suite to its end; the options are those of `fork`."""
        return self.finish(self.fork(*arguments, **options))

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Wait for a process that `start` started."""
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        return Finished(process.returncode, stdout or "", stderr or "")

    def runs(self, experiment: str = "exp") -> list[Path]:
        """The run directories of an experiment, oldest first."""
        folder = self.root / "results" / experiment
        return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))

    @property
    def run_dir(self) -> Path:
        """The run directory made last."""
        return self.runs()[-1]

    def events(self, name: str | None = None, run_dir: Path | None = None) -> list[dict[str, Any]]:
        """The events of a journal, without the checksums of their lines; those of one name."""
        journal = (run_dir or self.run_dir) / "journal.jsonl"

        def whole() -> bytes:
            content = journal.read_bytes()
            return content if content.endswith(b"\n") else b""

        # A line that is being written may be seen in part; it may not stay so.
        lines = wait_for(whole, "a finished last line of the journal").decode().splitlines()
        events = [json.loads(line) for line in lines]
        for event in events:
            event.pop("crc32", None)
        return [event for event in events if name in (None, event["event"])]

    def wait_for_started(self, *variants: str, run_dir: Path | None = None) -> dict[str, int]:
        """The pids of cases, by variant, once the journal tells of their start.

        A case runs a moment before the journal says so: what it writes is no sign that the runner has gone on.
        """

        def pids() -> dict[str, int]:
            if run_dir is None and not self.runs():
                return {}
            pids = {event["variant"]: event["pid"] for event in self.events("attempt_started", run_dir)}
            return pids if pids.keys() >= {*variants} else {}

        return wait_for(pids, f"the record of the start of {', '.join(variants)}")

    def statuses(self, run_dir: Path | None = None) -> dict[str, str]:
        """The status that every ended case has in the journal."""
        return {event["variant"]: event["status"] for event in self.events("case_ended", run_dir)}

    def git(self, *arguments: str) -> str:
        """Run git in the repository."""
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=self.root, env=clean_environment(), check=True, capture_output=True)
        return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    def listing(self) -> dict[str, tuple[int, int]]:
        """Every file and folder but Python's caches, with size and time of change.

        Of git's objects the size only: git touches those that it finds written already.
        """
        paths = (path for path in self.root.rglob("*") if "__pycache__" not in path.parts)
        found = {str(path.relative_to(self.root)): path.lstat() for path in paths}
        touched = f".git{os.sep}objects"
        return {
            name: (facts.st_size, 0 if name.startswith(touched) else facts.st_mtime_ns) for name, facts in found.items()
        }

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def clean_environment() -> dict[str, str]:
    """This environment without what would hide a fault: Python's switches, git's, threads, colours."""
    hiding = ("PYTHON", "GIT_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "NO_COLOR", "FORCE_COLOR", "COV_", "PYTEST_")
    hiding += ("SUITECASE_",)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hiding)}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` means: a test has several of its own, so that more would only get in their way."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(2, usable), 8)


SLOW_FILES = (
    *("test_documents", "test_inspect_mode", "test_supervision", "test_launching", "test_resume", "test_policy"),
    *("test_durability", "test_inspect_evaluation", "test_command_line", "test_suite_command", "test_reports"),
    *("test_startup_crash", "test_packaging", "test_estimate", "test_tables", "test_init", "test_checks"),
    *("test_code_state", "test_items_example", "test_cancel", "test_session", "test_hooks", "test_command_logs"),
    *("test_reproduce", "test_replay_command", "test_transport", "test_compare_commands", "test_code_watch"),
    *("test_items", "test_tracking", "test_limits"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process is left alone with one of them at the end.

    What needs a cluster is left out, unless `-m` asks for it.
    """
    if not config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("cluster")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    place = {name: at for at, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session", autouse=True)
def no_signal_is_ignored() -> None:
    """Under nohup, or in the background of a shell, children would inherit that some signals are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, do_nothing)  # unlike SIG_IGN, a handler is not inherited


def do_nothing(_number: int, _frame: object) -> None:
    """A signal's handler."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed repository, compiled once; tests work on copies of it."""
    root = tmp_path_factory.mktemp("template") / "project"
    root.mkdir()
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copyfile(HERE / name, root / name)
    project = Project(root)
    project.write("config.py", CONFIG)
    project.write("work.py", ENTRY_POINT)
    project.write(".gitignore", "__pycache__/\n/results/\n")
    project.suite({"a": "print('hello')", "b": "print('hello')"})
    subprocess.run([sys.executable, "-m", "compileall", "-q", root], check=True, env=clean_environment())
    project.git("init", "-q", "-b", "main", "--template=")  # no samples of hooks, which every copy would copy
    project.git("add", ".")
    project.git("commit", "-q", "-m", "First")
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    """A clean, committed repository of its own, with a suite of two cases, `a` and `b`, that succeed."""
    made = Project(tmp_path / "project")
    shutil.copytree(template, made.root, symlinks=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def new_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Project]]:
    """Makes projects like `project` that live as long as a file's tests."""
    made: list[Project] = []

    def make(name: str) -> Project:
        project = Project(tmp_path_factory.mktemp(name) / "project")
        shutil.copytree(template, project.root, symlinks=True)
        made.append(project)
        return project

    yield make
    for project in made:
        project.close()


class Kept:
    """A project as a module's fixture left it, brought back for each test: quicker than running its suite again.

    It comes back in the same place, since a run records absolute paths.
    """

    def __init__(self, project: Project) -> None:
        self.root, self.copy = project.root, project.root.with_name("kept")
        project.root.rename(self.copy)

    @contextmanager
    def restored(self) -> Generator[Project]:
        """The project, to be changed at will."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.copy, self.root, symlinks=True)
        project = Project(self.root)
        yield project
        project.close()
