"""A breaker: stop a run in which too many cases fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suitecase.policies.records import check, is_number, log, runner_of

if TYPE_CHECKING:
    from experiment_runner import Answer, HookRecord

__all__ = ["FailureRate"]


class FailureRate:
    """Aborts a run once more than a fraction of the last cases failed: an expired key, a full disk.

    The fraction is failures / `window`, also while fewer than `window` cases have ended: the first failures of a run
    don't end it. Cases that were cancelled or skipped don't count. A case counts once, as it ended last: its failure is
    taken back when it starts again. Each pass, a resume for example, begins anew.

    Args:
        max_failure_rate: A fraction, 0 ≤ rate < 1; the run goes on while the rate is at most this.
        window: How many cases; the last ones that ended.

    Raises:
        ValueError: With every argument that is out of range.

    >>> FailureRate(0.2, window=50)
    FailureRate(max_failure_rate=0.2, window=50)
    """

    def __init__(self, max_failure_rate: float = 0.2, window: int = 50) -> None:
        rate: object = max_failure_rate
        size: object = window
        problems: list[str] = []
        if not is_number(rate) or not 0 <= rate < 1:
            problems.append(f"max_failure_rate is {rate!r}: give a fraction, at least 0 and below 1.")
        if not is_number(size) or not isinstance(size, int) or size < 1:
            problems.append(f"window is {size!r}: give a whole number of cases, at least 1.")
        check(problems)
        self.max_failure_rate = max_failure_rate
        self.window = window
        self.failed: dict[str, bool] = {}  # by variant, the case that ended last at the end

    def __repr__(self) -> str:
        return f"FailureRate(max_failure_rate={self.max_failure_rate}, window={self.window})"

    @property
    def rate(self) -> float:
        """Failures among the last cases, as a fraction of the window."""
        return sum(self.failed.values()) / self.window

    def before_run(self, record: HookRecord) -> None:
        """Begin anew."""
        self.failed = {}

    def before_case(self, record: HookRecord) -> None:
        """Take back how a case ended that starts again."""
        self.failed.pop(record.variant, None)

    def after_case(self, record: HookRecord) -> Answer | None:
        """Count how the case ended; ABORT above the rate."""
        if record.status not in ("succeeded", "failed", "timed_out"):
            return None
        self.failed.pop(record.variant, None)
        self.failed[record.variant] = record.status != "succeeded"
        if len(self.failed) > self.window:
            del self.failed[next(iter(self.failed))]
        if self.rate <= self.max_failure_rate:
            return None
        failures = sum(self.failed.values())
        log.warning(
            "failure rate: %d of the last %d cases failed (window %d, at most %g): nothing more is started",
            failures, len(self.failed), self.window, self.max_failure_rate,
        )  # fmt: skip
        return runner_of(record).ABORT
