"""A runner that is killed at any step of a start, a resume or an adoption leaves nothing that is misread later.

`strace` kills it as it enters a system call that changes a file, one point per run: every call on the results
folder from the first one to the record of the first case's start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import DEADLINE_S, Project
from stracing import traced

import experiment_config
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, Options, RunSummary, Suite, find_run, make_plan, run, sweep_unfinished

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: NO CRASH OF A START IS TESTED")

CHANGING = ("mkdir", "openat", "write", "rename", "unlink", "rmdir", "ftruncate", "fsync", "fdatasync", "syncfs")
CALL = re.compile(rf"({'|'.join(CHANGING)})\(")


class Config(BaseExperimentConfig):
    """The config of conftest's project, for suites of this process."""

    do: str = ""
    x: int = 0
    name: str = "n"


@dataclass(frozen=True)
class Point:
    """The n-th call of a system call, and what it was about."""

    call: str
    number: int
    text: str


@dataclass
class Lab:
    """A project, and results folders in which a run died."""

    project: Project
    folder: Path
    before: Path

    def suite(self, *variants: str) -> Suite:
        cases = [ExperimentCase(variant, Config()) for variant in variants]
        return Suite(cases, "work.sh", "exp", file=self.project.root / "suite.py")

    def results(self, name: str) -> Path:
        """A fresh results folder with what was there before."""
        results = self.folder / name
        shutil.copytree(self.before, results)
        return results

    def trace(self, results: Path, *arguments: str, inject: Point | None = None) -> tuple[int, list[str]]:
        """Run the suite under strace: its exit code, and the traced calls with paths made comparable."""
        kill = ("-e", f"inject={inject.call}:signal=KILL:when={inject.number}") if inject else ()
        options = ("-y", "-s", "60", "-e", f"trace={','.join(CHANGING)}", *kill)
        arguments = ("--quiet", "--results-dir", str(results), *arguments)
        done, lines = traced(self.project, results.with_suffix(".trace"), *arguments, options=options)
        assert done.code in (0, -9), done.stderr
        return done.code, [re.sub(r"2\d{7}_\d{6}_", "TIME_", line.replace(str(results), "RESULTS")) for line in lines]

    def points(self, *arguments: str) -> list[Point]:
        """Every call that changes the results folder, up to the record of the first start of a case."""
        code, lines = self.trace(self.results("reference"), *arguments)
        assert code == 0
        counts: Counter[str] = Counter()
        found: list[Point] = []
        for line in lines:
            if not (match := CALL.match(line)):
                continue
            counts[match[1]] += 1
            if "RESULTS" in line and (match[1] != "openat" or "O_CREAT" in line):
                found.append(Point(match[1], counts[match[1]], about(line)))
            if "attempt_started" in line:
                return found
        raise AssertionError("the reference run started no case")

    def crashes(self, *arguments: str) -> Iterator[tuple[Point, Path]]:
        """Die at each point; the results folder that is left, aged past the patience of a sweep."""
        points = self.points(*arguments)
        assert len(points) >= 10, points
        points = points[::-3]  # row F3 of the campaign dies at all of them

        def die(point: Point) -> tuple[Point, Path]:
            results = self.results(f"died-{points.index(point)}")
            code, lines = self.trace(results, *arguments, inject=point)
            calls = [line for line in lines if CALL.match(line)]
            fired = [code == -9, "killed by SIGKILL" in lines[-1], about(calls[-1]) == point.text]
            assert all(fired), (fired, point, lines[-3:])
            return point, results

        pool = ThreadPoolExecutor(2)
        try:
            for point, results in pool.map(die, points):
                for path in results.glob("exp/.*"):
                    os.utime(path, (time.time() - 60, time.time() - 60))
                yield point, results
        finally:
            pool.shutdown(cancel_futures=True)

    def run(self, results: Path, suite: Suite, resume: str | None = None) -> RunSummary:
        return run(suite, Options(results_dir=str(results), resume=resume, quiet=True))


def about(line: str) -> str:
    """The call and the file, without numbers that differ between runs."""
    return re.sub(r"\d+<", "<", line).partition(">")[0].partition(", O_")[0].partition('", 0')[0].partition(" = ")[0]


@pytest.fixture
def lab(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Uncommitted code, and an earlier run in which `bad` failed; by now it would succeed."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(experiment_config, "_command_lines_read", [])  # other tests read some in this process
    script = project.write("work.sh", '#!/bin/sh\ncase "$2" in */bad) [ -e fixed ] ;; esac\n')
    script.chmod(0o755)
    project.write(".gitignore", "__pycache__/\n/results/\n/fixed\n")
    project.suite("[ExperimentCase('good', Config()), ExperimentCase('bad', Config())]", entry_point="work.sh")
    before = tmp_path / "before"
    made = Lab(project, tmp_path / "died", before)
    made.folder.mkdir()
    assert made.run(before, made.suite("good", "bad")).statuses == {"good": "succeeded", "bad": "failed"}
    earlier = next((before / "exp").iterdir())
    earlier.rename(earlier.with_name("20250101_120000_abc1234"))
    project.write("fixed", "")
    return made


def complete(run_dir: Path) -> bool:
    """Whether a run directory has every file of a start, whole."""
    cases = json.loads((run_dir / "run.json").read_text())["cases"]
    configs = [json.loads((run_dir / case["variant"] / "config.json").read_text()) for case in cases]
    json.loads((run_dir / "environment.json").read_text())
    first_event = json.loads((run_dir / "journal.jsonl").read_text().splitlines()[0])
    patch = (run_dir / "uncommitted.patch").read_bytes()
    return len(configs) == 2 and first_event["event"] == "run_started" and patch.endswith(b"\n")


def test_a_crash_at_any_step_of_a_start(lab: Lab) -> None:
    """A whole run is left, or a dot-name that `latest` never takes and a later start sweeps; earlier runs go on."""
    suite = lab.suite("good", "bad")
    half_built = whole = 0
    for point, results in lab.crashes():
        folder = results / "exp"
        runs = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        assert all(complete(folder / name) for name in runs), point
        assert find_run("latest", folder).name == runs[-1], point
        assert len(runs) + len(left) <= 2, point
        half_built, whole = half_built + len(left), whole + (len(runs) == 2)
        earlier = make_plan(suite, Options(results_dir=str(results), resume=runs[0], dry_run=True))
        assert (earlier.run_dir.name, earlier.to_run) == ("20250101_120000_abc1234", ("bad",)), point
        if left:
            assert lab.run(results, suite).exit_code == 0, point
            assert not [path.name for path in folder.iterdir() if path.name.startswith(".")], point
            assert len(list(folder.iterdir())) == len(runs) + 1, point
        if not left or half_built == 1:
            assert lab.run(results, suite, resume="latest").exit_code == 0, point
    assert half_built >= 5
    assert whole >= 1


def resumes_cleanly(lab: Lab, *arguments: str, suite: Suite, attempts: dict[str, int]) -> None:
    """After a crash at each step of a resume, the next resume finishes the run and repeats nothing that succeeded."""
    for point, results in lab.crashes("--resume", "latest", *arguments):
        (run_dir,) = (results / "exp").iterdir()
        summary = lab.run(results, suite, resume="latest")
        assert set(summary.statuses.values()) == {"succeeded"}, (point, summary)
        events = [json.loads(line) for line in (run_dir / "journal.jsonl").read_text().splitlines()]
        succeeded = Counter(event["variant"] for event in events if event.get("status") == "succeeded")
        assert {variant: succeeded[variant] // 2 for variant in attempts} == dict.fromkeys(attempts, 1), point
        passes = [event["code"]["patch"] for event in events if event["event"] == "run_resumed"]
        assert all((run_dir / patch).stat().st_size for patch in passes), point
        for variant, number in attempts.items():
            logs = sorted(path.name for path in (run_dir / variant).glob("*.log"))
            assert len(logs) in (number, number + 1), (point, logs)
            json.loads((run_dir / variant / "config.json").read_text())
        assert not [path.name for path in run_dir.iterdir() if path.name.endswith(".building")], point


def test_a_crash_at_any_step_of_a_resume(lab: Lab) -> None:
    """A resume that dies, with a new case to add and a torn journal to repair, can be resumed."""
    (journal,) = lab.before.glob("exp/*/journal.jsonl")
    journal.write_bytes(journal.read_bytes() + b'{"event":"torn')
    names = ("good", "bad", "new")
    lab.project.suite(f"[ExperimentCase(name, Config()) for name in {names}]", entry_point="work.sh")
    resumes_cleanly(lab, suite=lab.suite(*names), attempts={"good": 1, "bad": 2, "new": 1})


def test_a_crash_at_any_step_of_an_adoption(lab: Lab) -> None:
    """A run of the simple original whose first resume dies can be resumed."""
    (run_dir,) = lab.before.glob("exp/*")
    for path in run_dir.rglob("*"):
        if path.is_file() and path.name != "config.json":
            path.unlink()
    resumes_cleanly(lab, suite=lab.suite("good", "bad"), attempts={"good": 1, "bad": 1})


def unfinished(parent: Path, name: str, age_s: float) -> Path:
    folder = parent / f".20250101_120000_{name}.building"
    (folder / "good").mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(b"")
    os.utime(folder, (time.time() - age_s, time.time() - age_s))
    return folder


@pytest.mark.parametrize(("age_s", "stays"), [(60.0, False), (0.0, True)])
def test_a_sweep_leaves_what_was_just_made(tmp_path: Path, age_s: float, stays: bool) -> None:
    """A folder that is being built may not be locked yet: only older ones are swept."""
    folder = unfinished(tmp_path, "abc", age_s)
    sweep_unfinished(tmp_path)
    assert folder.exists() == stays


def test_a_sweep_leaves_what_a_living_runner_builds(tmp_path: Path) -> None:
    """However long building takes, a locked folder belongs to somebody; once that one is gone it is swept."""
    folder = unfinished(tmp_path, "abc", 3600)
    command = ["flock", str(folder / "journal.jsonl"), "-c", "echo; read x"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    sweep_unfinished(tmp_path)
    assert folder.exists()
    holder.communicate(b"\n", timeout=DEADLINE_S)
    sweep_unfinished(tmp_path)
    assert not folder.exists()


def test_a_sweep_stops_at_nothing(tmp_path: Path) -> None:
    """A leftover that another start has just removed, or that can't be removed, does not stop a start."""
    (tmp_path / ".a.building").symlink_to("nowhere")
    (tmp_path / ".b.building").write_text("no folder")
    os.utime(tmp_path / ".b.building", (0, 0))
    folder = unfinished(tmp_path, "z", 60)
    sweep_unfinished(tmp_path)
    assert not folder.exists()
