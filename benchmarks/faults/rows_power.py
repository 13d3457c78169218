"""F7: power cuts, on a real ext4 that loses all that was not synced."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import peer
from .framework import Campaign, Outcome, skipped
from .preloaded import Launcher, clean_environment, launchers, make_project, spread
from .readback import acknowledged, complaints, read_back, run_directories
from .rows_failpoints import memory_folder
from .rows_small_disk import unmount

ROOT = Path(__file__).resolve().parents[2]
PROMISE = (
    "power cuts while a suite runs: no acknowledged result is lost or empty, nothing is torn, and --resume completes"
)
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32) of linux/ext4.h
WITHOUT_FLUSHING_THE_LOG = 2
VARIANTS = ("a", *(f"slow{number}" for number in range(1, 9)), "b")
ENVIRONMENT = {"FIXED": "/", "CASES": ",".join(VARIANTS)}


@dataclass(frozen=True)
class Cut:
    """When the power goes: after so many results were said, or after so many seconds."""

    number: int
    after_said: int = 0
    after_s: float = 0.0

    def __str__(self) -> str:
        return f"cut {self.number} ({f'{self.after_said} said' if self.after_said else f'{self.after_s:.3f} s'})"


@dataclass(frozen=True)
class Machine:
    """An ext4 in a file, whose power can be cut."""

    image: Path
    place: Path

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True, capture_output=True)

    def cut(self) -> None:
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(descriptor)

    @property
    def is_off(self) -> bool:
        """Whether the fault fired: nothing can be written any more."""
        try:
            (self.place / "probe").write_text("x")
        except OSError:
            return True
        return False


@contextmanager
def machine(folder: Path, name: str) -> Generator[Machine]:
    made = Machine(folder / f"{name}.img", folder / name)
    made.place.mkdir()
    with made.image.open("wb") as image:
        image.truncate(48_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", made.image], check=True, capture_output=True)
    made.mount()
    try:
        yield made
    finally:
        unmount(made.place)


def power_cuts(campaign: Campaign) -> Outcome:
    """F7: half of the cuts as soon as some results are said, half at any time."""
    if (reason := obstacle(campaign)) is not None:
        return skipped("F7", PROMISE, reason)
    started = time.monotonic()
    chance = campaign.random("F7")
    with memory_folder(campaign, "F7") as folder, ExitStack() as stack:
        project = make_project(folder / "project", ROOT)
        (project / "notes.txt").write_text("not committed\n")
        machines = [stack.enter_context(machine(folder, f"machine-{n}")) for n in range(campaign.workers)]
        made = stack.enter_context(launchers(campaign.workers, project, folder, campaign.python))
        of = {launcher: machines[number] for number, launcher in enumerate(made)}
        begun = time.monotonic()
        made[0].run("--results-dir", str(machines[0].place / "reference"), "-p", "2", env=ENVIRONMENT)
        length_s = time.monotonic() - begun
        cuts = [a_cut(chance, number, length_s) for number in range(10 if campaign.quick else 200)]
        results = spread(made, cuts, lambda one, cut: cut_power(of[one], one, cut), teller(campaign, len(cuts)))
        told = peer_cuts(campaign, machines[0], 5 if campaign.quick else 20)
    bad = [f"{cut}: {wrong}" for cut, (_, _, wrong) in zip(cuts, results, strict=True) if wrong]
    return Outcome(
        row="F7", promise=PROMISE, tried=len(cuts), held=len(cuts) - len(bad), survivors_or_bad=bad,
        fired=sum(fired for fired, _, _ in results), seconds=time.monotonic() - started, peer=told,
        detail={
            "acknowledged results at stake": sum(said for _, said, _ in results),
            "cuts with some acknowledged": sum(said > 0 for _, said, _ in results),
            "cuts before all were": sum(said < len(VARIANTS) for _, said, _ in results),
        },
    )  # fmt: skip


def obstacle(campaign: Campaign) -> str | None:
    """Why no power can be cut here."""
    if os.geteuid() != 0:
        return "needs root: NO POWER CUT WAS TRIED"
    if missing := [name for name in ("mkfs.ext4", "mount", "umount") if shutil.which(name) is None]:
        return f"needs {', '.join(missing)}: NO POWER CUT WAS TRIED"
    try:
        with memory_folder(campaign, "F7") as folder, machine(folder, "probe") as probe:
            probe.cut()
            return None if probe.is_off else "the shutdown of ext4 has no effect here: NO POWER CUT WAS TRIED"
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no ext4 can be mounted from a file here ({error}): NO POWER CUT WAS TRIED"


def a_cut(chance: random.Random, number: int, length_s: float) -> Cut:
    if number % 2:
        return Cut(number, after_said=chance.randint(1, len(VARIANTS) - 2))
    return Cut(number, after_s=chance.uniform(0.05, length_s))


def teller(campaign: Campaign, of: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if done % 50 == 0:
            campaign.progress(f"F7: {done} of {of} cuts")

    return tell


def cut_power(machine: Machine, launcher: Launcher, cut: Cut) -> tuple[bool, int, str]:
    """Whether the cut fired, how many results were at stake, and what is wrong afterwards."""
    results = machine.place / f"cut-{cut.number}"
    runner = launcher.start("--results-dir", str(results), "-p", "2", env=ENVIRONMENT)
    until = time.monotonic() + (10.0 if cut.after_said else cut.after_s)
    while time.monotonic() < until:
        if cut.after_said and runner.stdout.read_text().count("[OK]") >= cut.after_said:
            break
        time.sleep(0.001)
    machine.cut()
    fired = machine.is_off
    # It goes on against a dead disk for a moment: what it says now counts as well.
    ended = runner.wait(2.0)
    stdout = runner.stdout.read_text()
    end_all_on(machine.place)
    unmount(machine.place)
    machine.mount()
    said = acknowledged(stdout)
    try:
        return fired, len(said), "; ".join(after_the_cut(launcher, results, stdout, said, ended.stderr))
    finally:
        shutil.rmtree(results, ignore_errors=True)


def end_all_on(place: Path) -> None:
    """Without power nothing runs: end every process with a file there, as a machine that went off has."""
    end = time.monotonic() + 10
    while holders := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if holds(pid, str(place))]:
        if time.monotonic() > end:
            raise TimeoutError(f"processes {holders} can't be ended")
        for pid in holders:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def holds(pid: int, place: str) -> bool:
    with suppress(OSError):
        files = [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
        return any(target_of(file).startswith(place) for file in (f"/proc/{pid}/cwd", *files))
    return False


def target_of(link: str) -> str:
    with suppress(OSError):
        return os.readlink(link)
    return ""


def after_the_cut(launcher: Launcher, results: Path, stdout: str, said: set[str], stderr: str) -> list[str]:
    wrong = ["traceback"] if "Traceback" in stderr else []
    runs = run_directories(results)
    if not runs and "Run directory:" in stdout:
        return [*wrong, "the run directory that was announced is gone"]
    before = read_back(runs[0]) if runs else None
    if before is not None:
        if lost := said - before.successes.keys():
            wrong.append(f"acknowledged, and lost: {sorted(lost)}")
        for event in before.events:
            if event["event"] == "case_ended" and event["variant"] in said:
                wrong += [
                    text
                    for name, facts in event["files"].items()
                    if (text := changed(before.path / event["variant"] / name, facts["size_bytes"]))
                ]
    again = launcher.run("--results-dir", str(results), *(("--resume", "latest") if runs else ()), env=ENVIRONMENT)
    if again.code != 0:
        return [*wrong, f"the next pass ended with {again.code}: {again.stderr.strip()[:300]}"]
    return wrong + complaints(before, read_back(run_directories(results)[0]), VARIANTS)


def changed(file: Path, size: int) -> str:
    try:
        now = file.stat().st_size
    except FileNotFoundError:
        return f"{file.parent.name}/{file.name} was acknowledged, and is gone"
    return "" if now == size else f"{file.parent.name}/{file.name} was acknowledged with {size} bytes, and has {now}"


def peer_cuts(campaign: Campaign, machine: Machine, count: int) -> str:
    """The same for the seed-shaped runner: cut when it has said two results; how many of those are lost or empty."""
    said = lost = wrong = 0
    for number in range(count):
        run_dir = machine.place / f"peer-{number}"
        process = subprocess.Popen(
            peer.command(campaign, run_dir), env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert process.stdout is not None
        names = [process.stdout.readline().partition(":")[0] for _ in range(2)]
        machine.cut()
        process.kill()
        process.communicate()
        end_all_on(machine.place)
        unmount(machine.place)
        machine.mount()
        said += len(names)
        lost += sum(is_lost(run_dir / name / "results.json") for name in names)
        wrong += peer.ends_wrong(campaign, run_dir)
        shutil.rmtree(run_dir, ignore_errors=True)
    return f"{lost}/{said} acknowledged results lost or empty, {wrong}/{count} wrong after its resume"


def is_lost(file: Path) -> bool:
    with suppress(FileNotFoundError):
        return file.stat().st_size == 0
    return True
