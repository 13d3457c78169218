"""Faults at system calls: `strace` attaches to a stopped runner, and kills it or refuses the n-th call of a name.

`when=N` counts per name of a call, not across all that are traced: points are counted the same way, and a point
counts only if its fault fired.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .preloaded import Ended, Launcher, wait_until

CHANGING = (
    *("mkdir", "mkdirat", "open", "openat", "creat", "write", "pwrite64", "writev", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "rmdir", "ftruncate", "truncate", "fsync", "fdatasync", "syncfs", "sync", "link", "linkat"),
    *("symlink", "symlinkat", "chmod", "fchmod", "fallocate", "flock", "kill", "tgkill", "pidfd_send_signal"),
    *("vfork", "fork", "clone", "clone3", "pipe2", "pidfd_open"),
)
READING = ("read", "pread64", "getdents64")
CALL = re.compile(r"^(\w+)\((.*)")
OF_NO_INTEREST = re.compile(r"/proc/|/sys/|site-packages|/usr/|/etc/|/dev/null|pipe:|socket:|anon_inode")


@dataclass(frozen=True)
class Point:
    """The n-th call of a name; `about` is what it does there in a run without a fault."""

    call: str
    number: int
    about: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number}"


@dataclass(frozen=True)
class Traced:
    """A run under strace."""

    ended: Ended
    lines: Sequence[str]

    @property
    def injected(self) -> int | None:
        """Index of the line at which a call was refused."""
        return next((number for number, line in enumerate(self.lines) if "(INJECTED)" in line), None)


def trace(
    launcher: Launcher, results: Path, arguments: Sequence[str], env: Mapping[str, str], inject: str = ""
) -> Traced:
    """Run the suite with its results in a folder, and a fault such as `write:signal=KILL:when=3`."""
    output = results.with_suffix(".trace")
    runner = launcher.start("--results-dir", str(results), *arguments, env=env, stopped=True)
    status = Path(f"/proc/{runner.pid}/status")
    wait_until(lambda: "State:\tT" in status.read_text(), "the stop of the runner")
    names = ",".join(f"?{name}" for name in (*CHANGING, *READING))
    fault = ["-e", f"inject={inject}"] if inject else []
    strace = subprocess.Popen(
        ["strace", "-y", "-s", "80", "-o", str(output), "-e", f"trace={names}", *fault, "-p", str(runner.pid)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text() or strace.poll() is not None, "strace")
        runner.go_on()
        ended = runner.wait()
        strace.wait(10)
    finally:
        runner.kill()
        strace.kill()
        strace.communicate()
    lines = output.read_text(errors="replace").replace(str(results), "RESULTS").splitlines()
    output.unlink()
    return Traced(ended, lines)


def points(lines: Sequence[str], *, reading: bool = False) -> list[Point]:
    """Every call of a run that changes something, or that may be refused."""
    counts: Counter[str] = Counter()
    found: list[Point] = []
    for line in lines:
        match = CALL.match(line)
        if match is None:
            continue
        call, rest = match[1], match[2]
        counts[call] += 1
        opens_to_read = call in ("open", "openat") and "O_CREAT" not in rest and "O_TRUNC" not in rest
        if call in READING or opens_to_read:
            wanted = reading and "RESULTS" in rest
        else:
            wanted = OF_NO_INTEREST.search(rest.partition(",")[0]) is None
        if wanted:
            found.append(Point(call, counts[call], rest[:160]))
    return found
