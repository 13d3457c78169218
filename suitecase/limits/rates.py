"""What may be limited: calls and tokens a minute, calls at a time, money."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

__all__ = ["Budget", "Rates"]


@dataclass(frozen=True)
class Rates:
    """Limits of one target, for all processes of a run together. None: no limit.

    Attributes:
        requests_per_min: Evenly spread: at most a second's worth at once.
        tokens_per_min: Input and output. What a call uses is known at its end, unless `acquire(tokens=…)` says it
            before: so it may be exceeded by what is in flight, and later calls wait the longer.
        max_concurrent: Calls in flight.
    """

    requests_per_min: float | None = None
    tokens_per_min: float | None = None
    max_concurrent: int | None = None

    def problems(self, where: str = "") -> list[str]:
        """Why these are no limits."""
        found = numbers_above_0(self, where, ("requests_per_min", "tokens_per_min"))
        if self.max_concurrent is not None and not is_whole(most := self.max_concurrent):
            found.append(f"{where}max_concurrent is {most!r}: give a whole number of at least 1.")
        return found

    def share(self, fraction: float) -> Rates:
        """A host's part of the limits; one call at a time is always let through."""
        return Rates(
            self.requests_per_min and self.requests_per_min * fraction,
            self.tokens_per_min and self.tokens_per_min * fraction,
            self.max_concurrent and max(1, int(self.max_concurrent * fraction)),
        )


@dataclass(frozen=True)
class Budget:
    """US dollars that may be spent. No further call begins once they are; what is in flight then is still paid.

    Attributes:
        run_usd: By all cases of the run.
        condition_usd: By all cases whose configs differ only in `seed`.
        case_usd: By one case, in all its attempts.
    """

    run_usd: float | None = None
    condition_usd: float | None = None
    case_usd: float | None = None

    def problems(self) -> list[str]:
        """Why this is no budget."""
        found = numbers_above_0(self, "budget.", tuple(each.name for each in fields(self)))
        if not found and (self.run_usd, self.condition_usd, self.case_usd) == (None, None, None):
            found.append("budget has no limit: give run_usd, condition_usd or case_usd.")
        return found


def numbers_above_0(holder: Rates | Budget, where: str, names: tuple[str, ...]) -> list[str]:
    return [
        f"{where}{name} is {value!r}: give a number above 0, or None for no limit."
        for name in names
        if (value := getattr(holder, name)) is not None and not is_above_0(value)
    ]


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_above_0(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
