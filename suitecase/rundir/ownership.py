"""Tells whether the runner of a run still lives, without disturbing it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suitecase.rundir import layout
from suitecase.rundir.files import read_object

__all__ = ["STALE_S", "Owner", "find_owner"]

STALE_S = 120.0
"""Seconds of silence after which a runner counts as gone, where only its heartbeat tells; it writes one every 20 s."""

OWNER_FILE = re.compile(r"\.owner-([1-9]\d*)")


@dataclass(frozen=True)
class Owner:
    """The runner of a run.

    Attributes:
        lives: Whether it still runs.
        evidence: What says so, in words.
    """

    lives: bool
    evidence: str
    pid: int | None = None
    host: str | None = None


def find_owner(run_dir: Path, event: dict[str, Any]) -> Owner:
    """The runner that began the last pass, as its `run_started` or `run_resumed` event names it.

    A living runner, or the guardian that still ends its cases, holds a lock on the journal, which the kernel frees
    however both end: better evidence than a pid, which may be another process by now. The lock of another machine may
    not be visible here; there, and where the file system has no locks, the age of the heartbeat decides.
    """
    pid, host = event.get("pid"), event.get("host")
    pid = pid if isinstance(pid, int) else None
    host = host if isinstance(host, str) else None
    locked = is_locked(run_dir / layout.JOURNAL)
    if locked:
        return Owner(True, "its runner holds the lock of the journal", pid, host)
    here = os.uname().nodename
    owner_file = newest_owner_file(run_dir)
    if locked is False and host == here and not owner_file:
        return Owner(False, "its runner is gone: nobody holds the lock of the journal", pid, host)
    file = owner_file or run_dir / layout.JOURNAL
    try:
        silent_s = time.time() - file.stat().st_mtime
    except OSError:
        return Owner(False, f"{file.name} is gone", pid, host)
    facts, _ = read_object(file) if file.name != layout.JOURNAL else (None, "")
    started = (facts or {}).get("start_time")
    if facts and facts.get("host") == here and isinstance(facts.get("pid"), int) and started:
        lives = start_time(facts["pid"]) == started and silent_s < 10 * STALE_S
        return Owner(lives, f"process {facts['pid']} {'still runs' if lives else 'is gone'}", facts["pid"], here)
    where = "this machine" if host == here else f"machine {host}"
    return Owner(silent_s < STALE_S, f"{where} was last heard of {max(0, silent_s):.0f} s ago", pid, host)


def is_locked(journal: Path) -> bool | None:
    """Whether somebody holds the lock of a journal; None where that can't be told.

    The lock is shared with other readers and given back at once: a runner that starts right then waits for it.
    """
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def newest_owner_file(run_dir: Path) -> Path | None:
    """The file that names the owner where a file system has no locks."""
    try:
        numbers = [int(found[1]) for name in os.listdir(run_dir) if (found := OWNER_FILE.fullmatch(name))]
    except OSError:
        return None
    return run_dir / f".owner-{max(numbers)}" if numbers else None


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None if it is gone or nobody shows it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
