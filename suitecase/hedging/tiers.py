"""Cheap first: targets in an order, and the next one where an answer is late or not good enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from suitecase.hedging.policy import HedgePolicy, checked
from suitecase.hedging.race import Race, Stage
from suitecase.hedging.records import Call, HedgingError, Outcome
from suitecase.hedging.tasks import TaskRace
from suitecase.hedging.threads import run_threads
from suitecase.ranges import is_within

__all__ = ["Tier", "tiered", "tiered_sync"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tier:
    """A target, and when the next one is asked.

    Attributes:
        target: Whom to ask.
        delay_s: The next tier starts when an answer takes longer; `NEVER` to wait for it.
        min_quality: The next tier starts when an answer is worth less.
        cost_usd: Of one call. A call that charges itself should leave it 0.
    """

    target: str
    delay_s: float
    min_quality: float = 0.0
    cost_usd: float = 0.0


async def tiered(
    call: Callable[[Call], Awaitable[T]],
    *,
    tiers: Sequence[Tier],
    quality: Callable[[T], float],
    policy: HedgePolicy,
) -> Outcome[T]:
    """The first answer that is good enough for its tier; if none is, the best of all tiers (with status `won`, and a
    `quality` below what its tier asks for).

    A tier that fails starts the next one at once. Escalations are what tiers are for: they are not hedges, the budget
    does not count them, and nothing is learned from them. Of the policy, `timeout_s`, `reap_s` and `observe` count.

    Raises:
        HedgingError: No tiers, or a tier that can't be.
        AllCallsFailedError, HedgeTimeoutError: As `hedged`; an answer below its threshold is no failure.
    """
    loop = asyncio.get_running_loop()
    race = race_of(tiers, quality, policy)
    await TaskRace(race, charged(call, tiers), policy.losers, loop).run()
    policy.tell(race)
    return race.outcome()


def tiered_sync(
    call: Callable[[Call], T], *, tiers: Sequence[Tier], quality: Callable[[T], float], policy: HedgePolicy
) -> Outcome[T]:
    """As `tiered`, for functions that block: each call runs in a thread."""
    race = race_of(tiers, quality, policy)
    policy.slots.free.acquire()
    run_threads(race, charged(call, tiers), policy.slots, policy.losers)
    policy.tell(race)
    return race.outcome()


def charged(call: Callable[[Call], T], tiers: Sequence[Tier]) -> Callable[[Call], T]:
    """The function, with each call's tier paid for."""

    def paid(made: Call) -> T:
        if tiers[made.number].cost_usd:
            made.charge(tiers[made.number].cost_usd)
        return call(made)

    return paid


def race_of(tiers: Sequence[Tier], quality: Callable[[T], float], policy: HedgePolicy) -> Race[T]:
    """A race in which each tier is a stage."""
    checked(policy)
    problems = [
        f"tier {tier.target!r}: delay_s is {tier.delay_s!r}: give at least 0."
        for tier in tiers
        if not is_within(tier.delay_s, 0)
    ]
    problems += [
        f"tier {tier.target!r}: cost_usd is {tier.cost_usd!r}: give at least 0."
        for tier in tiers
        if not is_within(tier.cost_usd, 0)
    ]
    if not tiers or problems:
        raise HedgingError(problems or "tiered: there are no tiers.")
    delays = [0.0, *(tier.delay_s for tier in tiers)]
    stages = [Stage(tier.target, after_s, tier.min_quality) for tier, after_s in zip(tiers, delays, strict=False)]
    return Race(stages, permit=always, timeout_s=policy.timeout_s, quality=quality, why="tiers")


def always(_stage: Stage, _now_s: float) -> str:
    return ""
