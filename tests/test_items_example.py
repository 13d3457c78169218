"""`experiments/prompt-variants`, killed and resumed as a person would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, wait_for

from suitecase.items import read_dead_letters, read_items

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "experiments/prompt-variants"
DELAY_S, N = 0.2, 102
# Slow enough to be killed in the middle.
CASE = ("--only", "small-steps", "--set", f"call_delay_s={DELAY_S}", "--set", f"n_questions={N}")


@pytest.fixture
def example(project: Project) -> Callable[..., Any]:
    """A way to run the example's suite in a repository of its own."""
    shutil.copytree(ROOT / FOLDER, project.root / FOLDER)
    project.git("add", ".")
    project.git("commit", "-q", "-m", "The example")
    # What is installed may be another checkout.
    environment = {"PYTHONPATH": os.pathsep.join([str(project.root), str(ROOT)])}

    def start(*arguments: str) -> Any:
        return project.start(*arguments, suite=f"{FOLDER}/suite_prompt_variants.py", env=environment)

    return start


def timeless(case: Path) -> Any:
    times = ("time", "duration_s", "latency_s", "attempt")
    rows = [{name: value for name, value in row.items() if name not in times} for row in read_items(case)]
    return rows, json.loads((case / "results.json").read_text()) | {"latency_s": None}


def undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the case's entry point leaves when nobody interrupts it."""
    monkeypatch.setattr(sys, "path", [str(ROOT / FOLDER), str(ROOT), *sys.path])
    try:
        entry_point: Any = import_module("run_prompt_variants")
        config = {"model": "small", "template": "steps", "call_delay_s": DELAY_S, "n_questions": N}
        with pytest.raises(SystemExit, match="0"):
            entry_point.main(entry_point.PromptConfig(output_dir=str(folder), **config))
    finally:
        for name in ("run_prompt_variants", "prompt_config", "questions", "models"):
            sys.modules.pop(name, None)
    return timeless(folder)


def test_killed_and_resumed_it_gives_what_an_uninterrupted_run_gives(
    example: Callable[..., Any], project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items done before the kill are not asked for again."""
    first = example(*CASE)
    runs = project.root / "results/prompt-variants"
    path: Path = wait_for(lambda: next(runs.glob("*/*/items.jsonl"), None), "the first item")
    wait_for(lambda: path.read_bytes().count(b"\n") > 20, "some items")
    first.send_signal(signal.SIGKILL)
    project.finish(first)
    resumed = project.finish(example("--resume", str(path.parents[1]), *CASE[:2]))
    assert resumed.code == 0, resumed.stdout + resumed.stderr
    case = path.parent
    rows = read_items(case)
    assert {row["attempt"] for row in rows} == {1, 2}
    assert len(path.read_bytes().splitlines()) == len(rows) + 1 == N + 1
    assert timeless(case) == undisturbed(tmp_path / "undisturbed", monkeypatch)
    results = json.loads((case / "results.json").read_text())
    assert results["errors"].keys() == {"bad_request", "rate_limited", "timeout"}
    assert [letter["item"]["id"] for letter in read_dead_letters(case)] == ["string-0100"]
