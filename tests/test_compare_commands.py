"""`suitecase compare`, `describe`, `plan`, `power`: processes of their own, and a run that was planned beforehand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from asking import answer, ask
from conftest import Project
from recorded_runs import RecordedCase, record_run

from suitecase.cli import judging
from suitecase.compare import compare_runs
from suitecase.compare.plans import PlanContents, new_plan, parse_plan, registered_plan
from suitecase.compare.powering import Assumed, power_of_pilot, power_of_values
from suitecase.errors import SuitecaseError
from suitecase.rundir import read_run
from suitecase.stats.choice import TESTS
from suitecase.stats.corrections import CORRECTIONS
from suitecase.stats.planning_rates import PairedRates

PLAN = """\
hypothesis = "The new prompt gets more right."
baseline = "old"
alpha = 0.01
correction = "bonferroni"
[[metrics]]
name = "accuracy"
better = "higher"
[sample]
n = 4
unit = "case"
justification = "what can be paid for"
"""


def recorded(project: Project) -> Path:
    """A run with two conditions of a hundred items each."""
    draw = random.Random(1)
    cases = [
        RecordedCase(
            arm, {"seed": 42, "arm": arm}, {"metrics": {"accuracy": {"better": "higher"}}},
            {f"q{i:03}": {"accuracy": float(draw.random() < share), "loss": draw.random()} for i in range(100)},
        )
        for arm, share in (("control", 0.5), ("new", 0.85))
    ]  # fmt: skip
    return record_run(project.root / "results", cases)


def test_a_comparison_can_be_read_aloud_or_by_programs(project: Project) -> None:
    """The table, the sentences and the JSON say the same; a gate has the last word about the exit code."""
    run = recorded(project)
    done = ask(project, "compare", "exp", "--explain", "--fail-if", "accuracy < -1pt")
    assert done.code == 0, done
    assert "new has higher accuracy than control, by 0." in done.stdout
    assert "Items are paired by id and input." in done.stdout
    assert "passed: new against control: accuracy, lower end" in done.stdout
    told = answer(project, "compare", "exp", "-m", "loss", "--fail-if", "loss > 0.001", code=1)
    (found,) = compare_runs([run], metrics=["loss"]).comparisons
    assert told["sentences"] == [found.sentence()]
    assert told["comparisons"][0]["p_adjusted"] == found.p_adjusted
    assert told["gates"][0]["passed"] is False


def test_wrong_use_ends_with_2_and_a_way_out(project: Project) -> None:
    """One clear error, no traceback."""
    recorded(project)
    for arguments, words in (
        (["-b", "nobody"], "there are control, new"),
        (["-m", "acuracy"], "did you mean accuracy?"),
        (["--test", "welsh"], "did you mean 'welch'?"),
        (["--fail-if", "accuracy < 1pt"], "Did you mean 'accuracy < -1pt'?"),
    ):
        done = ask(project, "compare", "exp", *arguments)
        assert (done.code, "Traceback" in done.stderr) == (2, False)
        assert words in done.stderr


def test_what_the_command_offers_is_what_there_is() -> None:
    """It lists names itself, so as not to import scipy for `--help`."""
    assert set(judging.TESTS) == {*TESTS[True], *TESTS[False]}
    assert set(judging.CORRECTIONS) == set(CORRECTIONS)


def test_conditions_are_described(project: Project) -> None:
    """Everything that says what came out, with an interval."""
    recorded(project)
    told = answer(project, "describe", "exp")
    assert [(each["metric"], each["condition"], each["n"]) for each in told["descriptions"]] == [
        ("accuracy", "control", 100), ("accuracy", "new", 100), ("loss", "control", 100), ("loss", "new", 100),
    ]  # fmt: skip
    assert told["descriptions"][0]["interval"]["method"] == "Wilson"
    assert "95 % CI" in ask(project, "describe", "exp", "-m", "loss").stdout


# --- Plans -----------------------------------------------------------------------------------------------------------

WRITES = """\
scores = {'accuracy': (config['x'] + config['seed']) / 100, 'loss': config['seed'] / config['x']}
(folder / 'results.json').write_text(json.dumps(scores))
"""


def planned_run(project: Project) -> Path:
    """A run of two conditions with two seeds each, whose suite has the plan for a hook."""
    project.write("plan.toml", PLAN)
    arms = "for arm, x in (('old', 50), ('new', 80)) for seed in (1, 2)"
    cases = f"[ExperimentCase(f'{{arm}}_{{seed}}', Config(do=WRITES, name=arm, seed=seed, x=x)) {arms}]"
    before = f"from suitecase.compare import Plan\nWRITES = {WRITES!r}"
    project.suite(cases, more='hooks=[Plan("plan.toml")]', before=before)
    here = str(Path(__file__).resolve().parent.parent)
    done = project.run_forked("-q", env={"PYTHONPATH": here})
    assert done.code == 0, done
    return project.run_dir


def test_a_plan_that_was_recorded_before_the_run_is_followed(project: Project) -> None:
    """What it names is planned, all else exploratory, and a later change of the file is seen and not followed."""
    run = planned_run(project)
    study = compare_runs([run])
    (found,) = study.comparisons
    assert (study.alpha, study.correction, study.baseline) == (0.01, "bonferroni", "old")
    assert (found.metric, found.label, found.better) == ("accuracy", "planned", "higher")
    both = compare_runs([run], metrics=["accuracy", "loss"])
    assert [each.label for each in both.comparisons] == ["planned", "exploratory"]
    other = compare_runs([run], alpha=0.05)
    assert other.comparisons[0].label == "exploratory"
    assert "Exploratory: the plan has another alpha." in other.warnings
    project.write("plan.toml", PLAN.replace("0.01", "0.2"))
    later = compare_runs([run])
    assert later.alpha == 0.01
    assert "plan.toml was changed after" in later.warnings[0]
    assert ask(project, "plan", "show", "exp").code == 1


def test_nothing_starts_with_a_plan_that_cannot_be_held_to(project: Project) -> None:
    """A misspelt key is no plan."""
    project.write("plan.toml", PLAN.replace("alpha", "alfa"))
    project.suite(
        "[ExperimentCase('a', Config())]", more='hooks=[Plan("plan.toml")]', before="from suitecase.compare import Plan"
    )
    done = project.run_forked(env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
    assert done.code == 1
    assert "alfa: there is no such key" in done.stdout + done.stderr
    assert not list(project.run_dir.glob("a/attempt-*.log"))


def test_a_new_plan_asks_for_what_is_missing(tmp_path: Path) -> None:
    """It parses, says what must be filled in, and overwrites nothing."""
    path = tmp_path / "plan.toml"
    new_plan(path, metrics=["accuracy"], hypothesis='It says "more" \\ better')
    with pytest.raises(SuitecaseError) as raised:
        parse_plan(path.read_text(), "plan.toml")
    assert [problem.partition(":")[0] for problem in raised.value.problems] == ["plan.toml"]
    assert "baseline" in str(raised.value)
    with pytest.raises(SuitecaseError, match="nothing is overwritten"):
        new_plan(path)
    filled = path.read_text().replace('baseline = ""', 'baseline = "old"')
    assert parse_plan(filled, "").hypothesis == 'It says "more" \\ better'


def test_looks_before_the_end_spend_the_error_rate() -> None:
    """Nothing before the first look, little then, and never more than alpha."""
    plan = parse_plan(PLAN + '[stopping]\nlooks = [0.5, 1.0]\nrule = "obrien-fleming"\n', "")
    assert plan.alpha_at(0.4) == 0
    assert 0 < plan.alpha_at(0.5) < 0.001
    assert 0.0095 < plan.alpha_at(1) < 0.01
    with pytest.raises(SuitecaseError, match="several looks need a rule"):
        parse_plan(PLAN + "[stopping]\nlooks = [0.5, 1.0]\n", "")


# --- Power -----------------------------------------------------------------------------------------------------------


def test_power_is_planned_from_values_or_from_a_pilot(project: Project) -> None:
    """A pilot lends its spread, and its number of comparisons; the sentence and the JSON agree."""
    study = compare_runs([recorded(project)])
    (found,) = power_of_pilot(study, effect=0.1, n=200)
    by_hand = PairedRates(discordant=sum(map(bool, study.differences["new", "accuracy"])) / 100)
    assert (found.unit, found.needed) == ("pairs", by_hand.n_for(0.1, 0.8))
    assert found.power_at_n == by_hand.power_of(0.1, 200)
    (told,) = json.loads(ask(project, "power", "exp", "--effect", "10pt", "-n", "200", "--json").stdout)
    assert told["needed"] == found.needed
    assert power_of_values(Assumed(False, sd=1.0), effect=0.5, n=None).needed == 64
    cautious = power_of_values(Assumed(False, sd=1.0), effect=0.5, n=None, pilot=5).cautious
    assert cautious is not None
    assert cautious > 64
    with pytest.raises(SuitecaseError, match="--rate of the baseline, or --sd"):
        power_of_values(Assumed(False), effect=0.5, n=None)


def test_a_plan_put_in_later_is_no_plan(project: Project) -> None:
    """What stands in the journal must hash to what stands beside it."""
    text = json.dumps(PLAN)
    cases = [RecordedCase(f"{arm}_{seed}", {"seed": seed, "arm": arm}, {"accuracy": 0.5 + seed / 10 + x})
             for arm, x in (("old", 0), ("new", 0.1)) for seed in (1, 2)]  # fmt: skip
    run = record_run(
        project.root / "results",
        cases,
        annotations=[{"plan": {"path": "gone", "sha256": "0" * 64, "text": json.loads(text)}}],
    )
    found = registered_plan(read_run(run))
    assert found is not None
    assert "is not the one whose sha256" in found.changed[0]
    assert isinstance(found.contents, PlanContents)
