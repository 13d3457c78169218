"""The worker of F4: in one process per point, die at the k-th change that the runner's own code makes on the disk.

    python -m benchmarks.faults.failpoints FOLDER SEED SHARE OF PER_SCENARIO     one result per line
    python -m benchmarks.faults.failpoints FOLDER SEED 0 1 0 SCENARIO/K/M        replays a point

Every function by which Python changes a disk counts; a write can also die after M of its bytes. What is left is
read by `readback`, which knows nothing of the runner, and by a resume, which is then brought to its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import experiment_runner as runner
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, Options, Plan, Suite, SuiteError

from .readback import Found, read_back, run_directories

DIED = 77
SIZES = (0, 1, 17, 4_096, 100_001)


REAL_OPEN = open


class Config(BaseExperimentConfig):
    x: int = 0


def no_sync(_descriptor: int) -> None:
    """In memory there is nothing to sync; that it was asked for is what counts."""


# --- The failing disk ------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Counts what changes the disk, and ends the process at one of those moments.

    Attributes:
        die_at: Number of the change, from 0.
        after: Bytes that a write brings to the disk before it dies; None to die before it.
        seen: Name and, for a write, size of each change so far.
    """

    die_at: int = -1
    after: int | None = None
    seen: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.reached(name, 0):
                os._exit(DIED)
            return real(*arguments, **options)

        return call

    def reached(self, name: str, size: int) -> bool:
        self.seen.append((name, size))
        return len(self.seen) - 1 == self.die_at

    def install(self) -> None:
        """Put the counting functions in place of the real ones, for the rest of this process."""
        for name in (
            "replace",
            "rename",
            "mkdir",
            "unlink",
            "rmdir",
            "ftruncate",
            "fsync",
            "fdatasync",
            "link",
            "utime",
        ):
            setattr(os, name, self.counted(name, getattr(os, name)))
        os.remove = os.unlink
        # The kernel's syncfs is called through ctypes, behind Python's back.
        runner.sync_filesystem = self.counted("syncfs", no_sync)
        real_open, real_write = os.open, os.write

        def opened(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & (os.O_CREAT | os.O_TRUNC) and self.reached("open", 0):
                os._exit(DIED)
            return real_open(path, flags, *rest, **options)

        def written(descriptor: int, content: Any) -> int:
            if self.reached("write", len(content)):
                if self.after:
                    real_write(descriptor, bytes(content)[: self.after])
                os._exit(DIED)
            return real_write(descriptor, content)

        def write_bytes(path: Path, content: bytes) -> int:
            descriptor = opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            written(descriptor, content)
            os.close(descriptor)
            return len(content)

        def write_text(path: Path, text: str, *_: Any, **__: Any) -> int:
            return write_bytes(path, text.encode())

        def no_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if set(mode) & set("wax+") and str(file).startswith("/dev/shm"):
                raise AssertionError(f"{file} is opened for writing in a way that is not counted")
            return REAL_OPEN(file, mode, *rest, **options)

        os.open, os.write = opened, written
        Path.write_bytes, Path.write_text = write_bytes, write_text  # type: ignore[method-assign,assignment]
        runner.open = no_open  # type: ignore[attr-defined]


# --- What is done on it ----------------------------------------------------------------------------------------------


@dataclass
class World:
    """A results folder for one point at a time, and what the runner would find out anew each time."""

    folder: Path
    variants: tuple[str, ...] = ("a", "b", "bad")

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def acknowledged(self) -> Path:
        return self.folder / "acknowledged"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "work.py").write_text("")
        code = runner.CodeState("abc1234-dirty", "abc1234", "main", True, "f00", b"diff --git a/x b/x\n" * 9)
        environment = {"python": {"version": sys.version}, "packages": {}}
        runner.read_code = lambda root, results_dir: code
        runner.environment_json = lambda: environment
        runner.project_root = lambda _: self.folder
        os.chdir(self.folder)

    def plan(self, resume: str | None = None) -> Plan:
        cases = [ExperimentCase(variant, Config()) for variant in self.variants]
        suite = Suite(cases, "work.py", "exp")
        return runner.make_plan(suite, Options(results_dir=str(self.results), resume=resume))

    def a_pass(self, resume: str | None, failing: Sequence[str]) -> None:
        """What a pass writes, without the processes: starts, ends, and a sync after each second case."""
        plan = self.plan(resume)
        with runner.open_run(plan) as (opened, journal):
            said: list[str] = []
            for number, variant in enumerate(plan.to_run):
                status = "failed" if variant in failing else "succeeded"
                attempt = (plan.resumed.attempts.get(variant, 0) if plan.resumed else 0) + 1
                at = {"variant": variant, "attempt": attempt}
                journal.append("attempt_started", **at, pid=1, host="h", commit=None, dirty=True, tree="f00")
                journal.append("attempt_ended", **at, status=status, exit_code=0, duration_s=1.0)
                files = runner.files_of(opened.run_dir / variant)
                journal.append("case_ended", variant=variant, status=status, attempts=attempt, cause="", files=files)
                said += [variant] * (status == "succeeded")
                if number % 2:
                    self.commit(journal, said)
            self.commit(journal, said)
            journal.append("run_ended", exit_code=1)
            self.commit(journal, said)

    def commit(self, journal: runner.Journal, said: list[str]) -> None:
        journal.commit()
        with REAL_OPEN(self.acknowledged, "a") as file:
            file.write("".join(f"{variant}\n" for variant in said))
        said.clear()


Act = Callable[[World], None]


def started(world: World) -> None:
    world.a_pass(None, ("bad",))


def resumed(world: World) -> None:
    world.a_pass("latest", ())


def nothing(_world: World) -> None:
    pass


def torn(world: World) -> None:
    started(world)
    with (run_directories(world.results)[0] / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"event":"case_ended","variant":"bad","status":"succ')


def adopted(world: World) -> None:
    started(world)
    for path in run_directories(world.results)[0].rglob("*"):
        if path.is_file() and path.name != "config.json":
            path.unlink()


def lost(world: World) -> None:
    """A run whose runner died after its first case."""
    started(world)
    journal = run_directories(world.results)[0] / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]))


def whole_files(world: World) -> None:
    for size in SIZES:
        runner.write_whole(world.results / f"{size}.json", b"n" * size)


def old_files(world: World) -> None:
    world.results.mkdir()
    for size in SIZES:
        (world.results / f"{size}.json").write_bytes(b"o" * 1_000)


@dataclass(frozen=True)
class Scenario:
    before: Act
    act: Act
    more: tuple[str, ...] = ()


SCENARIOS: Mapping[str, Scenario] = {
    "start": Scenario(nothing, started),
    "resume": Scenario(started, resumed),
    "repair": Scenario(torn, resumed, ("new1", "new2")),
    "interrupted": Scenario(lost, resumed),
    "adoption": Scenario(adopted, resumed),
    "whole files": Scenario(old_files, whole_files),
}


# --- Points ----------------------------------------------------------------------------------------------------------


def in_a_process(act: Callable[[], None], world: World) -> int:
    """Do something in a process of its own; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException as error:
            (world.folder / "error").write_text(repr(error))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def reset(world: World, template: Path) -> None:
    shutil.rmtree(world.results, ignore_errors=True)
    world.acknowledged.unlink(missing_ok=True)
    if template.exists():
        shutil.copytree(template, world.results)


def points(world: World, name: str, template: Path, chance: random.Random, wanted: int) -> list[tuple[int, int | None]]:
    """Every change that a pass makes, before it; and for its writes as many cuts as are wanted."""
    reset(world, template)
    log = world.folder / "seen"

    def look() -> None:
        disk = Disk()
        disk.install()
        SCENARIOS[name].act(world)
        with REAL_OPEN(log, "w") as file:
            json.dump(disk.seen, file)

    if in_a_process(look, world) != 0:
        raise RuntimeError(f"{name}: the pass without a fault failed: {(world.folder / 'error').read_text()}")
    seen: list[tuple[str, int]] = json.loads(log.read_text())
    found: list[tuple[int, int | None]] = [(number, None) for number in range(len(seen))]
    cuts = [(number, cut) for number, (call, size) in enumerate(seen) if call == "write" for cut in range(1, size + 1)]
    # Each write at its ends, for those are where one is off by one.
    ends = [(number, cut) for number, cut in cuts if cut in (1, seen[number][1] - 1, seen[number][1])]
    return found + sorted({*ends, *chance.sample(cuts, min(max(0, wanted - len(found) - len(ends)), len(cuts)))})


def try_point(world: World, name: str, template: Path, point: tuple[int, int | None]) -> tuple[bool, str]:
    """Whether the point was reached, and what is wrong with what it left."""
    scenario = SCENARIOS[name]
    reset(world, template)

    def act() -> None:
        Disk(*point).install()
        scenario.act(world)

    code = in_a_process(act, world)
    if code != DIED:
        return False, "" if code == 0 else f"ended with {code}: {(world.folder / 'error').read_text()[:300]}"
    wrong = files_wrong(world) if name == "whole files" else run_wrong(world, adopted=name == "adoption")
    return True, "; ".join(wrong)


def files_wrong(world: World) -> list[str]:
    found = {size: (world.results / f"{size}.json").read_bytes() for size in SIZES}
    return [f"{size}.json is torn" for size, content in found.items() if content not in (b"o" * 1_000, b"n" * size)]


def run_wrong(world: World, *, adopted: bool) -> list[str]:
    runs = run_directories(world.results)
    said = set(world.acknowledged.read_text().split()) if world.acknowledged.exists() else set[str]()
    before: Found | None = None
    wrong: list[str] = []
    if runs and (not adopted or (runs[0] / "run.json").exists()):
        before = read_back(runs[0])
        wrong += [f"left torn: {text}" for text in before.torn]
    elif runs and not adopted:
        wrong.append("a run directory without run.json")
    kept: Mapping[str, int] = before.successes if before else {}
    if unkept := said - kept.keys():
        wrong.append(f"said, but not recorded: {sorted(unkept)}")
    try:
        plan = world.plan("latest" if runs else None)
        if plan.resumed and {v for v, status in plan.resumed.statuses.items() if status == "succeeded"} != set(kept):
            wrong.append(f"a resume takes {dict(plan.resumed.statuses)} for true, recorded is {dict(kept)}")
    except SuiteError as error:
        return [*wrong, f"can't be resumed: {error}"]
    code = in_a_process(lambda: world.a_pass("latest" if runs else None, ()), world)
    if code != 0:
        return [*wrong, f"the next pass failed: {(world.folder / 'error').read_text()[:300]}"]
    after = read_back(run_directories(world.results)[0])
    wrong += [f"after the resume: {text}" for text in after.torn]
    if dict(after.successes) != dict.fromkeys(world.variants, 1):
        wrong.append(f"recorded as succeeded: {dict(after.successes)}")
    if before and after.lines[: len(before.lines)] != before.lines:
        wrong.append("finished lines of the journal changed")
    return wrong


def prepared(world: World, name: str) -> Path:
    """What is on disk before a scenario's pass."""
    world.variants = ("a", "b", "bad")
    template = world.folder / f"before {name}"
    reset(world, template)
    in_a_process(lambda: SCENARIOS[name].before(world), world)
    if world.results.exists():
        world.results.rename(template)
    world.variants = (*world.variants, *SCENARIOS[name].more)
    return template


def main(arguments: Sequence[str]) -> None:
    folder, seed, share, of, wanted, *replay = arguments
    # A resume of the runner's own code warns of nothing here; what is printed is the results alone.
    with contextlib.redirect_stderr(io.StringIO()):
        world = World(Path(folder))
        for result in results(world, int(seed), int(share), int(of), int(wanted), replay):
            print(json.dumps(result), flush=True)


def results(
    world: World, seed: int, share: int, of: int, wanted: int, replay: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for name in SCENARIOS:
        if replay and not replay[0].startswith(f"{name}/"):
            continue
        template = prepared(world, name)
        if replay:
            number, cut = replay[0].split("/")[1:]
            chosen: list[tuple[int, int | None]] = [(int(number), None if cut == "None" else int(cut))]
        else:
            # The same list in every worker, of which each takes its share.
            chosen = points(world, name, template, random.Random(f"{seed}/{name}"), wanted)[share::of]
        for point in chosen:
            fired, wrong = try_point(world, name, template, point)
            yield {"point": f"{name}/{point[0]}/{point[1]}", "fired": fired, "wrong": wrong}


if __name__ == "__main__":
    main(sys.argv[1:])
