"""docs/reliability.md: what a whole run of the campaign found."""

from __future__ import annotations

import inspect
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
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

LEGEND = (
    "`*`: ended by the next `--resume`. `!`: something else broke, see above. Empty: no such thing, or not tried.\n"
)

REPLAY = """\
## How to replay

All chance derives from the seed: `python3 dev.py faults --only F2 --seed {seed}` draws the same again, and a broken
promise names its round. Moments are drawn as times, so what a kill hits depends on the machine too. `--quick` tries a
few rounds of everything in three minutes. Root alone can run some rows, and some need `strace` or `bwrap`: what can't
run says so.
"""


OF_WARM = "## With `--launcher warm`\n"
AFTER_WARM = "## How to replay\n"


def write_document(
    path: Path, outcomes: Mapping[str, Outcome], rows: Mapping[str, Row], seed: int, seconds: float
) -> None:
    """Write the page, whole or not at all; its section about `--launcher warm` stays."""
    parts = [
        INTRODUCTION,
        where(seed, seconds),
        table(outcomes),
        *broken(outcomes),
        *kill_matrix(outcomes),
        "## The rows\n",
        *(section(name, outcome, rows[name]) for name, outcome in outcomes.items()),
        *section_of_warm(path),
        REPLAY.format(seed=seed),
    ]
    replace_whole(path, "\n".join(parts))


def section_of_warm(path: Path) -> list[str]:
    """The section of the page that is there, if it has one."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    _, title, rest = page.partition(OF_WARM)
    return [title + rest.partition(AFTER_WARM)[0].rstrip("\n") + "\n"] if title else []


def write_section_of_warm(
    path: Path, outcomes: Mapping[str, Outcome], rows: Mapping[str, Row], seed: int, seconds: float
) -> None:
    """Write the section about `--launcher warm` into the page that is there, in front of its end."""
    own = ("F10", "F11")  # the others are told of above
    tried = {name: outcome for name, outcome in outcomes.items() if not outcome.skipped}
    lines = ["| row | promise | held / tried | fault fired | seconds |", "|---" * 5 + "|"]
    for outcome in tried.values():
        held = f"{outcome.held} / {outcome.tried}{'' if outcome.passed else ' **broken**'}"
        lines.append(f"| {outcome.row} | {outcome.promise} | {held} | {outcome.fired} | {outcome.seconds:.0f} |")
    reasons: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        if outcome.skipped:
            reasons.setdefault(outcome.skipped, []).append(name)
    part = [
        OF_WARM,
        "`python3 dev.py faults --launcher warm` starts every suite with that flag, on entry points in Python.\n",
        where(seed, seconds),
        "\n".join(lines) + "\n",
        *(line.replace("## ", "### ", 1) if line.startswith("## ") else line for line in broken(tried)),
        *stimuli(tried),
        *(section(name, outcome, rows[name]) for name, outcome in tried.items() if name in own),
        "\n".join(f"**{name}.** {'; '.join(figures(outcome))}\n" for name, outcome in tried.items() if name not in own),
        "Left out:\n",
        "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()) + "\n",
    ]
    page = path.read_text(encoding="utf-8")
    before, end = page.partition(AFTER_WARM)[0], page[page.index(AFTER_WARM) :]
    before = before.partition(OF_WARM)[0].rstrip("\n") + "\n\n"
    replace_whole(path, before + "\n".join(part) + "\n" + end)


def stimuli(outcomes: Mapping[str, Outcome]) -> list[str]:
    """F1 with the kinds of descendants added up: survivors / processes."""
    found = cast(dict[str, dict[str, dict[str, str]]], outcomes["F1"].detail["matrix"])
    runners = list(dict.fromkeys(runner for rows in found.values() for row in rows.values() for runner in row))
    lines = [f"| survivors / processes | {' | '.join(runners)} |", "|---" * (1 + len(runners)) + "|"]
    for stimulus, rows in found.items():
        cells = [[row[runner] for row in rows.values() if runner in row] for runner in runners]
        lines.append(f"| {stimulus} | {' | '.join(map(added_up, cells))} |")
    return ["\n".join(lines) + "\n", LEGEND]


def added_up(cells: Sequence[str]) -> str:
    """`0/4` and `1/4 !` are `1/8 !`."""
    counts = [re.fullmatch(r"(\d+)/(\d+)(.*)", cell) for cell in cells]
    if not all(counts):
        return "; ".join(cells)
    alive, of = (sum(int(count[group]) for count in counts if count) for group in (1, 2))
    return f"{alive}/{of}{max((count[3] for count in counts if count), default='')}" if counts else ""


def replace_whole(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text, encoding="utf-8")
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
    return ["## The kill matrix: survivors / processes\n", "\n".join(lines) + "\n", LEGEND]


def section(name: str, outcome: Outcome, row: Row) -> str:
    """What a row does, its figures, and how to run it alone."""
    lines = [f"**{name}.** {' '.join((inspect.getdoc(row) or '').split())}", ""]
    lines += [f"- {text}" for text in figures(outcome)]
    return "\n".join(lines).rstrip() + "\n"


def figures(outcome: Outcome) -> list[str]:
    """What a row found, figure by figure."""
    return [f"{key.replace('_', ' ')}: {figure(value)}" for key, value in outcome.detail.items() if key != "matrix"]


def figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {figure(one)}" for key, one in cast(dict[str, Any], value).items())
    if isinstance(value, list):
        return "; ".join(figure(one) for one in cast(list[Any], value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
