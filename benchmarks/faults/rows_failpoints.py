"""F4: the runner's own code dies at each change that it makes on the disk, half-written writes included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .framework import Campaign, Outcome
from .preloaded import clean_environment

ROOT = Path(__file__).resolve().parents[2]
PROMISE = "the runner's code dies at any change of the disk, inside a write too: old or new, never half, and it resumes"


@contextmanager
def memory_folder(campaign: Campaign, row: str) -> Generator[Path]:
    """A folder in memory where there is one: a process that is killed loses nothing that its system has taken."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else campaign.folder
    with TemporaryDirectory(prefix=f"faults-{row}-", dir=place) as folder:
        yield Path(folder)


def died_at_every_change(campaign: Campaign) -> Outcome:
    """F4: fork per point; see `failpoints.py`, which also replays one."""
    started = time.monotonic()
    per_scenario = 60 if campaign.quick else 860
    results: list[dict[str, Any]] = []
    with memory_folder(campaign, "F4") as folder:
        workers = [
            subprocess.Popen(
                [campaign.python, "-m", "benchmarks.faults.failpoints", str(folder / f"world-{number}"),
                 str(campaign.seed), str(number), str(campaign.workers), str(per_scenario)],
                cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )
            for number in range(campaign.workers)
        ]  # fmt: skip
        try:
            for worker in workers:
                assert worker.stdout is not None
                for line in worker.stdout:
                    results.append(json.loads(line))
                    if len(results) % 500 == 0:
                        campaign.progress(f"F4: {len(results)} points")
                assert worker.stderr is not None
                if worker.wait(60) != 0:
                    raise RuntimeError(f"a worker of F4 failed: {worker.stderr.read()[-1500:]}")
        finally:
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.communicate()
    bad = [f"{result['point']}: {result['wrong']}" for result in results if result["wrong"]]
    fired = sum(result["fired"] for result in results)
    return Outcome(
        row="F4", promise=PROMISE, tried=len(results), held=len(results) - len(bad), survivors_or_bad=bad, fired=fired,
        seconds=time.monotonic() - started,
        detail={
            "points by scenario": dict(Counter(result["point"].split("/")[0] for result in results)),
            "inside a write": sum(not result["point"].endswith("None") for result in results),
        },
    )  # fmt: skip
