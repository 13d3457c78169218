"""`experiments/prompt-variants`, killed and resumed as a person would."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, wait_for

from suitecase.items import read_dead_letters, read_items

ROOT = Path(__file__).resolve().parent.parent
SUITE = "experiments/prompt-variants/suite_prompt_variants.py"
# Slow enough to be killed in the middle.
CASES = ("--only", "small-*s", "-p", "2", "--set", "call_delay_s=0.2", "--set", "n_questions=120")


@pytest.fixture
def example(project: Project) -> Callable[..., Any]:
    """A way to run the example's suite in a repository of its own."""
    shutil.copytree(ROOT / Path(SUITE).parent, project.root / Path(SUITE).parent)
    project.git("add", ".")
    project.git("commit", "-q", "-m", "The example")
    # What is installed may be another checkout.
    environment = {"PYTHONPATH": os.pathsep.join([str(project.root), str(ROOT)])}

    def start(*arguments: str) -> Any:
        return project.start(*arguments, suite=SUITE, env=environment)

    return start


def timeless(case: Path) -> Any:
    times = ("time", "duration_s", "latency_s", "attempt")
    rows = [{name: value for name, value in row.items() if name not in times} for row in read_items(case)]
    return rows, json.loads((case / "results.json").read_text()) | {"latency_s": None}


def test_killed_and_resumed_it_gives_what_an_uninterrupted_run_gives(
    example: Callable[..., Any], project: Project
) -> None:
    """Items done before the kill are not asked for again."""
    first = example(*CASES)
    runs = project.root / "results/prompt-variants"
    files: list[Path] = wait_for(lambda: [*runs.glob("*/*/items.jsonl")], "the first item")
    wait_for(lambda: any(path.read_bytes().count(b"\n") > 20 for path in files), "some items of a case")
    first.send_signal(signal.SIGKILL)
    project.finish(first)
    run_dir = project.runs("prompt-variants")[-1]
    resumed = project.finish(example("--resume", str(run_dir)))
    assert resumed.code == 0, resumed.stdout + resumed.stderr

    whole = project.finish(example(*CASES))
    assert whole.code == 0, whole.stdout + whole.stderr
    other = next(path for path in project.runs("prompt-variants") if path != run_dir)
    cases = sorted(run_dir.glob("small-*s"))
    assert len(cases) == 2
    passes = [{row["attempt"] for row in read_items(case)} for case in cases]
    assert {1, 2} in passes
    for case in cases:
        rows = read_items(case)
        assert len((case / "items.jsonl").read_bytes().splitlines()) == len(rows) + 1 == 121
        assert timeless(case) == timeless(other / case.name)
        results = json.loads((case / "results.json").read_text())
        assert results["errors"].keys() == {"bad_request", "rate_limited", "timeout"}
        assert [letter["item"]["id"] for letter in read_dead_letters(case)] == ["string-0100"]
