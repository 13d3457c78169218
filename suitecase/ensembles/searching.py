"""Which members to ask, in which order, with which weights and thresholds: chosen on some items, judged on others.

Whoever tries a thousand ways on the same items will find one that looks good on them. Here the choice itself is
repeated within each part of a cross-validation, on that part's training items only, and judged on items that it has not
seen (nested cross-validation; Varma & Simon 2006, BMC Bioinformatics 7:91). What is held out judges the way of
choosing, so it is a fair, slightly cautious estimate for what is chosen from all items in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suitecase.ensembles.analysis import accuracy_of
from suitecase.ensembles.counting import Weighted
from suitecase.ensembles.ensemble import Ensemble
from suitecase.ensembles.executions import Cascade
from suitecase.ensembles.recorded import Bools, Floats, Recorded, Rule, replay
from suitecase.ensembles.records import EnsembleError, Member
from suitecase.stats.estimates import Estimate
from suitecase.stats.paired_rates import two_paired_rates
from suitecase.stats.results import Result, TestResult
from suitecase.stats.wording import number_text

__all__ = ["Found", "build", "search"]

MOST_MEMBERS = 8
"""Beyond, there are too many subsets and orders to try all."""
AGREEMENTS = (0.6, 0.75, 1.0)
CONFIDENCE_QUANTILES = (0.2, 0.4, 0.6, 0.8)
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Found(Result):
    """What a search chose, and what to expect of it.

    Attributes:
        rules: Of each route, how to ask and count; see `build`. One, under None, where items aren't routed.
        accuracy: Held out: of each item, by what was chosen without it. The items are what is independent; parts of the
            cross-validation share training items, so the interval is approximate.
        cost_usd: Held out: for an item, on average. It may exceed the budget, which was kept on training items.
        chosen_accuracy: On the items that the rules were chosen on: flatters.
        single, single_accuracy: The best single member within the budget, chosen and judged the same way.
        gain: Held-out accuracy minus that of the single member, a paired test.
        stability: In what share of the parts the same was chosen as in the end, in [0, 1].
        tried: How many ways were tried.
        budget_usd: For an item, on average.
    """

    rules: Mapping[Hashable, Rule]
    accuracy: Estimate
    cost_usd: float
    chosen_accuracy: float
    single: str
    single_accuracy: Estimate
    gain: TestResult
    stability: float
    tried: int
    budget_usd: float

    def sentence(self) -> str:
        """What was found, in a line or two."""
        how = "; ".join(f"{'' if route is None else f'{route}: '}{told(rule)}" for route, rule in self.rules.items())
        return (
            f"{how}. Held-out accuracy {number_text(self.accuracy.value)}, {self.accuracy.interval}, "
            f"for {number_text(self.cost_usd)} USD an item; the best single member, {self.single}, has "
            f"{number_text(self.single_accuracy.value)}."
        )


def told(rule: Rule) -> str:
    """A rule in words."""
    ends = {"confidence": rule.confidence, "agreement": rule.agreement}
    until = ", ".join(f"{name} {number_text(x)}" for name, x in ends.items() if x is not None)
    weighted = "weighted " * (rule.weights is not None)
    if len(rule.members) == 1:
        return rule.members[0]
    return f"{weighted}{rule.execution} of {', '.join(rule.members)}" + f" until {until}" * bool(until)


def search(
    recorded: Recorded,
    budget_usd: float,
    *,
    routes: Sequence[Hashable] | None = None,
    folds: int = 5,
    options: int = 2,
    level: float = 0.95,
    seed: int = 0,
) -> Found:
    """The most accurate way to ask within a budget, with a held-out estimate.

    Tried are all subsets of members: majority and learned weights (`Weighted.learned`), asked one after the other until
    the rest can't change the answer; cascades by agreement and, where it was recorded, by confidence. Orders: all of up
    to three members, of more the cheapest first. Of equally accurate ways the cheapest is taken.

    Args:
        recorded: With costs.
        budget_usd: For an item, on average, above 0.
        routes: Of each item, something known before it is asked, such as its topic: each gets a way of its own, and
            the budget goes where it helps most.
        folds: Parts of the cross-validation, outer and inner, at least 2.
        options: How many answers there are to a question, for learned weights.
        level: Of intervals.
        seed: Deals items to parts.

    Raises:
        EnsembleError: Without costs, for more than 8 members, or a budget below every member's cost.
    """
    check(recorded, budget_usd, routes, folds)
    names: list[Hashable] = list(dict.fromkeys(routes)) if routes is not None else [None]
    route = np.array([names.index(each) for each in routes] if routes is not None else [0] * recorded.n, dtype=np.intp)
    table = Table(recorded, folds, options)
    alone = [i for i, rule in enumerate(table.rules) if len(rule.members) == 1]
    every = np.arange(recorded.n)
    chosen = table.choose(every, route, budget_usd, seed)
    single = table.choose(every, np.zeros_like(route), budget_usd, seed, among=alone)[0]
    right, single_right = np.zeros(recorded.n, dtype=np.bool_), np.zeros(recorded.n, dtype=np.bool_)
    cost, same = np.zeros(recorded.n), Counter[bool]()
    for test in dealt(route, folds, seed):
        train = np.setdiff1d(every, test)
        picked = table.choose(train, route, budget_usd, seed + 1)
        same[picked == chosen] += 1
        for number, choice in picked.items():
            places = test[route[test] == number]
            right[places], cost[places] = table.judge(choice, train, places)
        best = table.choose(train, np.zeros_like(route), budget_usd, seed + 1, among=alone)[0]
        single_right[test], _ = table.judge(best, train, test)
    fitted = {name: table.fitted(chosen[number], every) for number, name in enumerate(names)}
    flattering = [table.judge(chosen[i], every, every[route == i])[0] for i in range(len(names))]
    return Found(
        rules=fitted,
        accuracy=accuracy_of(right, name="held-out accuracy", level=level),
        cost_usd=float(cost.mean()),
        chosen_accuracy=float(np.concatenate(flattering).mean()),
        single=table.rules[single].members[0],
        single_accuracy=accuracy_of(single_right, name="held-out accuracy", level=level),
        gain=two_paired_rates(right.astype(float), single_right.astype(float), level=level),
        stability=same[True] / folds,
        tried=len(table.rules),
        budget_usd=budget_usd,
    )


def check(recorded: Recorded, budget_usd: float, routes: Sequence[Hashable] | None, folds: int) -> None:
    problems: list[str] = []
    if len(recorded.members) > MOST_MEMBERS:
        problems.append(f"{len(recorded.members)} members have too many subsets: take {MOST_MEMBERS} at most.")
    if not 2 <= folds <= recorded.n // 4:
        problems.append(f"folds is {folds!r}: from 2 to a quarter of the {recorded.n} items.")
    if routes is not None and len(routes) != recorded.n:
        problems.append(f"routes: {len(routes)} for {recorded.n} items.")
    if routes is not None and min(Counter(routes).values(), default=0) < 2 * folds:
        problems.append(f"routes: each needs at least {2 * folds} items.")
    if recorded.cost_usd is None:
        problems.append("the costs aren't known for all calls: give cost_usd.")
    else:
        cheapest = float(recorded.cost_usd.mean(axis=0).min())
        if not budget_usd >= cheapest * (1 - 1e-9):
            problems.append(f"budget_usd is {budget_usd!r}, and the cheapest member costs {cheapest:.3g} an item.")
    if problems:
        raise EnsembleError(problems)


def dealt(route: Places, folds: int, seed: int) -> list[Places]:
    """The items in parts, each route spread over all of them; shape (items of the part,) each."""
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(folds)]
    start = 0
    for number in np.unique(route):
        for place, item in enumerate(rng.permutation(np.flatnonzero(route == number)), start):
            parts[place % folds].append(int(item))
        start += int((route == number).sum())
    return [np.array(sorted(part), dtype=np.intp) for part in parts]


class Table:
    """Everything that is tried, on all items; what is learned is learned anew from each set of training items."""

    def __init__(self, recorded: Recorded, folds: int, options: int) -> None:
        self.recorded, self.folds, self.options = recorded, folds, options
        self.rules = list(rules_of(recorded))
        self.learns = [rule.weights is not None for rule in self.rules]
        self.known: dict[int, tuple[Bools, Floats]] = {}
        for i, rule in enumerate(self.rules):
            if not self.learns[i]:
                done = replay(recorded, rule)
                assert done.cost_usd is not None
                self.known[i] = done.right, done.cost_usd

    def fitted(self, choice: int, train: Places) -> Rule:
        """A rule with weights learned from training items."""
        rule = self.rules[choice]
        if not self.learns[choice]:
            return rule
        columns = [self.recorded.members.index(name) for name in rule.members]
        right, of = self.recorded.right[train].sum(axis=0), self.recorded.answered[train].sum(axis=0)
        counts = {name: (int(right[c]), int(of[c])) for name, c in zip(rule.members, columns, strict=True)}
        try:
            weights = Weighted.learned(counts, options=self.options).weights
        except ValueError:  # nobody is better than guessing: one vote each
            weights = dict.fromkeys(rule.members, 1.0)
        return replace(rule, weights=weights)

    def judge(self, choice: int, train: Places, test: Places) -> tuple[Bools, Floats]:
        """Which test items a rule gets right, and their costs, with what it learns from training items."""
        if choice in self.known:
            right, cost = self.known[choice]
            return right[test], cost[test]
        done = replay(self.recorded.only(test), self.fitted(choice, train))
        assert done.cost_usd is not None
        return done.right, done.cost_usd

    def choose(
        self, train: Places, route: Places, budget_usd: float, seed: int, among: Sequence[int] | None = None
    ) -> dict[int, int]:  # fmt: skip
        """The best choice of each route on training items, within the budget over all of them."""
        among = range(len(self.rules)) if among is None else among
        right = np.zeros((len(among), len(train)))
        cost = np.zeros((len(among), len(train)))
        inner = dealt(route[train], self.folds, seed)
        for row, choice in enumerate(among):
            if choice in self.known:
                right[row], cost[row] = self.known[choice][0][train], self.known[choice][1][train]
                continue
            for part in inner:
                rest = np.setdiff1d(np.arange(len(train)), part)
                right[row, part], cost[row, part] = self.judge(choice, train[rest], train[part])
        shares = [(int(number), route[train] == number) for number in np.unique(route)]
        gains = np.array([right[:, mask].sum(axis=1) for _, mask in shares])
        costs = np.array([cost[:, mask].sum(axis=1) for _, mask in shares])
        picked = within_budget(gains, costs, budget_usd * len(train))
        return {number: among[int(row)] for (number, _), row in zip(shares, picked, strict=True)}


def within_budget(gains: Floats, costs: Floats, budget: float) -> Places:
    """Of each route the choice whose gains are greatest in sum while costs in sum stay within the budget.

    Args:
        gains, costs: Shape (routes, choices).
        budget: Of all routes together.

    Each right answer is worth a price λ, the same in all routes (Lagrange); the highest λ at which the choices are
    still affordable is found by bisection, then what is left is spent where it buys most. One route is solved exactly.
    """

    def at(price: float) -> Places:
        # Of equal values the cheapest: lexsort's last key counts first.
        value = price * gains - costs
        return np.array([np.lexsort((c, -v))[0] for v, c in zip(value, costs, strict=True)], dtype=np.intp)

    rows = np.arange(len(gains))
    scale = max(float(costs.max()), 1e-12)
    low, high = np.log(1e-9 * scale), np.log(1e9 * scale)
    picked = at(0.0)
    for _ in range(60):
        middle = (low + high) / 2
        trial = at(float(np.exp(middle)))
        if costs[rows, trial].sum() <= budget * (1 + 1e-12):
            picked, low = trial, middle
        else:
            high = middle
    return topped_up(gains, costs, budget, picked)


def topped_up(gains: Floats, costs: Floats, budget: float, picked: Places) -> Places:
    """Better choices for single routes as long as they are affordable, the best first."""
    picked = picked.copy()
    rows = np.arange(len(gains))
    while True:
        spare = budget * (1 + 1e-12) - costs[rows, picked].sum()
        more = gains - gains[rows, picked][:, None]
        extra = costs - costs[rows, picked][:, None]
        better = (extra <= spare) & ((more > 0) | ((more == 0) & (extra < -1e-15)))
        if not better.any():
            return picked
        worth = np.where(better, more - extra / max(float(costs.max()), 1e-300) * 1e-6, -np.inf)
        route, choice = np.unravel_index(int(worth.argmax()), worth.shape)
        picked[route] = choice


def rules_of(recorded: Recorded) -> Iterator[Rule]:
    """Everything that is tried."""
    assert recorded.cost_usd is not None
    cost = dict(zip(recorded.members, recorded.cost_usd.mean(axis=0), strict=True))
    sure = recorded.confidence
    thresholds = [] if sure is None else sorted(set(np.round(np.nanquantile(sure, CONFIDENCE_QUANTILES), 3).tolist()))
    for size in range(1, len(recorded.members) + 1):
        for subset in combinations(sorted(recorded.members, key=lambda name: (cost[name], name)), size):
            for order in permutations(subset) if size <= 3 else [subset]:
                yield Rule(order, "sequential")
                if size > 1:
                    yield Rule(order, "sequential", weights=dict.fromkeys(order, 1.0))
                    yield from (Rule(order, "cascade", confidence=each) for each in thresholds)
                if size > 2:
                    yield from (Rule(order, "cascade", agreement=each) for each in AGREEMENTS)


def build(rule: Rule, members: Sequence[Member | Callable[..., Any]], **options: Any) -> Ensemble:
    """The ensemble of a rule, from members that are known by their names.

    Args:
        members: At least those of the rule; others are left out.
        options: As `Ensemble` takes them, beside strategy and execution.

    Raises:
        EnsembleError: If a member is missing.
    """
    known = {each.name if isinstance(each, Member) else getattr(each, "__name__", ""): each for each in members}
    if missing := [name for name in rule.members if name not in known]:
        raise EnsembleError(f"the rule asks {', '.join(missing)}, and no such member is given.")
    asked = [known[name] for name in rule.members]
    strategy = "majority" if rule.weights is None else Weighted({name: rule.weights[name] for name in rule.members})
    execution = rule.execution if rule.execution != "cascade" else Cascade(rule.confidence, rule.agreement)
    return Ensemble(asked, strategy=strategy, execution=execution, **options)
