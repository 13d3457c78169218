"""What keeps backups from doing harm: a budget, doubts, and circuit breakers.

None of them looks at a clock; times are given to them, so that a simulation can.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

__all__ = ["Benefit", "Breaker", "Budget", "Circuit", "Health", "TokenBucket"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests may be extra. Of n races, at most `fraction`·n + `burst` backups start.

    Attributes:
        fraction: Of extra requests, 0 to 1.
        burst: How many may start at once after a quiet time. Both hold per target, and for all processes with the same
            `HedgePolicy.state_file` together; without one per process.
    """

    fraction: float = 0.05
    burst: float = 10.0


class TokenBucket:
    """A budget as it stands: each race pays `fraction` of a token in, each backup takes one out."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = budget.burst

    @property
    def level(self) -> float:
        """How many tokens are in it."""
        return self.held

    @property
    def spare(self) -> float:
        """How full it is, 0 to 1."""
        return self.level / self.budget.burst if self.budget.burst else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether there is no whole token."""
        return self.level < 1 - 1e-9

    def pay_in(self) -> None:
        """A race begins."""
        self.held = min(self.budget.burst, self.held + self.budget.fraction)

    def take(self) -> bool:
        """Take a token, if there is one."""
        if self.is_empty:
            return False
        self.held -= 1
        return True


class Health:
    """Whether a target is overloaded: the rates of errors and of throttled requests (429, 503, 529).

    Each rate is a moving average in which the last `MEMORY` calls count most. Backups for a target that can't keep up
    would make it worse.
    """

    MEMORY = 50

    def __init__(self) -> None:
        self.error_rate = self.throttle_rate = 0.0

    def add(self, error: bool, throttled: bool) -> None:
        """A call has ended."""
        self.error_rate += (error - self.error_rate) / self.MEMORY
        self.throttle_rate += (throttled - self.throttle_rate) / self.MEMORY


class Benefit:
    """Whether backups win at all. Where all attempts of a request are equally slow, they never do.

    The share of backups that won, among about the last `MEMORY`, with one win and one loss put in beforehand. Below
    `STOP_BELOW` (after 40 without a win, say) backups are stopped, but for probes; above `RESUME_ABOVE` they start
    again. A probe waits twice as long as a backup would, so that it goes where there is most to win, and there are few
    of them: `PROBES`. What was not needed in quiet times is there when stragglers come in a burst.
    """

    MEMORY = 50
    STOP_BELOW, RESUME_ABOVE = 0.04, 0.10
    PROBES = Budget(1 / 400, 8)

    def __init__(self) -> None:
        self.wins = self.losses = 0.0
        self.stopped = False
        self.probes = TokenBucket(self.PROBES)

    def add(self, won: bool) -> None:
        """A race with a backup has ended."""
        keep = 1 - 1 / self.MEMORY
        self.wins, self.losses = keep * self.wins + won, keep * self.losses + (not won)
        share = (self.wins + 1) / (self.wins + self.losses + 2)
        self.stopped = share < (self.RESUME_ABOVE if self.stopped else self.STOP_BELOW)

    def pay_in(self) -> None:
        """A race begins."""
        self.probes.pay_in()

    def allows(self) -> bool:
        """Whether to start a backup, be it to see whether they help now."""
        return not self.stopped or self.probes.take()


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a target gets no requests at all for a while.

    Attributes:
        max_failure_rate: Above this rate of failures among the last `window` calls the circuit opens.
        window: How many calls count; it takes that many to open it.
        open_s: How long it stays open. Then one request is let through, and its end decides.
    """

    max_failure_rate: float = 0.5
    window: int = 20
    open_s: float = 30.0


class Circuit:
    """A breaker as it stands."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.failures: deque[bool] = deque(maxlen=breaker.window)
        self.state: Literal["closed", "open", "half-open"] = "closed"
        self.opened_at = 0.0

    def admits(self, now_s: float) -> bool:
        """Whether a request may go; one that was admitted to a half-open circuit must be told of by `add`."""
        if self.state == "closed":
            return True
        # Of a probe that lost its race or was given up nobody tells; it must not keep the circuit shut for ever.
        if now_s - self.opened_at < self.breaker.open_s:
            return False
        self.state, self.opened_at = "half-open", now_s
        return True

    def add(self, failed: bool, now_s: float) -> None:
        """A call has ended."""
        if self.state == "half-open":
            self.failures.clear()
            self.state, self.opened_at = ("open", now_s) if failed else ("closed", 0.0)
            return
        if self.state == "open":
            return  # it was sent before
        self.failures.append(failed)
        full = len(self.failures) == self.breaker.window
        if full and sum(self.failures) > self.breaker.max_failure_rate * self.breaker.window:
            self.state, self.opened_at = "open", now_s
            self.failures.clear()
