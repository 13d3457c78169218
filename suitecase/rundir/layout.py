"""The names in a run directory, and nothing else knows them. `docs/run-directory.md` describes the format."""

import re
from pathlib import Path
from typing import Final, Literal

__all__ = [
    "ATTEMPTS",
    "ATTEMPT_LOG",
    "CANCEL",
    "CONFIG",
    "DEAD_LETTERS",
    "ENVIRONMENT",
    "FORMAT_VERSION",
    "INSPECT_RUNS",
    "ITEMS",
    "JOURNAL",
    "LIMITS",
    "PATCH",
    "RESULTS",
    "RUN",
    "RUNNER_LOG",
    "RUN_NAME",
    "STATUSES",
    "TRACKING",
    "Status",
    "attempt_log",
    "attempt_record",
    "experiment_folder",
]

FORMAT_VERSION: Final = 1

RUN = "run.json"
ENVIRONMENT = "environment.json"
JOURNAL = "journal.jsonl"
PATCH = "uncommitted.patch"
RUNNER_LOG = "runner.log"
CANCEL = "cancel"
LIMITS = "limits.bin"

CONFIG = "config.json"
RESULTS = "results.json"
TRACKING = "tracking.jsonl"
ITEMS = "items.jsonl"
DEAD_LETTERS = "dead_letters.jsonl"

INSPECT_RUNS = ".runs"
"""Where the run directories of an experiment in Inspect mode lie, beside its logs."""

RUN_NAME = re.compile(r"(?P<moment>\d{8}_\d{6})_(?P<code>[^/]+)")
ATTEMPTS = ".attempts"
"""Where a launcher whose attempts outlive the runner, and these attempts, tell each other what they have to."""

ATTEMPT_LOG = re.compile(r"attempt-(?P<number>\d+)\.log")

Status = Literal[
    "pending", "running", "succeeded", "failed", "timed_out", "cancelled", "interrupted", "skipped", "unknown"
]
"""Of a case, an attempt or a run. `unknown`: nothing tells, as in a directory that has no journal."""

STATUSES: tuple[Status, ...] = (
    "succeeded", "failed", "timed_out", "cancelled", "interrupted", "skipped", "running", "pending", "unknown",
)  # fmt: skip
"""In the order in which they are listed."""


def attempt_log(number: int) -> str:
    """The name of an attempt's log."""
    return f"attempt-{number}.log"


def attempt_record(number: int) -> str:
    """The name of the file in which an attempt that outlives the runner tells of itself."""
    return f"attempt-{number}.json"


def experiment_folder(run_dir: Path) -> Path:
    """The folder of the experiment that a run directory belongs to."""
    return run_dir.parent.parent if run_dir.parent.name == INSPECT_RUNS else run_dir.parent
