"""From launches to jobs: written down, found out how the cluster sees the run directory, handed to Ray."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import experiment_runner
from experiment_runner import Launch, Refused, Resources, Session
from suitecase.launchers.attempt import ATTEMPTS, Spec, batch_file
from suitecase.launchers.following import ATTEMPT_PROGRAM, Followed, new_batch, spec_of, write_specs
from suitecase.launchers.ray.carried import CARRIED, PROGRAM, TooLargeError, carried_variable
from suitecase.launchers.ray.client import OVER
from suitecase.launchers.ray.jobs import LAUNCHER, Job, forget_variables, job_id
from suitecase.launchers.ray.options import RayOptions
from suitecase.launchers.ray.project import pack_project, project_files, project_stamp
from suitecase.launchers.ray.talk import Talk

__all__ = ["HERE_ONLY", "STOP_MARGIN_S", "Submitter", "reservation"]

STOP_MARGIN_S = 10.0
"""What an attempt may take beyond its grace period, before Ray is asked to end its job."""

JOB_VARIABLE = "SUITECASE_RAY_JOB"
"""By which an attempt knows its job; Ray tells it only to those that import it."""

HERE_ONLY = re.compile(
    r"RAY_.*|SSH_.*|SLURM_.*|DBUS_.*|XDG_RUNTIME_DIR|DISPLAY|WAYLAND_DISPLAY|PWD|OLDPWD|SHLVL|_|HOSTNAME|TERM.*|"
    r"TMPDIR|TMP|TEMP|CUDA_VISIBLE_DEVICES"
)
"""Variables that belong to a machine or a terminal: those of the node count. RAY_AUTH_TOKEN is among them."""


NOT_THERE = re.compile(r"failed with exit code 1\b")
"""In Ray's message of a job that looked for a file in vain: not that its node died, or that it waited for too long."""


class Submitter:
    """Brings attempts to Ray.

    Attributes:
        sees: Whether the cluster sees the run directory; None until that is known.
        probe: The id of the job that looks for it; empty if there is none.
    """

    def __init__(self, options: RayOptions, session: Session, talk: Talk) -> None:
        self.options, self.session, self.talk = options, session, talk
        self.declared = declared_variables(session.run_dir)
        self.runner = Path(experiment_runner.__file__).resolve()
        self.probe, self.probes = "", 0
        self.sees = self.known_sharing()

    def write_down(self, launches: Sequence[Launch]) -> list[Job]:
        """Write what attempts have to know, before any of them is submitted.

        Raises:
            OSError: There is no room, or no right to.
        """
        specs = [
            spec_of(launch, self.session, launcher=LAUNCHER, job_variable=JOB_VARIABLE, runner=self.runner)
            for launch in launches
        ]
        paths = write_specs(new_batch(self.session.run_dir), specs, [self.environment(each) for each in launches])
        followed = [Followed(launch, path) for launch, path in zip(launches, paths, strict=True)]
        return [Job(each, job_id(self.session, each.launch.mark)) for each in followed]

    def submit(self, waiting: Sequence[Job]) -> list[Refused]:
        """Hand jobs to the thread that talks to Ray, once it is known how; those that can't be."""
        if waiting and self.sees is None and not self.probe:
            self.ask_for_sharing(waiting[0])
        if self.sees is None:
            return []
        refused: list[Refused] = []
        package: Path | None = None
        for job in waiting:
            job.submitted = True
            try:
                package = package or (None if self.sees else self.package())
                entrypoint, runtime_env = self.carried(job, package) if package else self.local(job)
            except (OSError, TooLargeError) as error:
                refused.append(Refused(job.mark, *why(error)))
                continue
            facts = {"run": self.session.run_dir.name, "variant": job.launch.variant, "attempt": job.launch.attempt}
            options = {
                **reservation(self.options, job.launch.needs), "runtime_env": runtime_env,
                "metadata": {f"suitecase_{name}": str(value) for name, value in facts.items()},
            }  # fmt: skip
            self.talk.submit(job.id, entrypoint, options)
        return refused

    def submit_again(self, job: Job) -> None:
        """Hand in another job for an attempt whose first one Ray has ended, because there was no room for it.

        Raises:
            OSError: The project's files can't be packed.
        """
        changed: dict[str, Any] = {"working_dir": str(self.package())} if job.carried else {}
        before = job.id
        job.take_next_id()
        changed["env_vars"] = {JOB_VARIABLE: job.id}
        kept = reservation(self.options, job.launch.needs)
        self.talk.submit_again(job.id, {"before": before, "changed": changed, **kept})

    # --- whether the cluster sees the run directory

    def known_sharing(self) -> bool | None:
        """Whether it does, as far as that is known."""
        if self.options.shared != "auto":
            return self.options.shared == "yes"
        with suppress(OSError, ValueError):
            seen, url = (self.session.run_dir / ATTEMPTS / "ray-shared").read_text().split()
            return seen == "yes" if url == self.options.url else None
        return None

    def ask_for_sharing(self, job: Job) -> None:
        """Have a small job look for a file of ours."""
        self.probes += 1
        self.probe = f"{job.id}-probe.{self.probes}"
        self.talk.submit(self.probe, f"test -e {shlex.quote(str(job.followed.spec))}", {"entrypoint_num_cpus": 0.01})

    def heed_probe(self) -> None:
        """Take the answer to `ask_for_sharing`, if it is there; ask again, if its job ended without one."""
        state = self.talk.states.get(self.probe) if self.sees is None else None
        if state is None or state.status not in OVER:
            return
        if state.status != "SUCCEEDED" and not NOT_THERE.search(state.message):
            self.probe = ""
            return
        self.sees = state.status == "SUCCEEDED"
        with suppress(OSError):
            said = f"{'yes' if self.sees else 'no'} {self.options.url}\n"
            (self.session.run_dir / ATTEMPTS / "ray-shared").write_text(said)

    # --- what a job executes

    def local(self, job: Job) -> tuple[str, dict[str, Any]]:
        """The entry point of a job that sees the run directory, and its runtime environment."""
        words = [self.options.python or sys.executable, "-I", "-S", str(ATTEMPT_PROGRAM), str(job.followed.spec)]
        return f"exec {shlex.join(words)}", {"env_vars": self.job_variables(job)}

    def carried(self, job: Job, package: Path) -> tuple[str, dict[str, Any]]:
        """The same for a job that does not: the code goes with it."""
        job.carried = True
        batch_file(job.followed.spec, "carried").touch()
        spec = Spec.read(job.followed.spec)
        # Who may see jobs may see these: the shell's own variables stay here.
        shell = {n for n, value in os.environ.items() if self.session.environment.get(n) == value} - self.declared
        ours = {name: value for name, value in self.environment(job.launch).items() if name not in shell}
        environment = {**ours, **job.launch.environment}
        limit_bytes = int(self.options.copy_limit_mb * 1e6)
        variable = carried_variable(asdict(spec), environment, job.launch.folder, limit_bytes)
        forget_variables(job)
        env_vars = {**self.job_variables(job), CARRIED: variable}
        command = shlex.join([self.options.python or "python", "-I", "-S", PROGRAM])
        return f"exec {command}", {"working_dir": str(package), "env_vars": env_vars}

    def job_variables(self, job: Job) -> dict[str, str]:
        """Its id, and Ray's seconds between TERM and KILL when somebody stops the job, 3 by default."""
        patience_s = int(self.session.grace_s + STOP_MARGIN_S)
        return {JOB_VARIABLE: job.id, "RAY_JOB_STOP_WAIT_TIME_S": str(patience_s)}

    def environment(self, launch: Launch) -> dict[str, str]:
        """The variables of an attempt: ours, but for those that belong to a machine."""
        ours = {
            name: value
            for name, value in self.session.environment.items()
            if name in self.declared or not HERE_ONLY.fullmatch(name)
        }
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if launch.needs.gpus == 0 else {}
        return {**ours, **hidden, **launch.environment}

    # --- the project's files

    def package(self) -> Path:
        """The project's files as they are now, packed; the same archive until one of them changes."""
        names = project_files(self.session.root, without=self.session.run_dir.parent.parent)
        package = self.session.run_dir / ATTEMPTS / f"project-{project_stamp(self.session.root, names)}.zip"
        if not package.exists():
            unfinished = package.with_suffix(".new")
            pack_project(self.session.root, names, self.runner, unfinished)
            unfinished.replace(package)
        return package

    def remove_packages(self) -> None:
        for package in (self.session.run_dir / ATTEMPTS).glob("project-*"):
            with suppress(OSError):
                package.unlink()


def why(error: OSError | TooLargeError) -> tuple[int | None, str]:
    """The error's number, if it has one, and its words."""
    if isinstance(error, TooLargeError):
        return None, str(error)
    return error.errno, f"{error.filename}: {error.strerror}"


def reservation(options: RayOptions, needs: Resources) -> dict[str, Any]:
    """What Ray keeps for a job."""
    kept: dict[str, Any] = {"entrypoint_num_cpus": options.cpus if needs.cpus is None else needs.cpus}
    if needs.gpus:
        kept["entrypoint_num_gpus"] = needs.gpus
    if needs.memory_gb:
        kept["entrypoint_memory"] = int(needs.memory_gb * 1e9)
    if options.resources:
        kept["entrypoint_resources"] = dict(options.resources)
    return kept


def declared_variables(run_dir: Path) -> set[str]:
    """Names of the variables that the suite itself adds, and a shell may have by chance."""
    with suppress(OSError, ValueError):
        return set(json.loads((run_dir / "run.json").read_bytes()).get("environment_names", ()))
    return set()
