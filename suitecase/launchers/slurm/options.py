"""What one may say about how cases run on a Slurm cluster, in Python or as `--launcher-option KEY=VALUE`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from suitecase.launchers.options import Amount, Count, Line, Options, Seconds
from suitecase.launchers.slurm.commands import limit_seconds, submit_environment

__all__ = ["SlurmOptions"]


def check_limit(text: str) -> str:
    try:
        limit_seconds(text)
    except ValueError:
        raise ValueError("write minutes, H:M:S, D-H or D-H:M; or UNLIMITED") from None
    return text


def check_size(text: str) -> str:
    if not re.fullmatch(r"\d+([KMGT]B?)?", text, re.IGNORECASE):
        raise ValueError("write a size without a point, such as 1500M or 16G")
    return text


def check_gpus(given: str | int) -> str | int:
    if not re.fullmatch(r"([\w.-]+:)?\d+|", str(given)):
        raise ValueError("write a number, or a type and a number, as a100:2")
    return given


def check_words(text: str) -> str:
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError(f"it can't be split into words: {error}") from None
    return text


def check_flags(text: str) -> str:
    words = shlex.split(text)
    if any(not re.match(r"--?[a-zA-Z]", word) for word in words):
        raise ValueError("write options of sbatch, each in one word: --name=value")
    for word in words:
        given = word.partition("=")[0] if word.startswith("--") else word[:2]
        # sbatch takes the first letters of a long option for it.
        meant = [name for name in (*OURS, *INSTEAD) if name == given or (len(given) > 2 and name.startswith(given))]
        if meant and meant[0] in OURS:
            raise ValueError(f"{given} is the launcher's own: without it no attempt would be found again")
        if meant:
            raise ValueError(f"in place of {given} say {INSTEAD[meant[0]]}")
    return text


OURS = (
    *("--array", "--chdir", "--clusters", "--error", "--export", "--export-file", "--get-user-env"),
    *("--input", "--job-name", "--no-requeue", "--open-mode", "--output", "--parsable", "--requeue", "--signal"),
    *("--test-only", "--wait", "--wrap", "-a", "-D", "-e", "-i", "-J", "-M", "-o", "-W"),
)
"""Options of sbatch on which it rests that attempts are submitted, found, and followed."""

INSTEAD = {
    "--account": "account", "-A": "account", "--constraint": "constraint", "-C": "constraint",
    "--cpus-per-task": "cpus", "-c": "cpus", "--mem": "memory", "--mem-per-cpu": "memory", "--mem-per-gpu": "memory",
    "--nodes": "nodes", "-N": "nodes", "--partition": "partition", "-p": "partition", "--qos": "qos", "-q": "qos",
    "--time": "time", "-t": "time",
}  # fmt: skip
"""Options of sbatch by the name under which they are options here."""


Words = Annotated[Line, AfterValidator(check_words)]


@dataclass(kw_only=True, eq=False)
class SlurmOptions(Options):
    """How attempts become tasks of Slurm's arrays. What a case needs (`Resources`) goes before what stands here.

    Attributes:
        partition, account, qos, constraint: As sbatch takes them; empty leaves it to Slurm.
        time: The limit of time of cases without a timeout, as sbatch takes it (`90` is minutes, `2:00:00`, `1-12`);
            by default the partition's. A case with a timeout gets that, the grace period and two minutes, rounded up.
        memory: Of cases that don't say, per node, as sbatch takes it. Never left out: Slurm's own default may be a
            whole node.
        cpus: CPUs of cases that don't say, per node.
        gpus: GPUs of cases that don't say, per node: a number, or with a type, as `a100:2`; for a case that asks for
            a number of its own, the type stays.
        nodes: Nodes of a case.
        max_parallel: Tasks of an array that run at a time; 0 for no limit.
        setup: Lines of shell before each case, such as `module load cuda`. One that fails ends the attempt.
        launch: What the case's command is run by, such as `srun` or a `torchrun --no-python …`; variables in it are
            filled in on the node, MASTER_ADDR and MASTER_PORT among them.
        container: What the attempt is run by as a whole, such as `apptainer exec --nv image.sif`.
        python: The interpreter there; by default the runner's own path.
        scratch: A folder on each node, such as `/scratch/$USER`, in which each attempt gets one of its own
            (SUITECASE_SCRATCH and TMPDIR), removed when it ends.
        extra: Further options of sbatch, such as `--reservation=x --exclusive`.
        held_s: Seconds that a job may be held for a reason that doesn't pass by itself, before it is given up.
        patience_s: Seconds for which Slurm may be silent before the runner stops; `--resume` then goes on.
        poll_s: Seconds between two looks at the queue; what cases themselves write is looked at every two seconds.
    """

    partition: Line = ""
    account: Line = ""
    qos: Line = ""
    constraint: Line = ""
    time: Annotated[Line, AfterValidator(check_limit)] = ""
    memory: Annotated[Line, AfterValidator(check_size)] = "4G"
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[str | int, AfterValidator(check_gpus)] = ""
    nodes: Annotated[int, Field(ge=1)] = 1
    max_parallel: Count = 0
    setup: str = ""
    launch: Words = ""
    container: Words = ""
    python: Line = ""
    scratch: Line = ""
    extra: Annotated[Words, AfterValidator(check_flags)] = ""
    held_s: Seconds = 600.0
    patience_s: Seconds = 600.0
    poll_s: Amount = 10.0

    def environment(self, around: Mapping[str, str]) -> dict[str, str]:
        """What sbatch gets of the variables around it: none that would win over an option that was given."""
        said = [name for name in ("partition", "account", "qos", "constraint") if getattr(self, name)]
        said += [word.lstrip("-").partition("=")[0] for word in shlex.split(self.extra)]
        return submit_environment(around, said)
