"""Requests that are made again when they are slow, and whichever succeeds first is the answer.

    from suitecase.hedging import HedgePolicy, hedged

    policy = HedgePolicy()                            # one for all requests: it learns when to start a backup

    async def ask(call):                              # makes one attempt
        return await client.post(url, json=request)

    outcome = await hedged(ask, policy=policy, idempotent=True)
    outcome.value, outcome.latency_s, outcome.hedged, outcome.hedge_won, outcome.cost_usd

`hedged_sync` does the same with threads; `tiered` asks cheap targets first. docs/hedging.md has what was measured.
"""

from suitecase.hedging.delays import (
    NEVER,
    Adaptive,
    Backoff,
    Delay,
    DelayLearner,
    DelayRule,
    Fixed,
    Observation,
    Percentile,
    WorkloadAware,
)
from suitecase.hedging.guards import Breaker, Budget
from suitecase.hedging.policy import HedgePolicy
from suitecase.hedging.records import (
    AllCallsFailedError,
    Call,
    CircuitOpenError,
    HedgeTimeoutError,
    HedgingError,
    Outcome,
    Workload,
)
from suitecase.hedging.simulation import Simulated, Tradeoff, front, simulate, tradeoffs
from suitecase.hedging.survival import Survival
from suitecase.hedging.tasks import hedged
from suitecase.hedging.threads import hedged_sync
from suitecase.hedging.tiers import Tier, tiered, tiered_sync

__all__ = [
    "NEVER",
    "Adaptive",
    "AllCallsFailedError",
    "Backoff",
    "Breaker",
    "Budget",
    "Call",
    "CircuitOpenError",
    "Delay",
    "DelayLearner",
    "DelayRule",
    "Fixed",
    "HedgePolicy",
    "HedgeTimeoutError",
    "HedgingError",
    "Observation",
    "Outcome",
    "Percentile",
    "Simulated",
    "Survival",
    "Tier",
    "Tradeoff",
    "Workload",
    "WorkloadAware",
    "front",
    "hedged",
    "hedged_sync",
    "simulate",
    "tiered",
    "tiered_sync",
    "tradeoffs",
]
