"""Strategies that count: an answer has the weight of its votes, and the most weight wins.

Majority          the most frequent answer
Plurality         the same, if its share of the votes reaches a threshold
Unanimous         the same, if nobody says otherwise
Weighted          the answer with the most weight: given, learned, or each vote's confidence
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from suitecase.ensembles.records import Vote
from suitecase.ensembles.strategy import Decision, Strategy, Ties
from suitecase.ranges import is_above

__all__ = ["Majority", "Plurality", "Tally", "Unanimous", "Weighted", "shrunk_accuracies"]


@dataclass(frozen=True)
class Tally(Strategy):
    """Sums up weights per answer; what the strategies of counting share."""

    def weight(self, vote: Vote) -> float:
        """How much a vote counts."""
        return 1.0

    def most(self, member: str) -> float:
        """How much the vote of a member not heard yet can count."""
        return 1.0

    @property
    def least_share(self) -> float:
        """The share that the winner needs."""
        return 0.0

    def weights_by_answer(self, votes: Iterable[Vote]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for vote in votes:
            found.setdefault(vote.choice, []).append(self.weight(vote))
        return found

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        totals = {key: math.fsum(weights) for key, weights in self.weights_by_answer(votes).items()}
        total = math.fsum(map(self.weight, votes))
        if total <= 0:
            return Decision(None, 0.0, reason="the members that answered have no weight")
        most = max(totals.values())
        leading = [key for key, weight in totals.items() if weight == most]
        share = most / total
        if share < self.least_share:
            spread = ", ".join(f"{key:.40} {weight / total:.0%}" for key, weight in sorted(totals.items()))
            return Decision(None, share, reason=f"no answer has {self.least_share:.0%} of the votes: {spread:.400}")
        return Decision(ties.first(leading), share, len(leading) > 1)

    def settled(self, votes: Sequence[Vote], waiting: Sequence[str], *, grouped: bool) -> bool:
        """By arithmetic: whether the leader keeps its lead, and its share, if all that is left goes against it."""
        if not votes:
            return False
        left = [self.most(member) for member in waiting]
        if grouped:
            return self.stands_alone(votes, left)
        # All sums are of single weights, exactly rounded: rounding can't reorder what exact sums order.
        by_answer = sorted(self.weights_by_answer(votes).values(), key=math.fsum)
        leader, rival = by_answer[-1], by_answer[-2] if len(by_answer) > 1 else []
        ever = math.fsum([*map(self.weight, votes), *left])
        if ever > 0 and math.fsum([*leader, *left]) / ever < self.least_share:
            return True  # nobody can reach the share any more
        keeps_share = ever > 0 and math.fsum(leader) / ever >= self.least_share
        return math.fsum(leader) > math.fsum([*rival, *left]) and keeps_share

    def stands_alone(self, votes: Sequence[Vote], left: Sequence[float]) -> bool:
        """Whether one answer, without others like it, has more than half of all votes that there can be.

        Then it wins and stands for its group however groups grow together.
        """
        by_answer: dict[str, list[float]] = {}
        for vote in votes:
            by_answer.setdefault(vote.key, []).append(self.weight(vote))
        ever = math.fsum([*map(self.weight, votes), *left])
        share = max(self.least_share, 0.5)
        return any(
            math.fsum(weights) > share * ever and 2 * len(weights) > len(votes) + len(left)
            for weights in by_answer.values()
        )


@dataclass(frozen=True)
class Majority(Tally):
    """The most frequent answer, however few votes that takes; see `Plurality` for a threshold."""


@dataclass(frozen=True)
class Plurality(Tally):
    """The most frequent answer, if it has at least this share of the votes that count.

    Attributes:
        threshold: In (0, 1].
    """

    threshold: float

    @property
    def least_share(self) -> float:
        return self.threshold

    def problems(self, members: Sequence[str]) -> list[str]:
        return (
            []
            if is_above(self.threshold, 0) and self.threshold <= 1
            else [f"threshold is {self.threshold!r}: a share, above 0 and up to 1."]
        )


@dataclass(frozen=True)
class Unanimous(Tally):
    """The answer that all who answered give."""

    @property
    def least_share(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Weighted(Tally):
    """The answer with the most weight.

    Attributes:
        weights: Of each member, above 0, in any unit; None weighs each vote by its confidence. See `learned`.
        default_confidence: Of a vote that tells none. Without one, such a vote doesn't count: it would else be equal
            voting in disguise.
    """

    weights: Mapping[str, float] | None = None
    default_confidence: float | None = None

    def problems(self, members: Sequence[str]) -> list[str]:
        default = self.default_confidence
        if default is not None and not (is_above(default, 0) and default <= 1):
            return [f"default_confidence is {default!r}: above 0 and up to 1."]
        if self.weights is None:
            return []
        if not isinstance(cast(object, self.weights), Mapping):
            return [f"weights is {self.weights!r:.80}: give a weight by name, {{'a': 2, 'b': 1}}."]
        wrong = [
            f"the weight of {name!r} is {weight!r}: give a number of at least 0."
            for name, weight in self.weights.items()
            if not (isinstance(cast(object, weight), int | float) and 0 <= weight < math.inf)
        ]
        wrong += [f"{name!r} has no weight." for name in members if name not in self.weights]
        wrong += [f"there is a weight for {name!r}, who is no member." for name in self.weights if name not in members]
        if not wrong and not any(self.weights.values()):
            wrong.append("all weights are 0.")
        return wrong

    def unusable(self, vote: Vote) -> str | None:
        if self.weights is None and vote.confidence is None and self.default_confidence is None:
            return "it tells no confidence: return Reply(answer, confidence=…), or give default_confidence"
        return None

    def weight(self, vote: Vote) -> float:
        if self.weights is not None:
            return self.weights[vote.member]
        found = self.default_confidence if vote.confidence is None else vote.confidence
        assert found is not None
        return found

    def most(self, member: str) -> float:
        return 1.0 if self.weights is None else self.weights[member]

    @classmethod
    def learned(cls, counts: Mapping[str, tuple[int, int]], *, options: int = 2) -> Weighted:
        """Weights from how often members were right: the log odds of their accuracies, which are shrunk first.

        For members that err independently, log(p (K − 1) / (1 − p)) is best (Nitzan & Paroush 1982, Int. Econ. Rev.
        23:289-297, for K = 2; errors spread evenly over the other K − 1 options). An accuracy of few questions is
        drawn towards the mean of all, as far as members differ no more than chance makes them (`shrunk_accuracies`).
        Who is no better than guessing has weight 0.

        Args:
            counts: Of each member, how often it was right and how often it answered.
            options: How many answers there are to a question, K ≥ 2. For free text, about how many would be mixed up.

        Raises:
            ValueError: For counts that can't be, or if nobody is better than guessing.
        """
        if options < 2:
            raise ValueError(f"options is {options}: there are 2 or more answers to a question.")
        odds = {name: p * (options - 1) / (1 - p) for name, p in shrunk_accuracies(counts).items()}
        weights = {name: max(math.log(each), 0.0) for name, each in odds.items()}
        if not any(weights.values()):
            raise ValueError("no member is better than guessing, so votes of theirs can't be weighed.")
        return cls(weights)


def is_count(pair: object) -> bool:
    """Whether this is (right, answered)."""
    match pair:
        case (int(right), int(answered)):
            return 0 <= right <= answered
        case _:
            return False


def shrunk_accuracies(counts: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Accuracies drawn towards their mean: posterior means of a beta-binomial, in (0, 1).

    The prior's mean m is the share of all answers that were right (with one right and one wrong added, so that no
    accuracy is 0 or 1). Its strength s comes from the spread of members by the method of moments (Kleinman 1973,
    J. Am. Stat. Assoc. 68:46-54): members that differ no more than chance makes them all get m.

    Raises:
        ValueError: For counts that can't be.
    """
    wrong = [f"{name!r}: {pair!r}" for name, pair in counts.items() if not is_count(pair)]
    if wrong or not any(of for _, of in counts.values()):
        raise ValueError(
            f"counts are (right, answered) by member, and somebody answered: {'; '.join(wrong) or 'nobody answered'}."
        )
    heard = [(right, of) for right, of in counts.values() if of]
    total = sum(of for _, of in heard)
    mean = (sum(right for right, _ in heard) + 1) / (total + 2)
    chance = mean * (1 - mean)
    # E Σ n (p̂ − m)² = m (1 − m) [(k − 1) + ρ Σ n (1 − n/N) − ρ (k − 1)], ρ = 1/(s + 1)
    spread = math.fsum(of * (right / of - mean) ** 2 for right, of in heard)
    room = total - math.fsum(of * of for _, of in heard) / total - (len(heard) - 1)
    rho = (spread / chance - (len(heard) - 1)) / room if room > 0 else 0.0
    if rho <= 0:
        return dict.fromkeys(counts, mean)
    strength = max(1 / rho - 1, 0.0) + 1e-9
    # Half a success and a failure at the least, so that one perfect member doesn't outweigh all others for good.
    return {name: (right + strength * mean + 0.5) / (of + strength + 1) for name, (right, of) in counts.items()}
