"""Entry point: the requests of one recorded session, hedged by one rule, in virtual time.

`suitecase.hedging.simulate` plays the very rules that real requests follow. Writes `results.json`, and the loss as it
develops into `tracking.jsonl`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

from pydantic import Field
from recording import PILOT, Service, read_session

from experiment_config import BaseExperimentConfig
from suitecase import tracking
from suitecase.hedging import NEVER, Adaptive, Budget, DelayRule, Fixed, HedgePolicy, Percentile, simulate
from suitecase.items.results import quantile

TOLD_EVERY = 50
"""Requests between two points of the learning curve."""

ARMS = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Of the pilot's latencies: the delays among which `adaptive` chooses, beside no backups at all."""


class HedgingConfig(BaseExperimentConfig):
    """A rule for the delay; the seed is the number of the session."""

    seed: int = Field(default=1, ge=1, description="The session, from 1.")
    service: Service = Field(default="steady", description="Which recording.")
    rule: Literal["none", "static", "percentile", "adaptive"] = Field(default="none", description="When to hedge.")
    percentile: float = Field(default=94.8, gt=0, lt=100, description="Of latencies, after which a backup starts.")
    budget_fraction: float = Field(default=0.05, ge=0, le=1, description="Of requests, that may have a backup.")
    n_requests: int | None = Field(default=None, ge=100, description="How many of the session; None for all.")


def main(config: HedgingConfig) -> None:
    if not config.output_dir:
        sys.exit("run_hedging.py: say where the results go: --output_dir DIR")
    try:
        requests = read_session(config.service, config.seed)[: config.n_requests]
    except ValueError as error:
        sys.exit(f"run_hedging.py: {error}")
    pilot = sorted(primary for primary, _ in read_session(config.service, PILOT))
    price_s = sum(pilot) / len(pilot)  # a copy keeps a replica busy about as long as a request waits
    policy = HedgePolicy(rule_of(config, pilot, price_s), budget=Budget(config.budget_fraction), seed=config.seed)
    with tracking.track(config):
        done = simulate(policy, requests)
        # To the nanosecond, since differences of times on the simulated clock are off in their last bits.
        latencies_s = [round(latency_s, 9) for latency_s in done.latencies_s]
        losses = [latency_s + price_s * copies for latency_s, copies in zip(latencies_s, done.backups, strict=True)]
        for number, total in enumerate(accumulate(losses), 1):
            if number % TOLD_EVERY == 0:
                tracking.metric("loss_so_far_s", total / number, number)
    results = measured([primary for primary, _ in requests], latencies_s, done.backups, losses)
    path = Path(config.output_dir, "results.json")
    path.write_text(json.dumps({**results, "price_s": price_s}, indent=2) + "\n", encoding="utf-8")
    print(f"p99 {results['p99_s']:.4f} s, {results['p99_cut']:.1%} less, for {results['extra']:.1%} more requests")


def rule_of(config: HedgingConfig, pilot: list[float], price_s: float) -> DelayRule:
    """When a backup starts; what has to be known beforehand is taken from the pilot, a sorted list of latencies."""
    if config.rule == "none":
        return Fixed(NEVER)
    if config.rule == "static":
        return Fixed(quantile(pilot, config.percentile / 100))
    if config.rule == "percentile":
        return Percentile(config.percentile)
    arms_s = dict.fromkeys(quantile(pilot, fraction) for fraction in ARMS)
    return Adaptive((*arms_s, NEVER), backup_price_s=price_s)


def measured(
    primaries: Sequence[float], latencies_s: Sequence[float], backups: Sequence[int], losses_s: Sequence[float]
) -> dict[str, float]:
    """What came out; `p99_cut` and `extra` are shares of what it was without backups."""
    p99_s = quantile(sorted(latencies_s), 0.99)
    return {
        "p50_s": quantile(sorted(latencies_s), 0.5),
        "p99_s": p99_s,
        "p99_cut": 1 - p99_s / quantile(sorted(primaries), 0.99),
        "extra": sum(backups) / len(backups),
        "loss_s": sum(losses_s) / len(losses_s),
    }


if __name__ == "__main__":
    main(HedgingConfig())
