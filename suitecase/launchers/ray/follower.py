"""The attempts of a pass, from their submission to their end: by their files, and by what Ray says of their jobs."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

from experiment_runner import Ended, Event, Launch, Refused, Resources, Session, Started
from suitecase.launchers.attempt import LOOK_S, batch_file
from suitecase.launchers.following import left_behind, read_record
from suitecase.launchers.ray.client import OVER, JobState, RefusedByRayError, UnreachableError
from suitecase.launchers.ray.jobs import LAUNCHER, Job, fence, fence_off, forget_variables, job_id
from suitecase.launchers.ray.judging import of_the_over, of_the_unfinished, of_the_unknown, of_the_waiting
from suitecase.launchers.ray.logs import bring_back, final_log, follow_output
from suitecase.launchers.ray.options import RayOptions
from suitecase.launchers.ray.room import no_room
from suitecase.launchers.ray.submitting import STOP_MARGIN_S, Submitter, reservation
from suitecase.launchers.ray.talk import Talk

__all__ = ["Follower"]

log = logging.getLogger("suitecase.launchers.ray")

ANSWER_LATE_S = 30.0
"""After so long without an answer from Ray a person is told."""


class Follower:
    """What became of an attempt is told by its record; Ray's word counts where there is none.

    Attributes:
        jobs: Those that have not ended, by their marks.
        events: What happened, for the launcher to take.

    Raises:
        UnreachableError, RefusedByRayError: There is no Ray to talk to.
    """

    def __init__(self, options: RayOptions, session: Session) -> None:
        self.options, self.session = options, session
        self.talk = Talk(options.url)
        self.submitter = Submitter(options, session, self.talk)
        self.jobs: dict[int, Job] = {}
        self.events: list[Event] = []
        self.idle_since = time.monotonic()  # none of our jobs has run since
        self.told_unreachable = False
        self.unsurveyed: Counter[Resources] = Counter()  # needs of which it was not asked yet whether a node has them

    def start(self, launches: Sequence[Launch]) -> None:
        """Have these submitted."""
        try:
            jobs = self.submitter.write_down(launches)
        except OSError as error:
            why = f"{error.filename or self.session.run_dir}: {error.strerror}"
            self.events += [Refused(launch.mark, error.errno, why) for launch in launches]
            return
        self.jobs |= {job.mark: job for job in jobs}
        self.unsurveyed.update(launch.needs for launch in launches)
        self.submit_waiting()

    def submit_waiting(self) -> None:
        waiting = [job for job in self.jobs.values() if not job.submitted]
        for refused in self.submitter.submit(waiting):
            self.finish(self.jobs[refused.mark], refused)

    def adopt(self, ended: Collection[int]) -> list[Launch]:
        """Take up what earlier passes submitted."""
        states: Mapping[str, JobState] | None = None
        with suppress(UnreachableError, RefusedByRayError):
            states = self.talk.client.states()
        for followed in left_behind(self.session.run_dir, LAUNCHER, ended):
            job = Job(followed, job_id(self.session, followed.launch.mark), submitted=True)
            job.carried = batch_file(followed.spec, "carried").exists()
            record = read_record(followed.launch.folder, followed.launch.attempt)
            if states is not None and job.id not in states and not record:
                # Written down, never submitted: the runner makes another attempt, and this one can't begin any more.
                fence(job, "its runner ended before it was submitted")
                continue
            if not record.get("fenced"):
                self.jobs[job.mark] = job
        return [job.launch for job in self.jobs.values()]

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        """Ask an attempt to end: by a file, so that it knows who asks; by Ray, where no folder is shared."""
        job = self.jobs.get(mark)
        if job is None:
            return
        state = self.talk.states.get(job.id)
        begun = job.followed.started or (state is not None and state.status == "RUNNING")
        job.asked, killed = True, signal == SIGKILL
        if not begun and fence(job, "ended before its job began"):
            self.talk.stop(job.id)
            self.finish(job, Ended(mark, None, cause="ended before its job began"))
        elif job.carried:
            self.talk.stop(job.id)
            if killed:  # Ray has no quicker way than the one it was told to take
                words = "killed: Ray ends it on its node after its grace period, and its files don't come back"
                self.finish(job, Ended(mark, None, cause=words))
        else:
            with suppress(OSError):  # on a full disk, Ray's own way to end it must do
                batch_file(job.followed.spec, "asked").write_text("KILL" if killed else "TERM")
            job.stop_at = time.monotonic() + (0.0 if killed else grace_s) + 2 * LOOK_S + STOP_MARGIN_S

    def close(self) -> None:
        self.talk.close()
        self.submitter.remove_packages()

    # --- following

    def look(self) -> None:
        """See what has become of every job."""
        self.submitter.heed_probe()
        self.heed_refusals()
        self.submit_waiting()
        unreachable_s = self.talk.unreachable_s()
        self.warn(unreachable_s)
        self.warn_of_waiting()
        states = self.talk.states
        ours = [states[job.id].status for job in self.jobs.values() if job.id in states]
        if "RUNNING" in ours or unreachable_s or not self.jobs:
            self.idle_since = time.monotonic()
        names = {batch: listed(batch) for batch in {job.followed.spec.parent for job in self.jobs.values()}}
        for job in list(self.jobs.values()):
            state = states.get(job.id)
            if not self.read(job, state, names[job.followed.spec.parent]):
                self.decide(job, state, unreachable_s)

    def heed_refusals(self) -> None:
        for refused_id, error in self.talk.take_refused():
            if job := next((job for job in self.jobs.values() if job.id == refused_id), None):
                self.finish(job, Refused(job.mark, cause=f"Ray refused its job: {error}"))
            elif refused_id == self.submitter.probe:
                self.submitter.sees = True  # without an answer it is taken for shared, and attempts tell if it isn't

    def warn(self, unreachable_s: float) -> None:
        """Say once that Ray is away, and once that it is back."""
        if (unreachable_s > ANSWER_LATE_S) != self.told_unreachable:
            self.told_unreachable = not self.told_unreachable
            words = "doesn't answer; jobs may go on" if self.told_unreachable else "answers again"
            log.warning("Ray at %s %s", self.options.url, words)

    def warn_of_waiting(self) -> None:
        """Say which cases wait for a node that the cluster doesn't have; it may be one that makes them as needed."""
        nodes = self.talk.nodes
        if nodes is None:
            return
        for needs, count in self.unsurveyed.items():
            if missing := no_room(reservation(self.options, needs), nodes):
                waiting = "an attempt waits" if count == 1 else f"{count} attempts wait"
                log.warning("Ray at %s: %s; %s for one that has", self.options.url, missing, waiting)
        self.unsurveyed.clear()

    def read(self, job: Job, state: JobState | None, names: Collection[str]) -> bool:
        """Tell what an attempt's record has that is new; whether there was something.

        Args:
            names: The files of its batch.
        """
        facts = {"job": job.id}
        index, over = job.followed.index, state is not None and state.status in OVER
        told = over or f"{index}.ended" in names or (not job.followed.started and f"{index}.alive" in names)
        events: list[Event] = []
        if job.fetched == "" or (told and not job.carried):
            events = [in_our_words(event, job) for event in job.followed.news(facts)]
            if events and isinstance(events[-1], Ended | Refused):
                self.forget(job)
        elif job.carried and state is not None and state.status == "RUNNING" and not job.followed.started:
            job.followed.started = True
            events = [Started(job.mark, None, state.host, facts)]
        self.events += events
        return bool(events)

    def decide(self, job: Job, state: JobState | None, unreachable_s: float) -> None:
        """Go by Ray's word, or by its silence, where the record tells nothing; end what didn't end as it was asked."""
        idle_s = time.monotonic() - self.idle_since
        waited_in_vain = 0 < self.options.start_timeout_s < idle_s
        if state is not None and state.waited_too_long and not job.followed.started:
            if not waited_in_vain:
                self.submit_again(job)
                return
            state = replace(state, status="PENDING")
        over = state is not None and state.status in OVER
        if job.carried and not over and job.followed.started:
            follow_output(job, self.talk)
        if job.stop_at is not None and time.monotonic() >= job.stop_at:
            job.stop_at = None
            self.talk.stop(job.id)
        if state is not None and over:
            event = of_the_over(job, state) if self.has_read_log(job) else None
        elif state is None and job.id not in self.talk.accepted and job.submitted and not self.talk.asked(job.id):
            event = of_the_unknown(job, unreachable_s)
        else:
            event = of_the_unfinished(job, self.options, unreachable_s)
            if event is None and waited_in_vain:
                missing = no_room(reservation(self.options, job.launch.needs), self.talk.nodes or ())
                event = of_the_waiting(job, state, self.options.start_timeout_s, missing or self.talk.trouble)
        if event is not None:
            self.give_up(job, event)

    def submit_again(self, job: Job) -> None:
        try:
            self.submitter.submit_again(job)
        except OSError as error:
            self.give_up(job, Refused(job.mark, error.errno, f"{error.filename}: {error.strerror}"))

    def has_read_log(self, job: Job) -> bool:
        """Whether all that the log of a job that is over can tell is known, its record excepted."""
        if job.fetched is None and (job.carried or not job.followed.started):
            text = final_log(job, self.talk)
            if text is None:
                return False
            job.fetched = bring_back(job, text) if job.carried else text
            return not job.carried or bool(job.fetched)  # else the record is there now
        return True

    def give_up(self, job: Job, event: Ended | Refused) -> None:
        """Tell an end that no record tells, and see to it that none will."""
        if not job.followed.started and not fence(job, event.cause):
            return  # it has just begun
        fence_off(job)
        self.talk.stop(job.id)
        self.finish(job, event)

    def finish(self, job: Job, event: Event) -> None:
        self.forget(job)
        self.events.append(event)

    def forget(self, job: Job) -> None:
        forget_variables(job)
        self.jobs.pop(job.mark, None)


def in_our_words(event: Event, job: Job) -> Event:
    """An end that we asked Ray for: on the node it looks like anybody's."""
    if job.asked and isinstance(event, Ended) and event.fault == "preempted":
        return replace(event, fault="", cause="")
    return event


def listed(folder: Path) -> Collection[str]:
    """The names in a folder; a listing is asked of the server where a file's absence may come from a cache."""
    with suppress(OSError):
        return set(os.listdir(folder))
    return ()
