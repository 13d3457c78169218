"""The thread that talks to Slurm and to the shared file system, either of which may take long."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from experiment_runner import Ended, Event, Launch, Session, Started, SuiteError
from suitecase.launchers.attempt import batch_file
from suitecase.launchers.following import Followed, left_behind, read_record
from suitecase.launchers.slurm import commands
from suitecase.launchers.slurm.commands import SchedulerError, Task
from suitecase.launchers.slurm.judging import Tracked, explained, fence, verdict
from suitecase.launchers.slurm.options import SlurmOptions
from suitecase.launchers.slurm.submitting import LAUNCHER, Submitter

__all__ = ["Follower"]

log = logging.getLogger("suitecase.slurm")

TakenT = TypeVar("TakenT")

LOOK_S = 2.0
"""How often the folders of batches are listed: what attempts wrote is seen that soon, if the file system shows it."""

ESCALATE_S = 20.0
"""How long after its grace period an attempt that was asked to end is cancelled by Slurm."""

ABANDON_S = 20.0
"""How long after it was to be killed an attempt is no longer waited for."""


class Follower(threading.Thread):
    """Submits attempts, follows them, ends them, and tells the runner's loop.

    Attributes:
        events: What happened, for the loop to take.
        failure: Why it can't go on, for the loop to raise.
    """

    def __init__(self, options: SlurmOptions, settings: Mapping[str, str], session: Session, ringer: int) -> None:
        super().__init__(name="slurm", daemon=True)
        self.options, self.session, self.ringer = options, session, ringer
        self.submitter = Submitter(options, settings, session, self.tell, self.miss)
        self.started: SimpleQueue[Sequence[Launch]] = SimpleQueue()
        self.ends: SimpleQueue[tuple[int, int, float]] = SimpleQueue()
        self.awake = threading.Event()
        self.closing = False
        self.events: deque[Event] = deque()
        self.failure: BaseException | None = None
        self.tracked: dict[int, Tracked] = {}
        self.next_queue_s = 0.0  # when Slurm is asked next
        self.asker = ThreadPoolExecutor(1, "squeue")  # it may take a minute to say that nobody is there
        self.answer: Future[dict[tuple[int, int | None], Task]] | None = None
        self.asked: set[int] = set()  # the jobs that the answer is about
        self.silent_from_s: float | None = None  # since when it has not answered
        self.news_s = time.monotonic()  # when an attempt last told something

    # --- called by the runner's loop

    def submit(self, launches: Sequence[Launch]) -> None:
        """Have these submitted."""
        self.started.put(launches)
        self.awake.set()

    def ask_to_end(self, mark: int, number: int, grace_s: float) -> None:
        """Have an attempt ended."""
        self.ends.put((mark, number, grace_s))
        self.awake.set()

    def close(self) -> None:
        """Let go of all; returns when the last command of Slurm's has answered, within two minutes."""
        self.closing = True
        self.awake.set()
        self.join()
        self.asker.shutdown()

    def adopt(self, ended: Collection[int]) -> list[Launch]:
        """Take up what earlier passes submitted, before anything is started.

        Raises:
            SuiteError: Slurm doesn't say whether a batch was submitted.
        """
        batches: dict[Path, list[Followed]] = defaultdict(list)
        for followed in left_behind(self.session.run_dir, LAUNCHER, ended):
            batches[followed.spec.parent].append(followed)
        adopted: dict[int, Tracked] = {}
        for batch, members in batches.items():
            try:
                job = self.submitter.job_of(batch)
            except SchedulerError as error:
                message = f"Slurm doesn't say whether {batch} was submitted ({error}): resume when it answers."
                raise SuiteError([message], 75) from None
            for followed in members:
                known = job_known(followed) if job is None else job
                if known is None:  # the runner died before it submitted them
                    fence(followed.spec)
                else:
                    adopted[followed.launch.mark] = Tracked(followed, known)
        self.tracked = adopted
        self.awake.set()
        return [tracked.followed.launch for tracked in adopted.values()]

    # --- the thread

    def run(self) -> None:
        try:
            while not self.closing:
                self.serve()
                if self.tracked:
                    self.look()
                busy = self.tracked or self.submitter.waiting
                self.awake.wait(LOOK_S if busy else None)
                self.awake.clear()
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

    def serve(self) -> None:
        """Do what was asked meanwhile."""
        for launches in taken(self.started):
            self.submitter.accept(launches)
        accepted = self.submitter.submit_waiting(others_live=bool(self.tracked))
        self.tracked |= {tracked.mark: tracked for tracked in accepted}
        if accepted:
            self.silent_from_s = None
        self.end(taken(self.ends))

    def end(self, ends: Iterable[tuple[int, int, float]]) -> None:
        """Ask attempts to end: by a file, so that they know who asks, and by a signal, so that they look at once."""
        running: dict[int, list[Tracked]] = defaultdict(list)
        queued: dict[int, list[Tracked]] = defaultdict(list)
        for mark, number, grace_s in ends:
            tracked = self.tracked.get(mark)
            if tracked is None:
                self.submitter.end_waiting(mark)
                continue
            now, kill = time.monotonic(), number == signal.SIGKILL
            with suppress(OSError):
                batch_file(tracked.followed.spec, "asked").write_text("KILL" if kill else "TERM")
            tracked.cancel_s = now + ESCALATE_S + (0 if kill else grace_s)
            tracked.abandon_s = now + ABANDON_S if kill else math.inf
            tracked.cancelled = True
            self.next_queue_s = 0.0
            (running if tracked.followed.started else queued)[tracked.job].append(tracked)
        with suppress(SchedulerError):  # then the file must do
            for job, members in running.items():
                commands.signal_batch(job, [tracked.index for tracked in members], "TERM")
        for job, members in queued.items():
            try:
                commands.cancel(job, [tracked.index for tracked in members])
            except SchedulerError:
                for tracked in members:
                    self.leave_in_queue(tracked)

    def leave_in_queue(self, tracked: Tracked) -> None:
        """End an attempt that waits, as far as is known, where Slurm can't be told: it finds the fence if it begins."""
        fence(tracked.followed.spec)
        cause = "cancelled while Slurm was away: its task ends as soon as it begins"
        self.finish(tracked, Ended(tracked.mark, None, status="cancelled", cause=cause))

    # --- following

    def look(self) -> None:
        """See what the attempts have written, and what Slurm says; tell what follows from both."""
        names = self.list_batches()
        for tracked in list(self.tracked.values()):
            there, index = names.get(tracked.followed.spec.parent, set()), tracked.index
            if f"{index}.ended" in there or (not tracked.followed.started and f"{index}.alive" in there):
                self.read(tracked)
        if self.answer is not None and self.answer.done():
            self.take_answer(self.answer)
        if self.tracked and self.answer is None and time.monotonic() >= self.next_queue_s:
            self.ask_queue()
        for tracked in list(self.tracked.values()):
            if tracked.asked or time.monotonic() >= tracked.abandon_s:
                self.decide(tracked, names.get(tracked.followed.spec.parent, set()))

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

    def read(self, tracked: Tracked) -> None:
        """Tell what an attempt's record has that is new."""
        if tracked.unsure is not None:
            return
        for event in tracked.followed.news({"job": f"{tracked.job}_{tracked.index}"}):
            if isinstance(event, Started):
                self.tell(event)
            elif isinstance(event, Ended) and event.fault == "preempted" and not tracked.cancelled:
                tracked.unsure, tracked.gone_s = event, time.monotonic()
                self.next_queue_s = 0.0
            else:
                self.finish(tracked, event)

    def finish(self, tracked: Tracked, event: Event) -> None:
        self.tracked.pop(tracked.mark, None)
        with suppress(OSError):
            batch_file(tracked.followed.spec, "environment").unlink(missing_ok=True)
        self.tell(event)

    def ask_queue(self) -> None:
        """Ask Slurm about all that is not over."""
        self.next_queue_s = time.monotonic() + self.options.poll_s
        self.asked = {tracked.job for tracked in self.tracked.values()}
        self.answer = self.asker.submit(commands.queue, self.asked)
        self.answer.add_done_callback(lambda _: self.awake.set())

    def take_answer(self, answer: Future[dict[tuple[int, int | None], Task]]) -> None:
        """Keep what Slurm has said.

        Raises:
            SuiteError: It has been silent for too long, and the attempts too.
        """
        self.answer = None
        try:
            said = answer.result()
        except SchedulerError as error:
            self.miss(error)
            return
        now = time.monotonic()
        self.silent_from_s = None
        for tracked in self.tracked.values():
            if tracked.job not in self.asked:  # submitted meanwhile
                continue
            tracked.asked = True
            tracked.said = said.get((tracked.job, tracked.index)) or said.get((tracked.job, None))
            if tracked.unsure is None and (not tracked.is_over or tracked.gone_s is None):
                tracked.gone_s = now if tracked.is_over else None

    def miss(self, error: SchedulerError) -> None:
        """Say once that Slurm is away, and wait for it as long as the options allow.

        Raises:
            SuiteError: It has been silent for too long, and the attempts too.
        """
        now = time.monotonic()
        if self.silent_from_s is None:
            self.silent_from_s = now
            log.warning("Slurm doesn't answer: %s. What runs goes on, and is followed by its files.", error)
        silent_s = now - max(self.silent_from_s, self.news_s)
        if silent_s > self.options.patience_s:
            message = (
                f"Slurm has not answered for {silent_s:.0f} s ({error}), and no attempt has told anything. Those "
                "that run go on; --resume follows them when Slurm is back."
            )
            raise SuiteError([message], 75) from None

    def decide(self, tracked: Tracked, names: set[str]) -> None:
        """Tell the end of an attempt that Slurm has a word to say about; see to it that one asked to end does."""
        now = time.monotonic()
        if tracked.unsure is not None:
            if (end := explained(tracked, tracked.unsure, now, self.session.grace_s)) is not None:
                self.finish(tracked, end)
            self.next_queue_s = min(self.next_queue_s, now + 1)
            return
        if tracked.is_over:
            self.read(tracked)  # whatever the listing has shown
            if tracked.mark not in self.tracked or tracked.unsure is not None:
                return
        event = verdict(tracked, names, now, self.options.held_s)
        if event is not None:
            fence(tracked.followed.spec)
        if (event is not None and not tracked.is_over) or now >= tracked.cancel_s:
            tracked.cancel_s = now + 3 * ESCALATE_S
            with suppress(SchedulerError):
                commands.cancel(tracked.job, [tracked.index])
        if event is not None:
            self.finish(tracked, event)


def job_known(followed: Followed) -> int | None:
    """The job that an attempt says it is, where Slurm has forgotten it; None if the attempt never began."""
    record = read_record(followed.launch.folder, followed.launch.attempt)
    job = str(record.get("job", ""))
    return int(job) if record.get("mark") == followed.launch.mark and job.isdigit() else None


def taken(queue: SimpleQueue[TakenT]) -> list[TakenT]:
    """All that is in a queue now."""
    found: list[TakenT] = []
    with suppress(Empty):
        while True:
            found.append(queue.get_nowait())
    return found
