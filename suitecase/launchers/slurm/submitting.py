"""From launches to arrays that Slurm has accepted: grouped, written down, submitted once, again, or in parts."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from experiment_runner import Ended, Launch, Refused, Session
from suitecase.launchers.following import Followed, new_batch, spec_of, write_specs
from suitecase.launchers.slurm import commands
from suitecase.launchers.slurm.commands import SchedulerError, SubmitError
from suitecase.launchers.slurm.judging import Tracked, fence
from suitecase.launchers.slurm.options import SlurmOptions
from suitecase.launchers.slurm.scripts import Request, job_name, request_for, script

__all__ = ["LAUNCHER", "Submitter", "array_sizes", "largest_array"]

LAUNCHER = "slurm"

AGAIN_S = 30.0
"""Before an array that Slurm had no room for, or no answer, is submitted again."""


@dataclass
class Array:
    """Attempts that are to be submitted together, and are not yet."""

    request: Request
    launches: list[Launch]
    batch: Path | None = None
    next_try_s: float = 0.0


class Submitter:
    """Brings attempts to Slurm. What Slurm won't have, now or ever, is decided here.

    Attributes:
        waiting: What Slurm has not accepted yet.
        unwanted: Marks of attempts that were to end before it was known whether Slurm has them.
    """

    def __init__(
        self, options: SlurmOptions, settings: Mapping[str, str], session: Session, tell: Callable[..., None],
        miss: Callable[[SchedulerError], None],
    ) -> None:  # fmt: skip
        self.options, self.session, self.tell, self.miss = options, session, tell, miss
        self.largest = largest_array(settings)
        self.environment = options.environment(session.environment)
        self.runner = Path(str(sys.modules["experiment_runner"].__file__)).resolve()
        self.waiting: list[Array] = []
        self.unwanted: set[int] = set()

    def accept(self, launches: Sequence[Launch]) -> None:
        """Put attempts with equal needs into arrays, as large as Slurm allows."""
        groups: dict[Request, list[Launch]] = defaultdict(list)
        for launch in launches:
            groups[request_for(launch.needs, self.options, self.session)].append(launch)
        for request, members in groups.items():
            at = 0
            for size in array_sizes(len(members), self.largest):
                self.waiting.append(Array(request, members[at : at + size]))
                at += size

    def submit_waiting(self, others_live: bool) -> list[Tracked]:
        """Submit what waits, unless Slurm had no room or no answer for it a moment ago; what was accepted.

        Args:
            others_live: Whether attempts of this run are with Slurm, which make room when they end.
        """
        waiting, self.waiting = self.waiting, []
        accepted: list[Tracked] = []
        while waiting:
            array = waiting.pop(0)
            if array.launches and array.next_try_s > time.monotonic():
                self.waiting.append(array)
            elif array.launches:
                accepted += self.submit(array, waiting, others_live or bool(accepted))
        return accepted

    def submit(self, array: Array, others: list[Array], others_live: bool) -> list[Tracked]:
        try:
            paths = self.write_down(array)
            batch = paths[0].parent
            job = self.submit_once(array, batch)
        except SubmitError as error:
            self.postpone(array, others, error, others_live)
            return []
        except OSError as error:
            self.refuse(array, f"{error.filename or self.session.run_dir}: {error.strerror}")
            return []
        with suppress(OSError):  # without it a resume finds the job by its name
            (batch / "job").write_text(f"{job}\n")
        followed = (Followed(launch, path) for launch, path in zip(array.launches, paths, strict=True))
        return [Tracked(each, job) for each in followed if each.launch.mark not in self.unwanted]

    def write_down(self, array: Array) -> list[Path]:
        """Write what the tasks of an array have to know, once."""
        if array.batch is not None:
            return [array.batch / f"{index}.json" for index in range(len(array.launches))]
        options, session, request = self.options, self.session, array.request
        batch = array.batch = new_batch(session.run_dir)
        prefix, scratch = shlex.split(options.launch), options.scratch or None
        specs = [
            replace(
                spec_of(launch, session, launcher=LAUNCHER, job_variable="SLURM_JOB_ID", runner=self.runner),
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

    def postpone(self, array: Array, others: list[Array], error: SubmitError, others_live: bool) -> None:
        """Decide about an array that was not accepted: later, in smaller parts, or never.

        Raises:
            SuiteError: Slurm has been silent for too long.
        """
        now, count = time.monotonic(), len(array.launches)
        if error.unreachable:
            self.miss(error)
            self.waiting.append(replace(array, next_try_s=now + AGAIN_S))
        elif error.too_many and count > 1:
            self.forget(array)
            half = count // 2
            others.insert(0, Array(array.request, array.launches[:half]))
            self.waiting.append(Array(array.request, array.launches[half:], next_try_s=now + AGAIN_S))
        elif error.too_many and others_live:
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
                fence(array.batch / f"{index}.json")
        wanted = [launch.mark for launch in array.launches if launch.mark not in self.unwanted]
        self.tell(*(Refused(mark, cause=cause) for mark in wanted))

    def end_waiting(self, mark: int) -> None:
        """End an attempt that was never submitted, as far as anybody knows."""
        for array in self.waiting:
            for index, launch in enumerate(array.launches):
                if launch.mark != mark:
                    continue
                if array.batch is None:
                    array.launches.remove(launch)
                else:
                    self.unwanted.add(mark)
                    fence(array.batch / f"{index}.json")
                self.tell(Ended(mark, None, status="cancelled", cause="cancelled before it was submitted"))
                return

    def job_of(self, batch: Path) -> int | None:
        with suppress(OSError, ValueError):
            return int((batch / "job").read_text())
        job = commands.find_job(job_name(self.session.experiment, batch.name))
        if job is not None:
            (batch / "job").write_text(f"{job}\n")
        return job


def largest_array(settings: Mapping[str, str]) -> int:
    """How many tasks an array may have (MaxArraySize: the index stays below it)."""
    size = settings.get("MaxArraySize", "")
    return max(1, int(size)) if size.isdigit() else 1001


def array_sizes(count: int, largest: int) -> list[int]:
    """Sizes of arrays for so many tasks."""
    whole, rest = divmod(count, largest)
    return [largest] * whole + ([rest] if rest else [])
