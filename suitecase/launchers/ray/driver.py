"""The launcher `ray`: each attempt is a job of a Ray cluster, by its Jobs API.

A job runs `attempt.py`, which claims the attempt, runs it under the runner's own guardian, and records its end in the
run directory. Where the cluster doesn't see that directory, `carried.py` takes code and config there and brings the
files back through the job's log. What became of an attempt is told by its record; Ray's word counts where there is
none. A job's id follows from run and mark, so that whoever resumes the run knows it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from signal import SIGKILL
from typing import Any

import experiment_runner
from experiment_runner import Capacity, Ended, Event, Launch, Refused, Resources, Session, Started, Suite, SuiteError
from suitecase.launchers.attempt import (
    ATTEMPTS,
    BEAT_S,
    LOOK_S,
    FencedError,
    Spec,
    batch_file,
    claim_exclusively,
    record_name,
)
from suitecase.launchers.following import (
    ATTEMPT_PROGRAM,
    Followed,
    left_behind,
    new_batch,
    read_record,
    spec_of,
    write_specs,
)
from suitecase.launchers.ray.carried import (
    CARRIED,
    PROGRAM,
    DamagedError,
    carried_variable,
    opening,
    pack_project,
    project_stamp,
    unpack,
)
from suitecase.launchers.ray.client import (
    NEVER_BEGAN,
    OVER,
    JobState,
    RefusedByRayError,
    UnreachableError,
    connection_problems,
)
from suitecase.launchers.ray.jobs import Job, given_up, said_of, write_printed
from suitecase.launchers.ray.options import RayOptions
from suitecase.launchers.ray.talk import POLL_S, Talk

__all__ = ["Ray"]

log = logging.getLogger("suitecase.launchers.ray")

ANSWER_LATE_S = 30.0
"""After so long without an answer from Ray a person is told."""

SETTLE_S = 10.0
"""How long after a job's end its record may take to be seen here: network file systems cache attributes for 3 to 60 s
(nfs(5), acregmin and acdirmax), but a file is read anew when it is opened."""

SILENT_S = 4 * BEAT_S
"""Without a beat for so long, and without Ray's word for it, an attempt is gone."""

FOLLOW_S = 10.0
"""How often the output of a case that shares no folder is read anew, whole."""

STOP_MARGIN_S = 10.0
"""What an attempt may take beyond its grace period, before Ray is asked to end its job."""

JOB_VARIABLE = "SUITECASE_RAY_JOB"
"""By which an attempt knows its job; Ray tells it only to those that import it."""

HERE_ONLY = re.compile(
    r"RAY_.*|SSH_.*|SLURM_.*|DBUS_.*|XDG_RUNTIME_DIR|DISPLAY|WAYLAND_DISPLAY|PWD|OLDPWD|SHLVL|_|HOSTNAME|TERM.*|"
    r"TMPDIR|TMP|TEMP|CUDA_VISIBLE_DEVICES"
)
"""Variables that belong to a machine or a terminal: those of the node count. RAY_AUTH_TOKEN is among them."""


class Ray(RayOptions):
    """Attempts become jobs of a Ray cluster. One thread talks to it; the runner's loop only looks at what it heard."""

    name = "ray"
    outlives_runner = True
    lacks = frozenset({"debug", "pause"})

    def problems(self) -> list[str]:
        return self.convert() + self.problems_of_url() or connection_problems(self.url)

    def capacity(self, suite: Suite) -> Capacity:
        return Capacity(float("inf"), float("inf"), None)

    def describe(self) -> dict[str, str]:
        return self.as_text()

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        reserved = {json.dumps(self.reservation(each), sort_keys=True) for each in needs.values()}
        place = {"yes": "shared", "no": "not shared: code goes there, files come back"}.get(
            self.shared, "the cluster is asked whether it is shared"
        )
        lines = [f"Ray at {self.url}: a job for each attempt; the run directory: {place}."]
        return "\n".join([*lines, *(f"  reserves {each}" for each in sorted(reserved))])

    # --- a pass over a run

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        self.session, self.wakeup = session, wakeup
        self.jobs: dict[int, Job] = {}
        self.pending: list[Event] = []
        self.next_look = 0.0
        self.idle_since = time.monotonic()  # none of our jobs has run since
        self.told_unreachable = False
        self.probe = ""
        self.declared = declared_variables(session.run_dir)
        try:
            self.talk = Talk(self.url)
        except (UnreachableError, RefusedByRayError) as error:
            raise SuiteError([f"launcher 'ray': {self.url}: {error}."]) from None
        self.sees = self.known_sharing()

    def known_sharing(self) -> bool | None:
        """Whether the cluster sees the run directory, as far as that is known."""
        if self.shared != "auto":
            return self.shared == "yes"
        with suppress(OSError, ValueError):
            seen, url = (self.session.run_dir / ATTEMPTS / "ray-shared").read_text().split()
            return seen == "yes" if url == self.url else None
        return None

    def close(self) -> None:
        self.talk.close()
        for package in (self.session.run_dir / ATTEMPTS).glob("project-*"):
            with suppress(OSError):
                package.unlink()

    def stop(self) -> None:
        """Jobs of a cluster can't be halted: Ctrl-Z halts the runner alone."""

    def go_on(self) -> None:
        """Nothing was halted."""

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        states: Mapping[str, JobState] | None = None
        with suppress(UnreachableError, RefusedByRayError):
            states = self.talk.client.states()
        for followed in left_behind(self.session.run_dir, self.name, ended):
            job = Job(followed, self.job_id(followed.launch.mark), submitted=True)
            job.carried = batch_file(followed.spec, "carried").exists()
            record = read_record(followed.launch.folder, followed.launch.attempt)
            if states is not None and job.id not in states and not record:
                # Written down, never submitted: the runner makes another attempt, and this one can't begin any more.
                self.fence(job, "its runner ended before it was submitted")
                continue
            if not record.get("fenced"):
                self.jobs[job.mark] = job
        return [job.launch for job in self.jobs.values()]

    def start(self, launches: Sequence[Launch]) -> None:
        runner = Path(experiment_runner.__file__).resolve()
        specs = [
            spec_of(launch, self.session, launcher=self.name, job_variable=JOB_VARIABLE, runner=runner)
            for launch in launches
        ]
        try:
            paths = write_specs(new_batch(self.session.run_dir), specs, [self.environment(each) for each in launches])
        except OSError as error:
            why = f"{error.filename or self.session.run_dir}: {error.strerror}"
            self.pending += [Refused(launch.mark, error.errno, why) for launch in launches]
            return
        for launch, path in zip(launches, paths, strict=True):
            self.jobs[launch.mark] = Job(Followed(launch, path), self.job_id(launch.mark))
        self.submit_waiting()

    def environment(self, launch: Launch) -> dict[str, str]:
        """The variables of an attempt: ours, but for those that belong to a machine."""
        ours = {
            name: value
            for name, value in self.session.environment.items()
            if name in self.declared or not HERE_ONLY.fullmatch(name)
        }
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if launch.needs.gpus == 0 else {}
        return {**ours, **hidden, **launch.environment}

    def job_id(self, mark: int) -> str:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.session.experiment}-{self.session.run_dir.name}")
        return f"{name[:100]}-{mark}"

    def reservation(self, needs: Resources) -> dict[str, Any]:
        """What Ray keeps for a job."""
        kept: dict[str, Any] = {"entrypoint_num_cpus": self.cpus if needs.cpus is None else needs.cpus}
        if needs.gpus:
            kept["entrypoint_num_gpus"] = needs.gpus
        if needs.memory_gb:
            kept["entrypoint_memory"] = int(needs.memory_gb * 1e9)
        if self.resources:
            kept["entrypoint_resources"] = dict(self.resources)
        return kept

    # --- submitting

    def submit_waiting(self) -> None:
        """Hand what was written down to the thread that talks to Ray, once it is known how."""
        waiting = [job for job in self.jobs.values() if not job.submitted]
        if waiting and self.sees is None and not self.probe:
            self.ask_for_sharing()
        if self.sees is None:
            return
        for job in waiting:
            job.submitted = True
            try:
                entrypoint, runtime_env = self.carried(job) if not self.sees else self.local(job)
            except OSError as error:
                self.settle(job, Refused(job.mark, error.errno, f"{error.filename}: {error.strerror}"))
                continue
            facts = {"run": self.session.run_dir.name, "variant": job.launch.variant, "attempt": job.launch.attempt}
            options = {
                **self.reservation(job.launch.needs), "runtime_env": runtime_env,
                "metadata": {f"suitecase_{name}": str(value) for name, value in facts.items()},
            }  # fmt: skip
            self.talk.submit(job.id, entrypoint, options)

    def ask_for_sharing(self) -> None:
        """Have a small job look for a file of ours."""
        entrypoint = f"test -e {shlex.quote(str(next(iter(self.jobs.values())).followed.spec))}"
        self.probe = self.job_id(min(self.jobs)) + "-probe"
        self.talk.submit(self.probe, entrypoint, {"entrypoint_num_cpus": 0.01})

    def heed_probe(self) -> None:
        """Take the answer to `ask_for_sharing`, if it is there."""
        state = self.talk.states.get(self.probe) if self.sees is None else None
        if state is None or state.status not in OVER:
            return
        self.sees = state.status == "SUCCEEDED"
        with suppress(OSError):
            (self.session.run_dir / ATTEMPTS / "ray-shared").write_text(f"{'yes' if self.sees else 'no'} {self.url}\n")
        self.submit_waiting()

    def local(self, job: Job) -> tuple[str, dict[str, Any]]:
        """The entry point of a job that sees the run directory, and its runtime environment."""
        words = [self.python or sys.executable, "-I", "-S", str(ATTEMPT_PROGRAM), str(job.followed.spec)]
        return f"exec {shlex.join(words)}", {"env_vars": self.job_variables(job)}

    def job_variables(self, job: Job) -> dict[str, str]:
        """Its id, and Ray's seconds between TERM and KILL when somebody stops the job, 3 by default."""
        patience_s = int(self.session.grace_s + STOP_MARGIN_S)
        return {JOB_VARIABLE: job.id, "RAY_JOB_STOP_WAIT_TIME_S": str(patience_s)}

    def carried(self, job: Job) -> tuple[str, dict[str, Any]]:
        """The same for a job that does not: the code goes with it."""
        job.carried = True
        batch_file(job.followed.spec, "carried").touch()
        spec = Spec.read(job.followed.spec)
        # Who may see jobs may see these: the shell's own variables stay here.
        shell = {n for n, value in os.environ.items() if self.session.environment.get(n) == value} - self.declared
        ours = {name: value for name, value in self.environment(job.launch).items() if name not in shell}
        environment = {**ours, **job.launch.environment}
        variable = carried_variable(asdict(spec), environment, job.launch.folder, int(self.copy_limit_mb * 1e6))
        batch_file(job.followed.spec, "environment").unlink(missing_ok=True)
        env_vars = {**self.job_variables(job), CARRIED: variable}
        command = shlex.join([self.python or "python", "-I", "-S", PROGRAM])
        return f"exec {command}", {"working_dir": str(self.package(Path(spec.runner))), "env_vars": env_vars}

    def package(self, runner: Path) -> Path:
        """The project's files as they are now, packed; the same archive until one of them changes."""
        package = self.session.run_dir / ATTEMPTS / f"project-{project_stamp(self.session.root)}.zip"
        if not package.exists():
            unfinished = package.with_suffix(".new")
            pack_project(self.session.root, runner, unfinished)
            unfinished.replace(package)
        return package

    # --- following

    def wait(self, timeout_s: float) -> Sequence[Event]:
        now = time.monotonic()
        rest = max(0.0, min(timeout_s, self.next_look - now)) if not self.pending else 0.0
        ready, _, _ = select.select([self.wakeup, self.talk.wakeup], [], [], rest)
        for descriptor in ready:
            experiment_runner.drain(descriptor)
        if self.talk.wakeup in ready or time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + POLL_S
            self.look()
        events, self.pending = self.pending, []
        return events

    def look(self) -> None:
        """See what has become of every job."""
        self.heed_probe()
        for job_id, error in self.talk.take_refused():
            if job := next((job for job in self.jobs.values() if job.id == job_id), None):
                self.settle(job, Refused(job.mark, cause=f"Ray refused its job: {error}"))
            elif job_id == self.probe:
                self.sees = True  # without an answer it is taken for shared, and attempts tell if it isn't
                self.submit_waiting()
        unreachable_s = self.talk.unreachable_s()
        if (unreachable_s > ANSWER_LATE_S) != self.told_unreachable:
            self.told_unreachable = not self.told_unreachable
            words = "doesn't answer; jobs may go on" if self.told_unreachable else "answers again"
            log.warning("Ray at %s %s", self.url, words)
        states = self.talk.states
        ours = [states[job.id].status for job in self.jobs.values() if job.id in states]
        if "RUNNING" in ours or unreachable_s or not self.jobs:
            self.idle_since = time.monotonic()
        names = {batch: listed(batch) for batch in {job.followed.spec.parent for job in self.jobs.values()}}
        for job in list(self.jobs.values()):
            state = states.get(job.id)
            self.pending += self.news(job, state, unreachable_s, names[job.followed.spec.parent])

    def news(self, job: Job, state: JobState | None, unreachable_s: float, names: Collection[str]) -> list[Event]:
        """What is new of a job; if it has ended, it is forgotten.

        Args:
            names: The files of its batch.
        """
        facts = {"job": job.id}
        index, over = job.followed.index, state is not None and state.status in OVER
        told = over or f"{index}.ended" in names or (not job.followed.started and f"{index}.alive" in names)
        if job.fetched == "" or (told and not job.carried):
            events = job.followed.news(facts)
            if events and isinstance(events[-1], Ended | Refused):
                self.forget(job)
            if events:
                return events
        elif job.carried and state is not None and state.status == "RUNNING" and not job.followed.started:
            job.followed.started = True
            return [Started(job.mark, None, state.host, facts)]
        if job.carried and not over and job.followed.started:
            self.follow_output(job)
        if job.stop_at is not None and time.monotonic() >= job.stop_at:
            job.stop_at = None
            self.talk.stop(job.id)
        if state is not None and state.status in OVER:
            return self.over(job, state)
        if state is None and job.id not in self.talk.accepted and job.submitted and not self.talk.asked(job.id):
            return self.unknown(job, unreachable_s)
        silent = not job.followed.started or job.silent_s() > SILENT_S
        if unreachable_s > self.lost_after_s and silent:
            nor = ", and it gave no sign of life" * job.followed.started
            return self.lost(job, f"Ray at {self.url} has not answered for {unreachable_s:.0f} s{nor}")
        waits = state is None or state.status in NEVER_BEGAN
        limit_s = self.start_timeout_s
        if waits and limit_s and not job.followed.started and time.monotonic() - self.idle_since > limit_s:
            why = state.message if state else "nothing is known of it"
            return self.never_began(job, f"its job was PENDING for {limit_s:g} s, and none of the run's ran: {why}")
        return []

    def over(self, job: Job, state: JobState) -> list[Event]:
        """Its job is over, and no record says how it ended: wait for that a while, then take Ray's word."""
        if job.fetched is None and (job.carried or not job.followed.started):
            text = self.final_log(job)
            if text is None:
                return []
            job.fetched = self.bring_back(job, text) if job.carried else text
            if job.carried and not job.fetched:
                return []  # the record is there now
        job.over_at = job.over_at or time.monotonic()
        if not job.carried and time.monotonic() - job.over_at < SETTLE_S:
            return []
        said, was_ours = said_of(state)
        if job.followed.started:
            missing = f": {job.fetched}" if job.carried and job.fetched else ""
            return self.lost(
                job, f"its job is over ({state.status}), and nobody saw its end{missing}; Ray says: {said}"
            )
        printed = [line for line in (job.fetched or "").splitlines() if line.startswith("suitecase: ")]
        if printed or was_ours:
            return self.never_began(job, f"its job is over ({state.status}): {(printed or [said])[-1]}")
        return self.lost(job, f"its job is over ({state.status}) and never began; Ray says: {said}")

    def follow_output(self, job: Job) -> None:
        """Show what a case has printed that runs far away; at its end its own log takes the place of that."""
        if (text := self.talk.take_log(job.id)) is not None:
            with suppress(OSError):
                write_printed(job.launch, text)
        if time.monotonic() - job.read_at >= FOLLOW_S and not self.talk.asked(job.id):
            job.read_at = time.monotonic()
            self.talk.fetch(job.id)

    def final_log(self, job: Job) -> str | None:
        """The log of a job that is over; None until it is here. What was read before may lack its end."""
        if job.last_read:
            return self.talk.take_log(job.id)
        if not self.talk.asked(job.id):
            self.talk.take_log(job.id)
            self.talk.fetch(job.id)
            job.last_read = True
        return None

    def bring_back(self, job: Job, text: str) -> str:
        """Put the files of a case where they belong; why they aren't there, or the empty text."""
        try:
            try:
                unpack(text, job.mark, job.launch.folder)
            except DamagedError as error:
                job.followed.started |= opening(job.mark) in text  # it may have ended before we saw it run
                write_printed(job.launch, text)
                return str(error)
        except OSError as error:
            return f"{error.filename or job.launch.folder}: {error.strerror}"
        return ""

    def unknown(self, job: Job, unreachable_s: float) -> list[Event]:
        """Ray answers, and has no such job: its head was replaced, or it was never submitted."""
        if unreachable_s or job.silent_s() < SILENT_S:
            return []
        return self.lost(job, "Ray knows nothing of its job any more, and it gives no sign of life")

    def lost(self, job: Job, cause: str) -> list[Event]:
        """Give an attempt up that something befell."""
        if not job.followed.started and not self.fence(job, cause):
            return []  # it has just begun
        self.forget(job)
        self.talk.stop(job.id)
        return [given_up(job, cause)]

    def never_began(self, job: Job, cause: str) -> list[Event]:
        """Give an attempt up that can't begin, so that it never will."""
        if not self.fence(job, cause):
            return []
        self.forget(job)
        self.talk.stop(job.id)
        return [Refused(job.mark, cause=cause)]

    def fence(self, job: Job, cause: str) -> bool:
        """Claim an attempt ourselves, so that no job can; False if one has."""
        launch = job.launch
        claim = {
            "attempt": launch.attempt, "mark": launch.mark, "launcher": self.name, "job": job.id,
            "host": os.uname().nodename, "pid": os.getpid(), "claimed_at": experiment_runner.now(), "fenced": True,
            "cause": cause,
        }  # fmt: skip
        batch_file(job.followed.spec, "environment").unlink(missing_ok=True)
        try:
            claim_exclusively(launch.folder / record_name(launch.attempt), json.dumps(claim).encode())
        except FencedError:
            return False
        except OSError:
            pass  # a full disk: then the file `fenced` must do
        given_up(job, cause)
        return True

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        job = self.jobs.get(mark)
        if job is None:
            return
        state = self.talk.states.get(job.id)
        begun = job.followed.started or (state is not None and state.status == "RUNNING")
        if not begun and self.fence(job, "ended before its job began"):
            self.talk.stop(job.id)
            self.settle(job, Ended(mark, None, cause="ended before its job began"))
        elif job.carried:
            self.talk.stop(job.id)
        else:
            killed = signal == SIGKILL
            with suppress(OSError):  # on a full disk, Ray's own way to end it must do
                batch_file(job.followed.spec, "asked").write_text("KILL" if killed else "TERM")
            job.stop_at = time.monotonic() + (0.0 if killed else grace_s) + 2 * LOOK_S + STOP_MARGIN_S

    def settle(self, job: Job, event: Event) -> None:
        self.forget(job)
        self.pending.append(event)

    def forget(self, job: Job) -> None:
        """It has ended; its variables are nobody's business any more."""
        with suppress(OSError):
            batch_file(job.followed.spec, "environment").unlink(missing_ok=True)
        self.jobs.pop(job.mark, None)


def listed(folder: Path) -> Collection[str]:
    """The names in a folder; a listing is asked of the server where a file's absence may come from a cache."""
    with suppress(OSError):
        return set(os.listdir(folder))
    return ()


def declared_variables(run_dir: Path) -> set[str]:
    """Names of the variables that the suite itself adds, and a shell may have by chance."""
    with suppress(OSError, ValueError):
        return set(json.loads((run_dir / "run.json").read_bytes()).get("environment_names", ()))
    return set()
