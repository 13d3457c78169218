"""Answers that were recorded, with the truth: who said what of each item, what it cost, and what a vote would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from suitecase.ensembles.normalisers import NORMALISERS, Normaliser
from suitecase.ensembles.records import EnsembleError, EnsembleResult, key_of, plain
from suitecase.ensembles.strategy import Ties

__all__ = ["Recorded", "Replayed", "Rule", "replay"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What each member said of each item, all members asked of all items. Made by `of` and `of_results`.

    Attributes:
        members: Their names.
        items: What names each item; in `Ties` too, so a vote on it is decided as it was when it was asked.
        codes: Answers, shape (items, members): equal numbers for equal answers to an item, −1 where there is none.
        right: Whether each is the truth, same shape; no answer is not.
        rank: In which order an item's answers win ties, shape (items, answers).
        truth: The code of the truth, −2 where nobody said it, shape (items,).
        cost_usd: Same shape as `codes`; None if unknown.
        confidence: Same shape; NaN where a member told none; None if nobody told any.
    """

    members: tuple[str, ...]
    items: tuple[str, ...]
    codes: NDArray[np.intp]
    rank: NDArray[np.intp]
    truth: NDArray[np.intp]
    cost_usd: Floats | None = None
    confidence: Floats | None = None

    @cached_property
    def right(self) -> Bools:
        return self.codes == self.truth[:, None]

    @cached_property
    def answered(self) -> Bools:
        return self.codes >= 0

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.items)

    @classmethod
    def of(
        cls,
        answers: Mapping[str, Sequence[object]],
        truth: Sequence[object],
        *,
        items: Sequence[str] | None = None,
        cost_usd: Mapping[str, float | Sequence[float]] | None = None,
        confidence: Mapping[str, Sequence[float | None]] | None = None,
        normaliser: str | Normaliser = "none",
        seed: int = 0,
    ) -> Recorded:
        """From answers by member.

        Args:
            answers: Of each member, one for each item; None where it gave none.
            truth: The right answers.
            items: What names them; without it, their places.
            cost_usd: Of each member, for a call or for each call.
            confidence: Of each member, for each answer.
            normaliser: Applied to answers and truth, as in `Ensemble`.
            seed: Decides ties, as in `Ensemble`.

        Raises:
            EnsembleError: With everything that doesn't fit together.
        """
        n, names = len(truth), tuple(answers)
        problems = ["there are no members."] * (not names) + ["there are no items."] * (not n)
        told = (("answers", answers), ("cost_usd", cost_usd), ("confidence", confidence))
        beside = [(what, cast("Mapping[str, object]", given)) for what, given in told if given is not None]
        for what, given in beside:
            problems += [f"{what}: {name!r} is no member." for name in given if name not in answers]
            problems += [f"{what}: nothing is said of {name!r}." for name in names if name not in given]
            problems += [
                f"{what} of {name!r}: {len(cast('Sequence[object]', each))} for {n} items."
                for name, each in given.items()
                if not isinstance(each, int | float) and len(cast("Sequence[object]", each)) != n
            ]
        if isinstance(normaliser, str) and normaliser not in NORMALISERS:
            problems.append(f"there is no normaliser {normaliser!r}: {', '.join(NORMALISERS)}.")
        keys = tuple(map(str, range(n))) if items is None else tuple(items)
        if len(set(keys)) != n:
            problems.append(f"items: {len(set(keys))} different names for {n} items.")
        if problems:
            raise EnsembleError(dict.fromkeys(problems))
        read = NORMALISERS[normaliser] if isinstance(normaliser, str) else normaliser
        table = [[said(each, read) for each in answers[name]] for name in names]
        return cls.coded(
            names, keys, list(zip(*table, strict=True)), [said(each, read) for each in truth], seed,
            cost_usd=None if cost_usd is None else columns(cost_usd, names, n),
            confidence=None if confidence is None else columns(confidence, names, n),
        )  # fmt: skip

    @classmethod
    def of_results(
        cls,
        results: Iterable[EnsembleResult | Mapping[str, Any]],
        truth: Sequence[object],
        *,
        items: Sequence[str] | None = None,
        normaliser: str | Normaliser = "none",
        seed: int = 0,
    ) -> Recorded:
        """From an ensemble's results, or their records (`output` in a row of items.jsonl).

        Votes that did not count are no answers; an escalation's vote is left out.

        Args:
            normaliser: Applied to the truth alone; the votes have been through theirs.

        Raises:
            EnsembleError: If a member was not asked each time: what it would have said isn't known, and it was left out
                for a reason. Record with parallel execution.
        """
        told = [each.record() if isinstance(each, EnsembleResult) else each for each in results]
        votes = [{vote["member"]: vote for vote in cast("list[dict[str, Any]]", each["votes"])} for each in told]
        names = tuple(name for name in (votes[0] if votes else {}) if all(name in each for each in votes))
        problems: list[str] = []
        for name in names:
            unasked = sum(each[name]["status"] in ("not_asked", "cancelled") for each in votes)
            if unasked:
                problems.append(f"{name!r} was not asked for {unasked} of {len(votes)} items: use parallel execution.")
        if problems:
            raise EnsembleError(problems)
        read = NORMALISERS[normaliser] if isinstance(normaliser, str) else normaliser
        answers = {
            name: [vote["answer"] if vote["status"] == "answered" else None for vote in (each[name] for each in votes)]
            for name in names
        }
        costs = {name: [float(each[name].get("cost_usd", np.nan)) for each in votes] for name in names}
        sure = {name: [each[name].get("confidence") for each in votes] for name in names}
        return cls.of(
            answers, [read(each) for each in truth], items=items, seed=seed,
            cost_usd=None if any(np.isnan(each).any() for each in costs.values()) else costs,
            confidence=sure if any(x is not None for each in sure.values() for x in each) else None,
        )  # fmt: skip

    @classmethod
    def coded(
        cls, members: tuple[str, ...], items: tuple[str, ...], answers: Sequence[Sequence[str | None]],
        truth: Sequence[str | None], seed: int, *, cost_usd: Floats | None, confidence: Floats | None,
    ) -> Recorded:  # fmt: skip
        """With answers as small numbers, one numbering for each item."""
        widest = max(len(set(row)) for row in answers)
        codes = np.full((len(items), len(members)), -1, dtype=np.intp)
        rank = np.zeros((len(items), widest), dtype=np.intp)
        true = np.full(len(items), -2, dtype=np.intp)
        for i, (row, right) in enumerate(zip(answers, truth, strict=True)):
            known = {key: code for code, key in enumerate(sorted({key for key in row if key is not None}))}
            codes[i] = [-1 if key is None else known[key] for key in row]
            true[i] = known.get(right or "", -2)
            ties = Ties(seed, items[i])
            for place, key in enumerate(sorted(known, key=ties.rank)):
                rank[i, known[key]] = place
        return cls(members, items, codes, rank, true, cost_usd, confidence)

    def only(self, places: NDArray[np.intp]) -> Recorded:
        """Some of the items."""
        items = tuple(self.items[int(i)] for i in cast("list[int]", places.tolist()))
        return Recorded(
            self.members, items, self.codes[places], self.rank[places],
            self.truth[places], None if self.cost_usd is None else self.cost_usd[places],
            None if self.confidence is None else self.confidence[places],
        )  # fmt: skip


def said(answer: object, read: Callable[[object], object]) -> str | None:
    found = None if answer is None else plain(read(answer))
    return None if found is None else key_of(found)


def columns(given: Mapping[str, Any], names: Sequence[str], n: int) -> Floats:
    """Numbers by member as a matrix, shape (items, members); None is NaN."""
    return np.column_stack([np.broadcast_to(np.asarray(given[name], dtype=np.float64), n) for name in names])


@dataclass(frozen=True)
class Rule:
    """A way to ask some members and count their votes, as an `Ensemble` would.

    Attributes:
        members: Whom to ask, in this order.
        execution: "parallel", "sequential" or "cascade".
        weights: Of each member; None for one vote each.
        confidence, agreement: When a cascade ends.
    """

    members: tuple[str, ...]
    execution: str = "parallel"
    weights: Mapping[str, float] | None = None
    confidence: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a rule gives on recorded answers; all of shape (items,).

    Attributes:
        right: Whether its answer is the truth; no answer is not.
        decided: Whether it gave one.
        agreement: Of the members that were asked; 0 without an answer.
        asked: How many members that were.
        cost_usd: Of those; None if unknown.
    """

    right: Bools
    decided: Bools
    agreement: Floats
    asked: NDArray[np.intp]
    cost_usd: Floats | None


def replay(recorded: Recorded, rule: Rule) -> Replayed:
    """What an ensemble would have answered: the same as `Ensemble` with the same members, on all items at once."""
    n, columns = recorded.n, [recorded.members.index(name) for name in rule.members]
    weights = [1.0 if rule.weights is None else rule.weights[name] for name in rule.members]
    quorum = (len(columns) + 1) // 2 if rule.execution != "cascade" else (1 if rule.confidence is not None else 2)
    quorum = min(quorum, len(columns))
    scores = np.zeros(recorded.rank.shape)
    heard, asked = np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.intp)
    going = np.ones(n, dtype=np.bool_)
    sure = np.full(n, -1, dtype=np.intp)  # the answer of a member that decides alone
    cost = None if recorded.cost_usd is None else np.zeros(n)
    rows = np.arange(n)
    for place, (column, weight) in enumerate(zip(columns, weights, strict=True), 1):
        codes = recorded.codes[:, column]
        voting = going & (codes >= 0)
        scores[rows[voting], codes[voting]] += weight
        heard += voting
        asked += going
        if cost is not None and recorded.cost_usd is not None:
            cost += np.where(going, recorded.cost_usd[:, column], 0.0)
        left = len(columns) - place
        if rule.execution == "sequential":
            ahead = lead_of(scores) > sum(weights[place:]) + 1e-12
            going &= ~(((heard >= quorum) & ahead) | (heard + left < quorum))
        elif rule.execution == "cascade":
            if rule.confidence is not None and recorded.confidence is not None:
                certain = (
                    voting & (heard >= quorum) & (np.nan_to_num(recorded.confidence[:, column]) >= rule.confidence)
                )
                sure[certain] = codes[certain]
                going &= ~certain
            if rule.agreement is not None:
                agreed = voting & (heard >= max(quorum, 2)) & (share_of(scores) >= rule.agreement)
                going &= ~agreed
    winner = np.where(sure >= 0, sure, winners(scores, recorded.rank))
    decided = (heard >= quorum) & (scores.sum(axis=1) > 0)
    total = np.maximum(scores.sum(axis=1), 1e-300)
    agreement = np.where(decided, scores[rows, winner] / total, 0.0)
    return Replayed(decided & (winner == recorded.truth), decided, agreement, asked, cost)


def winners(scores: Floats, rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """The answer with the most weight; of equals, the one that wins ties."""
    # Sums of the same weights in another order may differ in the last bits.
    leading = scores >= scores.max(axis=1, keepdims=True) - 1e-12
    return np.where(leading, rank, rank.shape[1] + 1).argmin(axis=1)


def lead_of(scores: Floats) -> Floats:
    """How far the first answer is ahead of the second."""
    if scores.shape[1] < 2:
        return scores[:, 0]
    ordered = np.partition(scores, scores.shape[1] - 2, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def share_of(scores: Floats) -> Floats:
    return scores.max(axis=1) / np.maximum(scores.sum(axis=1), 1e-300)
