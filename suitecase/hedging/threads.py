"""Races of threads."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from suitecase.hedging.losers import Losers
from suitecase.hedging.policy import HedgePolicy, checked
from suitecase.hedging.race import Race, Stage
from suitecase.hedging.records import Call, HedgingError, Outcome, Workload
from suitecase.hedging.slots import Slots

__all__ = ["hedged_sync", "run_threads"]

T = TypeVar("T")
LONGEST_WAIT_S = 86_400.0


def hedged_sync(
    call: Callable[[Call], T],
    *,
    policy: HedgePolicy,
    targets: Sequence[str] = ("default",),
    idempotent: bool = False,
    workload: Workload | None = None,
    key: str | None = None,
) -> Outcome[T]:
    """As `hedged`, for functions that block: each call runs in a thread.

    Nothing can end a thread from outside. A loser's `Call.cancel` is set; one that doesn't look at it keeps its slot,
    of the policy's `max_threads`, until it ends. Without a free slot a primary waits, and a backup does not start.

    Raises:
        HedgingError: The call is async; and what `hedged` raises.
    """
    checked(policy)
    if inspect.iscoroutinefunction(call):
        raise HedgingError("no request was sent: the call is async. `await hedged(…)` makes it, hedged_sync can't.")
    if key is not None:
        return policy.flights.join_sync(
            key,
            lambda: hedged_sync(call, policy=policy, targets=targets, idempotent=idempotent, workload=workload),
        )
    policy.slots.free.acquire()
    try:
        race = cast("Race[T]", policy.race(targets, idempotent=idempotent, workload=workload, now_s=time.monotonic()))
    except BaseException:
        policy.slots.free.release()
        raise
    run_threads(race, call, policy.slots, policy.losers)
    policy.settled(race)
    return race.outcome()


def run_threads(race: Race[T], function: Callable[[Call], T], slots: Slots, losers: Losers) -> None:
    """Run a race, for whose primary a slot was taken, until it is settled."""
    ends: SimpleQueue[tuple[Call, Any, Exception | None]] = SimpleQueue()
    permitted = race.permit

    def permit(stage: Stage, now_s: float) -> str:
        if not slots.free.acquire(blocking=False):
            return "no thread is free"
        refusal = permitted(stage, now_s)
        if refusal:
            slots.free.release()
        return refusal

    def start(call: Call) -> None:
        def job() -> None:
            value, error = None, None
            try:
                value = function(call)
            except Exception as raised:
                error = raised
            except BaseException as raised:  # SystemExit, say: the answer will not come
                error = RuntimeError(f"the call ended its thread: {raised!r}")
            losers.end_thread(call)
            ends.put((call, value, error))

        slots.run(job)

    race.permit = permit
    start(race.begin(time.monotonic()))
    try:
        while not race.settled:
            wait_s = min(LONGEST_WAIT_S, max(0.0, race.next_at_s - time.monotonic()))
            try:
                call, value, error = ends.get(timeout=None if math.isinf(race.next_at_s) else wait_s)
                following = race.end_call(call, time.monotonic(), value, error)
            except Empty:
                following = race.pass_time(time.monotonic())
            if following is not None:
                start(following)
    finally:
        if not race.settled:
            race.abandon(time.monotonic())
        for call in race.calls:
            if call.status == "cancelled":
                losers.add_thread(call)
