"""Answers that mean the same, counted as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from suitecase.ensembles.records import Vote
from suitecase.ensembles.strategy import Ties
from suitecase.ranges import is_within

__all__ = ["Alike", "edit_similarity"]


@dataclass(frozen=True, slots=True)
class Alike:
    """Which answers count as one: those that a function calls similar, and what is similar to these, and so on.

    Groups are the connected parts of the graph of similar pairs, because only these don't depend on the order of the
    answers; choose a threshold at which a chain of steps leads nowhere else. A group goes
    by its most frequent answer; of equals, the seed decides.

    Attributes:
        similarity: Of two normalised answers: a number from 0 to 1, or a truth value. Called once for each pair of
            different answers to a question, in a fixed order.
        threshold: From which number on they are similar.
    """

    similarity: Callable[[Any, Any], float]
    threshold: float = 0.8

    def problems(self) -> list[str]:
        """What is wrong with it, a sentence each."""
        wrong = [] if callable(self.similarity) else [f"similarity is {self.similarity!r:.80}: give a function."]
        return wrong + [f"threshold is {self.threshold!r}: from 0 to 1."] * (not is_within(self.threshold, 0, 1))

    def group(self, votes: Sequence[Vote], ties: Ties, known: dict[tuple[str, str], bool]) -> list[Vote]:
        """The votes, each with its group's answer as its choice; `known` keeps what was found similar."""
        answers = dict(sorted({vote.key: vote.answer for vote in votes}.items()))
        if len(answers) < 2:
            return list(votes)
        root = {key: key for key in answers}
        for a, b in combinations(answers, 2):
            if (a, b) not in known:
                known[a, b] = self.similarity(answers[a], answers[b]) >= self.threshold
            if known[a, b]:
                kept, gone = root[a], root[b]
                root = {key: kept if of == gone else of for key, of in root.items()}
        counts = Counter(vote.key for vote in votes)
        groups: dict[str, list[str]] = {}
        for key, of in root.items():
            groups.setdefault(of, []).append(key)
        speaks = {of: min(keys, key=lambda key: (-counts[key], ties.rank(key))) for of, keys in groups.items()}
        return [replace(vote, choice=speaks[root[vote.key]]) for vote in votes]


def edit_similarity(a: object, b: object) -> float:
    """1 − Levenshtein's distance / the longer length: 1 for equal texts, 0 for texts without anything in common.

    Single characters inserted, left out or replaced count 1 each (Levenshtein 1966, Sov. Phys. Dokl. 10:707-710).

    >>> edit_similarity("colour", "color")
    0.8333333333333334
    """
    first, second = str(a), str(b)
    if not (longer := max(len(first), len(second))):
        return 1.0
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return 1 - row[-1] / longer
