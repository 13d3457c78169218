"""The rules of a race of requests, without a word on how requests are made or how time passes.

A request is slow, and nobody knows why: a queue, a collection of garbage, a lost packet. Sent again it is likely to be
fast, since most attempts are. So, when the first answer is late, a second request starts beside the first, and
whichever succeeds first is the answer (Dean and Barroso 2013, "The tail at scale", CACM 56(2):74-80).

What goes wrong when that is written naively, and what is done here:

- To wait for both is to wait for the slower one. Here the first success settles the race; who drives it cancels the
  others, and nobody waits for their ends.
- A failure is no answer, though it often comes first. Here it starts the next call at once, and the race goes on as
  long as anything runs.
- Two requests for each that is slow are twice the load, just when the target is slow because of load. Every further
  call must be permitted, whatever its cause; who permits keeps the budget.

`Race` is told what happens and when, and says which call to start. `tasks`, `threads` and `simulation` drive it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from suitecase.hedging.records import AllCallsFailedError, Call, HedgeTimeoutError, Outcome

__all__ = ["Race", "Stage"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """A call that may be made.

    Attributes:
        target: Whom to ask.
        after_s: Seconds after the stage before began.
        min_quality: An answer below is not taken, unless nothing better comes.
    """

    target: str
    after_s: float = 0.0
    min_quality: float = -math.inf


class Race(Generic[T]):
    """One request, and the calls that are made for it. Times are seconds of any clock that only goes forward.

    Args:
        stages: Calls in the order of their starts; the first is the primary.
        permit: Asked before each further call starts, with its stage and the time: "" to let it, else why not.
        timeout_s: For all together.
        quality: Of an answer; without it every answer is good.
        why: How the delays came about.
        arm_s: What the rule of the delay wants to hear again.
    """

    __slots__ = (
        "arm_s", "began_s", "best", "calls", "deadline_s", "delay_s", "ended_s", "hedge_at_s", "in_flight", "permit",
        "quality", "refused", "settled", "stages", "timed_out", "timeout_s", "values", "why", "winner",
    )  # fmt: skip

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        permit: Callable[[Stage, float], str],
        timeout_s: float | None = None,
        quality: Callable[[T], float] | None = None,
        why: str = "",
        arm_s: float | None = None,
    ) -> None:
        self.stages, self.permit, self.quality, self.why, self.arm_s = stages, permit, quality, why, arm_s
        self.delay_s = stages[1].after_s if len(stages) > 1 else math.inf
        self.timeout_s = math.inf if timeout_s is None else timeout_s
        self.calls: list[Call] = []
        self.in_flight = 0
        self.began_s = self.ended_s = 0.0
        self.hedge_at_s = self.deadline_s = math.inf
        self.settled = self.timed_out = self.refused = False
        self.winner: Call | None = None
        self.best: Call | None = None
        self.values: dict[int, T] = {}

    @property
    def next_at_s(self) -> float:
        """When `pass_time` is due, if nothing ends before."""
        return min(self.hedge_at_s, self.deadline_s)

    def begin(self, now_s: float) -> Call:
        """The primary, to be started."""
        self.began_s = now_s
        self.deadline_s = now_s + self.timeout_s
        return self.start(now_s)

    def start(self, now_s: float) -> Call:
        number = len(self.calls)
        call = Call(number, self.stages[number].target, now_s - self.began_s)
        self.calls.append(call)
        self.in_flight += 1
        following = number + 1
        self.hedge_at_s = now_s + self.stages[following].after_s if following < len(self.stages) else math.inf
        return call

    def start_next(self, now_s: float) -> Call | None:
        """The next stage's call, if there is one and it is permitted."""
        self.hedge_at_s = math.inf
        if self.refused or len(self.calls) == len(self.stages):
            return None
        refusal = self.permit(self.stages[len(self.calls)], now_s)
        if refusal:
            self.why = f"{self.why}; no backup: {refusal}"
            self.refused = True
            return None
        return self.start(now_s)

    def pass_time(self, now_s: float) -> Call | None:
        """A delay has passed, or all the time there was: the call to start, if any."""
        if self.settled:
            return None
        if now_s >= self.deadline_s:
            self.timed_out = True
            self.settle(now_s, None)
            return None
        return self.start_next(now_s) if now_s >= self.hedge_at_s else None

    def end_call(self, call: Call, now_s: float, value: T | None, error: Exception | None) -> Call | None:
        """A call has ended: the call to start for it, if any. Calls that end after the race are passed over."""
        if self.settled:
            return None
        call.latency_s = now_s - self.began_s - call.started_s
        self.in_flight -= 1
        if error is None:
            self.values[call.number] = cast(T, value)
            try:
                good = self.is_good(call, cast(T, value))
            except Exception as raised:  # the user's own `quality`
                error = raised
            else:
                if good:
                    self.settle(now_s, call)
                    return None
                call.status = "rejected"
        if error is not None:
            call.status, call.error, call.censored = "failed", error, True
        following = self.start_next(now_s)
        if following is None and not self.in_flight:
            self.settle(now_s, self.best)
        return following

    def is_good(self, call: Call, value: T) -> bool:
        """Whether an answer is good enough; the best so far is remembered."""
        if self.quality is None:
            return True
        call.quality = self.quality(value)
        if self.best is None or call.quality > cast(float, self.best.quality):
            self.best = call
        return call.quality >= self.stages[call.number].min_quality

    def settle(self, now_s: float, winner: Call | None) -> None:
        self.settled, self.winner, self.ended_s = True, winner or self.best, now_s
        if self.winner is not None:
            self.winner.status = "won"
        for call in self.calls:
            if call.status == "running":
                call.status, call.censored = "cancelled", True
                call.latency_s = now_s - self.began_s - call.started_s

    def abandon(self, now_s: float) -> None:
        """Who waited for the answer went away."""
        self.settle(now_s, None)

    def outcome(self) -> Outcome[T]:
        """What came of it.

        Raises:
            AllCallsFailedError: All calls failed.
            HedgeTimeoutError: There was no answer in time.
        """
        if self.winner is not None:
            value = self.values[self.winner.number]
            return Outcome(value, self.winner, self.calls, self.ended_s - self.began_s, self.delay_s, self.why)
        errors = [call.error for call in self.calls if call.error is not None]
        targets = ", ".join(dict.fromkeys(call.target for call in self.calls))
        failed = AllCallsFailedError(f"all calls failed ({len(errors)}, to {targets})", errors) if errors else None
        if failed:
            failed.calls = self.calls
        if self.timed_out:
            message = f"no answer within {self.timeout_s:g} s ({len(self.calls)} calls, to {targets})"
            raise HedgeTimeoutError(message, self.calls) from failed
        assert failed is not None
        raise failed
