"""The distribution of latencies when many of them were cut off: the Kaplan–Meier estimator.

A primary whose backup wins is cancelled. Its latency is not known, only that it is longer than the time until then. To
leave such calls out would hide just the slow ones, and to take them for finished would call them faster than they are;
either makes a percentile too small, so that more backups start, so that more is hidden. Kaplan and Meier (1958, J. Am.
Stat. Assoc. 53:457-481): the chance to last longer than t is the product, over the latencies up to t that were seen
whole, of 1 - 1/(calls that had lasted until then). It is right if being cut off says nothing about how long the call
would have gone on.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence

__all__ = ["LatencyWindow", "Survival"]

ROUNDING = 1e-12


class Survival:
    """The chance that a call lasts longer than t, estimated from latencies of which some are censored.

    Where the longest are censored, the curve does not come down to 0; it stays where it is from the longest on.

    Args:
        latencies: Seconds, and whether censored.

    >>> Survival([(1.0, False), (2.0, True), (3.0, False), (4.0, False)]).at(3.0)
    0.375
    """

    def __init__(self, latencies: Iterable[tuple[float, bool]]) -> None:
        ordered = sorted(latencies)  # at the same time, what ended was still at risk: censored ones come after
        self.times: list[float] = []
        self.chances: list[float] = []
        chance = 1.0
        for index, (time_s, censored) in enumerate(ordered):
            if not censored:
                at_risk = len(ordered) - index
                chance *= (at_risk - 1) / at_risk
                self.times.append(time_s)
                self.chances.append(chance)
        self.longest_s = ordered[-1][0] if ordered else math.nan

    def at(self, time_s: float) -> float:
        """The chance to last longer than `time_s`."""
        index = bisect_right(self.times, time_s)
        return self.chances[index - 1] if index else 1.0

    def quantile(self, fraction: float) -> float:
        """The shortest time that at least this fraction of calls does not exceed; the longest seen if none is."""
        for time_s, chance in zip(self.times, self.chances, strict=True):
            if chance <= 1 - fraction + ROUNDING:
                return time_s
        return self.longest_s


class LatencyWindow:
    """The latest latencies, and their quantiles; an addition takes about a microsecond.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.latest: deque[tuple[float, bool]] = deque()
        self.ordered: list[tuple[float, bool]] = []
        self.censored: list[tuple[float, bool]] = []

    def __len__(self) -> int:
        return len(self.latest)

    def add(self, latency_s: float, censored: bool) -> None:
        """Take in a latency; the oldest goes if the window is full."""
        latency = (latency_s, censored)
        self.latest.append(latency)
        insort(self.ordered, latency)
        if censored:
            insort(self.censored, latency)
        if len(self.latest) > self.size:
            oldest = self.latest.popleft()
            del self.ordered[bisect_left(self.ordered, oldest)]
            if oldest[1]:
                del self.censored[bisect_left(self.censored, oldest)]

    def quantile(self, fraction: float) -> float:
        """As `Survival.quantile`, for the window.

        Raises:
            ValueError: If the window is empty.
        """
        count = len(self.ordered)
        if not count:
            raise ValueError("there is no quantile of no latencies")
        whole = bisect_left(self.ordered, self.censored[0]) if self.censored else count
        # Up to the first censored one, the curve is that of the plain fractions: no need to go through them.
        rank = max(0, math.ceil(count * (fraction - ROUNDING)) - 1)
        if rank < whole:
            return self.ordered[rank][0]
        return quantile_after(self.ordered, whole, fraction)


def quantile_after(ordered: Sequence[tuple[float, bool]], whole: int, fraction: float) -> float:
    """The quantile, where it lies beyond the first `whole` latencies, none of which is censored."""
    count = len(ordered)
    chance = (count - whole) / count
    for index in range(whole, count):
        time_s, censored = ordered[index]
        if not censored:
            chance *= (count - index - 1) / (count - index)
            if chance <= 1 - fraction + ROUNDING:
                return time_s
    return ordered[-1][0]
