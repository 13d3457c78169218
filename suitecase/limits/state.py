"""When a call may begin: the arithmetic, on the state of one target."""

from __future__ import annotations

import math
import mmap
import struct
import time
from dataclasses import dataclass

from suitecase.limits.file import LIMITS, NAME_SIZE, TARGET_SIZE, TARGETS
from suitecase.limits.rates import Rates

__all__ = ["State"]

STATE = struct.Struct("<QQQQddddddd")

BURST_S = 1.0
"""A bucket holds a second's worth, so calls are spread over the minute; providers count shorter spans, too."""
CUT = 0.5
"""What a 429 leaves of the limits (multiplicative decrease: Chiu & Jain 1989, Comput. Netw. ISDN Syst. 17:1–14)."""
RECOVERY_PER_S = 0.01
"""Of the limits, what comes back each second: the additive increase. A halved limit is whole again after 50 s."""
LEAST_SCALE = 1 / 64


@dataclass(slots=True)
class State:
    """What all processes together have done to a target.

    Attributes:
        in_use: Calls in flight.
        waiting: Processes that wait, each for one call at a time.
        tickets: Handed out so far; the lowest one of those that wait comes next.
        granted: Calls begun so far.
        requests, tokens: What the two buckets hold; below 0 after a call that used more than was there.
        refilled_s: When the buckets were filled last. All times are those of the machine's monotonic clock.
        scale: 0 < scale ≤ 1, of the limits, at `scaled_s`.
        cut_s: When a 429 lowered the scale last.
        paused_until_s: A server asked for silence until then.
    """

    in_use: int
    waiting: int
    tickets: int
    granted: int
    requests: float
    tokens: float
    refilled_s: float
    scale: float
    scaled_s: float
    cut_s: float
    paused_until_s: float

    @classmethod
    def load(cls, content: mmap.mmap, target: int) -> State:
        """The state as it is in the file, its clocks begun anew if they are of another boot."""
        state = cls(*STATE.unpack_from(content, offset_of(target)))
        if state.refilled_s > time.monotonic() + 1:
            now_s = time.monotonic()
            state.refilled_s = state.scaled_s = state.cut_s = now_s
            state.paused_until_s = 0.0
        return state

    def packed(self, target: int) -> tuple[int, bytes]:
        """Where it belongs, and what to write there."""
        return offset_of(target), STATE.pack(
            self.in_use, self.waiting, self.tickets, self.granted, self.requests, self.tokens, self.refilled_s,
            self.scale, self.scaled_s, self.cut_s, self.paused_until_s,
        )  # fmt: skip

    def scale_at(self, now_s: float) -> float:
        """What is left of the limits after 429s."""
        return min(1.0, self.scale + RECOVERY_PER_S * max(0.0, now_s - self.scaled_s))

    def refill(self, rates: Rates, now_s: float) -> None:
        """Fill the buckets with what the time since then gives."""
        elapsed_s = max(0.0, now_s - self.refilled_s)
        scale = self.scale_at(now_s) if self.scale < 1.0 else 1.0
        self.requests = filled(self.requests, rates.requests_per_min, scale * elapsed_s, 1.0)
        self.tokens = filled(self.tokens, rates.tokens_per_min, scale * elapsed_s, 0.0)
        self.refilled_s = now_s

    def delay_s(self, rates: Rates, tokens: float, now_s: float, ahead: int = 0) -> float:
        """Seconds until a call may begin, after `refill`; 0 for now, infinity if one in flight has to end first.

        Args:
            ahead: Calls that come before it, of whose tokens nothing is known.
        """
        scale = self.scale_at(now_s) if self.scale < 1.0 else 1.0
        if rates.max_concurrent is not None and self.in_use >= max(1, int(rates.max_concurrent * scale)):
            return math.inf
        pause_s = max(0.0, self.paused_until_s - now_s)
        if rates.requests_per_min is not None:
            pause_s = max(pause_s, until(1.0 + ahead - self.requests, rates.requests_per_min * scale))
        if rates.tokens_per_min is not None:
            # A call that is larger than the bucket begins with a full one, and leaves a debt.
            asked = min(tokens, capacity(rates.tokens_per_min, 0.0))
            pause_s = max(pause_s, until(asked - self.tokens, rates.tokens_per_min * scale))
        return pause_s

    def take(self, tokens: float) -> None:
        """Begin a call."""
        self.in_use += 1
        self.granted += 1
        self.requests -= 1.0
        self.tokens -= tokens

    def cut(self, begun_s: float, now_s: float, pause_s: float) -> None:
        """A server said 429 to a call that began then: halve the limits, unless they were halved since."""
        self.paused_until_s = max(self.paused_until_s, now_s + pause_s)
        if begun_s >= self.cut_s:
            self.scale = max(LEAST_SCALE, CUT * self.scale_at(now_s))
            self.scaled_s = self.cut_s = now_s


def capacity(per_min: float, least: float) -> float:
    return max(least, per_min / 60 * BURST_S)


def filled(level: float, per_min: float | None, seconds: float, least: float) -> float:
    if per_min is None:
        return 0.0
    return min(capacity(per_min, least), level + per_min / 60 * seconds)


def until(missing: float, per_min: float) -> float:
    """Seconds until so much more has come; what lacks by rounding alone is there."""
    return 0.0 if missing <= 1e-9 else missing / per_min * 60


def offset_of(target: int) -> int:
    return TARGETS + target * TARGET_SIZE + NAME_SIZE + LIMITS.size
