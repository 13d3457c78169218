"""Strategies that don't just count, and the names of all.

BestConfidence    the answer of whoever is surest
Ranked            of lists, best first: Borda count or instant runoff
Median, Mean      of numbers
Custom            a function of the votes
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

from suitecase.ensembles.counting import Majority, Unanimous, Weighted
from suitecase.ensembles.records import Vote, key_of, plain
from suitecase.ensembles.strategy import Decision, Strategy, Ties
from suitecase.ranges import is_within

__all__ = ["STRATEGIES", "BestConfidence", "Custom", "Mean", "Median", "Ranked"]


@dataclass(frozen=True)
class BestConfidence(Strategy):
    """The answer of whoever is surest. A vote that tells no confidence doesn't count."""

    def unusable(self, vote: Vote) -> str | None:
        return "it tells no confidence: return Reply(answer, confidence=…)" if vote.confidence is None else None

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        most = max(vote.confidence or 0.0 for vote in votes)
        leading = {vote.choice for vote in votes if (vote.confidence or 0.0) == most}
        return with_share(ties.first(leading), votes, tied=len(leading) > 1)


def with_share(key: str, votes: Sequence[Vote], *, tied: bool) -> Decision:
    """A decision whose agreement is the share of votes for it."""
    return Decision(key, sum(vote.choice == key for vote in votes) / len(votes), tied)


@dataclass(frozen=True)
class Ranked(Strategy):
    """The best of lists, best first. Agreement is the share of lists that begin with it.

    Attributes:
        method: "borda": an option has, from each list, as many points as options stand below it; options that a list
            leaves out share the points left (Emerson 2013, Soc. Choice Welf. 40:353-358, discusses other ways).
            "runoff": the option that fewest lists begin with is struck out, until one leads more than half of the lists
            that still name any.
    """

    method: Literal["borda", "runoff"] = "borda"
    ranks: ClassVar[bool] = True

    def problems(self, members: Sequence[str]) -> list[str]:
        return [] if self.method in ("borda", "runoff") else [f"method is {self.method!r}: give borda or runoff."]

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        lists = [vote.ranking for vote in votes]
        key, tied = borda(lists, ties) if self.method == "borda" else runoff(lists, ties)
        return Decision(key, sum(each[0] == key for each in lists) / len(lists), tied)

    def settled(self, votes: Sequence[Vote], waiting: Sequence[str], *, grouped: bool) -> bool:
        """In a runoff, whether more than half of all lists that there can be begin with the same option."""
        firsts = [vote.ranking[0] for vote in votes]
        most = max(map(firsts.count, firsts), default=0)
        return self.method == "runoff" and not grouped and 2 * most > len(votes) + len(waiting)


def borda(lists: Sequence[Sequence[str]], ties: Ties) -> tuple[str, bool]:
    options = {key for each in lists for key in each}
    points = dict.fromkeys(options, 0.0)
    for each in lists:
        for place, key in enumerate(each):
            points[key] += len(options) - 1 - place
        for key in options.difference(each):
            points[key] += (len(options) - len(each) - 1) / 2  # multiples of ½, so these sums are exact
    most = max(points.values())
    leading = [key for key in options if points[key] == most]
    return ties.first(leading), len(leading) > 1


def runoff(lists: Sequence[Sequence[str]], ties: Ties) -> tuple[str, bool]:
    left, tied = {key for each in lists for key in each}, False
    while True:
        firsts = [next(key for key in each if key in left) for each in lists if not left.isdisjoint(each)]
        counts = {key: firsts.count(key) for key in left}
        best = max(counts, key=lambda key: (counts[key], key))
        if 2 * counts[best] > len(firsts) or len(left) == 1:
            return best, tied
        fewest = min(counts.values())
        last = [key for key in left if counts[key] == fewest]
        tied = tied or len(last) > 1
        left.remove(max(last, key=ties.rank))


@dataclass(frozen=True)
class OfNumbers(Strategy):
    """What the strategies for numbers share.

    Attributes:
        tolerance: Relative: a vote agrees that lies within this share of the answer.
    """

    tolerance: float = 1e-9
    normaliser: ClassVar[str] = "number"

    def problems(self, members: Sequence[str]) -> list[str]:
        return (
            []
            if is_within(self.tolerance, 0) and self.tolerance < math.inf
            else [f"tolerance is {self.tolerance!r}: a number of at least 0."]
        )

    def unusable(self, vote: Vote) -> str | None:
        is_number = isinstance(vote.answer, int | float) and not isinstance(vote.answer, bool)
        return None if is_number else f"{vote.answer!r:.80} is no number: use the normaliser 'number'"

    def at(self, answer: float, numbers: Sequence[float]) -> Decision:
        close = sum(math.isclose(each, answer, rel_tol=self.tolerance, abs_tol=1e-12) for each in numbers)
        return Decision(key_of(plain(answer)), close / len(numbers))


@dataclass(frozen=True)
class Median(OfNumbers):
    """The middle number; of an even count, the mean of the two in the middle."""

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        numbers = numbers_of(votes)
        return self.at(statistics.median(numbers), numbers)

    def settled(self, votes: Sequence[Vote], waiting: Sequence[str], *, grouped: bool) -> bool:
        """Whether one number has more than half of all votes that there can be."""
        numbers = numbers_of(votes)
        return not grouped and 2 * max(map(numbers.count, numbers), default=0) > len(votes) + len(waiting)


@dataclass(frozen=True)
class Mean(OfNumbers):
    """The mean of the numbers."""

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        numbers = numbers_of(votes)
        return self.at(math.fsum(numbers) / len(numbers), numbers)


def numbers_of(votes: Sequence[Vote]) -> list[float]:
    return [cast(float, json.loads(vote.choice)) for vote in votes]


@dataclass(frozen=True)
class Custom(Strategy):
    """A function of the votes, in the order of the members, that gives the answer, or None for none.

    Attributes:
        decide_by: The function. Where its answer is one that was voted for, agreement is its share of
            the votes, else 0.
        label: A name for records.
    """

    decide_by: Callable[[Sequence[Vote]], object]
    label: str = field(default="custom", kw_only=True)

    @property
    def name(self) -> str:
        return self.label

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        answer = plain(self.decide_by(votes))
        if answer is None:
            return Decision(None, 0.0, reason=f"the strategy {self.label!r} gave no answer")
        return with_share(key_of(answer), votes, tied=False)


STRATEGIES: Mapping[str, Strategy] = {
    "majority": Majority(),
    "weighted": Weighted(),
    "best_confidence": BestConfidence(),
    "unanimous": Unanimous(),
    "ranked": Ranked(),
    "median": Median(),
    "mean": Mean(),
}
"""By the names that an ensemble takes; "weighted" is by confidence."""
