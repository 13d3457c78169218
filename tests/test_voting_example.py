"""`experiments/ensemble-vs-single`: each suite, small, by the documented command; and that no answer leaks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

from suitecase.compare.plans import registered_plan
from suitecase.items import read_items
from suitecase.rundir import read_run

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("experiments/ensemble-vs-single")
QUICK = ["logistic", "neighbours", "svm", "bayes", "discriminant"]
SMALL = ("--set", 'tasks=["wine"]', "--set", "n_folds=2", "--set", f"pool={json.dumps(QUICK)}", "-p", "2")


@pytest.fixture
def suite(project: Project) -> Callable[..., Path]:
    """A way to run a suite of the example in a repository of its own; gives the run directory."""
    shutil.copytree(ROOT / FOLDER, project.root / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
    # What is installed may be another checkout.
    environment = {"PYTHONPATH": os.pathsep.join([str(project.root), str(ROOT)])}

    def run(name: str, experiment: str, *arguments: str) -> Path:
        done = project.run(*arguments, suite=str(FOLDER / name), env=environment)
        assert done.code == 0, done.stdout + done.stderr
        return project.runs(experiment)[-1]

    return run


def results_of(run_dir: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(run_dir.glob("*/results.json"))}


def test_votes_of_five_and_of_the_best_of_them(suite: Callable[..., Path]) -> None:
    """H1, H3, H5: the same items in each; so many are asked; who is best is chosen by fold; weights count."""
    five = suite("suite_h1_majority.py", "h1-majority", "--only", "majority-1", *SMALL)
    plan = registered_plan(read_run(five))
    assert plan is not None
    assert (plan.contents.baseline, plan.contents.seeds, plan.contents.by) == ("single", "repeats", "task")
    one = suite("suite_h3_sizes.py", "h3-sizes", "--only", "size_1-1", *SMALL)
    weighted = suite("suite_h5_calibration.py", "h5-calibration", "--only", "weighted_calibrated-1", *SMALL)
    best, together, sure = (read_items(next(run.glob("*/items.jsonl")).parent) for run in (one, five, weighted))
    assert [row["key"] for row in best] == [row["key"] for row in together] == [row["key"] for row in sure]
    assert len(best) == 178
    chosen: dict[int, set[str]] = {0: set(), 1: set()}
    for alone, of_five in zip(best, together, strict=True):
        (vote,) = alone["output"]["votes"].items()
        assert vote in of_five["output"]["votes"].items()
        assert set(of_five["output"]["votes"]) == set(QUICK)
        chosen[alone["output"]["fold"]].add(vote[0])
    assert [len(members) for members in chosen.values()] == [1, 1]
    found = {**results_of(one), **results_of(five), **results_of(weighted)}
    assert [each["calls"] for each in found.values()] == [1, 5, 5]
    assert all(each["accuracy"] > 0.9 for each in found.values())
    assert any(round(5 * row["metrics"]["agreement"], 6) % 1 for row in sure)  # no share of five equal votes


def test_hedging_of_recorded_sessions(suite: Callable[..., Path]) -> None:
    """H2 and H4: what is saved and what it takes, within the budget; and a learning curve."""
    hedged = suite("suite_h2_hedging.py", "h2-hedging", "--only", "budget-14-refitting-1", "--set", "n_requests=400")
    ((_, found),) = results_of(hedged).items()
    assert 0 < found["extra"] <= 0.14 + 10 / 400
    assert found["p99_cut"] > 0
    learned = suite("suite_h4_adaptive.py", "h4-adaptive", "--only", "adaptive-1", "--set", "n_requests=400")
    lines = map(json.loads, (learned / "adaptive-1" / "tracking.jsonl").read_text().splitlines())
    curve = [line for line in lines if line.get("name") == "loss_so_far_s"]
    assert [point["step"] for point in curve] == list(range(50, 401, 50))
    assert curve[-1]["value"] == pytest.approx(results_of(learned)["adaptive-1"]["loss_s"])


def test_an_item_says_nothing_to_the_members_that_are_asked_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a held-out item is like, the others of its fold get the same answers; those of other folds needn't."""
    monkeypatch.setattr(sys, "path", [str(ROOT / FOLDER), *sys.path])
    members: Any = import_module("members")

    given = {"seed": 1, "n_folds": 2, "calibrated": False}
    features, truth = members.load_wine(return_X_y=True)

    def spoilt(return_X_y: bool) -> tuple[Any, Any]:
        return features, truth

    try:
        _, before = members.held_out_answers("wine", ["logistic", "bayes"], **given)
        features[7] *= 1000
        monkeypatch.setitem(members.DATA, "wine", spoilt)
        items, after = members.held_out_answers("wine", ["logistic", "bayes"], **given)
    finally:
        for name in ("members", "voting_config"):
            sys.modules.pop(name, None)
    changed = {item.id: before[item.id] != after[item.id] for item in items}
    asked = before["wine-0007"].fold
    assert not any(changed[item.id] for item in items if before[item.id].fold == asked and item.id != "wine-0007")
    assert any(changed[item.id] for item in items if before[item.id].fold != asked)
