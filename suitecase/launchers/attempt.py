"""One attempt, where a cluster runs it: the program that launchers start whose attempts outlive the runner.

    python -I -S …/suitecase/launchers/attempt.py RUN_DIR/.attempts/BATCH/INDEX.json

It reads what the launcher wrote there (`Spec`), claims the attempt, runs its command through the runner's own launcher
`Local`, so that log, exit code, resources, limits and the end of the whole tree are those of a local run, and
writes into `{variant}/attempt-N.json` how it ended. It needs nobody: the runner may be gone, and the scheduler too.

It imports nothing of the package and nothing that a user installed: a broken environment fails in the case, where
its log tells, and not here.

    who asks                                what becomes of the case
    a file `cancel` (of the run, the case)  asked to end, killed after its grace: cancelled
    its own `timeout_s`                     the same: timed_out
    a file `INDEX.asked`, of the launcher   the same; with the word KILL in it, killed now: cancelled
    TERM, INT or HUP, of the scheduler      the same: timed_out near the scheduler's limit of time, else preempted
    a file `INDEX.fenced`                   killed now, and nothing is written: the runner has given it up
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import experiment_runner

__all__ = ["ATTEMPTS", "BEAT_S", "EXIT_FENCED", "LOOK_S", "Spec", "batch_file", "main", "record_name"]

ATTEMPTS = ".attempts"
"""The folder in a run directory for what launchers and attempts tell each other."""

LOOK_S = 2.0
"""How often an attempt looks for files that ask it to end."""

BEAT_S = 10.0
"""How often a living attempt sets the time of its file `INDEX.alive`."""

SAME_MOMENT_S = 0.5
"""How far apart the processes of a job may get a signal that is sent to all of them."""

WRITE_AGAIN_S, WRITE_FOR_S = 5.0, 60.0
"""A full disk may get room again: how often, and how long, the end is tried to be written."""

LIMIT_MARGIN_S = 90.0
"""How long before the scheduler's limit of time a TERM is taken for its warning: asked for 30 s ahead or more, and
sent up to 60 s before that (sbatch(1), --signal)."""

EXIT_FENCED = 75
"""Another incarnation has claimed the attempt: EX_TEMPFAIL of sysexits.h."""

NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)

OLDEST = (3, 11)
"""The runner's oldest Python. An older one can read this file, down to 3.7."""

EXIT_UNUSABLE = 78
"""The attempt could not even be claimed: EX_CONFIG of sysexits.h."""


def record_name(attempt: int) -> str:
    """The file in a case's folder that tells of an attempt: its claim, then its end."""
    return f"attempt-{attempt}.json"


def batch_file(spec: Path, kind: str) -> Path:
    """A file beside a spec: `environment`, `alive`, `ended`, `fenced`, or what a launcher adds."""
    return spec.with_suffix(f".{kind}")


@dataclass(frozen=True)
class Spec:
    """What a launcher writes down of an attempt before it submits it; no values of environment variables.

    Attributes:
        launcher: Its name.
        job_variable: The environment variable by which the scheduler says which job this is.
        python: The interpreter of the command and of the guardian.
        runner: The file `experiment_runner.py` that runs the suite.
        mark, variant, attempt, command, isolated, cpus, gpus, memory_gb, timeout_s: As in the runner's `Launch`.
        prefix: What the command is executed by, such as `srun`; variables in it are filled in on the node.
        root, entry_point, experiment, mode, first_signal, grace_s, nice: As in its `Session`.
        limit_s: The scheduler's own limit of time; None if it has none.
        scratch: The folder on the node in which the attempt gets one of its own, by SUITECASE_SCRATCH and TMPDIR.
    """

    launcher: str
    job_variable: str
    runner: str
    mark: int
    variant: str
    attempt: int
    command: Sequence[str]
    root: str
    entry_point: str
    experiment: str
    mode: str = "standard"
    first_signal: int = signal.SIGTERM
    grace_s: float = 10.0
    nice: int = 0
    isolated: bool = False
    cpus: float | None = None
    gpus: float | None = None
    memory_gb: float | None = None
    timeout_s: float | None = None
    prefix: Sequence[str] = ()
    limit_s: float | None = None
    scratch: str | None = None

    def write(self, path: Path, environment: Mapping[str, str]) -> None:
        """Write the spec, and the variables beside it, which the attempt removes as soon as it has read them.

        Not synced: the launcher syncs the folder when all of a batch are there.
        """
        secret = batch_file(path, "environment")
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(dict(environment), file)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Read what `write` wrote; keys of a newer version are ignored."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__})


class FencedError(Exception):
    """The attempt is not this process's to run: the runner gave it up, or a copy before a requeue has claimed it."""


def main(arguments: Sequence[str]) -> int:
    """Run the attempt that a spec describes; the exit code is the case's own, as a shell would tell it."""
    requests = Requests()
    path = Path(os.path.abspath(arguments[0])) if len(arguments) == 1 else None
    if path is None:
        return complain("needs one argument: the spec of an attempt", 2)
    try:
        spec = Spec.read(path)
        if batch_file(path, "fenced").exists():
            raise FencedError(f"{path}: the runner has given this attempt up")
        runner = load_runner(spec.runner)
        attempt = Claimed(spec, path, runner)
    except FencedError as error:
        return complain(str(error), EXIT_FENCED)
    except (OSError, ValueError, TypeError, ImportError, SyntaxError) as error:
        version = ".".join(map(str, sys.version_info[:3]))
        return complain(f"{path}: {error} (Python {version} on {socket.gethostname()})", EXIT_UNUSABLE)
    return attempt.run(requests)


def complain(message: str, exit_code: int) -> int:
    with suppress(OSError):  # the file that a scheduler keeps of its words may lie on the disk that is full
        os.write(2, f"suitecase: {message}\n".encode(errors="backslashreplace"))
    return exit_code


def load_runner(file: str) -> Any:
    """The module of the suite's own runner, wherever it lies."""
    if sys.version_info < OLDEST:
        raise ImportError(f"suites need Python {'.'.join(map(str, OLDEST))} or newer")
    spec = importlib.util.spec_from_file_location("experiment_runner", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["experiment_runner"] = module
    spec.loader.exec_module(module)
    return module


class Requests:
    """What others ask this attempt to do, by signals and by files.

    Attributes:
        cancelled: Why it is to end as cancelled, in words; None if nobody asked for that.
        killed: Whether it must end now.
        fenced: Whether the runner has given it up, so that it must leave no trace.
        told: The signal by which the scheduler asked it to end; 0 if it didn't.
        wakeup: Readable when something was asked.
    """

    def __init__(self) -> None:
        self.cancelled: str | None = None
        self.killed = self.fenced = False
        self.told = 0
        self.wakeup, self.writer = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self.writer, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.receive)
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        self.told = self.told or number

    def look(self, spec: Path, folder: Path) -> None:
        """See whether a file asks for something, of those beside the spec, in the case's folder and in the run's."""
        before = (self.cancelled, self.killed, self.fenced)
        run_dir = spec.parent.parent.parent
        for parent in (spec.parent, folder, run_dir):
            # Opened, a folder is asked for at its server: else NFS may remember for a minute that a file isn't there.
            os.close(os.open(parent, os.O_RDONLY | os.O_CLOEXEC))
        self.fenced = self.fenced or batch_file(spec, "fenced").exists()
        if (folder / "cancel").exists() or (run_dir / "cancel").exists():
            self.cancelled = "its `cancel` file"
        with suppress(FileNotFoundError):
            self.killed = batch_file(spec, "asked").read_text() == "KILL" or self.killed
            self.cancelled = self.cancelled or ""
        if before != (self.cancelled, self.killed, self.fenced):
            with suppress(OSError):
                os.write(self.writer, b"\0")


@dataclass
class Ending:
    """Why an attempt is being ended, if it isn't by itself."""

    begun: bool = False
    killed: bool = False
    status: str = ""
    fault: str = ""
    cause: str = ""


@dataclass
class Claimed:
    """An attempt that is this process's own.

    Raises:
        FencedError: It belongs to another incarnation.
        OSError: The file system refuses the claim.
    """

    spec: Spec
    path: Path
    runner: Any
    ending: Ending = field(default_factory=Ending)

    def __post_init__(self) -> None:
        self.run_dir = self.path.parent.parent.parent
        self.folder = self.run_dir / self.spec.variant
        self.record = self.folder / record_name(self.spec.attempt)
        self.claim: dict[str, Any] = {
            "attempt": self.spec.attempt, "mark": self.spec.mark, "launcher": self.spec.launcher,
            "job": os.environ.get(self.spec.job_variable, ""), "host": socket.gethostname(), "pid": os.getpid(),
            "claimed_at": self.runner.now(),
        }  # fmt: skip
        claim_exclusively(self.record, self.runner.to_json(self.claim).encode())
        self.started = time.monotonic()

    def run(self, requests: Requests) -> int:
        """Run the command to its end, and write that down."""
        scratch = None
        end: dict[str, Any]
        try:
            environment = read_secret(batch_file(self.path, "environment"))
            threading.Thread(target=self.watch, args=[requests], daemon=True).start()
            if self.spec.scratch is not None:
                scratch = tempfile.mkdtemp(prefix="suitecase-", dir=os.path.expandvars(self.spec.scratch))
                environment |= {"SUITECASE_SCRATCH": scratch, "TMPDIR": scratch}
            requests.look(self.path, self.folder)
            if requests.cancelled is None:
                end = self.supervise(requests, environment)
            else:  # while it waited
                end = {"exit_code": None, "status": "cancelled", "fault": "", "cause": requests.cancelled}
        except (OSError, self.runner.SuiteError) as error:
            end = {"refused": True, "exit_code": None, "status": "", "fault": "", "cause": str(error)}
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if requests.fenced:
            return complain("the runner has given this attempt up: nothing is recorded", EXIT_FENCED)
        self.write_end(end)
        code = end["exit_code"]
        return 1 if code is None else code if code >= 0 else 128 - code

    def watch(self, requests: Requests) -> None:
        """Beat, and look for files that ask for something. A thread: a shared file system may hang for minutes."""
        next_beat = 0.0
        while True:
            with suppress(OSError):
                requests.look(self.path, self.folder)
                if time.monotonic() >= next_beat:
                    os.utime(batch_file(self.path, "alive"))
                    next_beat = time.monotonic() + BEAT_S
            time.sleep(LOOK_S)

    def supervise(self, requests: Requests, environment: Mapping[str, str]) -> dict[str, Any]:
        """Start the command, heed requests, and tell how it ended."""
        local = self.runner.Local()
        lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)  # nobody waits for it, but the launcher asks for one
        local.open(self.session(), lock, requests.wakeup)
        try:
            local.start([self.launch(environment)])
            while True:
                for event in local.wait(self.patience()):
                    if isinstance(event, self.runner.Started):
                        self.started = time.monotonic()
                        # Only now: who follows it counts its time from here, and must not be ahead of us.
                        batch_file(self.path, "alive").touch()
                    elif isinstance(event, self.runner.Refused):
                        reason = os.strerror(event.errno) if event.errno else event.cause
                        raise OSError(f"{reason} ({self.command()[0]} or its interpreter)")
                    else:
                        return self.end_of(event, requests)
                self.heed(requests, local)
        finally:
            local.close()
            os.close(lock)

    def session(self) -> experiment_runner.Session:
        spec = self.spec
        return self.runner.Session(
            run_dir=self.run_dir, root=Path(spec.root), entry_point=Path(spec.entry_point),
            environment=dict(os.environ), experiment=spec.experiment, mode=spec.mode, first_signal=spec.first_signal,
            grace_s=spec.grace_s, nice=spec.nice, foreground=False, parallelism=1,
        )  # fmt: skip

    def launch(self, environment: Mapping[str, str]) -> experiment_runner.Launch:
        spec = self.spec
        needs = self.runner.Resources(spec.cpus, spec.gpus, spec.memory_gb, spec.timeout_s)
        return self.runner.Launch(
            mark=spec.mark, variant=spec.variant, attempt=spec.attempt, folder=self.folder, command=self.command(),
            environment=environment, log=self.folder / f"attempt-{spec.attempt}.log", needs=needs,
            isolated=spec.isolated,
        )  # fmt: skip

    def command(self) -> list[str]:
        """What is executed: the command, by way of its prefix, whose first word is looked for in PATH."""
        prefix = [os.path.expandvars(part) for part in self.spec.prefix]
        if prefix:
            prefix[0] = shutil.which(prefix[0]) or prefix[0]
        return [*prefix, *self.spec.command]

    def patience(self) -> float:
        """Seconds until the timeout, or until it is time to look again."""
        timeout_s = self.spec.timeout_s
        if timeout_s is None or self.ending.begun:
            return LOOK_S
        return max(0.0, min(LOOK_S, self.started + timeout_s - time.monotonic()))

    def heed(self, requests: Requests, local: experiment_runner.Local) -> None:
        """End the case if somebody asked for it or its time is over; the first reason counts."""
        spec, ending = self.spec, self.ending
        if not ending.begun and self.is_to_end(requests) and not requests.killed:
            local.end(spec.mark, spec.first_signal, spec.grace_s)
        if (requests.killed or requests.fenced) and not ending.killed:
            ending.killed = True
            local.end(spec.mark, signal.SIGKILL, 0)

    def is_to_end(self, requests: Requests) -> bool:
        """Whether there is a reason to end the case, and which."""
        spec, ending = self.spec, self.ending
        elapsed_s = time.monotonic() - self.started
        if requests.told:
            with suppress(OSError):
                requests.look(self.path, self.folder)  # the launcher's own signal has a file as well
        if requests.cancelled is not None:
            ending.status, ending.cause = "cancelled", requests.cancelled
        elif spec.timeout_s is not None and elapsed_s >= spec.timeout_s:
            ending.status, ending.cause = "timed_out", f"took longer than {spec.timeout_s:g} s"
        elif requests.told:
            self.explain(requests.told, elapsed_s)
        else:
            return False
        ending.begun = True
        return True

    def explain(self, number: int, elapsed_s: float) -> None:
        """Take a scheduler's signal for the warning of its limit of time, or for a preemption."""
        name, limit_s = signal.Signals(number).name, self.spec.limit_s
        if limit_s is not None and elapsed_s >= limit_s - LIMIT_MARGIN_S - self.spec.grace_s:
            self.ending.status = "timed_out"
            self.ending.cause = f"reached the limit of time of {self.spec.launcher}, {limit_s:g} s"
        else:
            self.ending.fault = "preempted"
            self.ending.cause = f"{self.spec.launcher} asked it to end ({name}): preempted, or its job cancelled"

    def end_of(self, event: experiment_runner.Ended, requests: Requests) -> dict[str, Any]:
        """How the case ended; by whose will, if a scheduler's signal went to its processes and to this one at once."""
        ending = self.ending
        if event.exit_code == -signal.SIGTERM and not (ending.begun or requests.told):
            time.sleep(SAME_MOMENT_S)
        if requests.told and not ending.begun:
            self.is_to_end(requests)
        return {
            "exit_code": event.exit_code, "status": ending.status or event.status,
            "fault": ending.fault or event.fault, "cause": ending.cause or event.cause,
            "duration_s": round(time.monotonic() - self.started, 6), **event.usage,
        }  # fmt: skip

    def write_end(self, end: Mapping[str, Any]) -> None:
        """Replace the claim by the whole record, and ring for those who look at the batch's folder."""
        content = self.runner.to_json({**self.claim, "ended_at": self.runner.now(), **end}).encode()
        deadline = time.monotonic() + WRITE_FOR_S
        while True:
            try:
                self.runner.write_whole(self.record, content)
                break
            except OSError as error:
                complain(f"{error.filename or self.record}: {error.strerror}; its end is not recorded yet", 0)
                if time.monotonic() >= deadline:
                    return
                time.sleep(WRITE_AGAIN_S)
        with suppress(OSError):
            batch_file(self.path, "ended").touch()


def claim_exclusively(record: Path, content: bytes) -> None:
    """Create a file whole, unless there is one: by a hard link, which is atomic on NFS as well (link(2)).

    Raises:
        FencedError: It is there already.
    """
    temporary = record.with_name(f".{record.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, record)
        except FileExistsError:
            # A server that has answered once already says so when it is asked again: then it is our own.
            if not os.path.samefile(temporary, record):
                raise FencedError(whose(record)) from None
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            create_exclusively(record, content)  # others may see it before it is whole
    finally:
        with suppress(OSError):
            temporary.unlink()
    descriptor = os.open(record.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_exclusively(record: Path, content: bytes) -> None:
    try:
        with open(record, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise FencedError(whose(record)) from None


def whose(record: Path) -> str:
    """Who has claimed an attempt."""
    claim: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        claim = json.loads(record.read_bytes())
    who = f"by process {claim.get('pid')} on {claim.get('host')} at {claim.get('claimed_at')}"
    return f"{record} is claimed already, {who}: this second copy of it ends"


def read_secret(path: Path) -> dict[str, str]:
    """The attempt's own variables, removed from the disk: nobody else needs them."""
    environment: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
