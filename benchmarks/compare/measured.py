"""What one command takes with everything that it starts: wall, CPU and memory of the whole tree. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Used", "become_reaper", "descendants", "end_all", "measure", "wait_until"]

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.005
WAIT_S = 0.05
SAMPLE_S = 0.1
STRAGGLERS_S = 3.0
"""How long processes may outlive the command before they are ended: helpers of pools take a moment."""


@dataclass(frozen=True)
class Used:
    """What one command took.

    Attributes:
        wall_s: Until the command itself ended.
        cpu_s: User and system, of it and of everything that it started.
        peak_bytes: The largest sum of the proportional set sizes of all its processes, seen every 0.1 s.
        exit_code: Negative for a signal; None if it was stopped at its limit.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    exit_code: int | None


def become_reaper() -> None:
    """Have orphans of everything that is started from now on come to this process, so that nothing escapes the sum."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel has no child subreapers")


def measure(command: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path, limit_s: float) -> Used:
    """Run a command to its end, or to its limit. This process must be the reaper and have no other children.

    Args:
        log: What it prints is appended.
    """
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    cpu_s, peak_bytes, sampled, ended = 0.0, 0, started, 0.0
    exit_code: int | None = None
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        now = time.monotonic()
        if pid:
            cpu_s += used.ru_utime + used.ru_stime
            if pid == process.pid:
                ended = now
                process.returncode = exit_code = os.waitstatus_to_exitcode(status)
            continue
        if now - (ended + STRAGGLERS_S if ended else started + limit_s) > 0:
            stopped = not ended
            cpu_s += end_all()
            process.returncode = -signal.SIGKILL if stopped else exit_code
            return Used((now if stopped else ended) - started, cpu_s, peak_bytes, exit_code)
        if now - sampled > SAMPLE_S:
            peak_bytes, sampled = max(peak_bytes, sum(map(proportional_bytes, descendants()))), now
        time.sleep(POLL_S)
    return Used(ended - started, cpu_s, peak_bytes, exit_code)


def descendants() -> list[int]:
    """The processes below this one, zombies left out."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        try:
            # A child is listed with the thread that started it.
            for file in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                children = [int(pid) for pid in file.read_text().split()]
                found += children
                waiting += children
        except OSError:  # it has just ended
            continue
    return [pid for pid in found if not is_zombie(pid)]


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, be it waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def proportional_bytes(pid: int) -> int:
    """A process's memory, what it shares divided among those that share it; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def end_all() -> float:
    """Kill everything below this process, and give the CPU seconds that it had used."""
    cpu_s = 0.0
    while True:
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            pid, _, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return cpu_s
        cpu_s += used.ru_utime + used.ru_stime
        if not pid:
            time.sleep(POLL_S)


def wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Poll until something is true; whether it came true in time."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(WAIT_S)
    return True
