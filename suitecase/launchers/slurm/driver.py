"""The launcher `slurm`: attempts become tasks of arrays, and outlive the runner."""

from __future__ import annotations

import math
import os
import select
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from experiment_runner import Capacity, Event, Launch, Resources, Session
from suitecase.launchers.slurm import commands
from suitecase.launchers.slurm.commands import SchedulerError
from suitecase.launchers.slurm.follower import Follower
from suitecase.launchers.slurm.options import SlurmOptions
from suitecase.launchers.slurm.scripts import Request, request_for, script
from suitecase.launchers.slurm.submitting import array_sizes, largest_array

__all__ = ["Slurm"]


class Slurm(SlurmOptions):
    """Runs attempts on a Slurm cluster whose nodes see the run directory, the project and Python at the same paths."""

    name = "slurm"
    outlives_runner = True

    @property
    def lacks(self) -> frozenset[str]:
        """Beside the terminal: with a launch line, the case's processes are not bwrap's children."""
        return frozenset({"debug", "pause", "gpu_fractions", *(["isolate"] if self.launch else [])})

    def problems(self) -> list[str]:
        problems = self.convert()
        if missing := commands.missing_commands():
            problems.append(
                f"launcher 'slurm' needs {', '.join(missing)}: start the suite on a login node of a cluster."
            )
            return problems
        try:
            self.settings: Mapping[str, str] = commands.configuration()
        except SchedulerError as error:
            problems.append(f"Slurm doesn't answer ({error}): try `scontrol ping`, and again when it is up.")
        return problems or self.never_accepted()

    def never_accepted(self) -> list[str]:
        """What Slurm says of a partition, an account and the like that it doesn't have, and of wrong options."""
        names = {name: getattr(self, name) for name in ("partition", "account", "qos", "constraint")}
        asked = [f"--{name}={value}" for name, value in names.items() if value] + shlex.split(self.extra)
        said = commands.refusal("#!/bin/bash\n", self.environment(os.environ), *asked, "--mem=1M", "--time=1")
        if not commands.NEVER.search(said):
            return []
        about = " ".join(asked) or "its own defaults"
        return [f"sbatch refuses {about}: {said}. `sinfo` lists partitions, `scontrol show` nodes and reservations."]

    def capacity(self, suite: object) -> Capacity:
        return Capacity(math.inf, math.inf, gpus=None)

    def describe(self) -> dict[str, str]:
        return self.as_text()

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        requests: Counter[Request] = Counter(request_for(each, self, session) for each in needs.values())
        texts: list[str] = []
        environment = self.environment(session.environment)
        for request, count in requests.items():
            for size, times in Counter(array_sizes(count, largest_array(self.settings))).items():
                again = f" ({times} times)" if times > 1 else ""
                text = script("BATCH", size, request, self, session)
                said = commands.refusal(text, environment)
                refused = f", which it refuses: {said}" if said else ""
                texts.append(f"sbatch, with an array of {size}{again}{refused}:\n\n{text}")
        return "\n".join(texts)

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        self.wakeup = wakeup
        self.bell, ringer = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(ringer, False)
        self.follower = Follower(self, self.settings, session, ringer)
        self.follower.start()

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        return self.follower.adopt(ended)

    def start(self, launches: Sequence[Launch]) -> None:
        self.follower.submit(tuple(launches))

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        self.follower.ask_to_end(mark, signal, grace_s)

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
        self.follower.close()
        os.close(self.bell)
        os.close(self.follower.ringer)
