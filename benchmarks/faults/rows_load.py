"""Rows about load: many cases, many at a time, much output."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from .framework import Campaign, Outcome, Row
from .harness import (
    Project,
    TooLateError,
    clean_environment,
    flags_of_suites,
    guardian_of,
    project,
    read_proc,
    server_of,
    stat_of,
    tree_of,
    wait_for,
)


@dataclass
class Check:
    """A figure and its limit."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def bad(self) -> str:
        if self.value <= self.limit:
            return ""
        return f"{self.name}: {self.value:.3g} {self.unit} > {self.limit:g} {self.unit}"


def outcome_of(
    campaign: Campaign, row: str, promise: str, checks: list[Check], fired: int, started: float, peer: str,
    detail: Mapping[str, object],
) -> Outcome:  # fmt: skip
    """The outcome of a row whose promise is a list of limits."""
    slack = {"s": campaign.slack_s, "ms": 1e3 * campaign.slack_s}
    checks = [replace(check, limit=check.limit + slack.get(check.unit, 0.0)) for check in checks]
    bad = [f"{row}, seed {campaign.seed}: {check.bad}" for check in checks if check.bad]
    figures = {check.name: f"{check.value:.3g} {check.unit} (limit {check.limit:g})" for check in checks}
    return Outcome(
        row, promise, tried=len(checks), held=len(checks) - len(bad), survivors_or_bad=bad, fired=fired,
        seconds=time.monotonic() - started, detail={"figures": figures, **detail}, peer=peer,
    )  # fmt: skip


# --- What a runner uses -----------------------------------------------------------------------------------------------


@dataclass
class Meter:
    """CPU seconds and peak memory of a runner, its guardian and fork servers, their cases not counted, from outside.

    The kernel forgets a process that has ended, so it is looked at every 50 ms: what is used after the last look
    is missed.
    """

    runner: int
    cpu_s: dict[int, float] = field(default_factory=dict[int, float])
    peak_bytes: dict[int, int] = field(default_factory=dict[int, int])
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.look_on)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def look_on(self) -> None:
        guardian: int | None = None
        server: int | None = None
        looked = 0
        while not self.ended.wait(0.05):
            if guardian is None and looked % 10 == 0:  # it may come a little after the runner
                guardian = guardian_of(self.runner)
            if looked % 10 == 0 and guardian is not None:  # another one once modules are learned
                server = server_of(guardian)
            looked += 1
            for pid in (self.runner, guardian, server):
                if pid and (stat := stat_of(pid)):
                    self.cpu_s[pid] = stat.cpu_s
                    self.peak_bytes[pid] = max(self.peak_bytes.get(pid, 0), peak_of(pid))

    @property
    def total_cpu_s(self) -> float:
        return sum(self.cpu_s.values())

    @property
    def total_peak_mb(self) -> float:
        return sum(self.peak_bytes.values()) / 1e6


def peak_of(pid: int) -> int:
    return 1024 * int((re.search(rb"VmHWM:\s+(\d+)", read_proc(pid, "status")) or [0, 0])[1])


def pss_of(pids: list[int]) -> int:
    """The memory of processes in bytes, what they share counted once."""
    found = (re.search(rb"\nPss:\s+(\d+)", read_proc(pid, "smaps_rollup")) for pid in pids)
    return sum(1024 * int(match[1]) for match in found if match)


def descriptors_of(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


# --- L1: many cases ---------------------------------------------------------------------------------------------------

MANY = "1,000 cases that do nothing cost the runner at most 40 ms each, also with a journal of 100,000 lines"
OVERHEAD_LIMIT_MS = 40.0
JOURNAL_LINES = 100_000


@dataclass(frozen=True)
class Measured:
    """A run of many cases that do nothing: all of its time, start-up included."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    succeeded: int


def throughput(campaign: Campaign) -> Outcome:
    """`/bin/true` as the entry point, at `-p 2`. What counts is all CPU of runner and guardian, and all wall time over
    that of `xargs -P 2` on the same command lines, both per case, start-up included. Then the same as a resume of a run
    whose journal has 100,000 lines already. With `--launcher warm` the entry point is an empty Python script, and the
    server is counted too."""
    started = time.monotonic()
    cases = 150 if campaign.quick else 1000
    lines = JOURNAL_LINES // (10 if campaign.quick else 1)
    entry_point, files = ("nothing.py", {"nothing.py": ""}) if campaign.launcher else ("/bin/true", {})
    with project(campaign, "L1", entry_point, cases, files) as home:
        fresh = measured(home)
        xargs_s = xargs(home, cases)
    with project(campaign, "L1-long", entry_point, cases, files) as home:
        only_one = home.start("--only", "case-0")
        wait_for(lambda: only_one.poll() is not None, "a run of one case ended")
        lengthen(home, lines)
        long = measured(home, "--resume", str(home.runs[-1]))
    checks: list[Check] = []
    for what, run in (("fresh run", fresh), (f"journal of {lines:,} lines", long)):
        checks += [
            Check(f"{what}: CPU per case", 1e3 * run.cpu_s / cases, OVERHEAD_LIMIT_MS, "ms"),
            Check(f"{what}: cases not succeeded", cases - run.succeeded, 0, ""),
        ]
        if not campaign.quick:  # a few cases don't outweigh the start-up, least of all on a busy machine
            over_ms = 1e3 * (run.wall_s - xargs_s) / cases
            checks.append(Check(f"{what}: wall per case over xargs", over_ms, OVERHEAD_LIMIT_MS, "ms"))
    detail = {
        "cases": cases, "wall_s": round(fresh.wall_s, 2), "xargs_s": round(xargs_s, 2),
        "wall_with_long_journal_s": round(long.wall_s, 2), "peak_mb": round(fresh.peak_mb),
        "peak_with_long_journal_mb": round(long.peak_mb),
    }  # fmt: skip
    peer = "" if campaign.launcher else seed_shaped_throughput(campaign, cases)
    return outcome_of(campaign, "L1", MANY, checks, min(fresh.succeeded, long.succeeded), started, peer, detail)


def seed_shaped_throughput(campaign: Campaign, cases: int) -> str:
    with project(campaign, "L1-seed-shaped", "/bin/true", cases, {}) as home:
        theirs = measured(home, seed_shaped=True)
    return f"{1e3 * theirs.cpu_s / cases:.1f} ms CPU per case, {theirs.wall_s:.1f} s"


def measured(home: Project, *flags: str, seed_shaped: bool = False) -> Measured:
    started = time.monotonic()
    runner = home.start_seed_shaped(2) if seed_shaped else home.start("-p", "2", *flags)
    with Meter(runner.pid) as meter:
        wait_for(lambda: runner.poll() is not None, "1,000 cases ended", 300)
        wall_s = time.monotonic() - started
    if runner.returncode != 0:
        raise TooLateError(f"a run of cases that do nothing: {home.last_words(runner)}")
    succeeded = 0 if seed_shaped else sum(status == "succeeded" for status in home.statuses().values())
    return Measured(wall_s, meter.total_cpu_s, meter.total_peak_mb, succeeded)


def xargs(home: Project, cases: int) -> float:
    """Wall seconds of `xargs -P 2` on the same command lines."""
    lines = (shlex.join(["--output_dir", str(home.runs[-1] / f"case-{n}"), "--number", str(n)]) for n in range(cases))
    started = time.monotonic()
    program = ["/bin/true"] if home.entry_point == "/bin/true" else [home.campaign.python, home.entry_point]
    command = ["xargs", "-P", "2", "-L", "1", *program]
    subprocess.run(command, cwd=home.root, env=clean_environment(), input="\n".join(lines).encode(), check=True)
    return time.monotonic() - started


# The lines carry checksums that depend on all lines before, so the runner's own writer makes them.
LENGTHEN = """\
import sys
from pathlib import Path
from experiment_runner import Journal, read_journal

path, lines = Path(sys.argv[1]), int(sys.argv[2])
written = read_journal(path)
journal = Journal(path, written)
kinds = ("attempt_started", "attempt_ended", "case_ended", "run_ended")
started, attempt_ended, case_ended, run_ended = (next(e for e in written.events if e["event"] == k) for k in kinds)
for attempt in range(2, 2 + (lines - len(written.events)) // 3):
    journal.append(**started | {"attempt": attempt})
    journal.append(**attempt_ended | {"attempt": attempt, "status": "failed", "exit_code": 1})
    journal.append(**case_ended | {"attempts": attempt, "status": "failed"})
journal.append(**run_ended)
journal.commit()
journal.close()
"""


def lengthen(home: Project, lines: int) -> None:
    """Make a journal as long as that of a case which failed many thousand times."""
    command = [home.campaign.python, "-c", LENGTHEN, str(home.runs[-1] / "journal.jsonl"), str(lines)]
    subprocess.run(command, cwd=home.root, env=home.environment, check=True, timeout=120)


# --- L2: many at a time -----------------------------------------------------------------------------------------------

AT_ONCE = "200 cases live at once: up within 5 s, gone within the grace and a second, 6 MB and 3 descriptors each"
LIVE = 200
GRACE_S = 2.0

LIVING = """\
import sys, time

open(f"{sys.argv[2]}/up", "w").close()
time.sleep(86400)
"""


def concurrency(campaign: Campaign) -> Outcome:
    """200 cases of a Python entry point that imports nothing but built-in modules, at `-p all`. Up: from the start of
    the command until every case has written a file. Stop: from TERM to the runner until it and all cases are gone.
    Memory: the proportional set size of runner, guardian and cases. Descriptors: those of runner and guardian; a case
    has its own three besides."""
    started = time.monotonic()
    grace = ["--grace", f"{GRACE_S:g}"] if "--grace" in flags_of_suites(campaign.python) else []
    grace_s = GRACE_S if grace else 10.0
    live = 60 if campaign.quick else LIVE
    with project(campaign, "L2", "live.py", live, {"live.py": LIVING}) as home:
        ours = lived(home, False, ["-p", "all", *grace], grace_s)
    with project(campaign, "L2-seed-shaped", "live.py", live, {"live.py": LIVING}) as home:
        theirs = lived(home, True, [], grace_s)
    checks = [
        Check("up after", ours.up_s, 5.0, "s"),
        Check("gone after", ours.gone_s, grace_s + 1.0, "s"),
        Check("survivors", ours.survivors, 0, ""),
        Check("memory per case", ours.pss_bytes / live / 1e6, 6.0, "MB"),
        Check("descriptors of runner and guardian per case", ours.descriptors / live, 3.0, ""),
    ]
    peer = (
        f"up after {theirs.up_s:.1f} s, {theirs.survivors}/{live} alive after TERM, "
        f"{theirs.pss_bytes / live / 1e6:.1f} MB per case"
    )
    detail = {"cases": live, "grace_s": grace_s, "processes": ours.processes}
    return outcome_of(campaign, "L2", AT_ONCE, checks, live, started, peer, detail)


@dataclass(frozen=True)
class Lived:
    """Many cases at once: how quickly they came and went, and what they took while they lived."""

    up_s: float
    gone_s: float
    survivors: int
    pss_bytes: int
    descriptors: int
    processes: int


def lived(home: Project, seed_shaped: bool, flags: list[str], grace_s: float) -> Lived:
    started = time.monotonic()
    runner = home.start_seed_shaped(home.cases) if seed_shaped else home.start(*flags)
    pattern = "seed-shaped/*/up" if seed_shaped else "results/campaign/*/*/up"

    def is_up() -> bool:
        if runner.poll() is not None:
            raise TooLateError(f"the runner ended before its cases were up: {home.last_words(runner)}")
        return len(list(home.root.glob(pattern))) == home.cases

    wait_for(is_up, f"{home.cases} cases up", every_s=0.05)
    up_s = time.monotonic() - started
    tree = tree_of(runner.pid)
    guardian = guardian_of(runner.pid)
    pss_bytes = pss_of(tree)
    descriptors = sum(descriptors_of(pid) for pid in (runner.pid, guardian) if pid)
    starts = {pid: stat.start for pid in tree if (stat := stat_of(pid))}
    runner.terminate()
    stopped = time.monotonic()

    def left() -> list[int]:
        runner.poll()  # reaps it
        return [pid for pid, start in starts.items() if (stat := stat_of(pid)) and stat.start == start]

    try:
        wait_for(lambda: not left(), "all gone", grace_s + 1.0)
    except TooLateError:
        pass
    return Lived(up_s, time.monotonic() - stopped, len(left()), pss_bytes, descriptors, len(tree))


# --- L3: much output --------------------------------------------------------------------------------------------------

OUTPUT = "1 GB of output reaches the log byte for byte, and costs the runner under 1 s of CPU and 150 MB of memory"
MEGABYTE = 1 << 20

# Says the hash of what it wrote in a file of its own: the log is compared with what was meant.
TALKING = """\
import hashlib, os, random, sys

seed, size = os.environ["CAMPAIGN_OUTPUT"].split()
rng = random.Random(seed)
block = rng.randbytes(1 << 20)
digest, pieces, total = hashlib.blake2b(), 0, 0

def say(data):
    global pieces, total
    digest.update(data)
    total += len(data)
    while data:
        data = data[os.write(1 + pieces % 2, data):]
        pieces += 1

say(b"x" * 10_000_000 + b"\\n")  # one line
say(b"".join(b"\\rstep %d of 1000000" % n for n in range(1_000_000)))
while total < int(size):
    say(b"%d\\n" % rng.getrandbits(64) + block)
with open(sys.argv[2] + "/said", "w") as file:
    file.write(digest.hexdigest())
"""


def volume(campaign: Campaign) -> Outcome:
    """One case writes 1 GB to stdout and stderr in turn: a line of 10 MB, a million updates of a progress bar that end
    with a carriage return, and random bytes. The case hashes what it writes; its log must have the same hash. CPU and
    peak memory are those of runner and guardian, start-up included."""
    started = time.monotonic()
    size = (100 if campaign.quick else 1000) * 10**6
    variables = {"CAMPAIGN_OUTPUT": f"{campaign.seed} {size}"}
    with project(campaign, "L3", "talk.py", 1, {"talk.py": TALKING}, "standard", **variables) as home:
        runner = home.start()
        with Meter(runner.pid) as meter:
            wait_for(lambda: runner.poll() is not None, "the talking case ended", 300)
        if runner.returncode != 0:
            raise TooLateError(f"the talking case: {home.last_words(runner)}")
        folder = home.runs[-1] / "case-0"
        log = folder / "attempt-1.log"
        logged = log.stat().st_size
        same = (folder / "said").read_text() == hash_of(log)
        shutil.rmtree(folder)
    with project(campaign, "L3-seed-shaped", "talk.py", 1, {"talk.py": TALKING}, "standard", **variables) as home:
        peer_runner = home.start_seed_shaped(1)
        with Meter(peer_runner.pid) as peer_meter:
            wait_for(lambda: peer_runner.poll() is not None, "the talking case ended", 300)
    checks = [
        Check("bytes that differ (0: none, 1: some)", 0 if same else 1, 0, ""),
        Check("CPU", meter.total_cpu_s, 1.0, "s"),
        Check("peak memory", meter.total_peak_mb, 150.0, "MB"),
    ]
    peer = f"{peer_meter.total_cpu_s:.2f} s CPU, {peer_meter.total_peak_mb:.0f} MB"
    fired = int(logged >= size)
    return outcome_of(campaign, "L3", OUTPUT, checks, fired, started, peer, {"log_bytes": logged})


def hash_of(path: Path) -> str:
    digest = hashlib.blake2b()
    with path.open("rb") as file:
        while block := file.read(MEGABYTE):
            digest.update(block)
    return digest.hexdigest()


ROWS: dict[str, Row] = {"L1": throughput, "L2": concurrency, "L3": volume}
