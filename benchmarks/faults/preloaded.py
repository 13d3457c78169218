"""Runners that start in milliseconds: an interpreter with everything imported, which forks one per request.

Thousands of runs are too many to import pydantic and typer each time. A fork runs the suite's file exactly as
`python suite.py` does; `Launcher` is the side of the campaign, and `serve` the process that it starts:

    python preloaded.py PROJECT FOLDER      requests on stdin, answers on stdout, one JSON text per line
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """A process that has ended; `code` is negative if a signal did it."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Started:
    """A runner that has been forked; stopped before its first step if that was asked for."""

    launcher: Launcher
    pid: int
    stdout: Path
    stderr: Path

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the runner; it stays a child of the launcher, so that the pid can't be anybody else's yet."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, deadline_s: float = DEADLINE_S) -> Ended:
        """Its end. A runner that does not come to one is killed, and shows as such."""
        code = self.launcher.ended(deadline_s)
        if code is None:
            self.kill()
            self.launcher.ended(10.0)
            return Ended(-signal.SIGALRM, "", f"no end within {deadline_s:.0f} s")
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (self.stdout, self.stderr)]
        return Ended(code, *texts)


class Launcher:
    """One preloaded interpreter; runs one suite at a time.

    Args:
        project: The folder with the two reference files, the suite and its entry point.
        env: The environment of the interpreter, and with it of every run.
    """

    def __init__(self, project: Path, folder: Path, python: str, env: Mapping[str, str] | None = None) -> None:
        self.project, self.folder = project, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {**clean_environment(), **(env or {})}
        self.stderr = (folder / "launcher.err").open("wb")
        self.process = subprocess.Popen(
            [python, __file__, str(project), str(folder)], env=self.environment, cwd=project, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, start_new_session=True,
        )  # fmt: skip
        self.answers: Queue[dict[str, Any]] = Queue()
        self.is_ready = False
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"gone": True})

    def start(
        self, *arguments: str, suite: str = "suite.py", env: Mapping[str, str] | None = None, stopped: bool = False
    ) -> Started:
        """Fork a runner."""
        self.wait_until_ready()
        request: dict[str, Any] = {
            "argv": [str(self.project / suite), *arguments], "env": dict(env or {}), "stopped": stopped,
            "stdout": str(self.folder / "stdout"), "stderr": str(self.folder / "stderr"),
        }  # fmt: skip
        for stream in ("stdout", "stderr"):  # what the last run said is not said by this one
            Path(request[stream]).write_bytes(b"")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        answer = self.answer()
        return Started(self, answer["pid"], Path(request["stdout"]), Path(request["stderr"]))

    def wait_until_ready(self) -> None:
        """Wait until everything is imported; a second launcher imports meanwhile."""
        if not self.is_ready:
            self.answer()
            self.is_ready = True

    def answer(self) -> dict[str, Any]:
        answer = self.answers.get(timeout=DEADLINE_S)
        if "gone" in answer:
            raise RuntimeError(f"the launcher is gone: {(self.folder / 'launcher.err').read_text()[-2000:]}")
        return answer

    def run(self, *arguments: str, **options: Any) -> Ended:
        """Run a suite to its end."""
        return self.start(*arguments, **options).wait()

    def ended(self, deadline_s: float) -> int | None:
        with suppress(Exception):
            return int(self.answers.get(timeout=deadline_s)["code"])
        return None

    def close(self) -> None:
        """End the interpreter, and whatever its runs left in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def clean_environment() -> dict[str, str]:
    """This environment without what would change a run: Python's switches, git's, threads; and a short PATH."""
    hiding = ("PYTHON", "GIT_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "NO_COLOR", "FORCE_COLOR", "COV_", "LD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hiding)}
    path = os.pathsep.join(place for place in ("/usr/local/bin", "/usr/bin", "/bin") if os.path.isdir(place))
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONHASHSEED": "0", "PATH": path}


def wait_until(condition: Any, what: str, deadline_s: float = 20.0) -> None:
    """Poll until something is true; a fault that can't be set up must not pass for one that was survived."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {deadline_s:.0f} s")
        time.sleep(0.001)


# --- The project that the rows run -----------------------------------------------------------------------------------

CONFIG = """\
from experiment_config import BaseExperimentConfig


class Config(BaseExperimentConfig):
    x: int = 0
"""

# Every start leaves a mark beside the runner's files; `bad` succeeds once somebody has made the file `fixed`.
ENTRY_POINT = """\
#!/bin/sh
printf 'x' >> "$2/starts"
printf '{"done": true}' > "$2/results.json"
echo "$2"
case "$2" in
    */slow*) sleep 0.1 ;;
    */bad) [ -e "$FIXED" ] ;;
esac
"""

SUITE = """\
import os
from experiment_runner import ExperimentCase, run_experiments_cli
from config import Config

names = os.environ.get("CASES", "a,b,bad").split(",")
run_experiments_cli([ExperimentCase(name, Config()) for name in names], "work.sh", "exp")
"""


def make_project(folder: Path, root: Path) -> Path:
    """A committed repository with both reference files, a config, an entry point and a suite."""
    folder.mkdir(parents=True)
    for name in ("experiment_config.py", "experiment_runner.py"):
        (folder / name).write_bytes((root / name).read_bytes())
    (folder / "config.py").write_text(CONFIG)
    (folder / "suite.py").write_text(SUITE)
    (folder / "work.sh").write_text(ENTRY_POINT)
    (folder / "work.sh").chmod(0o755)
    (folder / ".gitignore").write_text("__pycache__/\n/results/\n")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*identity, "commit", "-q", "-m", "First")):
        subprocess.run(["git", *command], cwd=folder, env=clean_environment(), check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=False, env=clean_environment())
    return folder


# --- The preloaded interpreter ---------------------------------------------------------------------------------------


def serve(project: Path, folder: Path) -> None:
    """Fork a runner for every line of standard input; say its pid, then how it ended."""
    sys.path.insert(0, str(project))
    # Numbers like 3 and 4 are what a runner gets for its own files, as it does when it is started from a shell.
    requests, answers = (
        os.fdopen(os.dup2(0, 100, inheritable=False)),
        os.fdopen(os.dup2(1, 101, inheritable=False), "w"),
    )
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    preload(project, folder / "modules")
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become_runner(request)
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), file=answers, flush=True)


def preload(project: Path, seen: Path) -> None:
    """Import what a run imports, found out by a whole run: what is imported late counts too."""
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            results = f"{seen}-results"
            become_runner({
                "argv": [str(project / "suite.py"), "--results-dir", results], "env": {}, "stopped": False,
                "stdout": os.devnull, "stderr": os.devnull, "modules": str(seen),
            })  # fmt: skip
        os.waitpid(pid, 0)
        for name in json.loads(seen.read_text()):
            with suppress(Exception):
                if name not in sys.modules and name not in ("config", "__main__"):
                    __import__(name)
    seen.unlink()
    subprocess.run(["rm", "-rf", f"{seen}-results"], check=True)


def become_runner(request: Mapping[str, Any]) -> NoReturn:
    """Be `python suite.py ARGUMENT …`, to the exit code."""
    code = 1
    try:
        with suppress(OSError):
            os.close(100)
            os.close(101)
        for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(opened, number)
            os.close(opened)
        os.environ.update(request["env"])
        sys.argv[:] = request["argv"]
        sys.orig_argv[:] = [sys.executable, *request["argv"]]
        sys.path[0] = str(Path(request["argv"][0]).parent)
        if request["stopped"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        code = run_as_main(request["argv"][0])
    finally:
        with suppress(Exception):
            if "modules" in request:
                Path(request["modules"]).write_text(json.dumps(list(sys.modules)))
        os._exit(code)


def run_as_main(suite: str) -> int:
    code: object = 0
    try:
        runpy.run_path(suite, run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    try:  # as the interpreter does at its end
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120
    return code if isinstance(code, int) else 0 if code is None else 1


T = TypeVar("T")
R = TypeVar("R")


def spread(
    made: Sequence[Launcher], tasks: Sequence[T], function: Callable[[Launcher, T], R], told: Callable[[int], None]
) -> list[R]:
    """What a function makes of each task, in order; as many at a time as there are launchers."""
    free: Queue[Launcher] = Queue()
    for launcher in made:
        free.put(launcher)

    def one(task: T) -> R:
        launcher = free.get()
        try:
            return function(launcher, task)
        finally:
            free.put(launcher)

    pool = ThreadPoolExecutor(len(made))
    try:
        results: list[R] = []
        for result in pool.map(one, tasks):
            results.append(result)
            told(len(results))
        return results
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def launchers(count: int, project: Path, folder: Path, python: str, **options: Any) -> Generator[Sequence[Launcher]]:
    """Several launchers of one project, for as many threads."""
    made: list[Launcher] = []
    try:
        for number in range(count):
            made.append(Launcher(project, folder / f"launcher-{number}", python, **options))
        for launcher in made:
            launcher.wait_until_ready()
        yield made
    finally:
        for launcher in made:
            launcher.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
