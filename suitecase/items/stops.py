"""What ends a loop early: too many failures, too much money, a signal, a file, somebody who says so."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

__all__ = ["Breaker", "Stop", "Window", "stop_on_signals"]

POLL_EVERY_S = 0.25


@dataclass(frozen=True)
class Breaker:
    """Stops the loop once more than a fraction of the last rows failed: an expired key, a dead server.

    It counts only once `window` rows have ended in this pass; skipped ones don't count.

    Attributes:
        max_failure_rate: 0 ≤ rate < 1; the loop goes on while the rate is at most this.
        window: How many rows; the last ones that ended.
    """

    max_failure_rate: float = 0.2
    window: int = 50

    def problems(self) -> list[str]:
        """Why these values are none."""
        found: list[str] = []
        if not 0 <= self.max_failure_rate < 1:
            found.append(
                f"breaker.max_failure_rate is {self.max_failure_rate!r}: give a fraction, at least 0, below 1."
            )
        if self.window < 1:
            found.append(f"breaker.window is {self.window!r}: give a whole number, at least 1.")
        return found


class Window:
    """The last outcomes, as a breaker sees them."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.failed: deque[bool] = deque(maxlen=breaker.window)
        self.failures = 0

    def add(self, failed: bool) -> str | None:
        """Count an outcome; a sentence if the breaker opens."""
        if len(self.failed) == self.breaker.window:
            self.failures -= self.failed[0]
        self.failed.append(failed)
        self.failures += failed
        rate = self.failures / self.breaker.window
        if len(self.failed) < self.breaker.window or rate <= self.breaker.max_failure_rate:
            return None
        return (
            f"{self.failures} of the last {self.breaker.window} failed, more than {self.breaker.max_failure_rate:.0%}"
        )


class Stop:
    """Whether the loop is to end, and why; the first reason counts.

    Attributes:
        by: One word for the reason, None while the loop goes on.
        reason: A sentence.
        error: What is to be raised at the end instead of giving a summary.
    """

    def __init__(self, cancel_file: Path, cancelled: Callable[[], bool] | None) -> None:
        self.cancel_file = cancel_file
        self.cancelled = cancelled
        self.by: str | None = None
        self.reason: str | None = None
        self.error: BaseException | None = None
        self.next_poll_s = -math.inf

    def now(self, by: str, reason: str, error: BaseException | None = None) -> None:
        """Start no further item."""
        if self.by is None:
            self.by, self.reason, self.error = by, reason, error

    def asked(self) -> bool:
        """Whether to stop; looks for the cancel file and asks `cancelled` a few times a second at most."""
        if self.by is None and (now_s := time.monotonic()) >= self.next_poll_s:
            self.next_poll_s = now_s + POLL_EVERY_S
            if self.cancel_file.exists():
                self.now("cancelled", f"the file {self.cancel_file} says so")
            elif self.cancelled is not None:
                self.ask(self.cancelled)
        return self.by is not None

    def ask(self, cancelled: Callable[[], bool]) -> None:
        try:
            if cancelled():
                self.now("cancelled", "cancelled() says so")
        except Exception as error:
            self.now("cancelled", f"cancelled() raised {type(error).__name__}: {error}", error)

    def pause(self, seconds: float) -> None:
        """Wait, but not on after a stop."""
        end_s = time.monotonic() + seconds
        while not self.asked() and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, POLL_EVERY_S))


@contextmanager
def stop_on_signals(stop: Stop) -> Generator[None]:
    """SIGTERM and SIGINT stop the loop between items; the second one does what it did before.

    Only the main thread hears signals: elsewhere this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.getsignal(number) for number in numbers}

    def hear(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        stop.now(name, f"{name}: nothing more is started, what is in flight ends first")
        # Not print: the signal may have come in the middle of one.
        os.write(2, f"{name}: stopping after what is in flight; once more to stop at once\n".encode())
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, hear)
    try:
        yield
    finally:
        restore()
