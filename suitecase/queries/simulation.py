"""How long a suite takes, and what it costs, if its cases behave as cases did before: by simulation.

How much values vary is told by repeats: each observation divided by the mean of its condition, and stretched by
√(n/(n-1)) about 1, because that mean was made of the same values: of n runs or, where there is one run, of n repeats.
A simulated case is the mean of its condition times a ratio drawn from those of one earlier run, since what slowed
one case there slowed the others; and the mean is divided by a mean of ratios drawn like those that made it, run by run,
since it is uncertain too. This is a cluster bootstrap of residuals (A. C. Davison, D. V. Hinkley, Bootstrap Methods and
their Application, 1997, sections 3.8 and 6.3.3).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["CONFIDENCE", "SEED", "Interval", "Observation", "Pool", "interval_of", "makespan_s", "simulate"]

CONFIDENCE = 0.9
SEED = 42
SIMULATIONS = 1000
WORK = 5_000_000
"""Values drawn in all: of a suite with very many cases fewer simulations are made, at least 100."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of a case that ran before, in seconds or USD, and the name of its run."""

    run: str
    value: float


@dataclass(frozen=True)
class Pool:
    """What tells about a case to come.

    Attributes:
        observations: At least one.
        basis: How they were matched: `config`, `variant` or `experiment`.
    """

    observations: tuple[Observation, ...]
    basis: str

    @property
    def mean(self) -> float:
        """Mean of the observations."""
        return sum(each.value for each in self.observations) / len(self.observations)


@dataclass(frozen=True)
class Interval:
    """A prediction.

    Attributes:
        expected: Median of the simulations; without any, what the means give.
        low, high: What `CONFIDENCE` of the simulations lie between; None where nothing tells how much values vary.
    """

    expected: float
    low: float | None = None
    high: float | None = None


def makespan_s(durations_s: Sequence[float], parallelism: int) -> float:
    """Seconds until all cases have ended, if each is started, in order, as soon as a place is free."""
    free_at = [0.0] * max(1, min(parallelism, len(durations_s)))
    for duration_s in durations_s:
        heapq.heapreplace(free_at, free_at[0] + duration_s)
    return max(free_at)


def ratios_by_run(pools: Iterable[Pool]) -> dict[str, list[float]]:
    """How far observations lie from the mean of their pool, as ratios of at least 0, by the run that they are from.

    A pool with one observation tells nothing of it, nor does one whose mean is 0.
    """
    ratios: dict[str, list[float]] = {}
    for pool in pools:
        n, mean = len({each.run for each in pool.observations}), pool.mean
        n = n if n > 1 else len(pool.observations)
        if n > 1 and mean > 0:
            stretch = (n / (n - 1)) ** 0.5
            for each in pool.observations:
                ratios.setdefault(each.run, []).append(max(0.0, 1 + stretch * (each.value / mean - 1)))
    return ratios


def simulate(pools: Sequence[Pool], seed: int = SEED) -> list[list[float]]:
    """A value per case and simulation; no simulation at all if some kind of basis has no repeats.

    Args:
        pools: One per case, in the suite's order; cases of a condition share theirs.
    """
    distinct = list(dict.fromkeys(pools))
    ratios = {basis: ratios_by_run(p for p in distinct if p.basis == basis) for basis in {p.basis for p in distinct}}
    if not pools or not all(ratios.values()):
        return []
    rng = random.Random(seed)
    runs = {basis: sorted(found) for basis, found in sorted(ratios.items())}
    work = len(pools) + sum(len(pool.observations) for pool in distinct)
    simulations: list[list[float]] = []
    for _ in range(max(100, min(SIMULATIONS, WORK // work))):
        like = {basis: rng.choice(names) for basis, names in runs.items()}
        centres = {pool: pool.mean / mean_error(pool, ratios[pool.basis], runs[pool.basis], rng) for pool in distinct}
        simulations.append([centres[pool] * rng.choice(ratios[pool.basis][like[pool.basis]]) for pool in pools])
    return simulations


def mean_error(pool: Pool, ratios: dict[str, list[float]], runs: Sequence[str], rng: random.Random) -> float:
    """A mean of ratios, drawn as the observations were that made a pool's mean: those of one run together."""
    drawn_run: dict[str, str] = {}
    total = 0.0
    for each in pool.observations:
        run = drawn_run.get(each.run) or drawn_run.setdefault(each.run, rng.choice(runs))
        total += rng.choice(ratios[run])
    return total / len(pool.observations) or 1.0


def interval_of(values: Sequence[float], point: float) -> Interval:
    """A prediction from simulated values; without any, the point alone."""
    if not values:
        return Interval(point)
    ordered = sorted(values)
    tail = (1 - CONFIDENCE) / 2
    low, middle, high = (ordered[round(share * (len(ordered) - 1))] for share in (tail, 0.5, 1 - tail))
    return Interval(middle, low, high)
