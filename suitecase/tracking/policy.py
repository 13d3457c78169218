"""How much may be told: limits, and what they mean."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, fields
from typing import TypedDict

__all__ = ["Allowance", "Limits", "Policy"]

# An envelope, and a message cut to an eighth of the line: a character takes six bytes at most.
SMALLEST_LINE_BYTES = 1_000


class Limits(TypedDict, total=False):
    """What `configure` and `track` take by name; `Policy` says what each means."""

    max_line_bytes: int
    max_logs_per_s: float
    max_log_burst: float
    max_file_bytes: int


@dataclass(frozen=True)
class Policy:
    """Limits of one case's `tracking.jsonl`. What goes beyond is left out and counted in `dropped` lines.

    Attributes:
        max_line_bytes: Size of a line, 1,000 or more. Messages and reasons are cut to fit (`"cut": true`), values are
            not: what is large belongs in a file, named by `artifact`.
        max_logs_per_s: `log` lines per second and process, errors not counted: they are always written.
        max_log_burst: So many more may come at once, after a quiet time.
        max_file_bytes: Size of the file, at which logs, metrics and progress end. Errors, results, artifacts, costs
            and ends are worth more: for them it is twice that.

    Raises:
        ValueError: With every value that is wrong.
    """

    max_line_bytes: int = 1_000_000
    max_logs_per_s: float = 100
    max_log_burst: float = 10_000
    max_file_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        problems: list[str] = []
        for each in fields(self):
            value: object = getattr(self, each.name)
            least = SMALLEST_LINE_BYTES if each.name == "max_line_bytes" else 1 if each.name == "max_log_burst" else 0
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value < least:
                problems.append(f"{each.name} is {value!r}: give a number of at least {least:,}.")
        if problems:
            raise ValueError("\n".join(problems))


class Allowance:
    """How often something may happen: `per_s` in the long run, `burst` at once (a token bucket)."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s, self.burst = per_s, burst
        self.left = burst
        self.filled = time.monotonic()

    def take(self) -> bool:
        """Whether it may happen now, which uses it up."""
        now = time.monotonic()
        self.left = min(self.burst, self.left + (now - self.filled) * self.per_s)
        self.filled = now
        if self.left < 1:
            return False
        self.left -= 1
        return True
