"""The script of an array: what Slurm is asked for, and what each task executes."""

from __future__ import annotations

import math
import re
import shlex
import sys
from dataclasses import dataclass

from experiment_runner import Resources, Session
from suitecase.launchers.following import ATTEMPT_PROGRAM
from suitecase.launchers.slurm.commands import limit_seconds
from suitecase.launchers.slurm.options import SlurmOptions

__all__ = ["Request", "job_name", "request_for", "script"]

WARNING_S = 30
"""How long before its limit of time a task is asked to end, at least; more if the grace period is longer."""

SETUP_S = 60.0
"""What a task may need before its case begins and after it has ended, beside the grace period."""


@dataclass(frozen=True)
class Request:
    """What a task asks Slurm for; attempts with equal requests share an array.

    Attributes:
        memory: As sbatch takes it, per node.
        gres: GPUs per node, as `gpu:a100:2`; empty for none.
        minutes: The limit of time; 0 for none, None for the partition's.
    """

    cpus: int
    memory: str
    gres: str
    minutes: int | None

    @property
    def limit_s(self) -> float | None:
        return self.minutes * 60.0 if self.minutes else None


def request_for(needs: Resources, options: SlurmOptions, session: Session) -> Request:
    """What a case with these needs asks for."""
    memory = options.memory
    if needs.memory_gb is not None:
        memory = f"{math.ceil(needs.memory_gb * 1e9 / 2**20) + ATTEMPT_MIB}M"
    kind, _, number = str(options.gpus).rpartition(":")
    number = number if needs.gpus is None else f"{needs.gpus:g}"
    gres = "" if number in ("", "0") else ":".join(filter(None, ["gpu", kind, number]))
    limit_s = limit_seconds(options.time)
    if needs.timeout_s is not None:
        limit_s = needs.timeout_s + warning_s(session) + session.grace_s + SETUP_S
    minutes = math.ceil(limit_s / 60) if limit_s is not None else 0 if options.time else None
    cpus = options.cpus if needs.cpus is None else math.ceil(needs.cpus)
    return Request(cpus, memory, gres, minutes)


ATTEMPT_MIB = 64
"""What the attempt's program and its guardian take beside the case: 2 x 20 MB measured."""


def warning_s(session: Session) -> int:
    """How long before the end Slurm gives notice: the grace period must fit in."""
    return max(WARNING_S, math.ceil(session.grace_s) + 20)


def job_name(experiment: str, batch: str) -> str:
    """The name by which a batch's job is found, also after a runner that died before it knew the job's number."""
    return re.sub(r"[^\w.-]", "_", experiment, flags=re.ASCII)[:40] + f"-{batch}"


def script(batch: str, count: int, request: Request, options: SlurmOptions, session: Session) -> str:
    """The script of an array of tasks 0 to `count` - 1, whose specs lie in a batch's folder."""
    array = f"0-{count - 1}" + (f"%{options.max_parallel}" if options.max_parallel else "")
    folder = session.run_dir / ".attempts" / batch
    directives = {
        "job-name": job_name(session.experiment, batch), "comment": f"{session.experiment}/{session.run_dir.name}",
        "array": array, "open-mode": "append", "export": "ALL", "signal": f"B:TERM@{warning_s(session)}",
        "nodes": str(options.nodes), "cpus-per-task": str(request.cpus), "mem": request.memory,
        "gres": request.gres, "time": "" if request.minutes is None else str(request.minutes),
        "partition": options.partition, "account": options.account, "qos": options.qos,
        "constraint": options.constraint,
    }  # fmt: skip
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{name}={quoted(value)}" for name, value in directives.items() if value]
    # A requeued task would be a second copy of an attempt; another attempt is for the runner to start.
    lines += ["#SBATCH --no-requeue", *(f"#SBATCH {quoted(word)}" for word in shlex.split(options.extra))]
    lines += ["set -e", f"cd {shlex.quote(str(session.root))}", *options.setup.splitlines()]
    if options.launch:
        lines += RENDEZVOUS
    # In place of the shell: then Slurm's signals to the batch step reach the attempt itself.
    python = shlex.join([options.python or sys.executable, "-I", "-S", str(ATTEMPT_PROGRAM)])
    command = f'{python} {shlex.quote(str(folder))}/"$SLURM_ARRAY_TASK_ID".json'
    lines.append(" ".join(filter(None, ["exec", options.container, command])))
    return "\n".join(lines) + "\n"


RENDEZVOUS = (
    'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
    'export MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"',
    'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
)
"""Where the processes of a case find each other. Since 22.05 srun no longer takes over --cpus-per-task by itself."""


def quoted(text: str) -> str:
    """A word of an #SBATCH line."""
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
