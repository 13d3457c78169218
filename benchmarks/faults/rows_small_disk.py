"""F6: disks that are too small, from no byte at all to enough; and three real ones."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import peer
from .framework import Campaign, Outcome, skipped
from .preloaded import Ended, Launcher, launchers, make_project, spread
from .readback import complaints, read_back, run_directories
from .rows_failpoints import memory_folder

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("small_disk.c")
PROMISE = (
    "a disk of any size: non-zero exit with path and cause, nothing torn, and --resume completes once there is room"
)
ENVIRONMENT = {"FIXED": "/", "CASES": "a,b,bad"}
PLENTY = 1 << 40


def small_disks(campaign: Campaign) -> Outcome:
    """F6: sizes spread evenly over what a run needs, and a little more."""
    if shutil.which("gcc") is None:
        return skipped("F6", PROMISE, "gcc is not installed: NO SMALL DISK WAS TRIED")
    started = time.monotonic()
    with memory_folder(campaign, "F6") as folder:
        library = folder / "small_disk.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        project = make_project(folder / "project", ROOT)
        (project / "notes.txt").write_text("not committed\n")
        preload = {"LD_PRELOAD": str(library)}
        with launchers(campaign.workers, project, folder, campaign.python, env=preload) as made:
            needed = PLENTY - fill(made[0], folder / "reference", PLENTY)[1]
            count = 16 if campaign.quick else 400
            sizes = [round(number * (needed + 200) / (count - 1)) for number in range(count)]
            results = spread(made, sizes, lambda one, size: try_size(one, folder / f"disk-{size}", size), quiet)
            real = [real_disk(campaign, made[0], folder, size) for size in ("12k", "24k", "40k")]
        peers = [round(number * 800 / 9) for number in range(10)]
        told = peer.share_wrong(campaign, folder, [peer_disk(campaign, folder, library, size) for size in peers])
    tried = [(f"{size} bytes", *result) for size, result in zip(sizes, results, strict=True)]
    tried += [(f"tmpfs of {size}", *result) for size, result in zip(("12k", "24k", "40k"), real, strict=True) if result]
    bad = [f"{name}: {wrong}" for name, _, wrong in tried if wrong]
    fired = sum(was_full for _, was_full, _ in tried)
    if fired < 0.8 * len(tried):
        bad.append(f"only {fired} of {len(tried)} disks were too small")
    return Outcome(
        row="F6", promise=PROMISE, tried=len(tried), held=len(tried) - sum(bool(wrong) for *_, wrong in tried),
        survivors_or_bad=bad, fired=fired, seconds=time.monotonic() - started, peer=told,
        detail={"bytes of a whole run": needed, "real tmpfs": sum(result is not None for result in real)},
    )  # fmt: skip


def quiet(_done: int) -> None:
    pass


def fill(launcher: Launcher, results: Path, size: int, *arguments: str) -> tuple[Ended, int]:
    """A pass on a disk with so many bytes left; its end, and the bytes left then."""
    counter = results.with_suffix(".left")
    counter.write_bytes(struct.pack("q", size))
    environment = {**ENVIRONMENT, "DISK_LEFT": str(counter), "DISK_FOLDER": str(results)}
    ended = launcher.run("--results-dir", str(results), "-p", "2", *arguments, env=environment)
    return ended, struct.unpack("q", counter.read_bytes())[0]


def try_size(launcher: Launcher, results: Path, size: int) -> tuple[bool, str]:
    """Whether the disk was full, and what is wrong with how that ended."""
    try:
        ended, left = fill(launcher, results, size)
        return left < 64, "; ".join(judge(launcher, results, ended))
    finally:
        shutil.rmtree(results, ignore_errors=True)


def judge(launcher: Launcher, results: Path, ended: Ended) -> list[str]:
    """What is wrong with a pass on a small disk, and with the next one on a large one."""
    wrong: list[str] = []
    cause = os.strerror(errno.ENOSPC)
    told = [line for line in (ended.stdout + ended.stderr).splitlines() if cause in line and "/" in line]
    if "Traceback" in ended.stderr:
        wrong.append(f"traceback: {ended.stderr.strip().splitlines()[-1][:200]}")
    elif ended.code != 0 and not told:
        wrong.append(f"exit code {ended.code} without path and cause: {ended.stderr.strip()[:200]!r}")
    runs = run_directories(results)
    before = read_back(runs[0]) if runs else None
    if ended.code == 0 and (before is None or set(before.successes) != {"a", "b", "bad"}):
        wrong.append("exit code 0, and not every case is recorded as succeeded")
    again = launcher.run("--results-dir", str(results), *(("--resume", "latest") if runs else ()), env=ENVIRONMENT)
    if again.code != 0:
        return [*wrong, f"the next pass ended with {again.code}: {again.stderr.strip()[:300]}"]
    return wrong + complaints(before, read_back(run_directories(results)[0]), ("a", "b", "bad"))


def peer_disk(campaign: Campaign, folder: Path, library: Path, size: int) -> Callable[[Path], None]:
    def attempt(run_dir: Path) -> None:
        counter = folder / "peer.left"
        counter.write_bytes(struct.pack("q", size))
        environment = {"LD_PRELOAD": str(library), "DISK_LEFT": str(counter), "DISK_FOLDER": str(folder / "peer-")}
        peer.runs(peer.command(campaign, run_dir), environment)

    return attempt


def real_disk(campaign: Campaign, launcher: Launcher, folder: Path, size: str) -> tuple[bool, str] | None:
    """The same on a small tmpfs; None where nobody may mount one."""
    place = folder / f"tmpfs-{size}"
    place.mkdir()
    with mounted(["-t", "tmpfs", "-o", f"size={size}", "tmpfs"], place) as is_mounted:
        if not is_mounted:
            campaign.progress("F6: NO REAL SMALL DISK WAS TRIED: nothing can be mounted here")
            return None
        ended = launcher.run("--results-dir", str(place / "r"), "-p", "2", env=ENVIRONMENT)
        was_full = ended.code != 0
        subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
        return was_full, "; ".join(judge(launcher, place / "r", ended))


@contextmanager
def mounted(what: Sequence[str], place: Path) -> Generator[bool]:
    """A file system at a place, for a while; False if it can't be mounted."""
    done = subprocess.run(["mount", *what, str(place)], capture_output=True) if os.geteuid() == 0 else None
    try:
        yield done is not None and done.returncode == 0
    finally:
        if done is not None and done.returncode == 0:
            unmount(place)


def unmount(place: Path) -> None:
    """Unmount as soon as nobody is left there; lazily if somebody stays."""
    end = time.monotonic() + 10
    while subprocess.run(["umount", str(place)], capture_output=True).returncode != 0:
        if time.monotonic() > end:
            subprocess.run(["umount", "-l", str(place)], capture_output=True)
            return
        time.sleep(0.02)
