"""docs/reliability.md: what a whole run of the campaign found."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

from .framework import Outcome, Row
from .harness import ROOT

INTRODUCTION = """\
# What has been tried to break it

`python3 dev.py faults` puts real runs under real faults and counts what held; it writes this page. A row fails if a
promise broke once, or if its fault was never seen to fire. The last column is the runner that one writes first, under
the same fault: a thread pool, `subprocess.run`, `json.dump`, and a resume that skips what has results
(`benchmarks/faults/seed_shape.py`).
"""

REPLAY = """\
## How to replay

All chance derives from the seed: `python3 dev.py faults --only F2 --seed {seed}` draws the same again, and a broken
promise names its round. Moments are drawn as times, so what a kill hits depends on the machine too. `--quick` tries a
few rounds of everything in three minutes. Root alone can run some rows, and some need `strace` or `bwrap`: what can't
run says so.
"""


def write_document(
    path: Path, outcomes: Mapping[str, Outcome], rows: Mapping[str, Row], seed: int, seconds: float
) -> None:
    """Write the page, whole or not at all."""
    parts = [
        INTRODUCTION,
        where(seed, seconds),
        table(outcomes),
        *broken(outcomes),
        *kill_matrix(outcomes),
        "## The rows\n",
        *(section(name, outcome, rows[name]) for name, outcome in outcomes.items()),
        REPLAY.format(seed=seed),
    ]
    unfinished = path.with_suffix(".new")
    unfinished.write_text("\n".join(parts), encoding="utf-8")
    unfinished.replace(path)


def where(seed: int, seconds: float) -> str:
    commit = git("rev-parse", "--short", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{date.today()}, commit `{commit}`, seed {seed}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs (load at the end {load}), "
        f"{seconds / 60:.0f} minutes.\n"
    )


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def table(outcomes: Mapping[str, Outcome]) -> str:
    lines = ["| row | promise | held / tried | fault fired | seconds | seed-shaped runner |", "|---" * 6 + "|"]
    for outcome in outcomes.values():
        if outcome.skipped:
            lines.append(f"| {outcome.row} | {outcome.promise} | skipped: {outcome.skipped} | | | |")
        else:
            held = f"{outcome.held} / {outcome.tried}{'' if outcome.passed else ' **broken**'}"
            cells = (outcome.row, outcome.promise, held, outcome.fired, f"{outcome.seconds:.0f}", outcome.peer)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def broken(outcomes: Mapping[str, Outcome]) -> list[str]:
    lines = [f"- {bad}" for outcome in outcomes.values() for bad in outcome.survivors_or_bad]
    return ["## Broken\n", "\n".join(lines) + "\n"] if lines else []


def kill_matrix(outcomes: Mapping[str, Outcome]) -> list[str]:
    """F1 cell by cell: survivors / processes, every kind of runner in a column of its own."""
    found = outcomes["F1"].detail.get("matrix") if "F1" in outcomes else None
    if not found:
        return []
    cells = cast(dict[str, dict[str, dict[str, str]]], found)
    runners = list(dict.fromkeys(runner for rows in cells.values() for row in rows.values() for runner in row))
    lines = [f"| stimulus | descendants | {' | '.join(runners)} |", "|---" * (2 + len(runners)) + "|"]
    for stimulus, rows in cells.items():
        for descendants, row in rows.items():
            texts = [row.get(runner, "") for runner in runners]
            lines.append(f"| {stimulus} | {descendants} | {' | '.join(texts)} |")
    legend = (
        "`*`: ended by the next `--resume`. `!`: something else broke, see above. Empty: no such thing, or not tried.\n"
    )
    return ["## The kill matrix: survivors / processes\n", "\n".join(lines) + "\n", legend]


def section(name: str, outcome: Outcome, row: Row) -> str:
    """What a row does, its figures, and how to run it alone."""
    lines = [f"**{name}.** {' '.join((inspect.getdoc(row) or '').split())}", ""]
    lines += [f"- {key.replace('_', ' ')}: {figure(value)}" for key, value in outcome.detail.items() if key != "matrix"]
    return "\n".join(lines).rstrip() + "\n"


def figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {figure(one)}" for key, one in cast(dict[str, Any], value).items())
    if isinstance(value, list):
        return "; ".join(figure(one) for one in cast(list[Any], value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
