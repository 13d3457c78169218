"""What recorded answers say about members: how alike they err, what each adds, and whether agreement can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from suitecase.ensembles.recorded import Recorded, Rule, replay
from suitecase.ensembles.records import EnsembleError
from suitecase.stats.calibration import Calibration, calibration_of
from suitecase.stats.estimates import Estimate, wilson_interval
from suitecase.stats.paired_rates import two_paired_rates
from suitecase.stats.resampling import bootstrap_means, percentile_ends
from suitecase.stats.results import Interval, Result, TestResult

__all__ = [
    "Ablation",
    "Condorcet",
    "Pairs",
    "Scored",
    "ablation",
    "accuracy_of",
    "calibration_of_agreement",
    "condorcet",
    "disagreement",
    "effective_members",
    "error_correlation",
    "expected_accuracy",
    "front",
]

MOST_MEMBERS = 12
"""Beyond, there are too many subsets to try all."""


@dataclass(frozen=True)
class Pairs(Result):
    """A figure for each pair of members.

    Attributes:
        members: Their names.
        values: Symmetric, shape (members, members); None where it isn't defined.
        mean: Over pairs of different members where it is defined; None if nowhere.
    """

    name: str
    members: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    mean: float | None


def pairs_of(name: str, members: tuple[str, ...], matrix: NDArray[np.float64]) -> Pairs:
    upper = matrix[np.triu_indices(len(members), 1)]
    upper = upper[np.isfinite(upper)]
    rows = tuple(tuple(float(x) if np.isfinite(x) else None for x in row) for row in matrix)
    return Pairs(name, members, rows, float(upper.mean()) if len(upper) else None)


def disagreement(recorded: Recorded) -> Pairs:
    """How often two members answer differently, of the items that both answer; None where there are none."""
    k = len(recorded.members)
    matrix = np.full((k, k), np.nan)
    for a in range(k):
        for b in range(k):
            both = recorded.answered[:, a] & recorded.answered[:, b]
            if both.any():
                matrix[a, b] = np.mean(recorded.codes[both, a] != recorded.codes[both, b])
    return pairs_of("disagreement", recorded.members, matrix)


def error_correlation(recorded: Recorded) -> Pairs:
    """The correlation φ of two members' errors, over all items; no answer is an error.

    None where a member is always right or always wrong: its errors don't vary. φ of members of different accuracy can't
    reach 1.
    """
    wrong = (~recorded.right).astype(np.float64)
    centred = wrong - wrong.mean(axis=0)
    covariance = centred.T @ centred
    spread = np.sqrt(np.diag(covariance))
    scale = np.outer(spread, spread)
    matrix = np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), np.nan)
    return pairs_of("error correlation", recorded.members, matrix)


def effective_members(recorded: Recorded, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Estimate:
    """How many members that err independently vary as much in sum: k Σ var / Σ Σ cov of their errors.

    That is k over Kish's design effect (1965, Survey Sampling): k for independent errors, 1 where all err together,
    more than k where errors avoid each other. The interval is a percentile bootstrap over items.

    Raises:
        EnsembleError: If no member's errors vary, or all sums are equal.
    """
    wrong = (~recorded.right).astype(np.float64)
    total = wrong.sum(axis=1)
    value = effective(np.column_stack([wrong, total, total**2]).mean(axis=0)[None])[0]
    if not np.isfinite(value):
        raise EnsembleError("all items have the same number of errors, which says nothing of how they go together.")
    drawn = effective(bootstrap_means(np.column_stack([wrong, total, total**2]), draws=draws, seed=seed))
    low, high = percentile_ends(np.nan_to_num(drawn, nan=value, posinf=1e9), level)
    interval = Interval(low, high, level, "percentile bootstrap")
    return Estimate(
        "effective members", float(value), interval, recorded.n, references=("Kish (1965), Survey Sampling",)
    )


def effective(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """From means of k errors, their sum and its square, shape (draws, k + 2); infinite where the sum doesn't vary."""
    rates, total, square = means[:, :-2], means[:, -2], means[:, -1]
    variances, of_sum = (rates * (1 - rates)).sum(axis=1), square - total**2
    ok = of_sum > 1e-12
    return np.where(ok, rates.shape[1] * variances / np.where(ok, of_sum, 1.0), np.inf)


def accuracy_of(right: NDArray[np.bool_], *, name: str = "accuracy", level: float = 0.95) -> Estimate:
    """A share of items with Wilson's interval."""
    share, n = float(right.mean()), len(right)
    return Estimate(name, share, wilson_interval(share, n, level), n, float(np.sqrt(share * (1 - share) / n)))


@dataclass(frozen=True)
class Ablation(Result):
    """What an ensemble is without one of its members.

    Attributes:
        without: Accuracy without it.
        gain: What it adds: accuracy with it minus without it, of the same items, as a paired test.
        cost_usd: What it costs for an item, on average; None if unknown.
    """

    member: str
    without: Estimate
    gain: TestResult
    cost_usd: float | None


def ablation(recorded: Recorded, rule: Rule | None = None, *, level: float = 0.95) -> tuple[Ablation, ...]:
    """What each member adds: the vote with all against the vote without it, on the same items.

    Several members are looked at, so the smallest p-value of several is not one of its own (`suitecase.stats.adjust`).

    Args:
        rule: How votes are counted; without it a majority of all members. Weights stay as they are.

    Raises:
        EnsembleError: For fewer than two members.
    """
    rule = rule or Rule(recorded.members)
    if len(rule.members) < 2:
        raise EnsembleError("there is one member, so nobody can be left out.")
    full = replay(recorded, rule)
    found: list[Ablation] = []
    for name in rule.members:
        part = replay(recorded, replace(rule, members=tuple(each for each in rule.members if each != name)))
        spent = (
            None if full.cost_usd is None or part.cost_usd is None else float((full.cost_usd - part.cost_usd).mean())
        )
        gain = two_paired_rates(full.right.astype(float), part.right.astype(float), level=level)
        found.append(Ablation(name, accuracy_of(part.right, level=level), gain, spent))
    return tuple(found)


def expected_accuracy(members: int, accuracy: float, correlation: float = 0.0) -> float:
    """How often a majority is right, in [0, 1], of members of one accuracy whose errors are equally correlated.

    Condorcet's jury theorem for correlation 0 (1785); else the number of right members is beta-binomial (Williams 1975,
    Biometrics 31:949-952), with that correlation within pairs. A tie counts half. It takes all wrong members to say the
    same: where errors scatter over many answers, a vote does better.

    Raises:
        EnsembleError: For numbers that can't be.
    """
    if members < 1 or not 0 <= accuracy <= 1 or not 0 <= correlation <= 1:
        told = f"members={members}, accuracy={accuracy}, correlation={correlation}"
        raise EnsembleError(f"{told}: 1 or more members, the others from 0 to 1.")
    if correlation == 1 or accuracy in (0, 1):
        return float(accuracy)
    right = np.arange(members + 1)
    if correlation == 0:
        mass = cast(Any, stats).binom.pmf(right, members, accuracy)
    else:
        strength = (1 - correlation) / correlation
        mass = cast(Any, stats).betabinom.pmf(right, members, accuracy * strength, (1 - accuracy) * strength)
    return float(mass[2 * right > members].sum() + mass[2 * right == members].sum() / 2)


@dataclass(frozen=True)
class Condorcet(Result):
    """What a majority should gain, and what it did.

    Attributes:
        accuracy: Of the members, on average.
        correlation: Of errors, such that the beta-binomial has the variance that the number of right members had; at
            least 0.
        independent: Expected accuracy of a majority if errors were independent.
        expected: The same with that correlation.
        observed: The majority's accuracy.
    """

    accuracy: float
    correlation: float
    independent: float
    expected: float
    observed: Estimate


def condorcet(recorded: Recorded, *, level: float = 0.95) -> Condorcet:
    """Expected and observed accuracy of a majority of all members; see `expected_accuracy`."""
    k, total = len(recorded.members), recorded.right.sum(axis=1)
    mean = float(total.mean()) / k
    chance = k * mean * (1 - mean)
    rho = (float(total.var()) / chance - 1) / (k - 1) if chance > 0 and k > 1 else 0.0
    rho = min(max(rho, 0.0), 1.0)
    observed = accuracy_of(replay(recorded, Rule(recorded.members)).right, name="majority", level=level)
    return Condorcet(mean, rho, expected_accuracy(k, mean), expected_accuracy(k, mean, rho), observed)


def calibration_of_agreement(recorded: Recorded, rule: Rule | None = None, *, bins: int = 10) -> Calibration:
    """Whether answers with an agreement of x are right x of the time; items without an answer are left out.

    Agreement is no probability; where it is not calibrated, the reliability curve (`bins`) says what it is worth.

    Raises:
        EnsembleError: If there is no answer at all.
    """
    found = replay(recorded, rule or Rule(recorded.members))
    if not found.decided.any():
        raise EnsembleError("no item has an answer, so there is no agreement to be calibrated.")
    return calibration_of(found.agreement[found.decided], found.right[found.decided].astype(float), bins=bins)


@dataclass(frozen=True)
class Scored(Result):
    """A subset of members, and how its majority does.

    Attributes:
        cost_usd: For an item, on average.
        on_front: Whether no other subset is as good for less, or better for as much.
    """

    members: tuple[str, ...]
    accuracy: Estimate
    cost_usd: float
    on_front: bool


def front(recorded: Recorded, *, level: float = 0.95) -> tuple[Scored, ...]:
    """All subsets of members, by cost: the accuracy of their majority, and which are on the cost–accuracy front.

    The front is found on the items that it is judged by, so its accuracies flatter; `search` gives a held-out one.

    Raises:
        EnsembleError: Without costs, or for more than 12 members.
    """
    if recorded.cost_usd is None:
        raise EnsembleError("the costs aren't known for all calls: give cost_usd.")
    if len(recorded.members) > MOST_MEMBERS:
        raise EnsembleError(f"{len(recorded.members)} members have too many subsets: take {MOST_MEMBERS} at most.")
    found: list[tuple[float, float, tuple[str, ...], NDArray[np.bool_]]] = []
    for size in range(1, len(recorded.members) + 1):
        for members in combinations(recorded.members, size):
            done = replay(recorded, Rule(members))
            assert done.cost_usd is not None
            found.append((float(done.cost_usd.mean()), -float(done.right.mean()), members, done.right))
    found.sort(key=lambda each: each[:2])
    best, scored = np.inf, list[Scored]()
    for cost, loss, members, right in found:
        on_front = loss < best
        best = min(best, loss)
        scored.append(Scored(members, accuracy_of(right, level=level), cost, on_front))
    return tuple(scored)
