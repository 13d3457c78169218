"""How long to wait before a backup: five rules.

A rule is a frozen description. `begin` makes what it learns about one target: it gives the next delay and is told how
each race went. A rule of your own is anything with these two methods.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from suitecase.hedging.records import HedgingError, Workload
from suitecase.hedging.survival import LatencyWindow
from suitecase.ranges import is_above, is_within

__all__ = [
    "NEVER",
    "Adaptive",
    "Backoff",
    "Delay",
    "DelayLearner",
    "DelayRule",
    "Fixed",
    "Observation",
    "Percentile",
    "WorkloadAware",
]

NEVER = math.inf
"""The delay that starts no backup."""


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay in seconds, how it came about, and the arm behind it if there is one."""

    delay_s: float
    why: str
    arm_s: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """How a race went, as far as anything is learned from it.

    Attributes:
        primary_s: Latency of the primary.
        censored: The primary was cut off or failed: it would have taken longer.
        latency_s: From the begin of the race to its end.
        arm_s: What the rule said in `Delay.arm_s`.
        backups: How many were started.
        backup_won: One of them gave the answer.
        failed: No call gave an answer.
        primary_failed: A backup, if there was one, was no hedge.
    """

    primary_s: float
    censored: bool
    latency_s: float
    arm_s: float | None
    backups: int
    backup_won: bool
    failed: bool
    primary_failed: bool


class DelayLearner(Protocol):
    """What a rule has learned about one target."""

    def next(self, workload: Workload, spare: float) -> Delay:
        """The delay for a request; `spare` is how much of the budget's burst is left, 0 to 1."""
        ...

    def learn(self, race: Observation) -> None:
        """A race has ended. Those of several processes may come in any order."""
        ...

    def to_json(self) -> object:
        """What was learned, as JSON."""
        ...

    def load(self, learned: Any) -> None:
        """Take up what `to_json` gave."""
        ...


class DelayRule(Protocol):
    """How to choose delays."""

    def begin(self, seed: int) -> DelayLearner:
        """A learner that knows nothing yet."""
        ...


class Stateless:
    """A learner that learns nothing."""

    def learn(self, race: Observation) -> None:
        """Nothing."""

    def to_json(self) -> object:
        """Nothing."""
        return None

    def load(self, learned: Any) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Fixed(Stateless):
    """Always the same delay, in seconds."""

    delay_s: float

    def __post_init__(self) -> None:
        require(self, ("delay_s", is_within(self.delay_s, 0), "at least 0"))

    def begin(self, seed: int) -> Fixed:
        """Itself."""
        return self

    def next(self, workload: Workload, spare: float) -> Delay:
        """The delay."""
        return Delay(self.delay_s, "fixed")


@dataclass(frozen=True)
class Percentile:
    """A percentile of the primary's latest latencies, cut-off ones counted for what they are.

    With a budget b, the best single delay is the shortest that the budget can pay for: the percentile 100·(1 - b).
    But a percentile is an estimate, and a budget that is gone leaves the slowest calls without a backup. So the default
    is a little lower while the budget's burst is unspent, and a little higher once it is gone.

    Attributes:
        percentile: 1 to 99.9 (95, not 0.95), while the budget's burst is unspent.
        thrift: What is added to it by the time that the burst is gone.
        window: How many of the latest latencies count.
        min_samples: Before so many are known, `initial_delay_s` is used.
    """

    percentile: float = 94.8
    thrift: float = 0.5
    window: int = 2000
    min_samples: int = 50
    initial_delay_s: float = 1.0

    def __post_init__(self) -> None:
        most = self.window if is_within(self.window, 1) else math.inf
        require(
            self,
            ("percentile", is_within(self.percentile, 1, 100) and self.percentile < 100, "1 to 99.9 percent, 95 say"),
            ("thrift", is_within(self.thrift, 0), "at least 0"),
            ("window", is_within(self.window, 1), "at least 1"),
            ("min_samples", is_within(self.min_samples, 1, most), "at least 1, and no more than the window"),
            ("initial_delay_s", is_within(self.initial_delay_s, 0), "at least 0"),
        )

    def begin(self, seed: int) -> PercentileLearner:
        """An empty window."""
        return PercentileLearner(self)


class PercentileLearner:
    """The latest latencies of a target."""

    def __init__(self, rule: Percentile) -> None:
        self.rule = rule
        self.window = LatencyWindow(rule.window)
        self.new = 0
        self.delay = Delay(rule.initial_delay_s, f"initial: fewer than {rule.min_samples} latencies are known")

    def next(self, workload: Workload, spare: float) -> Delay:
        """The percentile, as of at most a few races ago."""
        known = len(self.window)
        if known >= self.rule.min_samples and self.new * 100 >= known:
            self.new = 0
            percentile = min(100.0, self.rule.percentile + self.rule.thrift * (1 - spare))
            delay_s = self.window.quantile(percentile / 100)
            self.delay = Delay(delay_s, f"percentile {percentile:.1f} of the latest {known}")
        return self.delay

    def learn(self, race: Observation) -> None:
        """Only the primary's latency: backups go to requests that are slow, and would tell of those alone."""
        self.window.add(race.primary_s, race.censored)
        self.new += 1

    def to_json(self) -> object:
        """The window, the oldest first."""
        return [[round(latency_s, 6), int(censored)] for latency_s, censored in self.window.latest]

    def load(self, learned: Any) -> None:
        """Take up a window."""
        window = LatencyWindow(self.rule.window)
        for latency_s, censored in learned:
            window.add(float(latency_s), bool(censored))
        self.window, self.new = window, len(window)


@dataclass(frozen=True)
class Adaptive:
    """The arm with the least expected loss, found by Thompson sampling.

    The loss of a race is `latency_s + backup_price_s` · backups: what one extra request is worth, in seconds. Its mean
    under each arm is unknown. For each race one mean per arm is drawn from what is believed of it, and the arm with the
    least is taken (Thompson 1933, Biometrika 25:285-294), so that arms are tried as often as they may be the best.
    The belief is the normal-inverse-gamma one, for a mean and a variance that are both unknown (Murphy 2007,
    "Conjugate Bayesian analysis of the Gaussian distribution", section 6); older races count less and less.

    Attributes:
        arms_s: Delays to choose from, in seconds; `NEVER` is one.
        backup_price_s: Seconds of waiting that one extra request is worth.
        memory: How many races of an arm count, about.
        failure_loss_s: Loss of a race that failed; None for its latency and its backups.
    """

    arms_s: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, NEVER)
    backup_price_s: float = 1.0
    memory: int = 2000
    failure_loss_s: float | None = None

    def __post_init__(self) -> None:
        require(
            self,
            (
                "arms_s",
                bool(self.arms_s) and all(is_within(arm, 0) for arm in self.arms_s),
                "one or more delays, at least 0",
            ),
            ("arms_s", len(set(self.arms_s)) == len(self.arms_s), "delays that differ"),
            ("backup_price_s", is_within(self.backup_price_s, 0) and self.backup_price_s < math.inf, "at least 0"),
            ("memory", is_within(self.memory, 10), "at least 10"),
        )

    def begin(self, seed: int) -> AdaptiveLearner:
        """Arms of which nothing is known."""
        return AdaptiveLearner(self, seed)


class AdaptiveLearner:
    """What is believed of each arm: how many races, the mean of their losses, and the sum of squared deviations."""

    def __init__(self, rule: Adaptive, seed: int) -> None:
        self.rule = rule
        self.random = random.Random(seed)
        self.beliefs = {arm: [0.0, 0.0, 0.0] for arm in rule.arms_s}

    def next(self, workload: Workload, spare: float) -> Delay:
        """The arm whose draw is the least; arms tried fewer than three times go first."""
        for arm, (races, _, _) in self.beliefs.items():
            if races < 2.5:
                return Delay(arm, "Thompson sampling: an arm that is hardly known", arm)
        arm = min(self.beliefs, key=self.draw)
        return Delay(arm, f"Thompson sampling: mean loss {self.beliefs[arm][1]:.4g} s so far", arm)

    def draw(self, arm: float) -> float:
        """A mean loss, drawn from what is believed: the variance first, then the mean given the variance."""
        races, mean, squares = self.beliefs[arm]
        variance = squares / 2 / self.random.gammavariate(races / 2, 1)
        return self.random.gauss(mean, math.sqrt(variance / races))

    def learn(self, race: Observation) -> None:
        """Welford's update (1962, Technometrics 4:419-420), with forgetting."""
        belief = None if race.arm_s is None else self.beliefs.get(race.arm_s)
        if belief is None:
            return
        loss = race.latency_s + self.rule.backup_price_s * race.backups
        if race.failed and self.rule.failure_loss_s is not None:
            loss = self.rule.failure_loss_s
        races, mean, squares = belief
        keep = 1 if races < self.rule.memory else 1 - 1 / self.rule.memory
        races = keep * races + 1
        step = loss - mean
        mean += step / races
        belief[:] = races, mean, keep * squares + step * (loss - mean)

    def to_json(self) -> object:
        """A list for each arm: delay (null for never), races, mean, squares."""
        return [[None if arm == NEVER else arm, *belief] for arm, belief in self.beliefs.items()]

    def load(self, learned: Any) -> None:
        """Take up the arms that there are."""
        for arm, *belief in learned:
            known = NEVER if arm is None else float(arm)
            if known in self.beliefs:
                self.beliefs[known] = [float(number) for number in belief]


@dataclass(frozen=True)
class Backoff:
    """A delay that grows when backups don't help and shrinks when they do.

    Attributes:
        initial_s, min_s, max_s: Where it begins, and its bounds.
        on_win, on_loss, on_failure: What it is multiplied with when a backup won, when one was in vain, and when all
            calls of a race failed.
    """

    initial_s: float = 0.1
    min_s: float = 0.01
    max_s: float = 5.0
    on_win: float = 0.9
    on_loss: float = 1.5
    on_failure: float = 2.0

    def __post_init__(self) -> None:
        bounds = (self.min_s, self.initial_s, self.max_s)
        ordered = all(is_within(each, 0) for each in bounds) and 0 < self.min_s <= self.initial_s <= self.max_s
        require(
            self,
            ("initial_s", ordered, "between min_s and max_s, all above 0"),
            ("on_win", is_above(self.on_win, 0) and self.on_win <= 1, "above 0, at most 1"),
            ("on_loss", is_within(self.on_loss, 1), "at least 1"),
            ("on_failure", is_within(self.on_failure, 1), "at least 1"),
        )

    def begin(self, seed: int) -> BackoffLearner:
        """The initial delay."""
        return BackoffLearner(self)


class BackoffLearner:
    """The delay as it is now."""

    def __init__(self, rule: Backoff) -> None:
        self.rule = rule
        self.delay_s = rule.initial_s

    def next(self, workload: Workload, spare: float) -> Delay:
        """The delay."""
        return Delay(self.delay_s, "exponential back-off")

    def learn(self, race: Observation) -> None:
        """Multiply."""
        rule = self.rule
        factor = rule.on_failure if race.failed else 1.0
        if race.backups and not race.failed:
            factor = rule.on_win if race.backup_won else rule.on_loss
        self.delay_s = min(rule.max_s, max(rule.min_s, self.delay_s * factor))

    def to_json(self) -> object:
        """The delay."""
        return self.delay_s

    def load(self, learned: Any) -> None:
        """Take up a delay, within the bounds."""
        self.delay_s = min(self.rule.max_s, max(self.rule.min_s, float(learned)))


PRIORITIES: Mapping[str, float] = {"high": 0.6, "normal": 1.0, "low": 1.5}


@dataclass(frozen=True)
class WorkloadAware:
    """Another rule's delay, multiplied by what is known of the request.

    Attributes:
        base: The rule. It learns from all requests together.
        longer: Pairs (characters, factor), the shortest first; the last whose characters the prompt exceeds counts.
        priorities: Factors by priority.
        peak_hours, peak, off_peak: Factors by the hour, where that is known; no hours, no factor.
        factor: A function of your own, whose factor comes on top.
        floor_s: The delay is at least this.
    """

    base: DelayRule = field(default_factory=Percentile)
    longer: Sequence[tuple[int, float]] = ((1000, 1.5), (2000, 2.0), (4000, 2.5))
    priorities: Mapping[str, float] = field(default_factory=lambda: dict(PRIORITIES))
    peak_hours: Sequence[int] = ()
    peak: float = 0.7
    off_peak: float = 1.3
    factor: Callable[[Workload], float] | None = None
    floor_s: float = 0.01

    def __post_init__(self) -> None:
        factors = [*(factor for _, factor in self.longer), *self.priorities.values(), self.peak, self.off_peak]
        characters = [length for length, _ in self.longer]
        require(
            self,
            ("base", is_rule(self.base), "a rule, such as Percentile()"),
            ("longer", characters == sorted(characters), "pairs in the order of their lengths"),
            ("factors", all(is_above(factor, 0) for factor in factors), "above 0"),
            ("peak_hours", all(is_within(hour, 0, 23) for hour in self.peak_hours), "hours from 0 to 23"),
        )

    def begin(self, seed: int) -> WorkloadAwareLearner:
        """The base's learner, wrapped."""
        return WorkloadAwareLearner(self, self.base.begin(seed))

    def multiplier(self, workload: Workload) -> float:
        """All factors together."""
        by_length = [factor for characters, factor in self.longer if workload.prompt_characters > characters]
        result = (by_length or [1.0])[-1] * self.priorities.get(workload.priority, 1.0)
        if self.peak_hours and workload.hour is not None:
            result *= self.peak if workload.hour in self.peak_hours else self.off_peak
        return result * (self.factor(workload) if self.factor else 1.0)


class WorkloadAwareLearner:
    """Another learner, multiplied."""

    def __init__(self, rule: WorkloadAware, base: DelayLearner) -> None:
        self.rule, self.base = rule, base
        self.learn, self.to_json, self.load = base.learn, base.to_json, base.load

    def next(self, workload: Workload, spare: float) -> Delay:
        """The base's delay, multiplied."""
        delay, multiplier = self.base.next(workload, spare), self.rule.multiplier(workload)
        delay_s = max(self.rule.floor_s, delay.delay_s * multiplier)
        return Delay(delay_s, f"{delay.why}, × {multiplier:g} for the workload", delay.arm_s)


def is_rule(given: object) -> bool:
    """Whether this is a `DelayRule`."""
    return callable(getattr(given, "begin", None))


def require(rule: object, *conditions: tuple[str, bool, str]) -> None:
    """Refuse a rule with all that is wrong in it.

    Raises:
        HedgingError: With a sentence for each condition that doesn't hold.
    """
    kind = type(rule).__name__
    problems = [
        f"{kind}: {name} is {cast(object, getattr(rule, name, 'wrong'))!r}: give {wanted}."
        for name, holds, wanted in conditions
        if not holds
    ]
    if problems:
        raise HedgingError(problems)
