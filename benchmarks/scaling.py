"""What a run costs from ten cases to a hundred thousand, when the cases themselves cost nothing.

    python3 -m benchmarks.scaling [--most 100000]

A launcher that starts nothing tells at once that each attempt has ended. What is left is the own work of the runner:
checking, writing configs, the journal, the scheduler. Each step is a process of its own, measured from outside.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SUITE = '''
"""Cases that cost nothing."""
import math, os, sys
from experiment_config import BaseExperimentConfig
from experiment_runner import Capacity, Ended, ExperimentCase, Local, Started, run_experiments_cli


class Nothing(Local):
    """Starts no process: every attempt has succeeded at once."""

    name = "nothing"

    def __init__(self):
        self.events = []

    def capacity(self, suite):
        return Capacity(math.inf, math.inf, None)

    def open(self, session, lock, wakeup):
        self.ended = 0

    def start(self, launches):
        for launch in launches:
            self.events += [Started(launch.mark, 1, "nowhere"), Ended(launch.mark, 0)]

    def wait(self, timeout_s):
        told, self.events = self.events[:1000], self.events[1000:]
        return told

    def close(self):
        pass


class Config(BaseExperimentConfig):
    model: str = "gpt-4"
    temperature: float = 0.0
    num_samples: int = 10

base = Config()
cases = [ExperimentCase(f"case-{n}", base.copy_with(num_samples=n)) for n in range(int(os.environ["CASES"]))]
run_experiments_cli(cases, os.environ["ENTRY"], "scale", launcher=Nothing())
'''


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds on the clock, CPU seconds of it and its children, bytes at its peak."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def cost_of(command: list[str], folder: Path, cases: int, expected: int = 0) -> Cost:
    """Run a command to its end."""
    variables = {**os.environ, "CASES": str(cases), "ENTRY": str(folder / "entry.py"), "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) != expected:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def measure(cases: int, folder: Path) -> list[str]:
    """A row of the table: one run of so many cases, and what can be asked of it afterwards."""
    suite = [sys.executable, "suite.py", "--results-dir", str(folder / f"results-{cases}")]
    dry = cost_of([*suite, "--dry-run"], folder, cases)
    ran = cost_of([*suite, "-q", "-p", "64"], folder, cases)
    run_dir = next((folder / f"results-{cases}" / "scale").glob("[0-9]*"))
    resumed = cost_of([*suite, "--resume", str(run_dir)], folder, cases)
    reading = [sys.executable, "-m", "suitecase"]
    shown = cost_of([*reading, "show", str(run_dir)], folder, cases)
    listed = cost_of([*reading, "ls", "--results-dir", str(folder / f"results-{cases}")], folder, cases)
    journal = (run_dir / "journal.jsonl").stat().st_size
    files = sum(len(names) for _, _, names in os.walk(run_dir))
    return [
        f"{cases:,}", f"{dry.cpu_s:.1f}", f"{dry.peak_bytes / 1e6:.0f}", f"{ran.wall_s:.1f}",
        f"{1000 * ran.cpu_s / cases:.2f}", f"{ran.peak_bytes / 1e6:.0f}", f"{resumed.cpu_s:.1f}",
        f"{resumed.peak_bytes / 1e6:.0f}", f"{shown.cpu_s:.1f}", f"{shown.peak_bytes / 1e6:.0f}", f"{listed.cpu_s:.1f}",
        f"{journal / cases:.0f}", f"{files / cases:.2f}",
    ]  # fmt: skip


COLUMNS = (
    "cases", "dry run CPU s", "MB", "run, wall s", "CPU ms a case", "MB", "resume when finished, CPU s", "MB",
    "`show` CPU s", "MB", "`ls` CPU s", "journal bytes a case", "files a case",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000, help="the largest number of cases (default: 100000)")
    most: int = parser.parse_args().most
    print(f"{date.today()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' ---: |' * len(COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="scaling-") as made:
        folder = Path(made)
        (folder / "suite.py").write_text(SUITE)
        (folder / "entry.py").write_text("")
        cases = 10
        while cases <= most:
            print(f"| {' | '.join(measure(cases, folder))} |", flush=True)
            cases *= 10
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{used.ru_utime + used.ru_stime:.0f} CPU s in all.")


if __name__ == "__main__":
    main()
