"""What `describe` and `compare` say of real logs is what Inspect says of each, and what its samples say of two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import pytest
from asking import answer
from conftest import HERE, Project
from test_inspect_mode import Lab, commit, published, run_dir

from suitecase.compare import Study, compare_runs, describe_runs
from suitecase.compare.model import Description
from suitecase.inspect_bridge import EvalLog, labels_of, read_calls, read_eval_log, read_samples
from suitecase.rundir import read_run
from suitecase.stats import clustered_mean
from suitecase.tables.rows import case_results

# Four tasks in each case. Which answers are wrong is drawn by question; the epoch takes some of them away.
ENTRY_POINT = """\
from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, get_model
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

def task(name, n, scorers, letter="q", chat=False, **more):
    def given(text):
        return [ChatMessageUser(content=text)] if chat else text

    samples = [
        Sample(id=f"s{i}", input=given(f"{letter}{i}"), target=f"{letter}{i}", metadata={"text": f"t{i // 4}"})
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
        task("plain", 12, exact()),
        task("repeated", 12, exact(), epochs=Epochs(2, ["mean", "pass_at_2"])),
        task("scored", 12, [exact(), credit(), words()], chat=True),
        task("hard", 16, exact(), letter="h", token_limit=20),
    ],
    model=get_model("scripted/echo", script={"rules": rules}),
    max_samples=20, ctl_server=False, log_realtime=False, fail_on_error=False, continue_on_fail=True,
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

    @cached_property
    def compared(self) -> Study:
        """What `suitecase compare exp -b base` shows."""
        return compare_runs([run_dir(self.project)], baseline="base")

    def described(self, **asked: Any) -> dict[tuple[str, str], Description]:
        """The accuracies, by condition and task."""
        told = describe_runs([run_dir(self.project)], metrics=["exact.accuracy"], **asked).descriptions
        return {(each.condition, each.stratum.removeprefix("task=")): each for each in told}

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
    # Warm: both cases share one import of Inspect.
    cases = "[ExperimentCase(name, Config(name=name, x=x)) for name, x in (('base', 5), ('new', 3))]"
    project.suite(cases, more="mode='inspect'", entry_point="evaluate.py")
    commit(project, "Add a suite")
    done = lab.run(
        project, "--launcher", "warm", "--launcher-option", "preload=inspect_ai,acp,numpy,IPython", PYTHONPATH=str(HERE)
    )
    assert done.code == 0, done
    return Ran(project)


def test_figures_of_a_log_are_those_of_inspect(ran: Ran) -> None:
    """Accuracies, means and standard errors, of one scorer or several, of objects' values and of reduced epochs."""
    told = describe_runs([run_dir(ran.project)], missing="drop").descriptions
    described = {(each.condition, each.stratum, each.metric): each for each in told}
    checked: set[str] = set()
    for (variant, task), log in ran.logs.items():
        for source in log.sources:
            metric = next(name for name in source.metrics if name in ("accuracy", "mean"))
            name = source.name(metric, alone=False)
            found = described[variant, f"task={task}", name]
            assert found.mean == pytest.approx(source.metrics[metric], rel=1e-12)
            assert found.standard_error == pytest.approx(source.metrics["stderr"], rel=1e-12)
            checked.add(f"{task}: {name}")
    assert checked == {
        *("plain: exact.accuracy", "repeated: exact.accuracy", "repeated: exact.pass_at_2.accuracy"),
        *("scored: exact.accuracy", "scored: credit.mean", "scored: words.length.mean", "scored: words.long.accuracy"),
        "hard: exact.accuracy",
    }


def test_clustered_errors_are_those_of_inspect(ran: Ran) -> None:
    """The same where clusters are of one size. Where they aren't ours is CR2, and Inspect's the simpler CR1."""
    described = ran.described(missing="drop", cluster="text")
    for (variant, task), log in ran.logs.items():
        theirs = log.sources[0].metrics["stderr2"]
        values = ran.values(variant, task)
        labels = [int(key[1:]) // 4 for key in values]
        means = [fmean(epochs) for epochs in values.values()]
        assert clustered_mean(means, labels).details["se_cr1"] == pytest.approx(theirs, rel=1e-12)
        ours = described[variant, task].standard_error
        assert ours == pytest.approx(theirs, rel=0.1)
        assert math.isclose(ours, theirs, rel_tol=1e-9) == (task != "hard")


def test_samples_are_paired_by_task_id_and_epoch(ran: Ran) -> None:
    """Each task has its own pairs, epochs are averaged per sample, and the average of the tasks comes last."""
    found = {each.stratum: each for each in ran.compared.comparisons if each.metric == "exact.accuracy"}
    differences: list[float] = []
    for task, n in (("plain", 12), ("repeated", 12), ("scored", 12), ("hard", 16)):
        new, base = (ran.values(variant, task) for variant in ("new", "base"))
        assert new.keys() == base.keys()
        by_hand = sum(fmean(new[key]) - fmean(base[key]) for key in new) / n  # an error is wrong on both sides
        each = found[f"task={task}"]
        assert (each.paired, each.n) == (True, (n, n))
        assert each.difference == pytest.approx(by_hand)
        differences.append(by_hand)
    assert found["average over task"].difference == pytest.approx(fmean(differences))


def test_every_scorer_is_compared(ran: Ran) -> None:
    """Without a metric named, all that are accuracies: of each scorer, each key of an object, and each reducer."""
    metrics = {(each.metric, each.stratum) for each in ran.compared.comparisons}
    assert metrics == {
        *(("exact.accuracy", f"task={task}") for task in ("plain", "repeated", "scored", "hard")),
        ("exact.accuracy", "average over task"),
        ("exact.pass_at_2.accuracy", "task=repeated"),
        ("words.long.accuracy", "task=scored"),
    }


def test_no_answer_errors_and_limits_count_as_the_rule_says(ran: Ran) -> None:
    """No answer and an error are wrong answers of a rate; what a limit ended counts as it was scored, and is told."""
    described = ran.described()
    values = ran.values("base", "hard")
    hard = described["base", "hard"]
    assert len(values) == 14
    assert (hard.n, hard.missing) == (16, 0)
    assert hard.mean == pytest.approx(sum(map(sum, values.values())) / 16)
    assert (ran.values("base", "plain")["s9"], described["base", "plain"].n) == ([0.0], 12)
    assert "base: samples ended at a limit (6 of token) and count as they were scored." in ran.compared.warnings


def test_results_of_a_case_name_task_scorer_and_reducer(ran: Ran) -> None:
    """Each log's scores have names of their own, also where one task was evaluated twice."""
    run = read_run(run_dir(ran.project))
    results, problems = case_results(run, run.cases["base"])
    assert not problems
    assert {name for name in results if "stderr" not in name} == {
        *("plain.accuracy", "repeated.accuracy", "repeated.pass_at_2.accuracy", "hard.accuracy"),
        *("scored.exact.accuracy", "scored.credit.mean", "scored.words.length.mean", "scored.words.long.accuracy"),
    }
    log = ran.logs["base", "plain"]
    assert labels_of([replace(log, task_args={"n": 2, "m": 1}), replace(log, task_args={"n": 5, "m": 1})]) == [
        "plain(n=2)", "plain(n=5)",
    ]  # fmt: skip
    assert labels_of([log, replace(log, model="a/b")]) == ["plain(scripted/echo)", "plain(a/b)"]


def test_delays_of_hedging_are_planned_on_the_calls_of_logs(ran: Ran) -> None:
    """Each call of a model with its own time; but for the two in each case that failed, which have none."""
    (target,) = answer(ran.project, "hedging", "plan", "exp")["targets"]
    assert (target["target"], target["calls"]) == ("scripted/echo", 2 * (12 + 2 * 12 + 12 + 16 - 2))
    assert target["front"][0]["p99_s"] > 0
    slowest = max(call.latency_s for log in ran.logs.values() for call in read_calls(log.path))
    assert target["front"][0]["p99_s"] <= slowest
