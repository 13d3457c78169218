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


def test_a_majority_and_the_best_member_are_asked_the_same_as_planned(suite: Callable[..., Path]) -> None:
    """H1: items are pairs, votes are those of five members and of one of them, and the plan is followed."""
    run_dir = suite("suite_h1_majority.py", "h1-majority", "--only", "*-1", *SMALL)
    single, majority = (read_items(run_dir / name) for name in ("single-1", "majority-1"))
    assert [row["key"] for row in single] == [row["key"] for row in majority]
    assert len(majority) == 178
    for alone, together in zip(single, majority, strict=True):
        (chosen,) = alone["output"]["votes"].items()
        assert chosen in together["output"]["votes"].items()
        assert set(together["output"]["votes"]) == set(QUICK)
    assert len({next(iter(row["output"]["votes"])) for row in single if row["output"]["fold"] == 0}) == 1
    assert results_of(run_dir)["majority-1"]["accuracy"] > 0.9
    plan = registered_plan(read_run(run_dir))
    assert plan is not None
    assert (plan.contents.baseline, plan.contents.seeds, plan.contents.by) == ("single", "repeats", "task")


def test_sizes_and_weights(suite: Callable[..., Path]) -> None:
    """H3 and H5: so many are asked, and the slowest counts; weights count, and so does calibration."""
    sizes = suite("suite_h3_sizes.py", "h3-sizes", "--only", "size_3-1", *SMALL)
    told = results_of(sizes)["size_3-1"]
    assert told["calls"] == 3
    assert told["accuracy"] > 0.9
    weighted = suite("suite_h5_calibration.py", "h5-calibration", "--only", "weighted_calibrated-1", *SMALL)
    rows = read_items(weighted / "weighted_calibrated-1")
    assert any(round(5 * row["metrics"]["agreement"], 6) % 1 for row in rows)  # no share of five equal votes


def test_hedging_of_recorded_sessions(suite: Callable[..., Path]) -> None:
    """H2 and H4: what is saved and what it takes, within the budget; and a learning curve."""
    hedged = suite("suite_h2_hedging.py", "h2-hedging", "--only", "budget-14-*-1", "--set", "n_requests=400", "-p", "2")
    found = results_of(hedged)
    assert found.keys() == {"budget-14-steady-1", "budget-14-refitting-1"}
    assert all(0 < each["extra"] <= 0.14 + 10 / 400 for each in found.values())
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
    try:
        _, before = members.held_out_answers("wine", ["logistic", "bayes"], **given)
        features[7] *= 1000
        monkeypatch.setitem(members.DATA, "wine", lambda return_X_y: (features, truth))
        items, after = members.held_out_answers("wine", ["logistic", "bayes"], **given)
    finally:
        for name in ("members", "voting_config"):
            sys.modules.pop(name, None)
    changed = {item.id: before[item.id] != after[item.id] for item in items}
    asked = before["wine-0007"].fold
    assert not any(changed[item.id] for item in items if before[item.id].fold == asked and item.id != "wine-0007")
    assert any(changed[item.id] for item in items if before[item.id].fold != asked)
