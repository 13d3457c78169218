"""F3 and F5: a runner that is killed, or refused, at each of its system calls."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from . import peer
from .framework import Campaign, Outcome, skipped
from .preloaded import Ended, Launcher, launchers, make_project, spread
from .readback import Found, acknowledged, complaints, read_back, run_directories
from .rows_failpoints import memory_folder
from .strace import Point, Traced, points, trace

ROOT = Path(__file__).resolve().parents[2]
KILLED = "KILL of the runner at every mutating call, then --resume: nothing torn, lost, relabelled or done twice"
REFUSED = "an error from any call: one line with path and cause, nothing torn, no false success, and --resume completes"
NEVER = {"FIXED": "/nonexistent"}
FIXED = {"FIXED": "/"}


@dataclass(frozen=True)
class Scenario:
    """A pass of a suite into which a fault is put, and what was on disk before it."""

    name: str
    arguments: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("a", "b", "bad")
    env: Mapping[str, str] = field(default_factory=lambda: NEVER)
    prepare: Callable[[Launcher, Path], None] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**self.env, "CASES": ",".join(self.variants)}


def failed_run(launcher: Launcher, results: Path) -> None:
    """A finished run in which `bad` failed."""
    launcher.run("--results-dir", str(results), "-p", "2", env=NEVER)


def torn_run(launcher: Launcher, results: Path) -> None:
    """The same, with an unfinished line at the end of its journal."""
    failed_run(launcher, results)
    with (run_directories(results)[0] / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"event":"case_ended","variant":"bad","status":"succ')


def interrupted_run(launcher: Launcher, results: Path) -> None:
    """A run whose runner was killed while a case ran."""
    trace(launcher, results, ("-p", "1"), NEVER, "pidfd_open:signal=KILL:when=2")


def part_of_a_run(launcher: Launcher, results: Path) -> None:
    """A run of one case of three."""
    launcher.run("--results-dir", str(results), "--only", "a", env=NEVER)


def simple_run(launcher: Launcher, results: Path) -> None:
    """What the simple original of the runner leaves: configs, and no record."""
    failed_run(launcher, results)
    for path in run_directories(results)[0].rglob("*"):
        if path.is_file() and path.name != "config.json":
            path.unlink()


RESUME = ("--resume", "latest")
SCENARIOS = (
    Scenario("start", ("-p", "1")),
    Scenario("resume", (*RESUME, "-p", "1"), prepare=failed_run),
    Scenario("resume that repairs and adds", (*RESUME, "-p", "1"), ("a", "b", "bad", "new"), prepare=torn_run),
    Scenario("resume after a kill", (*RESUME, "-p", "1"), prepare=interrupted_run),
    Scenario("adoption", (*RESUME, "-p", "1"), prepare=simple_run),
    Scenario("start in parallel", ("-p", "3")),
    Scenario("start with --json", ("-p", "1", "--json"), ("a", "slow", "bad")),
    Scenario("resume of a part", (*RESUME, "-p", "2", "--note", "the rest"), prepare=part_of_a_run),
    Scenario("start of more", ("-p", "2"), ("a", "b", "c", "d", "slow1", "slow2", "bad")),
    Scenario("resume of more", (*RESUME, "-p", "2"), ("a", "b", "bad", "n1", "n2", "n3", "n4"), prepare=torn_run),
)


@dataclass
class Lab:
    """A project, its launchers, and for every scenario the points of a pass without a fault."""

    campaign: Campaign
    folder: Path
    made: Sequence[Launcher]

    def before(self, scenario: Scenario) -> Path:
        return self.folder / f"before-{SCENARIOS.index(scenario)}"

    def results(self, scenario: Scenario, name: str) -> Path:
        """A fresh results folder with what was there before the pass."""
        results = self.folder / f"results-{SCENARIOS.index(scenario)}-{name}"
        if self.before(scenario).exists():
            shutil.copytree(self.before(scenario), results)
        return results

    def reference(self, scenario: Scenario, *, env: Mapping[str, str] | None = None) -> Traced:
        """A pass without a fault."""
        if scenario.prepare is not None and not self.before(scenario).exists():
            scenario.prepare(self.made[0], self.before(scenario))
        results = self.results(scenario, "reference")
        traced = trace(self.made[0], results, scenario.arguments, {**scenario.environment, **(env or {})})
        shutil.rmtree(results)
        return traced


def make_dirty_project(folder: Path) -> Path:
    """The project of a row, with code that differs from its commit, so that a patch is written too."""
    project = make_project(folder / "project", ROOT)
    (project / "notes.txt").write_text("not committed\n")
    return project


def opened_launchers(campaign: Campaign, folder: Path) -> AbstractContextManager[Sequence[Launcher]]:
    return launchers(campaign.workers, make_dirty_project(folder), folder, campaign.python)


def on_results(traced: Traced, *, reading: bool = False) -> list[Point]:
    """The points from the first call on the results folder on; what git does before leaves nothing behind."""
    first = next(
        number for number, line in enumerate(traced.lines) if "RESULTS" in line and not line.startswith("read")
    )
    before = {str(point) for point in points(traced.lines[:first], reading=reading)}
    return [point for point in points(traced.lines, reading=reading) if str(point) not in before]


def interleaved(lists: Sequence[list[tuple[Scenario, Point]]], limit: int) -> list[tuple[Scenario, Point]]:
    """Tasks of all scenarios in turn; the first of each when there is room for few."""
    return [task for tasks in zip_longest(*lists) for task in tasks if task is not None][:limit]


# --- F3: killed ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a fault led to; `fired` is false if the pass ended before its point."""

    fired: bool
    wrong: str = ""


def killed_at_every_call(campaign: Campaign) -> Outcome:
    """F3: die at each mutating call of a pass, then resume without a fault."""
    if shutil.which("strace") is None:
        return skipped("F3", KILLED, "strace is not installed: NO KILL AT A CALL WAS TRIED")
    started = time.monotonic()
    chance = campaign.random("F3")
    with memory_folder(campaign, "F3") as folder, opened_launchers(campaign, folder) as made:
        lab = Lab(campaign, folder, made)
        lists: list[list[tuple[Scenario, Point]]] = []
        for scenario in SCENARIOS[:3] if campaign.quick else SCENARIOS:
            found = on_results(lab.reference(scenario))
            if campaign.quick:
                found = sorted(chance.sample(found, min(6, len(found))), key=found.index)
            lists.append([(scenario, point) for point in found])
        tasks = interleaved(lists, 10_000)
        verdicts = spread(made, tasks, lambda launcher, task: die(lab, launcher, *task), teller(campaign, "F3", tasks))
        told = peer.under_strace(campaign, folder, "signal=KILL", range(1, 10))
    return outcome("F3", KILLED, tasks, verdicts, started, told)


def die(lab: Lab, launcher: Launcher, scenario: Scenario, point: Point) -> Verdict:
    results = lab.results(scenario, f"killed-{point.call}-{point.number}")
    inject = f"{point.call}:signal=KILL:when={point.number}"
    try:
        ended = trace(launcher, results, scenario.arguments, scenario.environment, inject).ended
        if ended.code != -9:
            return Verdict(
                fired=False, wrong="" if ended.code in (0, 1) else f"ended with {ended.code}: {ended.stderr}"
            )
        return Verdict(fired=True, wrong="; ".join(after_death(launcher, results, scenario, ended.stdout)))
    finally:
        shutil.rmtree(results, ignore_errors=True)


def after_death(launcher: Launcher, results: Path, scenario: Scenario, stdout: str) -> list[str]:
    """What is wrong with what a killed pass left, and with the pass that goes on from there."""
    runs = run_directories(results)
    if len(runs) > 1:
        return [f"{len(runs)} run directories"]
    adopted = scenario.prepare is simple_run
    before = read_back(runs[0]) if runs and (runs[0] / "run.json").exists() else None
    if runs and before is None and not adopted:
        return ["a run directory without run.json"]
    wrong: list[str] = []
    if before is not None:
        if unkept := acknowledged(stdout) - before.successes.keys():
            wrong.append(f"said, but not recorded: {sorted(unkept)}")
        if before.successes["bad"]:
            wrong.append("the failed case is recorded as succeeded")
    environment = {**FIXED, "CASES": ",".join(scenario.variants)}
    resume = RESUME if runs else ()
    again = launcher.run("--results-dir", str(results), *resume, env=environment)
    if again.code != 0 or again.stderr:
        return [*wrong, f"the next pass ended with {again.code}: {again.stderr.strip()[:300]}"]
    return wrong + complaints(before, read_back(run_directories(results)[0]), scenario.variants)


def teller(campaign: Campaign, row: str, tasks: Sequence[object]) -> Callable[[int], None]:
    """Progress, every fiftieth point."""

    def tell(done: int) -> None:
        if done % 50 == 0 or done == len(tasks):
            campaign.progress(f"{row}: {done} of {len(tasks)} points")

    return tell


def outcome(
    row: str, promise: str, tasks: Sequence[tuple[Scenario, Point]], verdicts: Sequence[Verdict], started: float,
    told: str, errors: Sequence[str] = (),
) -> Outcome:  # fmt: skip
    """A row's outcome. A point that was not reached was not tried; too many of them are a fault of the row."""
    names = [f"{scenario.name}, {point}" for scenario, point in tasks]
    names = [f"{name} {error}".strip() for name, error in zip_longest(names, errors, fillvalue="")]
    bad = [f"{name}: {verdict.wrong}" for name, verdict in zip(names, verdicts, strict=True) if verdict.wrong]
    fired = sum(verdict.fired for verdict in verdicts)
    missed = len(verdicts) - fired
    if missed > 0.3 * len(verdicts):
        bad.append(f"{missed} of {len(verdicts)} faults did not fire")
    return Outcome(
        row=row, promise=promise, tried=fired, held=fired - len([b for b in bad if ": " in b]), survivors_or_bad=bad,
        fired=fired, seconds=time.monotonic() - started, peer=told,
        detail={"points by scenario": dict(Counter(scenario.name for scenario, _ in tasks)), "not reached": missed},
    )  # fmt: skip


# --- F5: refused -----------------------------------------------------------------------------------------------------

WRITING = (
    "mkdir",
    "openat",
    "write",
    "rename",
    "fsync",
    "syncfs",
    "fdatasync",
    "ftruncate",
    "link",
    "symlink",
    "chmod",
)
ERRORS: Mapping[str, tuple[str, ...]] = {
    "mkdir": ("ENOSPC", "EROFS", "EACCES", "EIO"),
    "openat": ("ENOSPC", "EIO", "EROFS", "EACCES", "EMFILE", "EINTR"),
    "write": ("ENOSPC", "EIO", "EINTR"),
    "rename": ("ENOSPC", "EIO", "EROFS", "EACCES"),
    "unlink": ("EROFS", "EACCES"),
    "ftruncate": ("EIO", "EROFS", "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EINTR"),
    "syncfs": ("EIO", "ENOSPC", "EINTR"),
    "flock": ("EINTR",),
    "read": ("EIO", "EINTR"),
    "getdents64": ("EIO",),
    "vfork": ("EAGAIN",),
    "fork": ("EAGAIN",),
    "clone": ("EAGAIN",),
    "clone3": ("EAGAIN",),
    "pipe2": ("EMFILE",),
    "pidfd_open": ("EMFILE",),
}
LAUNCHING = ("vfork", "fork", "clone", "clone3", "pipe2", "pidfd_open")
NO_ROOM = ("EMFILE", "EAGAIN")
REFUSED_SCENARIOS = tuple(
    scenario
    for scenario in SCENARIOS
    if scenario.name in ("start in parallel", "resume after a kill", "resume that repairs and adds")
)


def refused_at_every_call(campaign: Campaign) -> Outcome:
    """F5: an error from each call of a pass in which every case would succeed, then a resume without the error."""
    if shutil.which("strace") is None:
        return skipped("F5", REFUSED, "strace is not installed: NO ERROR OF A CALL WAS TRIED")
    started = time.monotonic()
    chance = campaign.random("F5")
    with memory_folder(campaign, "F5") as folder, opened_launchers(campaign, folder) as made:
        lab = Lab(campaign, folder, made)
        chosen: list[tuple[Scenario, Point, str]] = []
        for scenario in REFUSED_SCENARIOS:
            found = on_results(lab.reference(scenario, env=FIXED), reading=True)
            found = [point for point in found if relevant(point)]
            errors = [(point, error) for point in found for error in ERRORS[point.call] if happens(point, error)]
            chosen += [(scenario, point, error) for point, error in errors]
        wanted = 24 if campaign.quick else 320
        chance.shuffle(chosen)
        tasks: list[tuple[Scenario, Point, str]] = []
        verdicts: list[Verdict] = []
        while chosen and sum(verdict.fired for verdict in verdicts) < wanted:
            some, chosen = chosen[:24], chosen[24:]
            tasks += some
            verdicts += spread(made, some, lambda launcher, task: refuse(lab, launcher, *task), lambda _: None)
            campaign.progress(f"F5: {sum(verdict.fired for verdict in verdicts)} errors of {wanted}")
        told = peer.under_strace(campaign, folder, "error=ENOSPC", range(1, 10), stays=True)
    places = [(scenario, point) for scenario, point, _ in tasks]
    return outcome("F5", REFUSED, places, verdicts, started, told, [error for _, _, error in tasks])


def relevant(point: Point) -> bool:
    """Calls on the results, and those of a launch. Refused output, as of `print`, is nobody's promise."""
    if point.call not in ERRORS or "/stdout>" in point.about or "/stderr>" in point.about:
        return False
    return "RESULTS" in point.about or point.call in LAUNCHING


def happens(point: Point, error: str) -> bool:
    """Whether a kernel gives this error: a signal interrupts an open of slow devices (open(2)), not of directories."""
    return error != "EINTR" or "O_DIRECTORY" not in point.about


def refuse(lab: Lab, launcher: Launcher, scenario: Scenario, point: Point, error: str) -> Verdict:
    results = lab.results(scenario, f"refused-{point.call}-{point.number}-{error}")
    environment = {**scenario.environment, **FIXED}
    before = {path: read_back(path) for path in run_directories(results)}
    try:
        traced = trace(
            launcher, results, scenario.arguments, environment, f"{point.call}:error={error}:when={point.number}"
        )
        hit = Point(point.call, 0, traced.lines[traced.injected]) if traced.injected is not None else None
        if hit is None or not relevant(hit) or not happens(hit, error):
            return Verdict(fired=False)  # a search of /proc before it made the count of `openat` another one
        wrong = after_refusal(traced, results, scenario, point, error)
        for path, found in before.items():
            if read_back(path).lines[: len(found.lines)] != found.lines:
                wrong.append("finished lines of the journal changed")
        left = [read_back(path) for path in run_directories(results)]
        wrong += completes(launcher, results, scenario, left)
        return Verdict(fired=True, wrong="; ".join(wrong))
    finally:
        shutil.rmtree(results, ignore_errors=True)


def after_refusal(traced: Traced, results: Path, scenario: Scenario, point: Point, error: str) -> list[str]:
    """What is wrong with how a pass took an error."""
    ended, wrong = traced.ended, list[str]()
    at = traced.lines[traced.injected or 0]  # in this very pass; cases that run in parallel come in any order
    told = [line for line in (ended.stderr + ended.stdout).splitlines() if os.strerror(getattr(errno, error)) in line]
    if "Traceback" in ended.stderr:
        wrong.append(f"traceback: {ended.stderr.strip().splitlines()[-1][:200]}")
    launch = point.call in LAUNCHING or "/dev/null" in at or ("attempt-" in at and "O_CREAT" in at)
    unharmed = error == "EINTR" or (error in NO_ROOM and launch)
    if ended.code == 0:
        runs = run_directories(results)
        whole = read_back(runs[-1])
        if set(whole.successes) != set(scenario.variants):
            wrong.append(f"exit code 0, and only {sorted(whole.successes)} are recorded as succeeded")
        if point.call in WRITING and not unharmed and "O_RDONLY" not in at and "RESULTS" in at:
            wrong.append("exit code 0, as if nothing had happened")
    elif unharmed:
        wrong.append(f"exit code {ended.code}, though it could go on: {(told or [ended.stderr.strip()])[0][:200]}")
    else:
        if not any("/" in line for line in told):
            wrong.append(f"exit code {ended.code} without a line of path and cause: {ended.stderr.strip()[:200]!r}")
        if len(ended.stderr.splitlines()) > 1:
            wrong.append(f"{len(ended.stderr.splitlines())} lines on stderr")
    if point.call in ("fsync", "syncfs", "fdatasync") and error != "EINTR":
        later = traced.lines[traced.injected or 0 :]
        if any("[OK]" in line for line in later):
            wrong.append("a success was said after a sync had failed")
    for path in run_directories(results):
        wrong += [f"left torn: {text}" for text in read_back(path).torn]
    return wrong


def completes(launcher: Launcher, results: Path, scenario: Scenario, left: Sequence[Found]) -> list[str]:
    """What is wrong with the pass after the cause is gone."""
    resume = RESUME if left else ()
    environment = {**FIXED, "CASES": ",".join(scenario.variants)}
    again: Ended = launcher.run("--results-dir", str(results), *resume, env=environment)
    if again.code != 0:
        return [f"the next pass ended with {again.code}: {again.stderr.strip()[:300]}"]
    return complaints(left[0] if left else None, read_back(run_directories(results)[0]), scenario.variants)
