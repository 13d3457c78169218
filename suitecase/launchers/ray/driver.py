"""The launcher `ray`: each attempt is a job of a Ray cluster, by its Jobs API.

A job runs `attempt.py`, which claims the attempt, runs it under the runner's own guardian, and records its end in the
run directory. Where the cluster doesn't see that directory, `carried.py` takes code and config there and brings the
files back through the job's log.
"""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Collection, Mapping, Sequence

from experiment_runner import Capacity, Event, Launch, Resources, Session, Suite, SuiteError, drain
from suitecase.launchers.ray.client import RayClient, RefusedByRayError, UnreachableError, connection_problems
from suitecase.launchers.ray.follower import Follower
from suitecase.launchers.ray.jobs import LAUNCHER
from suitecase.launchers.ray.options import RayOptions
from suitecase.launchers.ray.room import no_room
from suitecase.launchers.ray.submitting import reservation
from suitecase.launchers.ray.talk import POLL_S

__all__ = ["Ray"]

PLACES = {
    "yes": "shared",
    "no": "not shared: code goes there, files come back",
    "auto": "the cluster is asked whether it is shared",
}


class Ray(RayOptions):
    """Attempts become jobs of a Ray cluster. One thread talks to it; the runner's loop only looks at what it heard."""

    name = LAUNCHER
    outlives_runner = True
    lacks = frozenset({"debug", "pause"})

    def problems(self) -> list[str]:
        return self.convert() + self.problems_of_url() or connection_problems(self.url)

    def capacity(self, suite: Suite) -> Capacity:
        return Capacity(math.inf, math.inf, gpus=None)

    def describe(self) -> dict[str, str]:
        return self.as_text()

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        try:
            nodes = RayClient(self.url).nodes()
        except (UnreachableError, RefusedByRayError):
            nodes = []
        lines: set[str] = set()
        for each in set(needs.values()):
            reserved = reservation(self, each)
            missing = no_room(reserved, nodes)
            lines.add(f"  reserves {json.dumps(reserved, sort_keys=True)}" + f" ({missing})" * bool(missing))
        head = f"Ray at {self.url}: a job for each attempt; the run directory: {PLACES[self.shared]}."
        return "\n".join([head, *sorted(lines)])

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        self.wakeup = wakeup
        self.next_look = 0.0
        try:
            self.follower = Follower(self, session)
        except (UnreachableError, RefusedByRayError) as error:
            raise SuiteError([f"launcher 'ray': {self.url}: {error}."]) from None

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        return self.follower.adopt(ended)

    def start(self, launches: Sequence[Launch]) -> None:
        self.follower.start(launches)

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        self.follower.end(mark, signal, grace_s)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        follower = self.follower
        rest = 0.0 if follower.events else max(0.0, min(timeout_s, self.next_look - time.monotonic()))
        heard = follower.talk.wakeup
        ready, _, _ = select.select([self.wakeup, heard], [], [], rest)
        for descriptor in ready:
            drain(descriptor)
        if heard in ready or time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + POLL_S
            follower.look()
        events, follower.events = follower.events, []
        return events

    def stop(self) -> None:
        """Jobs of a cluster can't be halted: Ctrl-Z halts the runner alone."""

    def go_on(self) -> None:
        """Nothing was halted."""

    def close(self) -> None:
        self.follower.close()
