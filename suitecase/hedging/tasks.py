"""Races of asyncio tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar, cast

from suitecase.hedging.losers import Losers
from suitecase.hedging.policy import HedgePolicy, checked
from suitecase.hedging.race import Race
from suitecase.hedging.records import Call, Outcome, Workload

__all__ = ["TaskRace", "hedged"]

T = TypeVar("T")


async def hedged(
    call: Callable[[Call], Awaitable[T]],
    *,
    policy: HedgePolicy,
    targets: Sequence[str] = ("default",),
    idempotent: bool = False,
    workload: Workload | None = None,
    key: str | None = None,
) -> Outcome[T]:
    """Make a request; if it is slow, make it again beside, and take what succeeds first.

    The first success is returned at once. The other calls are cancelled, and end in the background.

    Args:
        call: Makes one attempt. It is given a `Call` that says which target to ask, and takes notes of the costs.
        policy: When to start backups. Use one for all requests: it learns.
        targets: Whom to ask: the first for the primary, the next for the first backup, and so on, in turn.
        idempotent: To send the request twice does no harm. Without this promise there are no backups.
        workload: What is known of the request.
        key: Requests with the same key that are in flight at the same time are one: all get its outcome.

    Raises:
        AllCallsFailedError: No call succeeded; it holds what each of them raised.
        HedgeTimeoutError: There was no answer within the policy's `timeout_s`.
        CircuitOpenError: No target takes requests at the moment.
        HedgingError: `policy` is no policy, or `targets` no names.
    """
    checked(policy)
    if key is not None:
        again = partial(hedged, call, policy=policy, targets=targets, idempotent=idempotent, workload=workload)
        return await policy.flights.join(key, again)
    loop = asyncio.get_running_loop()
    race = policy.race(targets, idempotent=idempotent, workload=workload, now_s=loop.time())
    await TaskRace(cast("Race[T]", race), call, policy.losers, loop).run()
    policy.settled(race)
    return race.outcome()


class TaskRace(Generic[T]):
    """A race whose calls are tasks.

    Args:
        race: Its rules.
        function: Makes a call.
        losers: Who looks after what was cancelled.
    """

    __slots__ = ("done", "function", "loop", "losers", "race", "tasks", "timer")

    def __init__(
        self,
        race: Race[T],
        function: Callable[[Call], Awaitable[T]],
        losers: Losers,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.race, self.function, self.losers, self.loop = race, function, losers, loop
        self.done: asyncio.Future[None] = loop.create_future()
        self.tasks: dict[asyncio.Task[T], Call] = {}
        self.timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Until the race is settled; or cancelled, with all its calls."""
        self.start(self.race.begin(self.loop.time()))
        try:
            await self.done
        finally:
            if self.timer is not None:
                self.timer.cancel()
            if not self.race.settled:
                self.race.abandon(self.loop.time())
            for task, call in self.tasks.items():
                self.losers.add_task(task, call, self.loop)

    def start(self, call: Call) -> None:
        task = self.loop.create_task(self.attempt(call))
        self.tasks[task] = call
        task.add_done_callback(self.end)
        self.set_timer()

    async def attempt(self, call: Call) -> T:
        return await self.function(call)

    def set_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        due_s = self.race.next_at_s
        self.timer = self.loop.call_at(due_s, self.pass_time) if due_s < float("inf") else None

    def pass_time(self) -> None:
        # A timer may come a tick early; the race must not find that its time has not come yet.
        self.go_on(self.race.pass_time(max(self.loop.time(), self.race.next_at_s)))

    def end(self, task: asyncio.Task[T]) -> None:
        call = self.tasks.pop(task)
        call.ended = True
        cancelled = RuntimeError("the call was cancelled, but not by the race")
        # To look at the exception is also what keeps asyncio from complaining about those of losers.
        error = cancelled if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.go_on(self.race.end_call(call, self.loop.time(), None, error))
        elif error is None:
            self.go_on(self.race.end_call(call, self.loop.time(), task.result(), None))

    def go_on(self, following: Call | None) -> None:
        if following is not None:
            self.start(following)
        elif not self.race.settled:
            self.set_timer()
        elif not self.done.done():
            self.done.set_result(None)
