"""Code that is edited while a suite runs: each attempt's record names what it could see."""

from __future__ import annotations

import json
import threading
import time

from conftest import Project, wait_for

MIXES = "Note: this run mixes code: its attempts did not all run the same."


def trees(project: Project) -> dict[str, str]:
    """The tree that each case's attempt is recorded with."""
    return {event["variant"]: event["tree"] for event in project.events("attempt_started")}


def test_code_that_stays_the_same(project: Project) -> None:
    """One tree, that of run.json, and no word of it at the end; also of code that git doesn't know yet."""
    project.write("new.py", "")
    project.suite({f"c{n}": "time.sleep(0.4)" for n in range(4)})
    done = project.run("-p", "1")
    assert done.code == 0
    recorded = json.loads((project.run_dir / "run.json").read_text())["code"]["tree"]
    assert set(trees(project).values()) == {recorded}
    assert "mixes code" not in done.stdout


def test_a_folder_without_git(project: Project) -> None:
    """Nothing is known of the code, which is not the same as other code."""
    (project.root / ".git").rename(project.root / "no.git")
    project.suite({f"c{n}": "time.sleep(0.4)" for n in range(4)})
    done = project.run("-p", "1")
    assert done.code == 0
    assert set(trees(project).values()) == {None}
    assert "mixes code" not in done.stdout


def test_code_that_is_edited(project: Project) -> None:
    """What starts after an edit carries another tree, and the end says so; git is asked at most once a second."""
    variants = [f"c{n:02}" for n in range(30)]
    project.write(".gitignore", "__pycache__/\n/results/\n/go-*\n/all\n")
    wait = "while not (Path(f'go-{folder.name}').exists() or Path('all').exists()): time.sleep(0.02)"
    project.suite(dict.fromkeys(variants, wait))
    started = time.monotonic()
    with (project.root / "go-shown").open("w") as shown:
        process = project.start("-p", "1", "-v", stdout=shown)
    readings: list[str] = []

    def collect() -> None:
        assert process.stderr is not None
        readings.extend(line for line in process.stderr if line.startswith("git diff-tree"))

    collector = threading.Thread(target=collect, daemon=True)
    collector.start()
    wait_for(lambda: project.runs() and "c00" in trees(project), "the first case")
    project.write("config.py", (project.root / "config.py").read_text() + "# edited\n")
    at = 0
    while len(set(trees(project).values())) == 1:
        seen = len(readings)
        wait_for(lambda seen=seen: len(readings) > seen, "another look at the code")
        project.write(f"go-{variants[at]}", "")
        at += 1
        wait_for(lambda at=at: variants[at] in trees(project), "the next case")
    assert at <= 3, "the edit was seen too late"
    project.write("all", "")
    assert process.wait(timeout=60) == 0
    collector.join()
    assert MIXES in (project.root / "go-shown").read_text().splitlines()
    assert len(set(trees(project).values())) == 2
    assert len(readings) <= 2 + time.monotonic() - started


def test_a_code_that_can_not_be_read_for_a_while_is_not_another(project: Project) -> None:
    """Git fails in the middle of a run: what is not known is not reported as a difference."""
    variants = [f"c{n:02}" for n in range(30)]
    wait = "while not (Path(f'go-{folder.name}').exists() or Path('all').exists()): time.sleep(0.02)"
    project.write(".gitignore", "__pycache__/\n/results/\n/go-*\n/all\n")
    project.suite(dict.fromkeys(variants, wait))
    with (project.root / "go-shown").open("w") as shown:
        process = project.start("-p", "1", "-v", stdout=shown)
    looks: list[str] = []

    def collect() -> None:
        assert process.stderr is not None
        looks.extend(line for line in process.stderr if line.startswith("git rev-parse --show-toplevel"))

    collector = threading.Thread(target=collect, daemon=True)
    collector.start()
    wait_for(lambda: project.runs() and "c00" in trees(project), "the first case")
    (project.root / ".git").rename(project.root / "no.git")
    seen = len(looks)
    wait_for(lambda: len(looks) > seen, "a look at the code")
    project.write("all", "")
    assert process.wait(timeout=60) == 0
    collector.join()
    assert None in trees(project).values(), "the fault did not fire"
    assert "mixes code" not in (project.root / "go-shown").read_text()
