"""What it costs to tell something through `suitecase.tracking`, beside `logging` to a file in the same process.

    python benchmarks/tracking.py

Machines are noisy: the calls run in turn, in batches, and the best batch of each counts.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from suitecase import tracking  # noqa: E402

CALLS, BATCHES = 2_000, 40
BUDGET_US = 20.0


def main() -> None:
    """Print microseconds per call, and the ratio to logging."""
    with tempfile.TemporaryDirectory() as folder, file_logger(Path(folder, "peer.log")) as logger:
        limits: tracking.Limits = {"max_logs_per_s": 1e9, "max_log_burst": 1e9}
        with tracking.track(folder, **limits):
            measured = measure(
                {
                    "logging, FileHandler": lambda: logger.info("step done: step=%d loss=%f", 3, 0.25),
                    "log": lambda: tracking.log("info", "step done", step=3, loss=0.25),
                    "metric": lambda: tracking.metric("loss", 0.25, 3),
                    "result": lambda: tracking.result("accuracy", 0.81),
                    "progress, tight loop": lambda: tracking.progress(3, 10),
                    "cancelled": tracking.cancelled,
                }
            )
    peer = measured["logging, FileHandler"]
    print(f"Python {sys.version.split()[0]}, best of {BATCHES} batches of {CALLS:,} calls; budget {BUDGET_US:g} µs")
    for name, microseconds in measured.items():
        print(f"{name:22} {microseconds:7.2f} µs   {microseconds / peer:5.2f} × logging")


def measure(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds per call, of the best batch."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(BATCHES):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], (time.perf_counter() - begun) / CALLS * 1e6)
    return best


@contextmanager
def file_logger(path: Path) -> Generator[logging.Logger]:
    """Logging as most programs set it up: time, level and name before the message, flushed line by line."""
    logger = logging.getLogger("peer")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


if __name__ == "__main__":
    main()
