"""The seed-shaped runner under the faults of the disk: how often it leaves a wrong state, and goes on from it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .framework import Campaign
from .preloaded import clean_environment

SEED_SHAPE = Path(__file__).with_name("seed_shape.py")
VARIANTS = ("a", "b", "c")


def command(campaign: Campaign, run_dir: Path) -> list[str]:
    """A run of three cases that do nothing; the same command again is its resume."""
    return [campaign.python, str(SEED_SHAPE), str(run_dir), "/bin/true", "1", *VARIANTS]


def runs(command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**clean_environment(), **(env or {})}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def ends_wrong(campaign: Campaign, run_dir: Path) -> bool:
    """Whether the resume without a fault fails, or takes a file for complete that nobody can read."""
    return runs(command(campaign, run_dir)).returncode != 0 or not readable(run_dir)


def readable(run_dir: Path) -> bool:
    try:
        files = [run_dir / variant / name for variant in VARIANTS for name in ("config.json", "results.json")]
        return all(isinstance(json.loads(file.read_bytes()), dict) for file in files)
    except (OSError, ValueError):
        return False


def share_wrong(campaign: Campaign, folder: Path, tries: Sequence[Callable[[Path], None]]) -> str:
    """How many of several faults, each in a run directory of its own, end wrong."""
    wrong = 0
    for number, attempt in enumerate(tries):
        run_dir = folder / f"peer-{number}"
        attempt(run_dir)
        wrong += ends_wrong(campaign, run_dir)
    return f"{wrong}/{len(tries)} wrong after its resume"


def under_strace(campaign: Campaign, folder: Path, fault: str, numbers: Sequence[int], *, stays: bool = False) -> str:
    """One fault at the n-th `write` of its worker thread, for each n; `-f`, for that thread does all the work.

    A fault that `stays` meets the later writes too, as a full disk does: Python writes once more when it closes a file.
    """

    def at(number: int) -> Callable[[Path], None]:
        strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=write",
            "-e",
            f"inject=write:{fault}:when={number}{'+' * stays}",
        ]

        def attempt(run_dir: Path) -> None:
            runs([*strace, *command(campaign, run_dir)])

        return attempt

    return share_wrong(campaign, folder, [at(number) for number in numbers])


if __name__ == "__main__":
    sys.exit("a part of the fault campaign")
