"""Slurm's own commands, asked and understood: sbatch, squeue, sacct (where there is one), scontrol, scancel."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = [
    "NEVER",
    "PENDING",
    "TERMINAL",
    "SchedulerError",
    "SubmitError",
    "Task",
    "accounting",
    "cancel",
    "configuration",
    "find_job",
    "limit_seconds",
    "missing_commands",
    "queue",
    "refusal",
    "signal_batch",
    "submit",
    "submit_environment",
]

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")

ANSWER_WITHIN_S = 120.0
"""Slurm's commands themselves ask a silent controller for about a minute."""

PENDING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
TERMINAL = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
})  # fmt: skip
"""States of squeue(1), "JOB STATE CODES", in which a task is not run any more; all others mean that it is, or ends."""

AFTER_A_WHILE = re.compile(
    r"submit limit|SubmitJob|accounting/QOS policy|temporarily unable|maximum number of jobs|MaxJobCount", re.IGNORECASE
)
"""What sbatch says where fewer jobs would be accepted, or the same ones later."""

NEVER = re.compile(
    r"invalid (--?\w|numeric|partition|account|qos|feature|license|wckey)|reservation is invalid|mutually exclusive"
    r"|(unrecognized|invalid|ambiguous) option|option .* (ambiguous|argument)",
    re.IGNORECASE,
)
"""What sbatch says of names that the cluster doesn't have for this user, and of options that it doesn't take."""

UNREACHABLE = re.compile(
    r"unable to contact|timed out|zero bytes|connection (refused|reset)|not responding|not connected|in standby"
    r"|no route to host|resource temporarily unavailable|unable to establish",
    re.IGNORECASE,
)

OURS = re.compile(
    r"SBATCH_(EXPORT|ARRAY_INX|OUTPUT|ERROR|INPUT|SIGNAL|(NO_)?REQUEUE|MEM_PER_\w+|TIMELIMIT|JOB_NAME|OPEN_MODE|CLUSTERS"
    r"|WAIT|GPUS\w*|GRES|CPUS_PER_\w+|CORE_SPEC|EXCLUSIVE|NUM_NODES)"
)
"""Variables that would win over what the script says (sbatch(1), INPUT ENVIRONMENT VARIABLES)."""

KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")


class SchedulerError(Exception):
    """A command failed; the message is what it said.

    Attributes:
        unreachable: Whether Slurm didn't answer, and may later.
    """

    def __init__(self, message: str) -> None:
        self.unreachable = bool(UNREACHABLE.search(message)) and not AFTER_A_WHILE.search(message)
        super().__init__(message)


class SubmitError(SchedulerError):
    """sbatch would not have an array.

    Attributes:
        too_many: Whether fewer tasks, or the same ones later, may be accepted.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.too_many = bool(AFTER_A_WHILE.search(message))


@dataclass(frozen=True)
class Task:
    """What the scheduler says of a task of an array.

    Attributes:
        state: A job state code, such as PENDING; `reason` says why it is in it.
        limit_s: Its limit of time; None if it has none.
    """

    state: str
    reason: str = ""
    node: str = ""
    limit_s: float | None = None


def missing_commands() -> list[str]:
    """Those of Slurm's commands that are not on the PATH."""
    return [command for command in COMMANDS if shutil.which(command) is None]


def ask(
    *command: str, env: Mapping[str, str] | None = None, within_s: float = ANSWER_WITHIN_S,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> str:  # fmt: skip
    """What a command prints.

    Raises:
        SchedulerError: It failed, or didn't answer in time.
    """
    try:
        # A session of its own: Ctrl-C is for the runner, and must not end an sbatch half way.
        process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True, env=env,
        )  # fmt: skip
    except OSError as error:
        raise SchedulerError(f"{command[0]}: {error.strerror}") from None
    with process:
        stdout, stderr = answer_of(process, command[0], within_s)
    if process.returncode:
        said = [re.sub(r"^\w+: ((error|fatal): )?", "", line.strip()) for line in stderr.splitlines() if line.strip()]
        raise SchedulerError("; ".join(said[-3:]) or f"{command[0]}: exit code {process.returncode}")
    return stdout


def answer_of(process: subprocess.Popen[str], name: str, within_s: float) -> tuple[str, str]:
    """What a command prints until it ends. One that would wait for room in the queue is not waited for."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired as waiting:
            said = (waiting.stderr or b"").decode(errors="replace").strip()
            if time.monotonic() < deadline and not AFTER_A_WHILE.search(said):
                continue
            process.kill()
            process.communicate()
            raise SchedulerError(said or f"{name} timed out after {within_s:g} s") from None


def configuration(within_s: float = 30.0) -> dict[str, str]:
    """Slurm's settings, as `scontrol show config` tells them.

    Raises:
        SchedulerError: It doesn't answer.
    """
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config", within_s=within_s).splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def submit_environment(environment: Mapping[str, str], said: Collection[str] = ()) -> dict[str, str]:
    """What sbatch gets, and the jobs from it: no variables of a surrounding job, none that overrule the script.

    Args:
        said: Options of sbatch that the user has chosen, such as `partition`: a variable of that name would win.
    """
    overruling = {f"SBATCH_{name.upper().replace('-', '_')}" for name in said}
    return {
        name: value
        for name, value in environment.items()
        if name in KEPT or not (name.startswith("SLURM_") or OURS.fullmatch(name) or name in overruling)
    }


def submit(script: Path, output: Path, environment: Mapping[str, str]) -> int:
    """Submit a script; the number of the job.

    Args:
        output: Where each task's own words go; `%a` stands for its index.

    Raises:
        SubmitError: It was not accepted.
    """
    pattern = str(output.parent).replace("%", "%%") + f"/{output.name}"
    command = ["sbatch", "--parsable", f"--chdir={script.parent}", f"--output={pattern}", str(script)]
    try:
        return int(ask(*command, env=environment).strip().splitlines()[-1].split(";")[0])
    except SchedulerError as error:
        raise SubmitError(str(error)) from None
    except (ValueError, IndexError) as error:
        raise SubmitError(f"sbatch gave no number of a job: {error}") from None


def refusal(script: str, environment: Mapping[str, str], *options: str) -> str:
    """Why sbatch would not have a script now; empty if it would, or if nobody answers.

    Args:
        options: Of sbatch, beside what the script says.
    """
    with tempfile.TemporaryFile() as file:
        file.write(script.encode())
        file.seek(0)
        try:
            ask("sbatch", "--test-only", *options, env=environment, stdin=file)
        except SchedulerError as error:
            return "" if error.unreachable else str(error)
    return ""


def queue(jobs: Iterable[int]) -> dict[tuple[int, int | None], Task]:
    """What squeue says of arrays, finished tasks included as long as Slurm keeps them (MinJobAge).

    Returns:
        By job and index. With the index None, what is said of all tasks of the job that aren't listed.

    Raises:
        SchedulerError: Slurm doesn't answer.
    """
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    # Of one job that is forgotten squeue says that it is invalid; with another one in the list it doesn't.
    listed = ",".join(map(str, [*wanted, *wanted[:1]]))
    try:
        lines = ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={listed}", "--format=%F|%K|%T|%r|%N|%l")
    except SchedulerError as error:
        if "nvalid job id" in str(error):
            return {}
        raise
    return dict(parse_task(line) for line in lines.splitlines() if line.count("|") == 5)


def parse_task(line: str) -> tuple[tuple[int, int | None], Task]:
    job, index, state, reason, node, limit = line.split("|")
    number = int(index) if index.isdigit() else None
    limit_s = None
    with suppress(ValueError):  # INVALID, NOT_SET
        limit_s = limit_seconds(limit)
    return (int(job), number), Task(state, "" if reason == "None" else reason, node, limit_s)


def limit_seconds(text: str) -> float | None:
    """Seconds of a limit of time as Slurm writes it: `90`, `1:30:00`, `2-12`, `2-12:30`; None for none.

    Raises:
        ValueError: It isn't one.
    """
    if text.strip().upper() in ("", "UNLIMITED", "INFINITE"):
        return None
    days, dash, rest = text.strip().rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if len(parts) > 3 or min(parts) < 0:
        raise ValueError(f"{text!r} is no limit of time")
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return float(int(days) * 86400 + hours * 3600 + minutes * 60 + seconds)
    if len(parts) == 3:
        return float(parts[0] * 3600 + parts[1] * 60 + parts[2])
    return float(parts[0] * 60 + (parts[1] if len(parts) == 2 else 0))


def find_job(name: str) -> int | None:
    """The number of the job of a name, of which there is one at most.

    Raises:
        SchedulerError: Slurm doesn't answer.
    """
    lines = ask("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F").split()
    if not lines and shutil.which("sacct"):
        try:
            told = ask("sacct", "--noheader", "--parsable2", "--allocations", f"--name={name}", "--format=JobID")
            lines = [line.split("_")[0] for line in told.split()]
        except SchedulerError:
            pass  # no accounting: squeue has said what there is to know
    return int(lines[0]) if lines and lines[0].isdigit() else None


def accounting(job: int, index: int) -> Task | None:
    """What sacct says of a task that squeue has forgotten; None where there is no accounting, or no such task."""
    if shutil.which("sacct") is None:
        return None
    try:
        told = ask(
            "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}_{index}", "--format=State,NodeList"
        )
    except SchedulerError:
        return None
    for line in reversed(told.splitlines()):  # of a requeued task, the last incarnation
        state, _, node = line.partition("|")
        return Task(state.split()[0].rstrip("+"), node=node)  # "CANCELLED by 1000"
    return None


def cancel(job: int, indexes: Sequence[int]) -> None:
    """Cancel tasks: those that wait never begin; those that run get TERM, and KILL after Slurm's KillWait.

    Never by `scancel --state=PENDING JOB_INDEX`: Slurm 22.05 then cancels every waiting task of the array.

    Raises:
        SchedulerError: Slurm doesn't answer.
    """
    tell(["scancel"], job, indexes)


def signal_batch(job: int, indexes: Sequence[int], name: str) -> None:
    """Send a signal to the first process of tasks that run, and to none that it has started.

    Raises:
        SchedulerError: Slurm doesn't answer.
    """
    tell(["scancel", "--batch", f"--signal={name}"], job, indexes)


def tell(command: Sequence[str], job: int, indexes: Sequence[int]) -> None:
    for at in range(0, len(indexes), 1000):  # an argument has its limits
        try:
            ask(*command, f"{job}_[{','.join(map(str, indexes[at : at + 1000]))}]")
        except SchedulerError as error:
            if error.unreachable:
                raise
            # Some have ended meanwhile, or have not begun: what remains is seen in the queue.
