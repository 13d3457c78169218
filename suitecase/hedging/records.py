"""What a race of requests is made of, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from suitecase.errors import SuitecaseError
from suitecase.ranges import is_within

__all__ = [
    "AllCallsFailedError",
    "Call",
    "CallStatus",
    "CircuitOpenError",
    "HedgeTimeoutError",
    "HedgingError",
    "Outcome",
    "Workload",
]

T = TypeVar("T")
making = threading.Lock()
CallStatus = Literal["running", "won", "rejected", "failed", "cancelled", "stuck"]


@dataclass(slots=True, eq=False)
class Call:
    """One request of a race. Your function is given it; what became of it is filled in as it happens.

    Attributes:
        number: 0 for the primary, 1 and up for backups.
        target: What to call: a model, an address, any name.
        started_s: Seconds after the race began.
        latency_s: Seconds until it ended or was cut off; None while it runs.
        censored: It was cut off, or failed: an answer would have taken longer than `latency_s`.
        status: `rejected` is an answer below its tier's quality; `stuck` was cancelled and did not end in time.
        error: What a failed call raised.
        ended: Its function has returned. That of a loser may go on for a while.
        cost_usd: What it has told by `charge`; None if it told nothing.
        quality: Of its answer, where that was asked for.
    """

    number: int
    target: str
    started_s: float = 0.0
    latency_s: float | None = None
    censored: bool = False
    status: CallStatus = "running"
    error: Exception | None = None
    ended: bool = False
    cost_usd: float | None = None
    quality: float | None = None
    event: threading.Event | None = field(default=None, repr=False)

    @property
    def cancel(self) -> threading.Event:
        """Set when nobody waits for the answer any more. Tasks are cancelled besides; threads should look at it."""
        if self.event is None:  # made when somebody asks: it takes longer than all else that is kept of a call
            with making:
                self.event = self.event or threading.Event()
        return self.event

    def charge(self, usd: float) -> None:
        """Tell what the request costs, in US dollars, as soon as that is known: losers are paid for, too."""
        if not is_within(usd, 0):
            raise HedgingError(f"charge: {usd!r} is no cost. Give US dollars, at least 0.")
        self.cost_usd = (self.cost_usd or 0.0) + usd


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Generic[T]):
    """What a race gave, and what it took.

    Attributes:
        value: The winner's answer.
        winner: The call that gave it.
        calls: All of them in the order of their starts. Losers may still be ending: their `status` and `cost_usd`
            follow. `HedgePolicy.settle` waits for them.
        latency_s: From the begin of the race to the answer.
        delay_s: How long the primary was given before a backup would start; infinite if none was to start.
        why: How that delay came about, and why no backup started where one was due.
    """

    value: T
    winner: Call
    calls: Sequence[Call]
    latency_s: float
    delay_s: float
    why: str

    @property
    def hedged(self) -> bool:
        """Whether a backup was started."""
        return len(self.calls) > 1

    @property
    def hedge_won(self) -> bool:
        """Whether a backup gave the answer."""
        return self.winner.number > 0

    @property
    def cost_usd(self) -> float | None:
        """What all calls have told so far, losers included; None if none told anything."""
        told = [call.cost_usd for call in self.calls if call.cost_usd is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True)
class Workload:
    """What is known of a request before it is sent, for `WorkloadAware`.

    Attributes:
        prompt_characters: Length of the prompt.
        priority: How much its latency matters.
        hour: Hour of the day where the target is, 0 to 23.
    """

    prompt_characters: int = 0
    priority: Literal["high", "normal", "low"] = "normal"
    hour: int | None = None


class HedgingError(SuitecaseError):
    """Settings that can't be; `problems` has all of them."""


class CircuitOpenError(SuitecaseError):
    """No target takes requests at the moment: their circuit breakers are open."""


class AllCallsFailedError(ExceptionGroup[Exception]):
    """Every call of a race failed; the group holds what each raised, `calls` what became of each."""

    calls: Sequence[Call] = ()

    def derive(self, excs: Sequence[Exception]) -> AllCallsFailedError:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A part of the group, for `except*`."""
        part = AllCallsFailedError(self.message, excs)
        part.calls = self.calls
        return part


class HedgeTimeoutError(TimeoutError):
    """No call of a race gave an answer within `timeout_s`; `calls` says what became of each."""

    def __init__(self, message: str, calls: Sequence[Call]) -> None:
        super().__init__(message)
        self.calls = calls
