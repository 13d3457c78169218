"""What `describe` and `compare` say of real logs is what Inspect says of each, and what its samples say of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from asking import answer, ask
from conftest import HERE, Project
from test_inspect_mode import Lab, commit, published

from suitecase.inspect_bridge import EvalLog, read_eval_log, read_samples
from suitecase.stats import clustered_mean

# Four tasks in each case. Which answers are wrong is drawn by question; the epoch takes some of them away.
ENTRY_POINT = """\
from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, PARTIAL, Score, accuracy, mean, scorer, stderr
from inspect_ai.solver import generate
from config import Config
from suitecase.inspect_bridge import run_inspect

config = Config()

@scorer(metrics=[accuracy(), stderr(), stderr(cluster="text")])
def exact():
    async def score(state, target):
        said = state.output.completion
        right = said == target.text and (int(said[1:]) + state.epoch) % 7 != 0
        return Score(value=CORRECT if right else NOANSWER if said == "none" else INCORRECT)
    return score

@scorer(metrics=[mean(), stderr()])
def credit():
    async def score(state, target):
        return Score(value=CORRECT if state.output.completion == target.text else PARTIAL)
    return score

@scorer(metrics={"length": [mean(), stderr()], "long": [accuracy(), stderr()]})
def words():
    async def score(state, target):
        n = len(state.output.completion)
        return Score(value={"length": n / 3, "long": n > 3})
    return score

def task(name, n, scorers, letter="q", **more):
    samples = [
        Sample(id=f"s{i}", input=f"{letter}{i}", target=f"{letter}{i}", metadata={"text": f"t{i // 4}"})
        for i in range(n)
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=scorers, name=name, **more)

rules = [
    {"match": "^q9$", "answer": "none"},
    {"match": "^h[34]$", "error": "bad_request"},
    {"match": "^h1.$", "input_tokens": 50},
    {"wrong_rate": config.x / 10, "served": config.name},
]
run_inspect(
    config,
    [
        task("plain", 40, exact()),
        task("repeated", 24, exact(), epochs=Epochs(3, ["mean", "pass_at_2"])),
        task("scored", 24, [exact(), credit(), words()]),
        task("hard", 24, exact(), letter="h", token_limit=20),
    ],
    model=get_model("scripted/echo", script={"rules": rules}),
    max_samples=20, ctl_server=False, fail_on_error=False, continue_on_fail=True,
)
"""


@dataclass(frozen=True)
class Ran:
    """A run of two cases, `base` and `new`."""

    project: Project

    @cached_property
    def logs(self) -> dict[tuple[str, str], EvalLog]:
        """By variant and task."""
        found = {
            (variant, log.task): log
            for variant, paths in published(self.project).items()
            for path in paths
            if (log := read_eval_log(path)[0])
        }
        assert len(found) == 8
        return found

    def described(self, *arguments: str) -> dict[tuple[str, str, str], dict[str, Any]]:
        """What the command says, by condition, task and metric."""
        told = answer(self.project, "describe", "exp", *arguments)["descriptions"]
        return {(each["condition"], each["stratum"].removeprefix("task="), each["metric"]): each for each in told}

    def values(self, variant: str, task: str, scorer: str = "exact") -> dict[str, list[float]]:
        """The scores of each sample that was scored, an entry for each epoch."""
        found: dict[str, list[float]] = {}
        for sample in read_samples(self.logs[variant, task].path):
            if scorer in (sample.get("scores") or {}):
                found.setdefault(sample["id"], []).append(float(sample["scores"][scorer]["value"] == "C"))
        return found


@pytest.fixture(scope="module")
def ran(new_project: Callable[[str], Project], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A model that is wrong in half of its answers, and one that is in three tenths of them."""
    folder = tmp_path_factory.mktemp("inspect")
    lab = Lab({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})
    project = new_project("figures")
    project.write("evaluate.py", ENTRY_POINT)
    cases = "[ExperimentCase(name, Config(name=name, x=x)) for name, x in (('base', 5), ('new', 3))]"
    project.suite(cases, more="mode='inspect'", entry_point="evaluate.py")
    commit(project, "Add a suite")
    done = lab.run(project, PYTHONPATH=str(HERE))
    assert done.code == 0, done
    return Ran(project)


def test_figures_of_a_log_are_those_of_inspect(ran: Ran) -> None:
    """Accuracies, means and standard errors, of one scorer or several, of objects' values and of reduced epochs."""
    described = ran.described("--missing", "drop")
    checked: set[str] = set()
    for (variant, task), log in ran.logs.items():
        for source in log.sources:
            metric = next(name for name in source.metrics if name in ("accuracy", "mean"))
            found = described[variant, task, f"{source.prefix}.{metric}"]
            assert found["mean"] == pytest.approx(source.metrics[metric], rel=1e-12)
            assert found["standard_error"] == pytest.approx(source.metrics["stderr"], rel=1e-12)
            checked.add(f"{task}: {source.prefix}.{metric}")
    assert checked == {
        *("plain: exact.accuracy", "repeated: exact.accuracy", "repeated: exact.pass_at_2.accuracy"),
        *("scored: exact.accuracy", "scored: credit.mean", "scored: words.length.mean", "scored: words.long.accuracy"),
        "hard: exact.accuracy",
    }


def test_clustered_errors_are_those_of_inspect(ran: Ran) -> None:
    """The same where clusters are of one size. Where they aren't ours is CR2, and Inspect's the simpler CR1."""
    described = ran.described("--missing", "drop", "--cluster", "text", "-m", "exact.accuracy")
    for (variant, task), log in ran.logs.items():
        theirs = log.sources[0].metrics["stderr2"]
        values = ran.values(variant, task)
        labels = [int(key[1:]) // 4 for key in values]
        means = [fmean(epochs) for epochs in values.values()]
        assert clustered_mean(means, labels).details["se_cr1"] == pytest.approx(theirs, rel=1e-12)
        ours = described[variant, task, "exact.accuracy"]["standard_error"]
        assert ours == pytest.approx(theirs, rel=0.1 if task == "hard" else 1e-12)
        assert (ours == pytest.approx(theirs, rel=1e-9)) == (task != "hard")


def test_samples_are_paired_by_task_id_and_epoch(ran: Ran) -> None:
    """Each task has its own pairs, epochs are averaged per sample, and the average of the tasks comes last."""
    told = answer(ran.project, "compare", "exp", "-b", "base", "-m", "exact.accuracy", "--missing", "drop")
    found = {each["stratum"]: each for each in told["comparisons"]}
    differences: list[float] = []
    for task in ("plain", "repeated", "scored", "hard"):
        new, base = (ran.values(variant, task) for variant in ("new", "base"))
        assert new.keys() == base.keys()
        by_hand = fmean(fmean(new[key]) - fmean(base[key]) for key in new)
        each = found[f"task={task}"]
        assert (each["paired"], each["n"]) == (True, [len(new), len(new)])
        assert each["difference"] == pytest.approx(by_hand)
        differences.append(by_hand)
    assert found["average over task"]["difference"] == pytest.approx(fmean(differences))


def test_every_scorer_is_compared(ran: Ran) -> None:
    """Without a metric named, all that are accuracies: of each scorer, each key of an object, and each reducer."""
    told = answer(ran.project, "compare", "exp", "-b", "base")
    assert {each["metric"] for each in told["comparisons"]} == {
        "exact.accuracy", "exact.pass_at_2.accuracy", "words.long.accuracy",
    }  # fmt: skip


def test_no_answer_errors_and_limits_count_as_the_rule_says(ran: Ran) -> None:
    """No answer and an error are wrong answers of a rate; what a limit ended counts as it was scored, and is told."""
    described = ran.described("-m", "exact.accuracy")
    values = ran.values("base", "hard")
    assert len(values) == 22
    hard = described["base", "hard", "exact.accuracy"]
    assert (hard["n"], hard["missing"]) == (24, 0)
    assert hard["mean"] == pytest.approx(sum(map(sum, values.values())) / 24)
    assert ran.values("base", "plain")["s9"] == [0.0]
    assert described["base", "plain", "exact.accuracy"]["n"] == 40
    warnings = answer(ran.project, "compare", "exp", "-b", "base", "-m", "exact.accuracy")["warnings"]
    assert "base: samples ended at a limit (10 of token) and count as they were scored." in warnings


def test_show_names_the_scores_of_each_task(ran: Ran) -> None:
    """By task, scorer and metric, with the reducer where epochs have another than their mean."""
    table = answer(ran.project, "table", "exp", "--columns", "variant,result.repeated.pass_at_2.accuracy")
    assert table
