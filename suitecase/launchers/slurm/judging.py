"""What an attempt's silence and Slurm's word mean together, where its record tells of no end.

Two sources tell of an attempt, and neither is believed alone: its own record in the case's folder, and Slurm's queue.
What an attempt wrote of its end is its end, whatever Slurm says. Where it wrote none, Slurm's word counts once the
attempt has been silent too: a node that Slurm has lost may go on with its case, and then is left to. Clocks of two
machines are never compared; how long something is silent is measured by the runner's.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiment_runner import Ended, Refused
from suitecase.launchers.attempt import LIMIT_MARGIN_S, batch_file
from suitecase.launchers.following import Followed
from suitecase.launchers.slurm import commands
from suitecase.launchers.slurm.commands import PENDING, TERMINAL, Task

__all__ = ["Tracked", "explained", "fence", "verdict"]

VISIBLE_S = 15.0
"""How long a record may take to become visible here after its task has ended."""

SILENT_S = 35.0
"""After how long without a sign an attempt on a lost node counts as dead: three beats, and some."""

HELD = re.compile(
    r"jobhe?o?ld|badconstraints|invalidaccount|invalidqos|partitionnodelimit|partitiontimelimit|partitionconfig"
    r"|launch failed requeued held|requeued in held state|dependencyneversatisfied|reservationdeleted|maxmemperlimit"
    r"|(assoc|qos)max\w+per(job|node)|qosmin|qosnotallowed",
    re.IGNORECASE,
)
"""How reasons of squeue(1) begin that don't pass by themselves: held, or more than any job there may have."""

Status = Literal["", "timed_out", "cancelled"]
Fault = Literal["", "lost", "preempted", "oom"]

EXPLAINED: Mapping[str, tuple[Fault, Status, str]] = {
    "NODE_FAIL": ("lost", "", "its node failed"),
    "BOOT_FAIL": ("lost", "", "its node failed to boot"),
    "PREEMPTED": ("preempted", "", "preempted"),
    "COMPLETED": ("lost", "", "it ended, and could not record how"),
    "OUT_OF_MEMORY": ("oom", "", "out of memory"),
    "TIMEOUT": ("", "timed_out", "reached Slurm's limit of time"),
    "DEADLINE": ("", "timed_out", "reached the job's deadline"),
    "CANCELLED": ("", "cancelled", "its job was cancelled in Slurm"),
}
"""What a state means for an attempt that has begun: a fault of `retry_on`, or a status; and words."""


@dataclass
class Tracked:
    """A task of an array that Slurm has accepted.

    Attributes:
        asked: Whether Slurm was ever asked about it.
        said: What it said last; None if it no longer lists the task.
        cancelled: Whether we asked for its end.
        gone_s, held_s: Since when Slurm says that it is over, or held; by the runner's clock, as all times here.
        beat, beat_s: Its last sign of life, and when that was first seen.
        cancel_s, abandon_s: When it is cancelled by Slurm, and when it is no longer waited for.
        unsure: An end that Slurm's word may explain better.
    """

    followed: Followed
    job: int
    asked: bool = False
    said: Task | None = None
    cancelled: bool = False
    gone_s: float | None = None
    held_s: float | None = None
    beat: int | None = None
    beat_s: float = -math.inf
    cancel_s: float = math.inf
    abandon_s: float = math.inf
    unsure: Ended | None = None

    @property
    def mark(self) -> int:
        return self.followed.launch.mark

    @property
    def index(self) -> int:
        return self.followed.index

    @property
    def is_over(self) -> bool:
        """Whether Slurm says that it doesn't run, and won't."""
        return self.said is None or self.said.state in TERMINAL

    @property
    def waits(self) -> bool:
        """Whether Slurm says that it has not begun, or is to begin again."""
        return self.said is not None and self.said.state in PENDING


def fence(spec: Path) -> None:
    """Keep an attempt from running, or from doing harm if it lives after all; remove its secrets."""
    with suppress(OSError):
        batch_file(spec, "fenced").touch()
    with suppress(OSError):
        batch_file(spec, "environment").unlink(missing_ok=True)


def explained(tracked: Tracked, end: Ended, now: float, grace_s: float) -> Ended | None:
    """Why a scheduler's signal came, if Slurm says: its limit of time, a preemption, somebody's scancel.

    Returns:
        None as long as Slurm may still say it.
    """
    said = tracked.said or Task("")
    limit_s = math.inf if said.limit_s is None else said.limit_s
    if said.state == "CANCELLED":
        return replace(end, status="cancelled", fault="", cause="its job was cancelled in Slurm")
    if said.state == "TIMEOUT" or (end.duration_s or 0) >= limit_s - LIMIT_MARGIN_S - grace_s:
        return replace(end, status="timed_out", fault="", cause=f"reached Slurm's limit of time, {limit_s:g} s")
    if said.state in TERMINAL or tracked.gone_s is None or now - tracked.gone_s >= VISIBLE_S:
        return end
    return None


def verdict(tracked: Tracked, names: set[str], now: float, held_s: float) -> Ended | Refused | None:
    """How an attempt has ended that doesn't say so; None as long as that is open.

    Args:
        names: The files of its batch.
        held_s: How long it may be held.
    """
    if now >= tracked.abandon_s:
        return Ended(tracked.mark, None, status="cancelled", cause="killed, no record of its end")
    if tracked.followed.started and (tracked.is_over or tracked.waits):
        return of_the_silent(tracked, now)
    if tracked.is_over:
        return of_the_unclaimed(tracked, names, now)
    return of_the_held(tracked, now, held_s) if tracked.waits else None


def of_the_silent(tracked: Tracked, now: float) -> Ended | None:
    """It has begun, and Slurm says that it is over, or waits again: it lives while it beats."""
    beat = tracked.followed.beat()
    if beat != tracked.beat or tracked.beat_s < 0:
        tracked.beat, tracked.beat_s = beat, now
    said = tracked.said or Task("")
    seen_by_slurm = said.state in TERMINAL - {"NODE_FAIL", "BOOT_FAIL"}
    if now - tracked.beat_s < (VISIBLE_S if seen_by_slurm else SILENT_S):
        return None
    fault, status, why = EXPLAINED.get(said.state, ("lost", "", "its processes on the node vanished"))
    node = f" on {said.node}" if said.node else ""
    words = words_of(tracked.followed.spec)
    cause = f"{why}{node} (Slurm: {in_words(tracked.said)}), no record of its end" + f": {words}" * bool(words)
    return Ended(tracked.mark, None, fault=fault, status=status, cause=cause)


def of_the_unclaimed(tracked: Tracked, names: set[str], now: float) -> Ended | Refused | None:
    """Its task is over and it never began: cancelled in the queue, or the node could not run it."""
    began = f"{tracked.index}.out" in names
    if tracked.cancelled and not began:
        return Ended(tracked.mark, None, status="cancelled", cause="cancelled while it waited")
    if tracked.gone_s is None or now - tracked.gone_s < VISIBLE_S:
        return None
    said = tracked.said or commands.accounting(tracked.job, tracked.index)
    state = said.state if said else ""
    if state == "CANCELLED" or (said is None and not began):
        return Ended(tracked.mark, None, status="cancelled", cause="its job was cancelled in Slurm")
    if state in ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED"):
        fault, _, why = EXPLAINED[state]
        return Ended(tracked.mark, None, fault=fault, cause=f"{why}, before it began")
    node = f" on {said.node}" if said and said.node else ""
    words = words_of(tracked.followed.spec) if began else ""
    silent = "it said nothing: does a setup line end it?" if began else "may that node write into the run directory?"
    hint = f": {words}" if words else f"; {silent}"
    return Refused(tracked.mark, cause=f"Slurm{node}: {in_words(said)}{hint}")


def of_the_held(tracked: Tracked, now: float, held_s: float) -> Refused | None:
    """It waits for something that doesn't pass by itself."""
    reason = tracked.said.reason if tracked.said else ""
    if not HELD.match(reason):
        tracked.held_s = None
        return None
    if tracked.held_s is None:
        tracked.held_s = now
    if now - tracked.held_s < held_s:
        return None
    return Refused(tracked.mark, cause=f"job {tracked.job}_{tracked.index} was held for {held_s:g} s: {reason}")


def in_words(task: Task | None) -> str:
    if task is None:
        return "it no longer knows the job"
    return task.state + (f", {task.reason}" if task.reason else "")


def words_of(spec: Path) -> str:
    """What a task said last, or why there was no room for its words."""
    if words := last_line(batch_file(spec, "out")):
        return words
    try:
        with tempfile.TemporaryFile(dir=spec.parent) as file:
            file.write(bytes(os.statvfs(spec.parent).f_bsize))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"{spec.parent}: {error.strerror}"
    return ""


def last_line(path: Path) -> str:
    """The last line of what a task itself said, shortened, and where there is more."""
    lines: list[str] = []
    with suppress(OSError):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    more = f" (more in {path})" if len(lines) > 1 or len(lines[-1]) > 300 else ""
    return lines[-1][:300] + more
