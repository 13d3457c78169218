"""Fresh projects, real processes, and who of them is still alive.

What is alive is never asked of suitecase: every process of a case writes its own pid and start time into a
folder outside of the run directory, and the kernel's table of processes is compared with that.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .framework import Campaign

ROOT = Path(__file__).resolve().parent.parent.parent
SEED_SHAPE = Path(__file__).resolve().parent / "seed_shape.py"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
START_DEADLINE_S = 60.0  # of what must come sooner or later; other work may be using the cores

CONFIG = """\
from experiment_config import BaseExperimentConfig


class Config(BaseExperimentConfig):
    number: int = 0
"""

SUITE = '''\
"""As many cases as CAMPAIGN_CASES says."""
import os
import time

from config import Config
from experiment_runner import ExperimentCase, run_experiments_cli

cases = [ExperimentCase(f"case-{n}", Config(number=n)) for n in range(int(os.environ["CAMPAIGN_CASES"]))]
if barrier := os.environ.get("CAMPAIGN_BARRIER"):  # so that races begin at the lock, not at the imports
    open(f"{barrier}.ready.{os.getpid()}", "w").close()
    while not os.path.exists(barrier):
        time.sleep(0.001)
run_experiments_cli(cases, os.environ["CAMPAIGN_ENTRY"], "campaign", mode=os.environ["CAMPAIGN_MODE"])
'''

# Every process of a case does this first. /proc/self is right in a PID namespace too, whoever mounted /proc; the
# descendant of `env -i` has no variables, so the folder comes as an argument, which also marks its command line.
WRITE_ITSELF_DOWN = """\
write_itself_down() {  # outside, variant, kind
    read -r facts < /proc/self/stat
    record="$1/$2.$3"
    set -- $facts
    printf '%s\\n' "$facts" > "$record.$1.${22}"
}
"""

# The same for an entry point that a fork server can execute. Its second argument is the case's folder.
WRITE_ITSELF_DOWN_IN_PYTHON = """\
import os, subprocess, sys, time

outside, folder = os.environ["CAMPAIGN_OUTSIDE"], sys.argv[2]
variant = os.path.basename(folder)
hold = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hold.sh")

def write_itself_down(kind):
    with open("/proc/self/stat") as file:
        facts = file.readline().split()
    with open(f"{outside}/{variant}.{kind}.{facts[0]}.{facts[21]}", "w") as file:
        file.write(" ".join(facts) + "\\n")
    return f"{facts[0]}.{facts[21]}"
"""

# Blocked in the open of a pipe that nobody writes to: it needs no child to wait, and keeps its command line.
HOLD = f"""\
#!/bin/sh
{WRITE_ITSELF_DOWN}
[ "$3" != ignoring ] || trap '' TERM INT HUP
write_itself_down "$1" "$2" "$3"
read -r _ < "$1/never"
"""


class TooLateError(Exception):
    """Something that had to happen did not happen before its deadline."""


def wait_for(
    condition: Callable[[], Any], what: str, deadline_s: float = START_DEADLINE_S, every_s: float = 0.02
) -> Any:
    """Poll until a condition holds, and give its value.

    Raises:
        TooLateError: It did not hold in time.
    """
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise TooLateError(f"{what}: not within {deadline_s:.1f} s")
        time.sleep(every_s)
    return value


# --- The kernel's table of processes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stat:
    """A line of /proc/PID/stat: pid, state, parent, CPU time in seconds, start in ticks since the boot."""

    pid: int
    state: str
    parent: int
    cpu_s: float
    start: int


def read_stat(line: str) -> Stat:
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Stat(int(pid), fields[0], int(fields[1]), (int(fields[11]) + int(fields[12])) * TICK_S, int(fields[19]))


def stat_of(pid: int) -> Stat | None:
    """The facts of a process; None once it is dead, also as a zombie."""
    try:
        stat = read_stat(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if stat.state in "ZX" else stat


def processes() -> Iterator[Stat]:
    """Every process that is alive."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := stat_of(int(name))):
            yield stat


def read_proc(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty if the process is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def tree_of(pid: int) -> list[int]:
    """A process and all its descendants that still hang on it."""
    children: dict[int, list[int]] = {}
    for stat in processes():
        children.setdefault(stat.parent, []).append(stat.pid)
    found = [pid]
    for parent in found:  # grows while it is read
        found += children.get(parent, [])
    return found


def guardian_of(runner: int) -> int | None:
    """The guardian, a direct child of the runner; None if it has none (now)."""
    for stat in processes():
        if stat.parent == runner and b"--guardian" in read_proc(stat.pid, "cmdline"):
            return stat.pid
    return None


def server_of(guardian: int) -> int | None:
    """The fork server, a direct child of the guardian; None if it has none (now)."""
    for stat in processes():
        if stat.parent == guardian:
            with suppress(OSError):  # what a server says goes there; its cases have their logs in that place
                if os.readlink(f"/proc/{stat.pid}/fd/1").startswith("/memfd:fork server"):
                    return stat.pid
    return None


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# --- What processes of cases wrote about themselves -------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A process that wrote itself down; the pid is the one that it saw itself, perhaps in a namespace."""

    variant: str
    kind: str
    pid: int
    start: int


@dataclass(frozen=True)
class Outside:
    """A folder that suitecase doesn't know, in which the processes of cases write themselves down."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        os.mkfifo(self.folder / "never")

    def recorded(self) -> set[Recorded]:
        """Every process that has written itself down so far."""
        found: set[Recorded] = set()
        for path in self.folder.glob("case-*.*.*.*"):
            variant, kind, _, _ = path.name.rsplit(".", 3)
            line = path.read_text()
            if line.endswith("\n"):  # otherwise it is just being written
                stat = read_stat(line)
                found.add(Recorded(variant, kind, stat.pid, stat.start))
        return found

    def alive(self, among: Iterable[Recorded] | None = None) -> dict[Recorded, int]:
        """The recorded processes that are alive, with their pids here.

        A process in a PID namespace knows another pid than we see, so it is found by its start time, which is the
        same in both, then proved by the pid in its innermost namespace and by the folder in its command line.
        """
        by_start: dict[int, list[Recorded]] = {}
        for recorded in self.recorded() if among is None else among:
            by_start.setdefault(recorded.start, []).append(recorded)
        found: dict[Recorded, int] = {}
        for stat in processes() if by_start else ():
            for recorded in by_start.get(stat.start, ()):
                namespaces = read_proc(stat.pid, "status").partition(b"NSpid:")[2].partition(b"\n")[0].split()
                marked = self.marks(read_proc(stat.pid, "cmdline"), read_proc(stat.pid, "environ"))
                if str(recorded.pid).encode() in namespaces and marked:
                    found[recorded] = stat.pid
        return found

    def marks(self, *texts: bytes) -> bool:
        return any(os.fsencode(self.folder) in text for text in texts)

    @property
    def ledger(self) -> list[list[str]]:
        """The lines of the ledger to which cases append, split into words."""
        try:
            return [line.split() for line in (self.folder / "ledger").read_text().splitlines()]
        except FileNotFoundError:
            return []


# --- Projects ---------------------------------------------------------------------------------------------------------


@dataclass
class Project:
    """A committed repository with the reference files and a suite of empty configs, and a folder outside of it."""

    campaign: Campaign
    root: Path
    outside: Outside
    entry_point: str
    cases: int
    mode: str = "standard"
    variables: dict[str, str] = field(default_factory=dict[str, str])
    started: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "CAMPAIGN_OUTSIDE": str(self.outside.folder), "CAMPAIGN_CASES": str(self.cases),
            "CAMPAIGN_ENTRY": self.entry_point, "CAMPAIGN_MODE": self.mode,
        }  # fmt: skip
        # The launchers of this checkout, and nothing learned by another round.
        launched = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.outside.folder / "cache")}
        return {**clean_environment(), **own, **(launched if self.campaign.launcher else {}), **self.variables}

    def start(self, *flags: str, by: Iterable[str] = (), **variables: str) -> subprocess.Popen[bytes]:
        """Start the suite in a process group of its own, as a shell does; its output goes to a file.

        Args:
            by: A command to run it by, which must replace itself by the suite.
        """
        isolated = ["--isolate"] if self.campaign.isolate and "--isolate" not in flags else []
        launcher = ["--launcher", self.campaign.launcher] if self.campaign.launcher else []
        return self.launch([*by, self.campaign.python, "suite.py", *flags, *isolated, *launcher], variables)

    def start_seed_shaped(self, parallelism: int) -> subprocess.Popen[bytes]:
        """Start the seed-shaped runner on the same cases; the same call again is its resume."""
        variants = [f"case-{number}" for number in range(self.cases)]
        entry_point = str(self.root / self.entry_point)
        command = [str(SEED_SHAPE), str(self.root / "seed-shaped"), entry_point, str(parallelism), *variants]
        return self.launch([self.campaign.python, *command], {})

    def launch(self, command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with open(self.output(len(self.started)), "wb") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env={**self.environment, **variables}, process_group=0,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self.started.append(process)
        return process

    def output(self, number: int) -> Path:
        return self.outside.folder / f"output-{number}.txt"

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """What a process that was started here has printed."""
        return self.output(self.started.index(process)).read_text(errors="replace")

    def last_words(self, process: subprocess.Popen[bytes]) -> str:
        """How a process ended, in a few words."""
        lines = [line.strip(" │") for line in self.said(process).replace(f"{self.root}/", "").splitlines()]
        said = [line for line in lines if any(character.isalnum() for character in line)]
        return f"exit code {process.returncode}: {said[-1][:150] if said else 'said nothing'}"

    @property
    def runs(self) -> list[Path]:
        """The run directories, oldest first."""
        folder = self.root / "results" / "campaign" / (".runs" if self.mode == "inspect" else "")
        return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The finished events of one name in the newest run; a reader forgives an unfinished last line."""
        if not self.runs:
            return []
        *finished, _unfinished = (self.runs[-1] / "journal.jsonl").read_bytes().split(b"\n")
        return [event for event in map(json.loads, finished) if event["event"] == name]

    def statuses(self) -> dict[str, str]:
        """The last recorded status of every case that ended."""
        return {event["variant"]: event["status"] for event in self.events("case_ended")}

    def close(self) -> None:
        """End everything that was started here, and remove it."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        sweep(self.root.parent)
        shutil.rmtree(self.root.parent, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """This environment without what would change a run: Python's switches, git's, suitecase's own, colours."""
    hiding = ("PYTHON", "GIT_", "SUITECASE_", "CAMPAIGN_", "NO_COLOR", "FORCE_COLOR", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hiding)}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "TERM": "dumb", "COLUMNS": "400"}


@cache
def template(folder: Path, files: tuple[tuple[str, str], ...]) -> Path:
    """A committed repository, compiled once; rounds work on copies of it."""
    root = folder / f"template-{zlib.crc32(repr(files).encode()):08x}"
    root.mkdir()
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copyfile(ROOT / name, root / name)
    ours = (("config.py", CONFIG), ("suite.py", SUITE), ("hold.sh", HOLD), (".gitignore", "__pycache__/\n/results/\n"))
    for name, content in (*ours, *files):
        (root / name).write_text(content)
        if content.startswith("#!"):
            (root / name).chmod(0o755)
    compileall.compile_dir(root, quiet=1)
    identity = ("-c", "user.name=C", "-c", "user.email=c@example.org")
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-qm", "First"]):
        subprocess.run(["git", *arguments], cwd=root, env=clean_environment(), check=True)
    return root


@contextmanager
def project(
    campaign: Campaign,
    name: str,
    entry_point: str,
    cases: int,
    files: Mapping[str, str],
    mode: str = "standard",
    **variables: str,
) -> Generator[Project]:
    """A fresh project for one round; afterwards its processes are ended and its files are gone.

    Args:
        name: Of the round, unique within the row.
        entry_point: One of the files, or an absolute path.
        files: What the project holds besides the suite, the same for every round of a row: path -> content.
        variables: Environment variables of everything that the project starts.
    """
    with lock_of_template:
        source = template(campaign.folder, tuple(files.items()))
    home = campaign.folder / name.replace("/", "-")
    home.mkdir()
    made: Project | None = None
    try:
        shutil.copytree(source, home / "project")
        outside = Outside(home / "outside")
        made = Project(campaign, home / "project", outside, entry_point, cases, mode, variables)
        yield made
    finally:
        if made:
            made.close()


lock_of_template = threading.Lock()


@cache
def flags_of_suites(python: str) -> frozenset[str]:
    """The long flags that a suite of this checkout knows."""
    command = [python, "-c", "import sys; sys.argv = ['suite', '--help']; " + HELP_OF_A_SUITE]
    env = {**clean_environment(), "PYTHONPATH": str(ROOT)}
    text = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60).stdout
    return frozenset(word.strip(",│") for word in text.split() if word.startswith("--"))


HELP_OF_A_SUITE = """\
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, run_experiments_cli
run_experiments_cli([ExperimentCase("a", BaseExperimentConfig())], "/bin/true", "campaign")
"""


# --- Many at a time, and no trace of them -----------------------------------------------------------------------------

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    campaign: Campaign, items: Iterable[Item], function: Callable[[Item], Result], label: str
) -> list[Result]:
    """The results of a function for every item, in order, a few at a time, with progress.

    On an error or Ctrl-C nothing more begins, and what runs is ended by killing its processes.
    """
    items = list(items)
    done = 0

    def with_progress(item: Item) -> Result:
        nonlocal done
        result = function(item)
        done += 1
        campaign.progress(f"{label} {done}/{len(items)}")
        return result

    pool = ThreadPoolExecutor(campaign.workers)
    try:
        futures = [pool.submit(with_progress, item) for item in items]
        # With a timeout, or Ctrl-C would wait for the lock of a future.
        while wait(futures, timeout=0.5, return_when=FIRST_EXCEPTION).not_done:
            for future in futures:
                if future.done():
                    future.result()
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        sweep(campaign.folder)
        raise
    finally:
        pool.shutdown()


def sweep(folder: Path) -> int:
    """Kill every process with the folder in its command line, environment or working directory; how many there were."""
    mark = os.fsencode(folder)
    killed = 0
    for _ in range(20):  # what was forking while we looked is found in the next round
        found = [stat.pid for stat in processes() if stat.pid != os.getpid() and is_marked(stat.pid, mark)]
        if not found:
            break
        for pid in found:
            kill(pid)
        killed += len(found)
        time.sleep(0.02)
    return killed


def is_marked(pid: int, mark: bytes) -> bool:
    try:
        cwd = os.fsencode(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        cwd = b""
    texts = (cwd + b"\0", read_proc(pid, "cmdline"), read_proc(pid, "environ"))
    return any(mark + end in text for text in texts for end in (b"/", b"\0"))
