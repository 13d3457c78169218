"""Code that is edited while a suite runs: each attempt's record names what it could see."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Project, wait_for

MIXES = "Note: this run mixes code: its attempts did not all run the same."


def trees(project: Project) -> dict[str, str]:
    """The tree that each case's attempt is recorded with."""
    return {event["variant"]: event["tree"] for event in project.events("attempt_started")}


def test_code_that_stays_the_same(project: Project) -> None:
    """One tree, that of run.json, and no word of it at the end; also of code that git doesn't know yet."""
    project.write("new.py", "")
    project.suite({f"c{n}": "time.sleep(0.4)" for n in range(4)})
    done = project.run_forked("-p", "1")
    assert done.code == 0
    recorded = json.loads((project.run_dir / "run.json").read_text())["code"]["tree"]
    assert set(trees(project).values()) == {recorded}
    assert "mixes code" not in done.stdout


def test_a_folder_without_git(project: Project) -> None:
    """Nothing is known of the code, which is not the same as other code."""
    (project.root / ".git").rename(project.root / "no.git")
    project.suite({f"c{n}": "time.sleep(0.4)" for n in range(4)})
    done = project.run_forked("-p", "1")
    assert done.code == 0
    assert set(trees(project).values()) == {None}
    assert "mixes code" not in done.stdout


@dataclass
class Watched:
    """A suite that runs 10 cases one after the other: each ends when its file `go-VARIANT` is there, or `all`."""

    project: Project
    process: subprocess.Popen[str]
    shown: Path
    calls: list[str] = field(default_factory=list[str])

    def collect(self) -> None:
        """Keep the git calls that the runner tells of; to its end."""
        assert self.process.stderr is not None
        self.calls.extend(line for line in self.process.stderr if line.startswith("git "))

    def count(self, call: str) -> int:
        """How often git was called so."""
        return sum(line.startswith(call) for line in self.calls)

    def wait_for_another(self, call: str) -> None:
        """Until git is called so once more."""
        before = self.count(call)
        wait_for(lambda: self.count(call) > before, f"another `{call}`")

    def end(self) -> list[str]:
        """Let all cases end; the lines that the suite has shown."""
        self.project.write("all", "")
        assert self.process.wait(timeout=60) == 0
        self.collector.join()
        return self.shown.read_text().splitlines()

    def __post_init__(self) -> None:
        self.collector = threading.Thread(target=self.collect, daemon=True)
        self.collector.start()


VARIANTS = [f"c{n:02}" for n in range(10)]


@pytest.fixture
def watched(project: Project) -> Watched:
    """The suite at its first case."""
    project.write(".gitignore", "__pycache__/\n/results/\n/go-*\n/all\n")
    wait = "while not (Path(f'go-{folder.name}').exists() or Path('all').exists()): time.sleep(0.02)"
    project.suite(dict.fromkeys(VARIANTS, wait))
    shown = project.root / "go-shown"
    with shown.open("w") as stdout:
        started = Watched(project, project.start("-p", "1", "-v", stdout=stdout), shown)
    wait_for(lambda: project.runs() and "c00" in trees(project), "the first case")
    return started


def test_code_that_is_edited(project: Project, watched: Watched) -> None:
    """What starts after an edit carries another tree, and the end says so; git is asked at most once a second."""
    started = time.monotonic()
    before = watched.count("git diff-tree")
    project.write("config.py", (project.root / "config.py").read_text() + "# edited\n")
    at = 0
    while len(set(trees(project).values())) == 1:
        watched.wait_for_another("git diff-tree")
        project.write(f"go-{VARIANTS[at]}", "")
        at += 1
        wait_for(lambda at=at: VARIANTS[at] in trees(project), "the next case")
    assert at <= 3, "the edit was seen too late"
    assert MIXES in watched.end()
    assert len(set(trees(project).values())) == 2
    assert watched.count("git diff-tree") - before <= 2 + time.monotonic() - started


def test_a_code_that_can_not_be_read_for_a_while_is_not_another(project: Project, watched: Watched) -> None:
    """Git fails in the middle of a run: what is not known is not reported as a difference."""
    (project.root / ".git").rename(project.root / "no.git")
    watched.wait_for_another("git rev-parse --show-toplevel")
    shown = watched.end()
    assert None in trees(project).values(), "the fault did not fire"
    assert MIXES not in shown
