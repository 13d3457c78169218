"""What an entry point says while it runs: lines of JSON in `tracking.jsonl`, in its case's folder.

    from suitecase import tracking

    with tracking.track(config):                    completed, failed (with the traceback) or cancelled
        tracking.log("info", "begun", rows=1000)
        for step in range(100):
            tracking.metric("loss", loss, step)
            tracking.progress(step + 1, 100)
            if tracking.cancelled():
                break
        tracking.result("accuracy", 0.81)

What was told is in the file when the call returns, though the process be killed. Nothing that is told, and no disk
that refuses, ends the experiment. By hand, without a case's folder, the same calls do nothing and say so once.
docs/tracking.md has the format, and how to write it without this package.
"""

from suitecase.tracking.current import (
    artifact,
    cancelled,
    complete,
    configure,
    cost,
    current,
    fail,
    log,
    log_batch,
    metric,
    observe,
    progress,
    result,
    track,
)
from suitecase.tracking.logging_handler import LoggingHandler
from suitecase.tracking.policy import Limits, Policy
from suitecase.tracking.tracker import Cancelled, Tracker

__all__ = [
    "Cancelled",
    "Limits",
    "LoggingHandler",
    "Policy",
    "Tracker",
    "artifact",
    "cancelled",
    "complete",
    "configure",
    "cost",
    "current",
    "fail",
    "log",
    "log_batch",
    "metric",
    "observe",
    "progress",
    "result",
    "track",
]
