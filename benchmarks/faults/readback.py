"""What is on disk after a fault, read without a line of the product: whole files, one truth, nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUNNERS_FILES = ("config.json", "run.json", "environment.json")


@dataclass
class Found:
    """A run directory as an outsider reads it.

    Attributes:
        lines: The finished lines of the journal.
        starts: How often each case was started, counted by the cases themselves.
        torn: What nobody should ever find.
    """

    path: Path
    lines: list[bytes] = field(default_factory=list[bytes])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    starts: dict[str, int] = field(default_factory=dict[str, int])
    torn: list[str] = field(default_factory=list[str])

    @property
    def successes(self) -> Counter[str]:
        """How often each case is recorded as succeeded."""
        return Counter(
            e["variant"] for e in self.events if (e["event"], e.get("status")) == ("case_ended", "succeeded")
        )


def run_directories(results: Path) -> list[Path]:
    """Whole run directories, oldest first; dot-names are what a crash left half built."""
    return sorted(path for path in results.glob("exp/*") if path.is_dir() and not path.name.startswith("."))


def read_back(path: Path) -> Found:
    """Read a run directory."""
    found = Found(path)
    for name in ("run.json", "environment.json"):
        if not (path / name).exists():
            found.torn.append(f"{name} is missing")
    for file in sorted(path.rglob("*")):
        if file.name in RUNNERS_FILES:
            found.torn += unreadable(file)
        if file.name.startswith("uncommitted") and not file.read_bytes().endswith(b"\n"):
            found.torn.append(f"{file.name} is cut off")
        if file.name == "starts":
            found.starts[file.parent.name] = len(file.read_bytes())
    *finished, _unfinished = (path / "journal.jsonl").read_bytes().split(b"\n")
    found.lines = finished
    for number, line in enumerate(finished, start=1):
        try:
            found.events.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            found.torn.append(f"journal.jsonl, line {number}: {line[:40]!r}")
    return found


def unreadable(file: Path) -> list[str]:
    if not file.is_file():  # reading a pipe would wait for ever
        return [f"{file.parent.name}/{file.name} is no file"]
    try:
        whole = isinstance(json.loads(file.read_bytes()), dict)
    except (OSError, ValueError) as error:
        return [f"{file.parent.name}/{file.name}: {error}"]
    return [] if whole else [f"{file.parent.name}/{file.name}: no object"]


def acknowledged(stdout: str) -> set[str]:
    """The cases that the runner has said to have succeeded, as text or with --json."""
    said = {line.split(" ")[1] for line in stdout.splitlines() if line.startswith("[OK] ")}
    for line in stdout.splitlines():
        if line.startswith("{") and line.endswith("}"):
            event = json.loads(line)
            if (event.get("event"), event.get("status")) == ("case_ended", "succeeded"):
                said.add(event["variant"])
    return said


def complaints(before: Found | None, after: Found, variants: Collection[str]) -> list[str]:
    """What is wrong with a run that a resume has completed, given what the fault had left of it."""
    wrong = [f"after the resume: {text}" for text in after.torn]
    if dict(after.successes) != dict.fromkeys(variants, 1):
        wrong.append(f"recorded as succeeded: {dict(after.successes)}")
    if before is None:
        return wrong
    wrong += [f"left torn: {text}" for text in before.torn]
    if after.lines[: len(before.lines)] != before.lines:
        wrong.append("finished lines of the journal changed")
    wrong += repeated(before.successes, before.starts, after.starts)
    return wrong


def repeated(done: Mapping[str, int], before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Cases that had succeeded, and were started again all the same."""
    return [f"{name} had succeeded and ran again" for name in done if after.get(name) != before.get(name)]
