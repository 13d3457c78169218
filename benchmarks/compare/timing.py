"""How long each peer takes for a number of cases, all in turn, and with how much memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .measured import Used, measure
from .peers import BASELINE, Ready
from .project import CONFIG, TRIVIAL, Case, Template

__all__ = ["Cell", "Clock", "Column", "Load", "columns", "time_column"]

PARALLELISM = 2
WHOLE = (200, 1_000)
CELL_LIMIT_S = 600.0
CELL_SHARE = 1 / 8
"""A cell is stopped after ten minutes, or after this share of all the time."""


@dataclass(frozen=True)
class Column:
    """One workload, for all peers."""

    case: Case
    cases: int

    @property
    def title(self) -> str:
        """In the table."""
        return f"{self.case.name}, {self.cases:,}"


@dataclass(frozen=True)
class Cell:
    """What one peer took for a column.

    Attributes:
        used: None if it came to nothing.
        why_not: Why it did.
    """

    used: Used | None = None
    why_not: str = ""


def columns(cases: Sequence[int]) -> Sequence[Column]:
    """The workloads, in the order in which they are measured: what is left out for lack of time comes last.

    Args:
        cases: How many, each for both workloads; empty for a whole measurement.
    """
    wanted = [Column(case, n) for n in cases or WHOLE for case in (TRIVIAL, CONFIG)]
    return wanted if cases else [*wanted, Column(TRIVIAL, 10_000)]


@dataclass
class Clock:
    """What may still be spent, and how fast each peer was so far.

    Attributes:
        end_s: On the monotonic clock.
        cell_limit_s: For one cell.
        seconds_per_case: Peer and case -> of the largest number of cases that ran to its end.
    """

    end_s: float
    cell_limit_s: float
    seconds_per_case: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """One that begins now."""
        return cls(time.monotonic() + seconds, min(CELL_LIMIT_S, max(seconds, 0.0) * CELL_SHARE))

    def expected_s(self, peer: str, column: Column) -> float:
        """What a cell will take at the peer's rate so far; 0 if that isn't known."""
        return self.seconds_per_case.get((peer, column.case.name), 0.0) * column.cases

    def refusal(self, peer: str, column: Column) -> str:
        """Why a cell isn't begun; empty if it is."""
        expected_s = self.expected_s(peer, column)
        if expected_s > self.cell_limit_s:
            return f"stopped (≈ {expected_s / 60:.0f} min)"
        if time.monotonic() + expected_s > self.end_s:
            return "no time left"
        return ""


def time_column(
    column: Column, ready: Sequence[Ready], template: Template, folder: Path, clock: Clock, told: Callable[[str], None]
) -> dict[str, Cell]:
    """One column: the baseline first, then all peers in turn, the fast ones before those that may take all the time."""
    found: dict[str, Cell] = {}
    in_turn = sorted(ready, key=lambda each: (each.peer.name != BASELINE, clock.expected_s(each.peer.name, column)))
    for each in in_turn:
        found[each.peer.name] = cell = time_cell(column, each, template, folder, clock)
        took = f"{cell.used.wall_s:.1f} s, {cell.used.cpu_s:.1f} s of CPU" if cell.used else cell.why_not
        told(f"{column.title}, {each.peer.name}: {took}")
    return found


def time_cell(column: Column, ready: Ready, template: Template, folder: Path, clock: Clock) -> Cell:
    """One peer, in a fresh project."""
    if refusal := clock.refusal(ready.peer.name, column):
        return Cell(why_not=refusal)
    project = template.copy(folder)
    env = template.environment(project, column.case, column.cases, PARALLELISM)
    command = ready.command(ready.peer.command, column.cases, PARALLELISM)
    log = folder.with_name("log")
    log.unlink(missing_ok=True)
    limit_s = min(clock.cell_limit_s, clock.end_s - time.monotonic())
    used = measure(command, project, env, log, limit_s)
    if used.exit_code is None:
        return Cell(why_not=f"stopped (> {limit_s:.0f} s)" if limit_s == clock.cell_limit_s else "no time left")
    if used.exit_code != 0:
        return Cell(why_not=f"failed: {last_line(log)}")
    missing = column.cases - sum(1 for _ in results(project)) if column.case.module else 0
    if missing:
        return Cell(why_not=f"failed: {missing} results are missing")
    clock.seconds_per_case[ready.peer.name, column.case.name] = used.wall_s / column.cases
    return Cell(used)


def results(project: Path) -> Iterator[Path]:
    """The results in a project, ours one level down."""
    yield from project.glob("results/case-*/results.json")
    yield from project.glob("results/compare/*/case-*/results.json")


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it said nothing"


@dataclass(frozen=True)
class Load:
    """How busy the machine was with other things since this was made; all that is measured must have been reaped.

    Attributes:
        busy_s: CPU seconds of all processes since the machine started.
        own_s: Of these, of this process and of what it has started.
        at_s: On the monotonic clock.
    """

    busy_s: float = field(default_factory=lambda: machine_cpu_s())
    own_s: float = field(default_factory=lambda: sum(os.times()[:4]))
    at_s: float = field(default_factory=time.monotonic)

    def others_share(self) -> float:
        """The share of all CPUs that others took."""
        now = Load()
        others_s = (now.busy_s - self.busy_s) - (now.own_s - self.own_s)
        return max(0.0, others_s) / ((now.at_s - self.at_s) * (os.cpu_count() or 1))


def machine_cpu_s() -> float:
    """User, nice and system, from the first line of /proc/stat."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
