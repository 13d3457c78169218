"""Who is compared: how each is installed, called and called again after a kill."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .environments import NotThereError, debian_program, first_line, python_environment

__all__ = ["BASELINE", "PEERS", "Peer", "Ready", "prepare"]

NEW, FORKED = "a new process", "a forked process"
REUSED, SAME = "a call in a worker used again", "a call in the one process"

BASELINE = "xargs"


@dataclass(frozen=True)
class Peer:
    """One way to run many cases.

    Attributes:
        name: In the table.
        a_case_is: Where a case's code runs, which decides how much of it another case can spoil.
        command: Its arguments. `{python}` is its own interpreter, `{bin}` the folder beside it, `{program}` what
            `program` found, and `{cases}` and `{parallelism}` numbers.
        again: What its manual says to type after a kill, in order; empty for the same command.
        remembers: By what it knows afterwards which cases are done.
        requirements: PyPI's packages; the first gives the version.
        calls: Whether it imports the cases' module itself.
        program: Finds a program that no pip installs.
    """

    name: str
    a_case_is: str
    command: tuple[str, ...]
    again: tuple[tuple[str, ...], ...] = ()
    remembers: str = "nothing"
    requirements: tuple[str, ...] = ()
    calls: bool = False
    program: Callable[[Path], Path] | None = None

    @property
    def at_once(self) -> int:
        """How many cases it can have at work."""
        return 1 if self.a_case_is == SAME else sys.maxsize

    @property
    def is_ours(self) -> bool:
        """Whether it is suitecase."""
        return self.name.startswith("suitecase")


@dataclass(frozen=True)
class Ready:
    """A peer that can be started here."""

    peer: Peer
    version: str
    python: Path
    program: Path

    def command(self, arguments: Sequence[str], cases: int, parallelism: int) -> list[str]:
        """A command with all its places filled."""
        places = {
            "python": str(self.python), "bin": str(self.python.parent), "program": str(self.program),
            "cases": str(cases), "parallelism": str(parallelism),
        }  # fmt: skip
        return [argument.format(**places) for argument in arguments]


def on_path(name: str) -> Callable[[Path], Path]:
    """Finds a program that every system has."""

    def find(_: Path) -> Path:
        if found := shutil.which(name):
            return Path(found)
        raise NotThereError(f"no {name} on the PATH")

    return find


def gnu_parallel(folder: Path) -> Path:
    """GNU's; moreutils has another program of that name."""
    return debian_program(folder, "parallel", "parallel", "GNU parallel")


HYDRA = ("{python}", "hydra_app.py", "--multirun", "n=range({cases})")
SNAKEMAKE = ("{bin}/snakemake", "--cores", "{parallelism}", "--quiet", "all")

PEERS = (
    Peer("xargs", NEW, ("sh", "xargs.sh"), program=on_path("xargs")),
    Peer(
        "GNU parallel", NEW, ("sh", "parallel.sh", "{program}"), (("sh", "parallel.sh", "{program}", "--resume"),),
        "its job log", program=gnu_parallel,
    ),
    Peer("make", NEW, ("make", "-j", "{parallelism}"), remembers="that a file exists", program=on_path("make")),
    Peer(
        "doit", NEW, ("{python}", "-m", "doit", "-n", "{parallelism}", "-v", "0"),
        remembers="its database", requirements=("doit==0.37.*",),
    ),
    Peer(
        "Snakemake", NEW, SNAKEMAKE, ((*SNAKEMAKE, "--unlock"), (*SNAKEMAKE, "--rerun-incomplete")),
        "files, and marks of begun ones", ("snakemake==9.27.*",),
    ),
    Peer("submitit local", NEW, ("{python}", "submitit_jobs.py"), requirements=("submitit==1.5.*",), calls=True),
    Peer("suitecase", NEW, ("{python}", "suite.py", "-p", "{parallelism}", "-q"),
         (("{python}", "suite.py", "-p", "{parallelism}", "-q", "--resume", "latest"),), "its journal"),
    Peer("suitecase warm", FORKED, ("{python}", "suite.py", "-p", "{parallelism}", "-q", "--launcher", "warm"),
         (("{python}", "suite.py", "-p", "{parallelism}", "-q", "--launcher", "warm", "--resume", "latest"),),
         "its journal"),
    Peer(
        "Luigi", FORKED, ("{python}", "luigi_tasks.py"),
        remembers="that a file exists", requirements=("luigi==3.8.*",), calls=True,
    ),
    Peer("joblib", REUSED, ("{python}", "joblib_calls.py"), requirements=("joblib==1.6.*",), calls=True),
    Peer(
        "Hydra joblib", REUSED,
        (*HYDRA, "hydra/launcher=joblib", "hydra.launcher.n_jobs={parallelism}"),
        requirements=("hydra-core==1.3.*", "hydra-joblib-launcher==1.2.*"), calls=True,
    ),
    Peer(
        "signac", REUSED, ("{python}", "signac_jobs.py"),
        remembers="the jobs' documents", requirements=("signac==2.4.*",), calls=True,
    ),
    Peer("Ray", REUSED, ("{python}", "ray_tasks.py"), requirements=("ray==2.60.*",), calls=True),
    Peer("Hydra basic", SAME, HYDRA, requirements=("hydra-core==1.3.*",), calls=True),
)  # fmt: skip


def prepare(peer: Peer, environments: Path) -> Ready:
    """Make sure that a peer can be started.

    Args:
        environments: The folder of all environments; the peer's own lies in it.

    Raises:
        NotThereError: If it can't be had here.
    """
    own = environments / "".join(letter if letter.isalnum() else "-" for letter in peer.name.lower())
    if peer.program:
        program = peer.program(own)
        return Ready(peer, first_line([str(program), "--version"]).split()[-1], Path(sys.executable), program)
    if peer.is_ours:
        return Ready(peer, version_of(sys.executable, "suitecase"), Path(sys.executable), Path(sys.executable))
    python = python_environment(own, peer.requirements, with_config=peer.calls)
    return Ready(peer, version_of(str(python), peer.requirements[0].partition("=")[0]), python, python)


def version_of(python: str, package: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
