"""A fresh project for each measurement: the cases, and the file with which each peer runs them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pages import ROOT

__all__ = ["CONFIG", "HOLD", "TRIVIAL", "Case", "Template", "outside"]

WORKFLOWS = Path(__file__).with_name("workflows")


@dataclass(frozen=True)
class Case:
    """What all cases of a measurement do.

    Attributes:
        name: In the table.
        module: The entry point's; empty for `program`.
        program: Takes any arguments, and does nothing.
    """

    name: str
    module: str = ""
    program: str = "/bin/true"

    def command(self) -> list[str]:
        """What a process of it begins with; always this process's interpreter, whoever starts it."""
        return [sys.executable, f"{self.module}.py"] if self.module else [self.program]


TRIVIAL = Case("nothing")
CONFIG = Case("config", "run_config")
HOLD = Case("hold", "run_hold")


def outside(project: Path) -> Path:
    """A folder beside a project that no peer knows."""
    return project.with_name(f"{project.name}-outside")


@dataclass(frozen=True)
class Template:
    """The project as it is before anybody has run in it, committed and compiled.

    Attributes:
        folder: Its own; what is measured runs in a copy.
        environment_set: What suitecase sets for its cases, PYTHONPATH aside. All get it: threads of BLAS cost time.
    """

    folder: Path
    environment_set: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def make(cls, folder: Path) -> Template:
        """Write the files."""
        shutil.copytree(WORKFLOWS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("experiment_config.py", "experiment_runner.py"):
            shutil.copy(ROOT / name, folder / name)
        (folder / ".gitignore").write_text("*\n!*.py\n!.gitignore\n")
        no_settings = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "First")):
            subprocess.run(["git", *arguments], cwd=folder, env=no_settings, check=True)
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)
        return cls(folder)

    def learn_environment(self, project: Path) -> None:
        """Take over what suitecase has set for the cases of its run in a copy."""
        (record,) = project.glob("results/compare/*/run.json")
        found: Mapping[str, str] = json.loads(record.read_text())["environment_set"]
        self.environment_set.update({name: value for name, value in found.items() if name != "PYTHONPATH"})

    def copy(self, folder: Path) -> Path:
        """A fresh project, in place of the one that was there."""
        for old in (folder, outside(folder)):
            shutil.rmtree(old, ignore_errors=True)
        outside(folder).mkdir()
        return shutil.copytree(self.folder, folder)

    def environment(self, project: Path, case: Case, cases: int, parallelism: int) -> dict[str, str]:
        """What a workflow in a copy is started with."""
        return {
            **os.environ,
            **self.environment_set,
            # Of one folder for all: each makes an interpreter slower to start.
            "PYTHONPATH": str(project),
            "COMPARE_CASES": str(cases),
            "COMPARE_PARALLELISM": str(parallelism),
            "COMPARE_PROGRAM": shlex.join(case.command()),
            "COMPARE_MODULE": case.module,
            "COMPARE_OUTSIDE": str(outside(project)),
        }
