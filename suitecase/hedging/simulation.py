"""What a policy would have done: races in virtual time, and delays compared by arithmetic.

`simulate` plays the very rules that real requests follow, with latencies that are given. `tradeoffs` needs no play: if
attempts are independent, a race with backups at d, 2d, … lasts longer than t with the chance S(t)·S(t - d)·S(t - 2d)…,
where S is the chance that one attempt lasts longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suitecase.hedging.policy import HedgePolicy
from suitecase.hedging.records import HedgingError
from suitecase.hedging.survival import Survival

__all__ = ["Simulated", "Tradeoff", "front", "simulate", "tradeoffs"]

PERCENTILES = (*range(50, 90, 5), *range(90, 99), 99, 99.5)


@dataclass(frozen=True, slots=True)
class Simulated:
    """Latencies in seconds, and how many backups started, request by request."""

    latencies_s: Sequence[float]
    backups: Sequence[int]


def simulate(policy: HedgePolicy, draws: Iterable[Sequence[float]], *, target: str = "default") -> Simulated:
    """Play requests one after the other.

    Args:
        policy: What it knows already counts, and it learns.
        draws: For each request the latencies of its attempts: the primary's, the first backup's, and so on.

    Raises:
        HedgingError: A request has too few of them.
    """
    latencies: list[float] = []
    backups: list[int] = []
    now_s = 0.0
    for attempts in draws:
        race = policy.race((target,), idempotent=True, workload=None, now_s=now_s)
        running = [(now_s + attempts[0], race.begin(now_s))]
        while not race.settled:
            ends_s, call = running[0] if len(running) == 1 else min(running, key=lambda each: each[0])
            if race.next_at_s < ends_s:
                now_s = race.next_at_s
                following = race.pass_time(now_s)
            else:
                now_s = ends_s
                running.remove((now_s, call))
                following = race.end_call(call, now_s, None, None)
            if following is not None:
                if following.number >= len(attempts):
                    raise HedgingError(
                        f"request {len(latencies)} has {len(attempts)} latencies, and makes one call more: "
                        f"give {policy.max_backups + 1}, of the primary and each backup."
                    )
                running.append((now_s + attempts[following.number], following))
        policy.settled(race)
        latencies.append(race.ended_s - race.began_s)
        backups.append(len(race.calls) - 1)
    return Simulated(latencies, backups)


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """What a fixed delay would give.

    Attributes:
        delay_s: Infinite for no backups.
        extra: Backups per request.
        p50_s, p99_s: Of the requests' latencies.
    """

    delay_s: float
    extra: float
    p50_s: float
    p99_s: float


def tradeoffs(
    latencies: Iterable[tuple[float, bool]], *, max_backups: int = 1, delays_s: Sequence[float] | None = None
) -> list[Tradeoff]:
    """What fixed delays would give where attempts are independent, from latencies of single attempts.

    Where they are not (a long prompt is slow each time), backups help less than this says; not at all, at worst.

    Args:
        latencies: Seconds, and whether the attempt was cut off then.
        max_backups: At d, 2d, and so on.
        delays_s: Delays to look at; by default percentiles of the latencies, from the median on.

    Returns:
        The first without backups, then one for each delay, the longest first.

    Raises:
        HedgingError: There are no latencies, or all were cut off.
    """
    survival = Survival(latencies)
    if not survival.times:
        raise HedgingError("there are no latencies of whole calls to plan with.")
    if delays_s is None:
        delays_s = [survival.quantile(percentile / 100) for percentile in PERCENTILES]
    found = sorted({math.inf, *delays_s}, reverse=True)
    return [tradeoff(survival, delay_s, max_backups) for delay_s in found]


def tradeoff(survival: Survival, delay_s: float, max_backups: int) -> Tradeoff:
    starts = [0.0] if math.isinf(delay_s) else [number * delay_s for number in range(max_backups + 1)]

    def outlasts(time_s: float, calls: int) -> float:
        """The chance that none of the first calls has ended by then."""
        return math.prod(survival.at(time_s - start) for start in starts[:calls] if time_s >= start)

    def quantile(fraction: float) -> float:
        # A race can only end at a start plus a latency that was seen; the first such time is looked for.
        ends = sorted({start + time_s for start in starts for time_s in survival.times})
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high) // 2
            if outlasts(ends[middle], len(starts)) <= 1 - fraction + 1e-12:
                high = middle
            else:
                low = middle + 1
        return ends[low]

    extra = sum(outlasts(start, number) for number, start in enumerate(starts) if number)
    return Tradeoff(delay_s, extra, quantile(0.5), quantile(0.99))


def front(found: Iterable[Tradeoff]) -> list[Tradeoff]:
    """Those that no other beats in both 99th percentile and extra requests, the fewest extra first."""
    best: list[Tradeoff] = []
    for each in sorted(found, key=lambda each: (each.extra, each.p99_s)):
        if not best or each.p99_s < best[-1].p99_s:
            best.append(each)
    return best
