"""Calls that are made again beside when they are slow, by the rules of `suitecase.hedging`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suitecase.items.records import ItemContext
from suitecase.items.steps import Outcome, usage_of
from suitecase.limits import LimitsError

if TYPE_CHECKING:
    from suitecase.hedging import AllCallsFailedError, Call, HedgePolicy
    from suitecase.limits import Call as LimitsCall

__all__ = ["Racing", "book"]


class Racing:
    """Makes a call, and a further one where it is late; each waits for the limits by itself.

    Args:
        policy: When backups start.
        target: What the policy learns about: the model's name.
        stopped: Whether the loop is to stop.
    """

    def __init__(self, policy: HedgePolicy, target: str, stopped: Callable[[], bool]) -> None:
        self.policy, self.target, self.stopped = policy, target, stopped

    async def call(
        self, context: ItemContext, make: Callable[[ItemContext, list[LimitsCall]], Awaitable[Outcome]]
    ) -> Outcome:
        """The outcome of the first call that succeeds; of all if none does.

        Args:
            make: Makes one call; what limits have let through and was then cut off it appends to its list.

        Raises:
            LimitsError: No call may begin any more.
        """
        from suitecase.hedging import AllCallsFailedError, CircuitOpenError, HedgeTimeoutError, hedged

        won: list[Outcome] = []
        stopped = False

        async def attempt(call: Call) -> Outcome:
            nonlocal stopped
            cut_off: list[LimitsCall] = []
            try:
                outcome = await make(context, cut_off)
            except asyncio.CancelledError:
                stopped = stopped or self.stopped()
                # The winner's outcome is there before any loser hears of it.
                if won and usage_of(won[0]):
                    for lost in cut_off:
                        book(lost, won[0])
                raise
            usd = usage_of(outcome).get("cost_usd", outcome.priced_usd)
            if usd is not None:
                call.charge(usd)
            if outcome.error is not None:
                raise outcome.error
            return outcome

        try:
            race = await hedged(attempt, policy=self.policy, targets=(self.target,), idempotent=True)
        except AllCallsFailedError as failed:
            if stopped:  # it only waited, and the loop has ended: the item is left to the next pass
                raise asyncio.CancelledError from None
            return outcome_of(failed)
        except HedgeTimeoutError as late:
            return Outcome(None, late, latency_of(late.calls), cost_of(late.calls))
        except CircuitOpenError as shut:
            return Outcome(None, shut, 0.0)
        won.append(race.value)
        beside = [call.cost_usd for call in race.calls if call is not race.winner]
        known = [usd for usd in (race.value.priced_usd, *beside) if usd is not None]
        return replace(race.value, latency_s=race.latency_s, priced_usd=math.fsum(known) if known else None)


def outcome_of(failed: AllCallsFailedError) -> Outcome:
    """What came of calls that all failed.

    Raises:
        LimitsError: One of them could not begin any more.
    """
    for error in failed.exceptions:
        if isinstance(error, LimitsError):
            raise error from None
    error = failed.exceptions[0] if len(failed.exceptions) == 1 else failed
    tells = "cost_usd" in usage_of(Outcome(None, error, 0.0))
    return Outcome(None, error, latency_of(failed.calls), None if tells else cost_of(failed.calls))


def book(call: LimitsCall, outcome: Outcome) -> float | None:
    """Charge a call with what it used; of one that was cut off, with what another used for the same item.

    Raises:
        LimitsError: There is a budget, and the outcome doesn't say what it cost.
    """
    usage = usage_of(outcome)
    return call.charge(
        usage.get("cost_usd"), input_tokens=usage.get("input_tokens"), output_tokens=usage.get("output_tokens")
    )


def cost_of(calls: Sequence[Call]) -> float | None:
    told = [call.cost_usd for call in calls if call.cost_usd is not None]
    return math.fsum(told) if told else None


def latency_of(calls: Sequence[Call]) -> float:
    return max(call.started_s + (call.latency_s or 0.0) for call in calls)
