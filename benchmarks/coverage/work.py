"""The work of a run, piece by piece, so that processes can share it."""

from __future__ import annotations

from dataclasses import dataclass

from .designs import designs
from .rates import RateDesign, RateFound, rate_designs
from .simulated import Design, Measured, measure

__all__ = ["Task", "do", "pieces", "tasks"]

QUICK_SETS, QUICK_SHARE = 400, 9
"""A quick run simulates so few data sets, of every ninth design."""


@dataclass(frozen=True)
class Task:
    """One design by its place in its list, since functions don't travel between processes."""

    is_rate: bool
    place: int
    quick: bool
    seed: int


def pieces(quick: bool) -> tuple[list[RateDesign], list[Design]]:
    """What a run goes through."""
    return rate_designs(quick), designs()[:: QUICK_SHARE if quick else 1]


def tasks(quick: bool, seed: int) -> list[Task]:
    """One task for each piece, in their order."""
    exact, simulated = (range(len(each)) for each in pieces(quick))
    return [*(Task(True, i, quick, seed) for i in exact), *(Task(False, i, quick, seed) for i in simulated)]


def do(task: Task) -> RateFound | Measured:
    """Do one of them."""
    exact, simulated = pieces(task.quick)
    if task.is_rate:
        return exact[task.place].find()
    design = simulated[task.place]
    sets, checked = (QUICK_SETS, 1) if task.quick else (design.sets, 5)
    return measure(design, task.seed, sets, checked)
