"""`experiments/ensemble-vs-single`: its suites by their commands, small or as far as their plan; no answer leaks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Project
from threadpoolctl import threadpool_limits

from suitecase.compare.plans import registered_plan
from suitecase.items import read_items
from suitecase.rundir import read_run

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("experiments/ensemble-vs-single")
QUICK = ["logistic", "neighbours", "svm", "bayes", "discriminant"]
SMALL: dict[str, Any] = {"tasks": ["wine"], "n_folds": 2, "pool": QUICK}


@pytest.fixture
def suite(project: Project) -> Callable[..., Finished]:
    """A way to run a suite of the example in a repository of its own."""
    shutil.copytree(ROOT / FOLDER, project.root / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
    # What is installed may be another checkout. Several threads would take longer with so few items.
    environment = {"PYTHONPATH": os.pathsep.join([str(project.root), str(ROOT)])}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def run(name: str, *arguments: str, **changes: Any) -> Finished:
        changed = [f"--set={field}={json.dumps(value)}" for field, value in changes.items()]
        done = project.run(*arguments, *changed, suite=str(FOLDER / f"{name}.py"), env=environment)
        assert done.code == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A way to import the example's modules, which are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(ROOT / FOLDER), *sys.path])
    import_module("sklearn.ensemble")  # or the limit wouldn't hold for its threads
    with threadpool_limits(1):
        yield import_module
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", "")).startswith(str(ROOT / FOLDER)):
            del sys.modules[name]


@pytest.fixture
def run_case(suite: Callable[..., Finished], imported: Callable[[str], Any], tmp_path: Path) -> Callable[..., Path]:
    """A way to run a case of a suite here, once the suite's command has said that it would; gives its folder."""

    def run(name: str, entry_point: str, variant: str, **changes: Any) -> Path:
        assert variant in suite(name, "--dry-run", "--only", variant, **changes).stdout
        (config,) = (case.config for case in imported(name).cases if case.variant_name == variant)
        folder = tmp_path / variant
        folder.mkdir()
        code: object = 0
        try:
            imported(entry_point).main(type(config)(**{**dict(config), **changes, "output_dir": str(folder)}))
        except SystemExit as end:
            code = end.code
        assert code == 0
        return folder

    return run


def results_of(case: Path) -> dict[str, Any]:
    return json.loads((case / "results.json").read_text())


def test_votes_of_five_and_of_the_best_of_them(
    suite: Callable[..., Finished], project: Project, run_case: Callable[..., Path]
) -> None:
    """H1, H3, H5: the same items in each; so many are asked; who is best is chosen by fold; weights count."""
    suite("suite_h1_majority", "--only", "majority-1", **SMALL)
    plan = registered_plan(read_run(project.runs("h1-majority")[-1]))
    assert plan is not None
    assert (plan.contents.baseline, plan.contents.seeds, plan.contents.by) == ("single", "repeats", "task")
    five = project.runs("h1-majority")[-1] / "majority-1"
    one = run_case("suite_h3_sizes", "run_voting", "size_1-1", **SMALL)
    weighted = run_case("suite_h5_calibration", "run_voting", "weighted_calibrated-1", **SMALL)
    best, together, sure = map(read_items, (one, five, weighted))
    assert [row["key"] for row in best] == [row["key"] for row in together] == [row["key"] for row in sure]
    assert len(best) == 178
    chosen: dict[int, set[str]] = {0: set(), 1: set()}
    for alone, of_five in zip(best, together, strict=True):
        (vote,) = alone["output"]["votes"].items()
        assert vote in of_five["output"]["votes"].items()
        assert set(of_five["output"]["votes"]) == set(QUICK)
        chosen[alone["output"]["fold"]].add(vote[0])
    assert [len(members) for members in chosen.values()] == [1, 1]
    found = [results_of(case) for case in (one, five, weighted)]
    assert [each["calls"] for each in found] == [1, 5, 5]
    assert all(each["accuracy"] > 0.9 for each in found)
    assert any(round(5 * row["metrics"]["agreement"], 6) % 1 for row in sure)  # no share of five equal votes


def test_hedging_of_recorded_sessions(
    suite: Callable[..., Finished], project: Project, run_case: Callable[..., Path]
) -> None:
    """H2 and H4: what is saved and what it takes, within the budget; and a learning curve."""
    suite("suite_h2_hedging", "--only", "budget-14-refitting-1", n_requests=400)
    found = results_of(project.runs("h2-hedging")[-1] / "budget-14-refitting-1")
    assert 0 < found["extra"] <= 0.14 + 10 / 400
    assert found["p99_cut"] > 0
    learned = run_case("suite_h4_adaptive", "run_hedging", "adaptive-1", n_requests=400)
    lines = map(json.loads, (learned / "tracking.jsonl").read_text().splitlines())
    curve = [line for line in lines if line.get("name") == "loss_so_far_s"]
    assert [point["step"] for point in curve] == list(range(50, 401, 50))
    assert curve[-1]["value"] == pytest.approx(results_of(learned)["loss_s"])


def test_an_item_says_nothing_to_the_members_that_are_asked_it(
    imported: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a held-out item is like, the others of its fold get the same answers; those of other folds needn't."""
    members = imported("members")
    given = {"seed": 1, "n_folds": 2, "calibrated": False}
    features, truth = members.load_wine(return_X_y=True)

    def spoilt(return_X_y: bool) -> tuple[Any, Any]:
        return features, truth

    _, before = members.held_out_answers("wine", ["logistic", "bayes"], **given)
    features[7] *= 1000
    monkeypatch.setitem(members.DATA, "wine", spoilt)
    items, after = members.held_out_answers("wine", ["logistic", "bayes"], **given)
    changed = {item.id: before[item.id] != after[item.id] for item in items}
    asked = before["wine-0007"].fold
    assert not any(changed[item.id] for item in items if before[item.id].fold == asked and item.id != "wine-0007")
    assert any(changed[item.id] for item in items if before[item.id].fold != asked)
