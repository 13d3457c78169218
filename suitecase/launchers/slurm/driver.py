"""The launcher `slurm`: attempts become tasks of arrays, and outlive the runner.

Two sources tell of an attempt, and neither is believed alone: its own record in the case's folder, and Slurm's queue.
What an attempt wrote of its end is its end, whatever Slurm says. Where it wrote none, Slurm's word counts once the
attempt has been silent too: a node that Slurm has lost may go on with its case, and then is left to. Clocks of two
machines are never compared; how long something is silent is measured by the runner's.
"""

from __future__ import annotations

import logging
import math
import os
import select
import shlex
import shutil
import signal
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from experiment_runner import Capacity, Ended, Event, Launch, Refused, Resources, Session, Started, SuiteError
from suitecase.launchers.attempt import LIMIT_MARGIN_S, batch_file
from suitecase.launchers.following import Followed, left_behind, new_batch, spec_of, write_specs
from suitecase.launchers.slurm import commands
from suitecase.launchers.slurm.commands import PENDING, TERMINAL, SchedulerError, SubmitError, Task
from suitecase.launchers.slurm.options import SlurmOptions, described, parse_options, problems_of
from suitecase.launchers.slurm.scripts import Request, job_name, request_for, script

__all__ = ["Slurm", "from_options"]

log = logging.getLogger("suitecase.slurm")

LOOK_S = 2.0
"""How often the folders of batches are listed: what attempts wrote is seen that soon, if the file system shows it."""

VISIBLE_S = 15.0
"""How long a record may take to become visible here after its task has ended."""

SILENT_S = 35.0
"""After how long without a sign an attempt on a lost node counts as dead: three beats, and some."""

AGAIN_S = 30.0
"""Before an array that Slurm had no room for, or no answer, is submitted again."""

ESCALATE_S = 20.0
"""How long after its grace period an attempt that was asked to end is cancelled by Slurm."""

ABANDON_S = 20.0
"""How long after it was to be killed an attempt is no longer waited for."""

HELD = (
    "jobheld", "badconstraints", "invalidaccount", "invalidqos", "partitionnodelimit", "partitiontimelimit",
    "partitionconfig", "launch failed requeued held", "requeued in held state", "dependencyneversatisfied",
)  # fmt: skip
"""Reasons of squeue(1) that don't pass by themselves, in lower case."""


def from_options(**texts: str) -> Slurm:
    """The launcher with the options of a command line (the plugin's entry point).

    Raises:
        SuiteError: With every option that is unknown or wrong.
    """
    values: dict[str, Any] = parse_options(texts)
    return Slurm(**values)


@dataclass
class Tracked:
    """A task of an array that was submitted.

    Attributes:
        said: What Slurm said of it last; None if it no longer lists it.
        asked: Whether Slurm was ever asked about it.
        gone_s, held_s: Since when Slurm says that it is over, or held; by the runner's clock.
        beat, beat_s: Its last sign of life, and when that was first seen.
        cancel_s, abandon_s: When it is cancelled by Slurm, and when it is no longer waited for.
        unsure: An end that Slurm's word may explain better.
    """

    followed: Followed
    job: int
    said: Task | None = None
    asked: bool = False
    cancelled: bool = False
    gone_s: float | None = None
    held_s: float | None = None
    beat: int | None = None
    beat_s: float = 0.0
    cancel_s: float = math.inf
    abandon_s: float = math.inf
    unsure: Ended | None = None

    @property
    def mark(self) -> int:
        return self.followed.launch.mark

    @property
    def index(self) -> int:
        return self.followed.index


@dataclass
class Array:
    """Attempts that are to be submitted together, and are not yet."""

    request: Request
    launches: list[Launch]
    batch: Path | None = None
    since_s: float = field(default_factory=time.monotonic)
    next_try_s: float = 0.0


@dataclass(kw_only=True, eq=False)
class Slurm(SlurmOptions):
    """Runs attempts on a Slurm cluster whose nodes see the run directory, the project and Python at the same paths."""

    name = "slurm"
    outlives_runner = True

    @property
    def lacks(self) -> frozenset[str]:
        """Beside the terminal: with a launch line, the case's processes are not bwrap's children."""
        return frozenset({"debug", "pause", "gpu_fractions", *(["isolate"] if self.launch else [])})

    def problems(self) -> list[str]:
        problems = problems_of(self)
        if missing := commands.missing_commands():
            problems.append(
                f"launcher 'slurm' needs {', '.join(missing)}: start the suite on a login node of a cluster."
            )
            return problems
        try:
            self.settings = commands.configuration()
        except SchedulerError as error:
            problems.append(f"Slurm doesn't answer ({error}): try `scontrol ping`, and again when it is up.")
        return problems

    def capacity(self, suite: object) -> Capacity:
        return Capacity(math.inf, math.inf, gpus=None)

    def describe(self) -> dict[str, str]:
        return described(self)

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        requests: dict[Request, int] = defaultdict(int)
        for each in needs.values():
            requests[request_for(each, self, session)] += 1
        texts: list[str] = []
        for request, count in requests.items():
            for size in parts(count, self.largest_array):
                texts.append(f"sbatch, with an array of {size}:\n\n" + script("BATCH", size, request, self, session))
        return "\n".join(texts)

    @property
    def largest_array(self) -> int:
        """How many tasks an array may have (MaxArraySize: the index stays below it)."""
        size = self.settings.get("MaxArraySize", "")
        return max(1, int(size)) if size.isdigit() else 1001

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        self.wakeup = wakeup
        self.bell, ringer = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(ringer, False)
        self.follower = Follower(self, session, ringer)
        self.follower.start()

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        return self.follower.adopt(ended)

    def start(self, launches: Sequence[Launch]) -> None:
        self.follower.requests.put(("start", tuple(launches)))

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        self.follower.requests.put(("end", (mark, signal, grace_s)))

    def wait(self, timeout_s: float) -> list[Event]:
        follower = self.follower
        if not follower.events:
            select.select([self.wakeup, self.bell], [], [], timeout_s)
        for descriptor in (self.wakeup, self.bell):
            with suppress(BlockingIOError):
                while os.read(descriptor, 4096):
                    pass
        events: list[Event] = []
        while follower.events:
            events.append(follower.events.popleft())
        if follower.failure is not None and not events:
            raise follower.failure
        return events

    def stop(self) -> None:
        """Attempts elsewhere go on while the runner stands still."""

    def go_on(self) -> None:
        """They have never stopped."""

    def close(self) -> None:
        self.follower.requests.put(("close", None))
        self.follower.join()  # a command of Slurm's ends within two minutes
        os.close(self.bell)
        os.close(self.follower.ringer)


class Follower(threading.Thread):
    """Talks to Slurm and to the shared file system, either of which may take long, and tells the runner's loop.

    Attributes:
        events: What happened, for `Slurm.wait`.
        failure: Why it can't go on.
    """

    def __init__(self, options: Slurm, session: Session, ringer: int) -> None:
        super().__init__(name="slurm", daemon=True)
        self.options, self.session, self.ringer = options, session, ringer
        self.environment = commands.submit_environment(session.environment)
        self.runner = Path(str(sys.modules["experiment_runner"].__file__)).resolve()
        self.requests: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.events: deque[Event] = deque()
        self.failure: BaseException | None = None
        self.tracked: dict[int, Tracked] = {}
        self.waiting: list[Array] = []
        self.next_queue_s = 0.0  # when Slurm is asked next
        self.answered_s = self.news_s = time.monotonic()  # when it last did, and when an attempt last told something
        self.warned = False

    def run(self) -> None:
        try:
            while self.serve():
                self.submit_waiting()
                if self.tracked:
                    self.look()
        except BaseException as error:  # the runner's loop raises it
            self.failure = error
            self.ring()

    def ring(self) -> None:
        with suppress(OSError):
            os.write(self.ringer, b"\0")

    def tell(self, *events: Event) -> None:
        if events:
            self.news_s = time.monotonic()
            self.events.extend(events)
            self.ring()

    def serve(self) -> bool:
        """Do what was asked meanwhile; wait for it until it is time to look. False at the end."""
        timeout_s = LOOK_S if self.tracked or self.waiting else None
        ends: list[tuple[int, int, float]] = []
        try:
            while True:
                what, about = self.requests.get(timeout=timeout_s)
                if what == "close":
                    return False
                if what == "start":
                    self.accept(about)
                if what == "end":
                    ends.append(about)
                timeout_s = 0.0
        except Empty:
            self.end(ends)
        return True

    # --- submitting

    def accept(self, launches: Sequence[Launch]) -> None:
        """Put attempts with equal needs into arrays, as large as Slurm allows."""
        groups: dict[Request, list[Launch]] = defaultdict(list)
        for launch in launches:
            groups[request_for(launch.needs, self.options, self.session)].append(launch)
        for request, members in groups.items():
            at = 0
            for size in parts(len(members), self.options.largest_array):
                self.waiting.append(Array(request, members[at : at + size]))
                at += size

    def submit_waiting(self) -> None:
        """Submit what waits, unless Slurm had no room or no answer for it a moment ago."""
        waiting, self.waiting = self.waiting, []
        while waiting:
            array = waiting.pop(0)
            if array.launches and array.next_try_s > time.monotonic():
                self.waiting.append(array)
            elif array.launches:
                self.submit(array, waiting)

    def submit(self, array: Array, others: list[Array]) -> None:
        try:
            paths = self.write_down(array)
            batch = paths[0].parent
            job = self.submit_once(array, batch)
        except SubmitError as error:
            self.postpone(array, others, error)
            return
        except OSError as error:
            self.refuse(array, f"{error.filename or self.session.run_dir}: {error.strerror}")
            return
        for launch, path in zip(array.launches, paths, strict=True):
            if launch.mark not in self.tracked:
                self.tracked[launch.mark] = Tracked(Followed(launch, path), job, beat_s=time.monotonic())
        with suppress(OSError):  # without it a resume finds the job by its name
            (batch / "job").write_text(f"{job}\n")

    def write_down(self, array: Array) -> list[Path]:
        """Write what the tasks of an array have to know, once."""
        if array.batch is not None:
            return [array.batch / f"{index}.json" for index in range(len(array.launches))]
        options, session, request = self.options, self.session, array.request
        batch = array.batch = new_batch(session.run_dir)
        prefix, scratch = shlex.split(options.launch), options.scratch or None
        specs = [
            replace(
                spec_of(launch, session, launcher=options.name, job_variable="SLURM_JOB_ID", runner=self.runner),
                prefix=prefix, limit_s=request.limit_s, scratch=scratch, command=self.command_of(launch),
            )
            for launch in array.launches
        ]  # fmt: skip
        text = script(batch.name, len(specs), request, options, session)
        (batch / "script.sh").write_text(text)
        return write_specs(batch, specs, [launch.environment for launch in array.launches])

    def command_of(self, launch: Launch) -> list[str]:
        """A case's command, with the interpreter that the nodes have."""
        python = self.options.python
        return [python if python and part == sys.executable else part for part in launch.command]

    def submit_once(self, array: Array, batch: Path) -> int:
        """Submit a batch, unless an sbatch that seemed to fail has done it."""
        if array.next_try_s:
            try:
                job = commands.find_job(job_name(self.session.experiment, batch.name))
            except SchedulerError as error:
                raise SubmitError(str(error)) from None
            if job is not None:
                return job
        return commands.submit(batch / "script.sh", batch / "%a.out", self.environment)

    def postpone(self, array: Array, others: list[Array], error: SubmitError) -> None:
        """Decide about an array that was not accepted: later, in smaller parts, or never."""
        now, count = time.monotonic(), len(array.launches)
        if error.unreachable and now - array.since_s < self.options.patience_s:
            self.warn(error)
            self.waiting.append(replace(array, next_try_s=now + AGAIN_S))
        elif error.too_many and count > 1:
            self.forget(array)
            half = count // 2
            others.insert(0, Array(array.request, array.launches[:half]))
            self.waiting.append(Array(array.request, array.launches[half:], next_try_s=now + AGAIN_S))
        elif error.too_many and self.tracked:
            self.forget(array)
            self.waiting.append(Array(array.request, array.launches, next_try_s=now + AGAIN_S))
        else:
            self.refuse(array, f"sbatch: {error}")

    def forget(self, array: Array) -> None:
        if array.batch is not None:
            shutil.rmtree(array.batch, ignore_errors=True)
            array.batch = None

    def refuse(self, array: Array, cause: str) -> None:
        for index in range(len(array.launches)):
            if array.batch is not None:
                self.fence(array.batch / f"{index}.json")
        self.tell(*(Refused(launch.mark, cause=cause) for launch in array.launches))

    def fence(self, spec: Path) -> None:
        """Keep an attempt from running, should Slurm know its job after all; remove its secrets."""
        with suppress(OSError):
            batch_file(spec, "fenced").touch()
            batch_file(spec, "environment").unlink(missing_ok=True)

    # --- adopting

    def adopt(self, ended: Collection[int]) -> list[Launch]:
        """Take up what earlier passes submitted; in the runner's thread, before it starts anything.

        Raises:
            SuiteError: Slurm doesn't say whether a batch was submitted.
        """
        batches: dict[Path, list[Followed]] = defaultdict(list)
        for followed in left_behind(self.session.run_dir, self.options.name, ended):
            batches[followed.spec.parent].append(followed)
        adopted: list[Launch] = []
        for batch, members in batches.items():
            try:
                job = self.job_of(batch)
            except SchedulerError as error:
                message = f"Slurm doesn't say whether {batch} was submitted ({error}): resume when it answers."
                raise SuiteError([message], 75) from None
            if job is None:  # the runner died before it submitted them
                for followed in members:
                    self.fence(followed.spec)
                continue
            for followed in members:
                self.tracked[followed.launch.mark] = Tracked(followed, job, beat_s=time.monotonic())
                adopted.append(followed.launch)
        self.requests.put(("adopted", None))  # so that it looks
        return adopted

    def job_of(self, batch: Path) -> int | None:
        with suppress(OSError, ValueError):
            return int((batch / "job").read_text())
        job = commands.find_job(job_name(self.session.experiment, batch.name))
        if job is not None:
            (batch / "job").write_text(f"{job}\n")
        return job

    # --- ending

    def end(self, ends: Iterable[tuple[int, int, float]]) -> None:
        """Ask attempts to end: by a file, so that they know who asks, and by a signal, so that they look at once."""
        running: dict[int, list[int]] = defaultdict(list)
        queued: dict[int, list[int]] = defaultdict(list)
        for mark, number, grace_s in ends:
            tracked = self.tracked.get(mark)
            if tracked is None:
                self.end_waiting(mark)
                continue
            now, kill = time.monotonic(), number == signal.SIGKILL
            with suppress(OSError):
                batch_file(tracked.followed.spec, "asked").write_text("KILL" if kill else "TERM")
            tracked.cancel_s = now + ESCALATE_S + (0 if kill else grace_s)
            tracked.abandon_s = now + ABANDON_S if kill else math.inf
            tracked.cancelled = True
            (running if tracked.followed.started else queued)[tracked.job].append(tracked.index)
        for job, indexes in running.items():
            with suppress(SchedulerError):
                commands.signal_batch(job, indexes, "TERM")
        for job, indexes in queued.items():
            with suppress(SchedulerError):
                commands.cancel(job, indexes)
        if running or queued:
            self.next_queue_s = 0.0

    def end_waiting(self, mark: int) -> None:
        """End an attempt that was never submitted, as far as anybody knows."""
        for array in self.waiting:
            for index, launch in enumerate(array.launches):
                if launch.mark != mark:
                    continue
                if array.batch is None:
                    array.launches.remove(launch)
                else:
                    self.fence(array.batch / f"{index}.json")
                self.tell(Ended(mark, None, status="cancelled", cause="cancelled before it was submitted"))
                return

    # --- following

    def look(self) -> None:
        """See what the attempts have written, and what Slurm says; tell what follows from both."""
        now = time.monotonic()
        names = self.list_batches()
        for tracked in list(self.tracked.values()):
            self.look_at_record(tracked, names)
        if self.tracked and now >= self.next_queue_s:
            self.ask_queue()
        for tracked in list(self.tracked.values()):
            if tracked.asked:
                self.judge(tracked, names)

    def list_batches(self) -> dict[Path, set[str]]:
        """The files of each batch that has attempts left.

        Listed, since opening a folder makes a network file system ask its server; a single file may be missing from its
        cache for a minute.
        """
        names: dict[Path, set[str]] = {}
        for batch in {tracked.followed.spec.parent for tracked in self.tracked.values()}:
            with suppress(OSError):
                names[batch] = set(os.listdir(batch))
        return names

    def look_at_record(self, tracked: Tracked, names: Mapping[Path, set[str]], always: bool = False) -> None:
        followed = tracked.followed
        there, index = names.get(followed.spec.parent, set()), tracked.index
        rung = f"{index}.ended" in there or (not followed.started and f"{index}.alive" in there)
        if tracked.unsure is not None or not (rung or always):
            return
        for event in followed.news({"job": f"{tracked.job}_{index}"}):
            if isinstance(event, Ended) and event.fault == "preempted" and not tracked.cancelled:
                tracked.unsure, tracked.gone_s = event, time.monotonic()
                self.next_queue_s = 0.0
            elif isinstance(event, Started):
                tracked.beat_s = time.monotonic()
                self.tell(event)
            else:
                self.finish(tracked, event)

    def finish(self, tracked: Tracked, event: Event) -> None:
        self.tracked.pop(tracked.mark, None)
        with suppress(OSError):
            batch_file(tracked.followed.spec, "environment").unlink(missing_ok=True)
        self.tell(event)

    def ask_queue(self) -> None:
        """Ask Slurm about all that is not over.

        Raises:
            SuiteError: It has been silent for too long, and the attempts too.
        """
        jobs = {tracked.job for tracked in self.tracked.values()}
        try:
            said = commands.queue(jobs)
        except SchedulerError as error:
            self.next_queue_s = time.monotonic() + self.options.poll_s
            self.warn(error)
            silent_s = time.monotonic() - max(self.answered_s, self.news_s)
            if silent_s > self.options.patience_s:
                message = (
                    f"Slurm has not answered for {silent_s:.0f} s ({error}), and no attempt has told anything. Those "
                    "that run go on; --resume follows them when Slurm is back."
                )
                raise SuiteError([message], 75) from None
            return
        now = self.answered_s = time.monotonic()
        self.warned = False
        self.next_queue_s = now + self.options.poll_s
        for tracked in self.tracked.values():
            tracked.asked = True
            tracked.said = said.get((tracked.job, tracked.index)) or said.get((tracked.job, None))
            over = tracked.said is None or tracked.said.state in TERMINAL
            if tracked.unsure is None:
                tracked.gone_s = (tracked.gone_s or now) if over else None

    def warn(self, error: SchedulerError) -> None:
        if not self.warned:
            self.warned = True
            log.warning("Slurm doesn't answer: %s. What runs goes on, and is followed by its files.", error)

    # --- judging

    def judge(self, tracked: Tracked, names: Mapping[Path, set[str]]) -> None:
        """Decide about an attempt whose record tells of no end, from Slurm's word and its own silence."""
        now = time.monotonic()
        if tracked.unsure is not None:
            self.judge_unsure(tracked, tracked.unsure, now)
            return
        if tracked.gone_s is not None:
            self.look_at_record(tracked, names, always=True)
            if tracked.mark not in self.tracked or tracked.unsure is not None:
                return
        waits = tracked.said is not None and tracked.said.state in PENDING
        if now >= tracked.abandon_s:
            self.give_up(tracked, "", "killed; no record of its end")
        elif tracked.followed.started and (tracked.gone_s is not None or waits):
            self.judge_silent(tracked, now)
        elif tracked.gone_s is not None:
            self.judge_unclaimed(tracked, names, now)
        elif waits:
            self.judge_held(tracked, now)
        if tracked.mark in self.tracked and now >= tracked.cancel_s:
            tracked.cancel_s = now + 3 * ESCALATE_S
            with suppress(SchedulerError):
                commands.cancel(tracked.job, [tracked.index])

    def judge_unsure(self, tracked: Tracked, end: Ended, now: float) -> None:
        """Tell why a scheduler's TERM came, if Slurm says: its limit of time, a preemption, somebody's scancel."""
        said = tracked.said or Task("")
        limit_s = math.inf if said.limit_s is None else said.limit_s
        if said.state == "CANCELLED":
            end = replace(end, status="cancelled", fault="", cause="its job was cancelled in Slurm")
        elif said.state == "TIMEOUT" or (end.duration_s or 0) >= limit_s - LIMIT_MARGIN_S - self.session.grace_s:
            end = replace(end, status="timed_out", fault="", cause=f"reached Slurm's limit of time, {limit_s:g} s")
        elif said.state not in TERMINAL and now - (tracked.gone_s or now) < VISIBLE_S:
            self.next_queue_s = min(self.next_queue_s, now + 1)
            return
        self.finish(tracked, end)

    def judge_silent(self, tracked: Tracked, now: float) -> None:
        """An attempt that has begun, of which Slurm says that it is over, or waits again: it lives while it beats."""
        beat = tracked.followed.beat()
        if beat != tracked.beat:
            tracked.beat, tracked.beat_s = beat, now
        said = tracked.said or Task("")
        seen_by_slurm = said.state in TERMINAL - {"NODE_FAIL", "BOOT_FAIL"}
        if now - tracked.beat_s < (VISIBLE_S if seen_by_slurm else SILENT_S):
            return
        fault, status, why = EXPLAINED.get(said.state, ("lost", "", "its processes on the node vanished"))
        node = f" on {said.node}" if said.node else ""
        self.give_up(
            tracked, fault, f"{why}{node} (Slurm: {said_in_words(tracked.said)}), no record of its end", status
        )

    def judge_unclaimed(self, tracked: Tracked, names: Mapping[Path, set[str]], now: float) -> None:
        """An attempt whose task is over and which never began: cancelled in the queue, or the node could not run it."""
        there = names.get(tracked.followed.spec.parent, set())
        began = f"{tracked.index}.out" in there
        if tracked.cancelled and not began:
            self.fence(tracked.followed.spec)
            self.finish(tracked, Ended(tracked.mark, None, status="cancelled", cause="cancelled while it waited"))
            return
        if now - (tracked.gone_s or now) < VISIBLE_S:
            return
        said = tracked.said or commands.accounting(tracked.job, tracked.index)
        state = said.state if said else ""
        words = last_line(tracked.followed.spec.with_suffix(".out")) if began else ""
        self.fence(tracked.followed.spec)
        if state == "CANCELLED" or (said is None and not began):
            event: Event = Ended(tracked.mark, None, status="cancelled", cause="its job was cancelled in Slurm")
        elif state in ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED"):
            fault, _, why = EXPLAINED[state]
            event = replace(Ended(tracked.mark, None, cause=f"{why}, before it began"), fault=fault)
        else:
            node = f" on {said.node}" if said and said.node else ""
            hint = f": {words}" if words else "; does that node see the run directory?"
            event = Refused(tracked.mark, cause=f"Slurm{node}: {said_in_words(said)}{hint}")
        self.finish(tracked, event)

    def judge_held(self, tracked: Tracked, now: float) -> None:
        """A task that waits for something that doesn't pass by itself is given up after a while."""
        reason = tracked.said.reason if tracked.said else ""
        if not reason.lower().startswith(HELD):
            tracked.held_s = None
            return
        tracked.held_s = tracked.held_s or now
        if now - tracked.held_s < self.options.held_s:
            return
        with suppress(SchedulerError):
            commands.cancel(tracked.job, [tracked.index])
        self.fence(tracked.followed.spec)
        cause = f"job {tracked.job}_{tracked.index} was held for {self.options.held_s:g} s: {reason}"
        self.finish(tracked, Refused(tracked.mark, cause=cause))

    def give_up(self, tracked: Tracked, fault: str, cause: str, status: str = "") -> None:
        """Count an attempt as ended that doesn't say so, and keep it from doing harm if it lives."""
        with suppress(SchedulerError):
            commands.cancel(tracked.job, [tracked.index])
        with suppress(OSError):
            batch_file(tracked.followed.spec, "fenced").touch()
        end: Any = Ended(tracked.mark, None, cause=cause)
        self.finish(tracked, replace(end, fault=fault, status=status or ("cancelled" if not fault else "")))


EXPLAINED: Mapping[str, tuple[Any, str, str]] = {
    "NODE_FAIL": ("lost", "", "its node failed"),
    "BOOT_FAIL": ("lost", "", "its node failed to boot"),
    "PREEMPTED": ("preempted", "", "preempted"),
    "OUT_OF_MEMORY": ("oom", "", "out of memory"),
    "TIMEOUT": ("", "timed_out", "reached Slurm's limit of time"),
    "DEADLINE": ("", "timed_out", "reached the job's deadline"),
    "CANCELLED": ("", "cancelled", "its job was cancelled in Slurm"),
}
"""What a state means for an attempt: a fault of `retry_on`, or a status; and words."""


def said_in_words(task: Task | None) -> str:
    if task is None:
        return "it no longer knows the job"
    return task.state + (f", {task.reason}" if task.reason else "")


def last_line(path: Path) -> str:
    """The last line of what a task itself said, shortened."""
    with suppress(OSError):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""


def parts(count: int, largest: int) -> list[int]:
    """Sizes of arrays for so many tasks."""
    whole, rest = divmod(count, largest)
    return [largest] * whole + ([rest] if rest else [])
