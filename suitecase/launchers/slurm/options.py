"""What one may say about how cases run on a Slurm cluster, in Python or as `--launcher-option KEY=VALUE`."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from experiment_runner import SuiteError
from suitecase.launchers.slurm.commands import limit_seconds

__all__ = ["SlurmOptions", "described", "parse_options", "problems_of"]


@dataclass(kw_only=True)
class SlurmOptions:
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

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""
    memory: str = "4G"
    cpus: int = 1
    gpus: str | int = ""
    nodes: int = 1
    max_parallel: int = 0
    setup: str = ""
    launch: str = ""
    container: str = ""
    python: str = ""
    scratch: str = ""
    extra: str = ""
    held_s: float = 600.0
    patience_s: float = 600.0
    poll_s: float = 10.0


FIELDS = {each.name: each for each in dataclasses.fields(SlurmOptions)}


def parse_options(texts: Mapping[str, str]) -> dict[str, str | int | float]:
    """Options of a command line, as values.

    Raises:
        SuiteError: With every unknown name and every value that is none.
    """
    values: dict[str, str | int | float] = {}
    problems: list[str] = []
    for name, text in texts.items():
        if name not in FIELDS:
            near = get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}."
            problems.append(f"launcher 'slurm' has no option {name!r}: {hint}")
            continue
        default = FIELDS[name].default
        try:
            values[name] = type(default)(text) if isinstance(default, int | float) else text
        except ValueError:
            problems.append(f"launcher option {name}={text}: must be a {type(default).__name__}, as {default}.")
    if problems:
        raise SuiteError(problems)
    return values


def described(options: SlurmOptions) -> dict[str, str]:
    """What differs from the defaults, as a command line takes it."""
    values = {name: getattr(options, name) for name in FIELDS}
    return {name: f"{value}" for name, value in values.items() if value != FIELDS[name].default}


def problems_of(options: SlurmOptions) -> list[str]:
    """What is wrong with these values, a sentence each."""
    problems = [
        f"launcher option {name} has a line break; write it in one line."
        for name, value in ((name, getattr(options, name)) for name in FIELDS if name != "setup")
        if isinstance(value, str) and ("\n" in value or "\r" in value)
    ]
    for name in ("cpus", "nodes"):
        if getattr(options, name) < 1:
            problems.append(f"launcher option {name} must be 1 or more.")
    for name in ("max_parallel", "held_s", "patience_s"):
        if getattr(options, name) < 0:
            problems.append(f"launcher option {name} must not be negative.")
    if not options.poll_s > 0:
        problems.append("launcher option poll_s must be above 0.")
    try:
        limit_seconds(options.time)
    except ValueError:
        problems.append(f"launcher option time={options.time}: write minutes, H:M:S, D-H or D-H:M.")
    if not re.fullmatch(r"\d+(\.\d+)?[KMGT]?B?", options.memory, re.IGNORECASE):
        problems.append(f"launcher option memory={options.memory}: write a size, such as 500M or 16G.")
    if not re.fullmatch(r"([\w.-]+:)?\d+|", str(options.gpus)):
        problems.append(f"launcher option gpus={options.gpus}: write a number, or a type and a number, as a100:2.")
    return problems + problems_of_commands(options)


def problems_of_commands(options: SlurmOptions) -> list[str]:
    problems: list[str] = []
    for name in ("launch", "container", "extra"):
        try:
            words = shlex.split(getattr(options, name))
        except ValueError as error:
            problems.append(f"launcher option {name} can't be split into words: {error}.")
            continue
        if name == "extra" and any(not word.startswith("-") or word == "--" for word in words):
            problems.append("launcher option extra takes options of sbatch, each in one word: --name=value.")
    return problems
