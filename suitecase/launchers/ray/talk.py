"""The thread that talks to Ray, so that the runner's loop never waits for a network."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from suitecase.launchers.ray.client import JobState, RayClient, RefusedByRayError, UnreachableError

__all__ = ["POLL_S", "Talk"]

POLL_S = 1.0
"""How often Ray is asked for the states of jobs; an answer takes 10 to 200 ms for some dozens of them (2 cores)."""

POLL_PAUSE = 4.0
"""How much longer than the answer took the pause after it is, at least: Ray tells all jobs that it ever had."""

SURVEY_S = 60.0
"""How often it is asked which nodes there are."""

FETCHES = 3
"""How often a log is asked for that doesn't come, while Ray answers all else: the node may be gone that has it."""

SLOW_S = 10.0
"""A question that is open for so long counts as unanswered."""


@dataclass(frozen=True)
class Errand:
    """Something that Ray is to be asked."""

    do: Literal["submit", "submit_again", "stop", "fetch"]
    job_id: str
    entrypoint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Talk:
    """Errands to Ray, and what it said last. All methods are for one other thread, and return at once.

    Attributes:
        wakeup: Readable when there is something new.
        states: The jobs of the cluster, by id, as Ray told last.
        accepted: Jobs that Ray has taken, and that `states` is too old to have.
        nodes: What each node of the cluster has; None before Ray has told.
        trouble: Why the first errand isn't done; empty if there is none.
    """

    def __init__(self, url: str) -> None:
        self.client = RayClient(url)
        self.wakeup, self.writer = os.pipe()
        for descriptor in (self.wakeup, self.writer):
            os.set_blocking(descriptor, False)
        self.states: Mapping[str, JobState] = {}
        self.accepted: set[str] = set()
        self.nodes: Sequence[Mapping[str, float]] | None = None
        self.errands: deque[Errand] = deque()
        self.withdrawn: set[str] = set()
        self.refused: deque[tuple[str, str]] = deque()
        self.logs: dict[str, str] = {}
        self.failed_fetches: Counter[str] = Counter()
        self.trouble = ""
        self.answered = time.monotonic()
        self.failed = False
        self.asked_at = 0.0
        self.something_to_do, self.over = threading.Event(), False
        self.thread = threading.Thread(target=self.run, name="ray", daemon=True)
        self.thread.start()

    # --- for the runner's loop

    def submit(self, job_id: str, entrypoint: str, options: Mapping[str, Any]) -> None:
        self.add(Errand("submit", job_id, entrypoint, options))

    def submit_again(self, job_id: str, options: Mapping[str, Any]) -> None:
        """Have a job submitted that is to run what another one did not; options are those of the client."""
        self.add(Errand("submit_again", job_id, options=options))

    def stop(self, job_id: str) -> None:
        """Have a job ended; one that was not submitted yet never will be."""
        self.withdrawn.add(job_id)
        self.add(Errand("stop", job_id))

    def fetch(self, job_id: str) -> None:
        """Have the log of a job read, for `take_log`."""
        self.add(Errand("fetch", job_id))

    def add(self, errand: Errand) -> None:
        self.errands.append(errand)
        self.something_to_do.set()

    def asked(self, job_id: str) -> bool:
        """Whether an errand for a job is still to be done."""
        return any(errand.job_id == job_id and errand.do != "stop" for errand in tuple(self.errands))

    def take_log(self, job_id: str) -> str | None:
        """The log that was fetched; empty if there is none."""
        return self.logs.pop(job_id, None)

    def take_refused(self) -> list[tuple[str, str]]:
        """Jobs that Ray would not have since the last call, and why."""
        taken: list[tuple[str, str]] = []
        while self.refused:
            taken.append(self.refused.popleft())
        return taken

    def unreachable_s(self) -> float:
        """Seconds since Ray's last answer; 0 if it answers."""
        silent_s = time.monotonic() - self.answered
        waits = bool(self.asked_at) and time.monotonic() - self.asked_at > SLOW_S
        return silent_s if self.failed or waits else 0.0

    def close(self) -> None:
        """Do the errands that are left, if Ray answers, and end."""
        self.over = True
        self.something_to_do.set()
        self.thread.join(timeout=SLOW_S)
        if not self.thread.is_alive():
            os.close(self.wakeup)
            os.close(self.writer)

    # --- the thread

    def run(self) -> None:
        """Errands as they come, the states of all jobs every second."""
        next_poll = next_survey = 0.0
        while True:
            self.something_to_do.wait(max(0.0, next_poll - time.monotonic()))
            self.something_to_do.clear()
            news = self.do_errands()
            if self.over:
                return
            if time.monotonic() >= next_poll:
                begun = time.monotonic()
                news = self.ask_for_states() or news
                next_poll = time.monotonic() + max(POLL_S, POLL_PAUSE * (time.monotonic() - begun))
            if time.monotonic() >= next_survey:
                self.survey()
                next_survey = time.monotonic() + SURVEY_S
            if news:
                with suppress(BlockingIOError):
                    os.write(self.writer, b"\0")

    def do_errands(self) -> bool:
        """All errands; one that Ray doesn't answer stays the first, for the next time."""
        done = False
        while self.errands:
            self.asked_at = time.monotonic()
            errand = self.errands[0]
            try:
                self.do(errand)
            except UnreachableError as error:
                if errand.do != "fetch" or not self.give_up_fetching(errand.job_id):
                    self.failed, self.trouble = True, str(error)
                    break
            except RefusedByRayError as error:
                if errand.do in ("submit", "submit_again"):
                    self.refused.append((errand.job_id, str(error)))
                elif errand.do == "fetch":
                    self.logs[errand.job_id] = ""
            self.errands.popleft()
            self.trouble = ""
            self.heard()
            done = True
        self.asked_at = 0.0
        return done

    def do(self, errand: Errand) -> None:
        if errand.job_id in self.withdrawn and errand.do in ("submit", "submit_again"):
            return
        if errand.do == "stop":
            self.client.stop(errand.job_id)
        elif errand.do == "fetch":
            self.logs[errand.job_id] = self.client.log(errand.job_id)
        else:
            # A package goes by its file each time, so that Ray's client asks whether the cluster has it: ten minutes
            # after the last job that used it, it no longer does.
            if errand.do == "submit":
                self.client.submit(errand.job_id, errand.entrypoint, **errand.options)
            else:
                self.client.submit_again(errand.job_id, **errand.options)
            self.accepted.add(errand.job_id)

    def give_up_fetching(self, job_id: str) -> bool:
        """Whether a log won't come, though Ray answers."""
        try:
            self.client.version()
        except (UnreachableError, RefusedByRayError):
            return False
        self.failed_fetches[job_id] += 1
        if self.failed_fetches[job_id] < FETCHES:
            return False
        del self.failed_fetches[job_id]
        self.logs[job_id] = ""
        return True

    def ask_for_states(self) -> bool:
        """Ask for all jobs; whether there is something new to know."""
        taken, failed = set(self.accepted), self.failed
        self.asked_at = time.monotonic()
        try:
            states = self.client.states()
        except (UnreachableError, RefusedByRayError):
            self.failed, self.asked_at = True, 0.0
            return not failed
        self.asked_at = 0.0
        self.heard()
        changed = states != self.states
        self.states = states
        self.accepted -= taken
        return changed or failed

    def survey(self) -> None:
        """Ask which nodes there are; what is known of them stays, if there is no answer."""
        with suppress(UnreachableError, RefusedByRayError):
            self.nodes = self.client.nodes()

    def heard(self) -> None:
        """Ray has answered."""
        self.answered, self.failed = time.monotonic(), False
