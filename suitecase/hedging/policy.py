"""When to hedge, and what was learned about each target."""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from suitecase.hedging.coalescing import Flights
from suitecase.hedging.delays import DelayRule, Observation, Percentile, is_rule
from suitecase.hedging.guards import Benefit, Breaker, Budget, Circuit, Health, TokenBucket
from suitecase.hedging.losers import Losers
from suitecase.hedging.race import Race, Stage
from suitecase.hedging.records import Call, CircuitOpenError, HedgingError, Workload
from suitecase.hedging.sharing import SharedState
from suitecase.hedging.slots import Slots
from suitecase.ranges import is_within

__all__ = ["HedgePolicy", "Target", "is_throttled"]

THROTTLED = (429, 503, 529)
ANY = Workload()


def is_throttled(error: Exception) -> bool:
    """Whether a target says that it has too much to do: HTTP 429, 503, or 529, in `status_code` or the response's."""
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status in THROTTLED


class Target:
    """What is known of one target, in one process."""

    def __init__(self, name: str, policy: HedgePolicy) -> None:
        self.name = name
        self.learner = policy.delay.begin(policy.seed ^ zlib.crc32(name.encode()))
        shared = policy.state.bucket(name, policy.budget) if policy.state is not None else None
        self.bucket = shared or TokenBucket(policy.budget)
        self.health = Health()
        self.benefit = Benefit()
        self.unsaved: list[Observation] = []

    def learn(self, race: Observation) -> None:
        """What holds in other processes, too."""
        self.learner.learn(race)
        if race.backups and not race.primary_failed:
            self.benefit.add(race.backup_won)


@dataclass(frozen=True, eq=False)
class HedgePolicy:
    """When backups start, and what keeps them from doing harm. One policy serves all calls to its targets.

    What it learns is per target. Safe from threads and tasks.

    Attributes:
        delay: How long the primary is given.
        max_backups: Calls beside the primary; each starts a further delay after the one before.
        timeout_s: For all calls of a request together.
        budget: How many requests may be extra; whatever a backup starts for, it is paid from here.
        max_error_rate, max_throttle_rate: No backups above these (moving averages over about 50 calls, 0 to 1).
        breaker: When a target gets no requests at all; None for never.
        throttled: Which errors say that a target has too much to do.
        reap_s: A loser that has not ended so long after its cancellation is reported as stuck.
        max_threads: How many calls of `hedged_sync` run at a time.
        state_file: Where what was learned is kept, and shared with other processes, each few seconds; the budget is
            shared, too, at each backup, in a file beside it.
        seed: Of everything random.
        observe: Told of every request, as `suitecase.tracking.observe` understands it.
    """

    delay: DelayRule = field(default_factory=Percentile)
    max_backups: int = 1
    timeout_s: float | None = None
    budget: Budget = field(default_factory=Budget)
    max_error_rate: float = 0.1
    max_throttle_rate: float = 0.05
    breaker: Breaker | None = None
    throttled: Callable[[Exception], bool] = is_throttled
    reap_s: float = 5.0
    max_threads: int = 64
    state_file: Path | None = None
    seed: int = 0
    observe: Callable[[Mapping[str, object]], object] | None = None
    targets: dict[str, Target] = field(init=False, repr=False, default_factory=dict[str, Target])
    circuits: dict[str, Circuit] = field(init=False, repr=False, default_factory=dict[str, Circuit])
    lock: threading.RLock = field(init=False, repr=False, default_factory=threading.RLock)
    losers: Losers = field(init=False, repr=False)
    flights: Flights = field(init=False, repr=False)
    slots: Slots = field(init=False, repr=False)
    state: SharedState | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.check()
        for name, value in (
            ("losers", Losers(self.reap_s, self.observe)),
            ("flights", Flights()),
            ("slots", Slots(self.max_threads)),
            ("state", SharedState(self.state_file) if self.state_file else None),
        ):
            object.__setattr__(self, name, value)

    def check(self) -> None:
        """Refuse settings that can't be.

        Raises:
            HedgingError: With all of them.
        """
        fractions: dict[str, object] = {"max_error_rate": self.max_error_rate}
        fractions["max_throttle_rate"] = self.max_throttle_rate
        least: dict[str, tuple[object, int]] = {"reap_s": (self.reap_s, 0)}
        problems = self.parts_problems()
        for name, count, low in (("max_backups", self.max_backups, 0), ("max_threads", self.max_threads, 1)):
            if not isinstance(cast(object, count), int) or not is_within(count, low):
                problems.append(f"{name} is {count!r}: give a whole number of at least {low}.")
        if isinstance(cast(object, self.budget), Budget):
            fractions["budget.fraction"] = self.budget.fraction
            least["budget.burst"] = (self.budget.burst, 0)
        if isinstance(cast(object, self.breaker), Breaker) and self.breaker is not None:
            fractions["breaker.max_failure_rate"] = self.breaker.max_failure_rate
            least["breaker.window"] = (self.breaker.window, 1)
        problems += [
            *(f"{name} is {value!r}: give 0 to 1." for name, value in fractions.items() if not is_within(value, 0, 1)),
            *(f"{name} is {value!r}: give at least {low}." for name, (value, low) in least.items()
              if not is_within(value, low)),
        ]  # fmt: skip
        if self.timeout_s is not None and (not is_within(self.timeout_s, 0) or self.timeout_s == 0):
            problems.append(f"timeout_s is {self.timeout_s!r}: give more than 0, or None.")
        if problems:
            raise HedgingError([f"HedgePolicy: {problem}" for problem in problems])

    def parts_problems(self) -> list[str]:
        """Which parts are of another kind than they should be."""
        kinds = (
            ("delay", is_rule(self.delay), "a rule, such as Percentile() or Fixed(2.0)"),
            ("budget", isinstance(cast(object, self.budget), Budget), "a suitecase.hedging.Budget"),
            ("breaker", isinstance(cast(object, self.breaker), Breaker | None), "a suitecase.hedging.Breaker"),
            ("throttled", callable(cast(object, self.throttled)), "a function of an error"),
            ("observe", self.observe is None or callable(cast(object, self.observe)), "a function of an event"),
            ("state_file", self.state_file is None or is_file_name(self.state_file), "the path of a file"),
        )
        return [f"{name} is {getattr(self, name)!r:.80}: give {wanted}." for name, fits, wanted in kinds if not fits]

    def target(self, name: str) -> Target:
        """What is known of a target."""
        known = self.targets.get(name)
        if known is None:
            known = self.targets[name] = Target(name, self)
            if self.state is not None:
                self.state.load(known)
        return known

    def race(self, targets: Sequence[str], *, idempotent: bool, workload: Workload | None, now_s: float) -> Race[Any]:
        """A race for one request.

        Raises:
            CircuitOpenError: No target takes requests.
            HedgingError: There are no targets, or they are no names.
        """
        if isinstance(targets, str) or not targets or not all(isinstance(cast(object, each), str) for each in targets):
            raise HedgingError(f"no request was sent: targets is {targets!r:.80}. Give a list of one or more names.")
        with self.lock:
            admitted = self.admitted(targets, now_s)
            target = self.target(admitted[0])
            target.bucket.pay_in()
            target.benefit.pay_in()
            if not idempotent or not self.max_backups:
                stages, why = [Stage(admitted[0])], "not declared idempotent" if not idempotent else "no backups"
                arm_s = None
            else:
                delay = target.learner.next(workload or ANY, target.bucket.spare)
                delay_s, why, arm_s = delay.delay_s, delay.why, delay.arm_s
                if target.benefit.stopped:
                    delay_s, why = 2 * delay_s, f"{why}, doubled: the latest backups have not helped"
                stages = [Stage(admitted[0])]
                for number in range(1, self.max_backups + 1):
                    stages.append(Stage(admitted[number % len(admitted)], delay_s))
        return Race(stages, permit=Permit(self, target), timeout_s=self.timeout_s, why=why, arm_s=arm_s)

    def admitted(self, targets: Sequence[str], now_s: float) -> Sequence[str]:
        """The targets, from the first on whose circuit lets a request through."""
        if self.breaker is None:
            return targets
        for number, name in enumerate(targets):
            if self.circuit(name).admits(now_s):
                return targets[number:]
        raise CircuitOpenError(f"no request was sent: the circuits of {', '.join(targets)} are open.")

    def circuit(self, name: str) -> Circuit:
        """The breaker of a target."""
        assert self.breaker is not None
        return self.circuits.setdefault(name, Circuit(self.breaker))

    def refusal(self, target: Target, stage: Stage, now_s: float) -> str:
        """Why a backup may not start; "" if it may."""
        with self.lock:
            if target.health.throttle_rate > self.max_throttle_rate:
                return f"{target.health.throttle_rate:.0%} of the latest calls were throttled"
            if target.health.error_rate > self.max_error_rate:
                return f"{target.health.error_rate:.0%} of the latest calls failed"
            if self.breaker is not None and not self.circuit(stage.target).admits(now_s):
                return f"the circuit of {stage.target} is open"
            if target.bucket.is_empty:
                return "the budget is gone"
            if not target.benefit.allows():
                return "the latest backups have not helped"
            return "" if target.bucket.take() else "the budget is gone"

    def settled(self, race: Race[Any]) -> None:
        """Learn from a race that has ended, and tell of it."""
        primary = race.calls[0]
        errors = [
            (call.error is not None, call.error is not None and self.throttled(call.error))
            for call in race.calls
            if call.status not in ("cancelled", "stuck")
        ]
        seen = Observation(
            primary_s=primary.latency_s or 0.0,
            censored=primary.censored,
            latency_s=race.ended_s - race.began_s,
            arm_s=race.arm_s,
            backups=len(race.calls) - 1,
            backup_won=race.winner is not None and race.winner is not primary,
            failed=race.winner is None,
            primary_failed=primary.status == "failed",
        )
        with self.lock:
            target = self.target(primary.target)
            target.learn(seen)
            for error, throttled in errors:
                target.health.add(error, throttled)
            if self.breaker is not None:
                for call in race.calls:
                    if call.status != "cancelled":
                        self.circuit(call.target).add(call.status == "failed", race.ended_s)
            if self.state is not None:
                self.state.keep(target, seen)
        self.tell(race)

    def tell(self, race: Race[Any]) -> None:
        """Tell `observe` of a race that has ended."""
        if self.observe is not None:
            self.observe(told(race))

    async def settle(self) -> None:
        """Wait until every loser of this event loop has ended, or was reported as stuck."""
        await self.losers.wait()

    def save(self) -> None:
        """Write what was learned to `state_file` now, together with what other processes have learned."""
        if self.state is not None:
            with self.lock:
                self.state.sync(self.targets.values())


def checked(policy: HedgePolicy) -> HedgePolicy:
    """A policy, and not a rule for delays, say.

    Raises:
        HedgingError: It is none.
    """
    if isinstance(cast(object, policy), HedgePolicy):
        return policy
    hint = f"HedgePolicy({policy!r:.60})" if is_rule(policy) else "a HedgePolicy"
    raise HedgingError(f"no request was sent: policy is {policy!r:.60}. Give {hint}.")


def is_file_name(path: object) -> bool:
    return isinstance(path, str | Path) and bool(Path(path).name) and not Path(path).is_dir()


class Permit:
    """Asks a policy whether the next call of a race may start."""

    __slots__ = ("policy", "target")

    def __init__(self, policy: HedgePolicy, target: Target) -> None:
        self.policy, self.target = policy, target

    def __call__(self, stage: Stage, now_s: float) -> str:
        return self.policy.refusal(self.target, stage, now_s)


def told(race: Race[Any]) -> dict[str, object]:
    """A race as `tracking.observe` understands it: worth reading where a backup started, else for the record."""
    data: dict[str, object] = {
        "winner": None if race.winner is None else race.winner.number,
        "latency_s": round(race.ended_s - race.began_s, 6),
        "delay_s": None if race.delay_s == math.inf else round(race.delay_s, 6),
        "why": race.why,
        "calls": [call_told(call) for call in race.calls],
    }
    return {"event": "log", "level": "info" if len(race.calls) > 1 else "debug", "message": "hedged call", "data": data}


def call_told(call: Call) -> dict[str, object]:
    return {
        "target": call.target, "started_s": round(call.started_s, 6), "latency_s": round(call.latency_s or 0.0, 6),
        "censored": call.censored, "status": call.status, "cost_usd": call.cost_usd,
    }  # fmt: skip
