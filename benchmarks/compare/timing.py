"""How long each peer takes for a number of cases, all in turn, and with how much memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .measured import Used, measure
from .peers import Ready
from .project import CONFIG, TRIVIAL, Case, Template

__all__ = ["Cell", "Clock", "Column", "Load", "columns", "time_column"]

PARALLELISM = 2
CELL_LIMIT_S = 600.0


@dataclass(frozen=True)
class Column:
    """One workload, for all peers."""

    case: Case
    cases: int
    rounds: int = 1

    @property
    def title(self) -> str:
        """In the table."""
        return f"{self.case.name}, {self.cases:,}"


@dataclass(frozen=True)
class Cell:
    """What one peer took for a column.

    Attributes:
        used: Of the round with the least CPU.
        ratio_wall, ratio_cpu: Over the baseline's in the same round; the least of the rounds.
        why_not: Why there is none.
    """

    used: Used | None = None
    ratio_wall: float = 0.0
    ratio_cpu: float = 0.0
    why_not: str = ""


def columns(quick: bool) -> Sequence[Column]:
    """The workloads, in the order in which they are measured: what is left out for lack of time comes last."""
    if quick:
        return (Column(TRIVIAL, 200), Column(CONFIG, 200))
    return (
        Column(TRIVIAL, 200, 2), Column(CONFIG, 200, 2), Column(TRIVIAL, 1_000), Column(CONFIG, 1_000),
        Column(TRIVIAL, 10_000),
    )  # fmt: skip


@dataclass
class Clock:
    """What may still be spent, and how fast each peer was so far.

    Attributes:
        end_s: On the monotonic clock.
        seconds_per_case: Peer and case -> of the largest number of cases that ran to its end.
    """

    end_s: float
    seconds_per_case: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def refusal(self, peer: str, column: Column) -> str:
        """Why a cell isn't begun; empty if it is."""
        expected_s = self.seconds_per_case.get((peer, column.case.name), 0.0) * column.cases
        if expected_s > CELL_LIMIT_S:
            return f"stopped (≈ {expected_s / 60:.0f} min)"
        if time.monotonic() + expected_s > self.end_s:
            return "no time left"
        return ""


def time_column(
    column: Column, ready: Sequence[Ready], template: Template, folder: Path, clock: Clock, told: Callable[[str], None]
) -> dict[str, Cell]:
    """One column: each round takes all peers in turn, the baseline first."""
    rounds: dict[str, list[Cell]] = {}
    for _ in range(column.rounds):
        baseline: Used | None = None
        for each in ready:
            name = each.peer.name
            if any(cell.why_not for cell in rounds.get(name, [])):
                continue
            cell = time_cell(column, each, template, folder, clock)
            baseline = baseline or cell.used
            if cell.used and baseline:
                ratios = cell.used.wall_s / baseline.wall_s, cell.used.cpu_s / baseline.cpu_s
                cell = Cell(cell.used, *ratios)
            rounds.setdefault(name, []).append(cell)
            told(f"{column.title}, {name}: {cell.why_not or f'{cell.ratio_wall:.2f}, {cell.ratio_cpu:.2f}'}")
    return {name: best(cells) for name, cells in rounds.items()}


def best(cells: Sequence[Cell]) -> Cell:
    """The least of the rounds; nothing if one of them came to nothing."""
    if refused := next((cell for cell in cells if cell.used is None), None):
        return refused
    used = min((cell.used for cell in cells if cell.used), key=lambda used: used.cpu_s)
    return Cell(used, min(cell.ratio_wall for cell in cells), min(cell.ratio_cpu for cell in cells))


def time_cell(column: Column, ready: Ready, template: Template, folder: Path, clock: Clock) -> Cell:
    """One peer, in a fresh project."""
    if refusal := clock.refusal(ready.peer.name, column):
        return Cell(why_not=refusal)
    project = template.copy(folder)
    env = template.environment(project, column.case, column.cases, PARALLELISM)
    command = ready.command(ready.peer.command, column.cases, PARALLELISM)
    log = folder.with_name("log")
    log.unlink(missing_ok=True)
    limit_s = min(CELL_LIMIT_S, clock.end_s - time.monotonic())
    used = measure(command, project, env, log, limit_s)
    if used.exit_code is None:
        return Cell(why_not="stopped (> 10 min)" if limit_s == CELL_LIMIT_S else "no time left")
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
