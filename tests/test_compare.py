"""Runs held against each other: what a condition is, what is counted, what is a pair, what becomes of the missing."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_runs import RecordedCase, RecordedLog, record_run

from suitecase.compare import Study, compare_runs, describe_runs
from suitecase.compare.conditions import find_conditions
from suitecase.compare.following import path_in_project
from suitecase.compare.gates import parse_gate
from suitecase.errors import SuitecaseError
from suitecase.rundir import read_run
from suitecase.stats import clustered_mean

ACCURACY = {"metrics": {"accuracy": {"better": "higher"}}}


def answers(right: float, n: int = 100, seed: int = 1) -> dict[str, dict[str, float]]:
    """Items, of which about this share is answered right."""
    draw = random.Random(seed)
    return {f"q{i:03}": {"accuracy": float(draw.random() < right)} for i in range(n)}


def seeds_of(name: str, values: Sequence[float], **config: Any) -> list[RecordedCase]:
    """A case per value, with seeds from 1, that recorded it as accuracy and nothing about items."""
    return [
        RecordedCase(f"{name}_{seed}", {"seed": seed, "arm": name, **config}, {"accuracy": value})
        for seed, value in enumerate(values, 1)
    ]


def arms(**items: Mapping[str, Mapping[str, float] | None]) -> list[RecordedCase]:
    """A case with seed 42 per condition, with its items."""
    return [RecordedCase(name, {"seed": 42, "arm": name}, ACCURACY, rows) for name, rows in items.items()]


def names_of(*runs: Path, **options: Any) -> list[str]:
    return [each.name for each in find_conditions(map(read_run, runs), **options)[0]]


def problem_of(*runs: Path, **options: Any) -> str:
    """Why runs are not compared."""
    with pytest.raises(SuitecaseError) as raised:
        compare_runs(runs, **options)
    return "\n".join(raised.value.problems)


# --- Conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ([("control_42", 42), ("control_43", 43)], "control"),
        ([("lr-0.1-seed-1", 1), ("lr-0.1-seed-2", 2)], "lr-0.1"),
        ([("1_big", 1), ("2_big", 2)], "big"),
        ([("size-42", 42)], "size-42"),
        ([("size-seed42", 42)], "size"),
        ([("first", 1), ("second", 2)], "x=0"),
    ],
)
def test_a_condition_has_its_variants_name_without_the_seed(
    tmp_path: Path, variants: list[tuple[str, int]], expected: str
) -> None:
    """A number that equals the seed of one case alone may mean something else; names that share nothing give way."""
    cases = [RecordedCase(variant, {"seed": seed, "x": 0}) for variant, seed in variants]
    other = RecordedCase("other", {"seed": 5, "x": 1})
    assert names_of(record_run(tmp_path, [*cases, other])) == [expected, "other"]


def test_runs_at_different_commits_are_different_conditions(tmp_path: Path) -> None:
    """Unless they are pooled; and a dirty tree is code of its own."""
    case = seeds_of("control", [0.5, 0.6])
    first = record_run(tmp_path, case)
    later = [RecordedCase(c.variant, c.config, c.results, commit="b" * 12) for c in seeds_of("control", [0.7, 0.8])]
    second = record_run(tmp_path, later, name="20260129_143052_bbbbbbb")
    dirty = [RecordedCase(c.variant, c.config, c.results, tree="c" * 12) for c in case]
    third = record_run(tmp_path, dirty, name="20260130_143052_a1b2c3d-dirty")
    assert names_of(first, second, third) == ["control@a1b2c3d", "control@bbbbbbb", "control@a1b2c3d-dirty.ccccccc"]
    (pooled,) = find_conditions(map(read_run, (first, second)), pool=True)[0]
    assert pooled.name == "control"
    assert [case.run.name for case in pooled.cases] == ["20260129_143052_bbbbbbb"] * 2


def test_a_case_that_has_not_begun_has_the_code_of_its_run(tmp_path: Path) -> None:
    """It's no condition of its own beside those that ran from the same dirty tree."""
    done = RecordedCase("control_1", {"seed": 1}, {"score": 0.5}, tree="c" * 12)
    waiting = RecordedCase("control_2", {"seed": 2}, status="pending", tree="c" * 12)
    assert names_of(record_run(tmp_path, [done, waiting], name="20260130_143052_a1b2c3d-dirty")) == ["control"]


def test_a_plan_is_named_as_its_repository_has_it(tmp_path: Path) -> None:
    """A report that is handed on tells nothing of the folders above."""
    run = replace(
        read_run(record_run(tmp_path, seeds_of("control", [0.5]))), asked={"project_root": "/home/ada/project"}
    )
    assert path_in_project("/home/ada/project/plans/p.toml", [run]) == "plans/p.toml"
    assert path_in_project("/home/ada/p.toml", [run]) == "p.toml"


def test_a_variant_and_seed_that_ran_twice_counts_once(tmp_path: Path) -> None:
    """The later success: not the later failure, and not both."""
    first = record_run(tmp_path, seeds_of("a", [0.1, 0.2]))
    again = [*seeds_of("a", [0.3]), RecordedCase("a_2", {"seed": 2, "arm": "a"}, status="failed")]
    second = record_run(tmp_path, again, name="20260129_143052_a1b2c3d")
    (description,) = describe_runs([second, first], metrics=["accuracy"]).descriptions
    assert description.values == (0.3, 0.2)


def test_a_condition_is_named_by_a_variant_or_by_its_fields(tmp_path: Path) -> None:
    """Several ways lead to the same baseline, and a wrong one lists what there is."""
    run = record_run(tmp_path, seeds_of("a", [0.1, 0.2], lr=0.1) + seeds_of("b", [0.3, 0.5], lr=0.2))
    for baseline in ("b", "b_2", "arm=b", "lr=0.20", "arm=b,lr=0.2"):
        assert compare_runs([run], baseline=baseline, metrics=["accuracy"]).baseline == "b"
    assert "there are a, b" in problem_of(run, baseline="zzz", metrics=["accuracy"])
    assert "name the baseline (--baseline CONDITION), for none" in problem_of(run, metrics=["accuracy"])


def test_the_baseline_is_the_only_one_called_so(tmp_path: Path) -> None:
    """By its name, or by a field's value."""
    run = record_run(tmp_path, seeds_of("x", [0.1, 0.2]) + seeds_of("Control", [0.3, 0.5]))
    assert compare_runs([run], metrics=["accuracy"]).baseline == "Control"


# --- Units -----------------------------------------------------------------------------------------------------------


def test_cases_are_the_unit_once_there_are_two(tmp_path: Path) -> None:
    """Rule 1: then items decide nothing, however many there are."""
    cases = [
        RecordedCase(
            f"{arm}_{seed}", {"seed": seed, "arm": arm}, ACCURACY, answers(share, seed=seed), dataset=str(seed)
        )
        for arm, share in (("control", 0.5), ("new", 0.9))
        for seed in (1, 2, 3)
    ]
    study = compare_runs([record_run(tmp_path, cases)])
    (found,) = study.comparisons
    assert (found.unit, found.paired, found.n) == ("case", False, (3, 3))
    by_hand = [sum(row["accuracy"] for row in answers(0.9, seed=s).values()) / 100 for s in (1, 2, 3)]
    assert found.means[0] == pytest.approx(sum(by_hand) / 3)
    assert any("3 seeds say little" in warning for warning in found.warnings)


def test_with_one_case_each_items_are_the_unit(tmp_path: Path) -> None:
    """And the reader is told what that says nothing about."""
    study = compare_runs([record_run(tmp_path, arms(control=answers(0.5), new=answers(0.8, seed=2)))])
    (found,) = study.comparisons
    assert (found.unit, found.paired, found.n) == ("item", True, (100, 100))
    assert any("not about the methods" in warning for warning in found.warnings)
    assert study.metrics[0].kind == "rate"


def test_repeats_of_one_system_are_averaged_per_item(tmp_path: Path) -> None:
    """Seeds are repeats if the asker says so."""
    rows = {"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.0, 0.0]}
    cases = [
        RecordedCase(f"{arm}_{seed}", {"seed": seed, "arm": arm}, ACCURACY,
                     {key: {"accuracy": values[seed] if arm == "new" else 0.0} for key, values in rows.items()})
        for arm in ("control", "new") for seed in (0, 1)
    ]  # fmt: skip
    study = compare_runs([record_run(tmp_path, cases)], seeds="repeats")
    assert study.comparisons[0].unit == "item"
    assert study.differences["new", "accuracy"] == (0.5, 1.0, 0.0)


def samples(shares: Mapping[str, Sequence[str]], prompt: str = "") -> list[dict[str, Any]]:
    """Summaries of samples with their scores, one per epoch."""
    return [
        {"id": key, "epoch": epoch, "input": f"{prompt}{key}", "target": "t", "scores": {"match": {"value": value}}}
        for key, values in shares.items()
        for epoch, value in enumerate(values, 1)
    ]


def test_samples_of_inspect_are_averaged_over_epochs_and_paired(tmp_path: Path) -> None:
    """Seeds of one system too; a word is a score as Inspect takes it."""
    ids = [f"s{i}" for i in range(20)]
    cases = [
        RecordedCase(
            f"{arm}_{seed}", {"seed": seed, "arm": arm}, logs=[RecordedLog(samples(dict.fromkeys(ids, scores)))]
        )
        for arm, scores in (("baseline", ["C", "I"]), ("new", ["C", "P"]))
        for seed in (1, 2)
    ]
    cases[-1] = RecordedCase(
        "new_2", {"seed": 2, "arm": "new"}, logs=[RecordedLog(samples({key: ["C", "C"] for key in ids}))]
    )
    study = compare_runs([record_run(tmp_path, cases)])
    (found,) = study.comparisons
    assert (found.metric, found.unit, found.paired, found.n) == ("accuracy", "item", True, (20, 20))
    assert found.means == (pytest.approx(0.875), pytest.approx(0.5))
    assert found.better == "higher"


def test_samples_of_two_models_are_averaged_and_the_reader_is_told(tmp_path: Path) -> None:
    """Two logs of one task in a case are repeats of its samples, whoever answered them."""
    right, wrong = (samples({f"s{i}": [value] for i in range(20)}) for value in "CI")
    cases = [
        RecordedCase("baseline", {"arm": 0}, logs=[RecordedLog(wrong, model="a"), RecordedLog(wrong, model="b")]),
        RecordedCase("new", {"arm": 1}, logs=[RecordedLog(right, model="a"), RecordedLog(wrong, model="b")]),
    ]
    study = compare_runs([record_run(tmp_path, cases)])
    assert (study.comparisons[0].means, study.comparisons[0].n) == ((0.5, 0.0), (20, 20))
    assert "new: items of sums are averaged over 2 models (a, b)." in study.warnings


def test_a_sample_without_a_cluster_is_one_of_its_own(tmp_path: Path) -> None:
    """Not of one cluster with all others that say none."""
    scores = samples({f"s{i}": ["CI"[i % 3 == 0]] for i in range(24)})
    for number, sample in enumerate(scores):
        sample["metadata"] = {"text": f"t{number // 4}"} if number < 16 else {}
    cases = [RecordedCase(arm, {"arm": arm}, logs=[RecordedLog(scores)]) for arm in ("baseline", "new")]
    study = describe_runs([record_run(tmp_path, cases)], metrics=["accuracy"], cluster="text")
    values = [float(sample["scores"]["match"]["value"] == "C") for sample in scores]
    labels = [sample["metadata"].get("text", sample["id"]) for sample in scores]
    by_hand = clustered_mean(values, labels)
    assert study.descriptions[0].standard_error == pytest.approx(by_hand.details["se"])
    assert any("8 items say no cluster; each counts as one of its own" in warning for warning in study.warnings)


# --- Pairs -----------------------------------------------------------------------------------------------------------


def test_the_same_id_with_another_input_is_no_pair(tmp_path: Path) -> None:
    """It takes a word from the asker (exit 2), who may know better."""
    ids = {f"s{i}": ["C" if i % 3 else "I"] for i in range(20)}
    cases = [
        RecordedCase("baseline", {"arm": 0}, logs=[RecordedLog(samples(ids))]),
        RecordedCase("new", {"arm": 1}, logs=[RecordedLog(samples(ids, prompt="please: "))]),
    ]
    run = record_run(tmp_path, cases)
    problem = problem_of(run)
    assert "20 of 20 items of new and baseline have the same id, but 20 of them other inputs" in problem
    assert "--paired yes" in problem
    assert "--paired no" in problem
    assert compare_runs([run], paired="yes").comparisons[0].paired
    assert not compare_runs([run], paired="no").comparisons[0].paired


def test_too_few_items_in_common_are_refused(tmp_path: Path) -> None:
    """Below nine tenths of the larger side."""
    few = dict(list(answers(0.5).items())[:80])
    run = record_run(tmp_path, arms(control=answers(0.5), new=few))
    assert "new and control have 80 of 100 items in common, fewer than 90%" in problem_of(run)
    found = compare_runs([run], paired="yes").comparisons[0]
    assert found.n == (80, 80)
    assert any("20 values have no partner" in warning for warning in found.warnings)


def test_seeds_are_pairs_only_if_asked(tmp_path: Path) -> None:
    """Two systems that were trained with the same seed have nothing else in common."""
    run = record_run(tmp_path, seeds_of("control", [0.5, 0.6, 0.7]) + seeds_of("new", [0.55, 0.66, 0.74]))
    assert not compare_runs([run], metrics=["accuracy"]).comparisons[0].paired
    study = compare_runs([run], metrics=["accuracy"], paired="yes")
    assert study.differences["new", "accuracy"] == pytest.approx((0.05, 0.06, 0.04))


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 9) | st.none(), min_size=2),
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 9) | st.none(), min_size=2),
)
@settings(max_examples=30, deadline=None)
def test_pairs_are_the_items_that_both_have(first: dict[str, float | None], second: dict[str, float | None]) -> None:
    """Whatever is missing on either side, and in whatever order."""
    from suitecase.compare.observations import Metric, Observations
    from suitecase.compare.pairing import PairingError, align
    from suitecase.compare.readings import Unit

    def observed(name: str, values: dict[str, float | None]) -> Observations:
        units: dict[Hashable, float] = {
            Unit("", key, ""): math.nan if value is None else value for key, value in values.items()
        }
        return Observations(name, Metric("m", "m"), "", "item", units)

    both = [key for key in first if first[key] is not None and second.get(key) is not None]
    enough = len(first.keys() & second.keys()) >= 0.9 * max(len(first), len(second))
    try:
        found = align(observed("f", first), observed("s", second), "auto")
    except PairingError:
        assert not enough or not both
        return
    assert enough
    assert list(found.first) == [first[key] for key in both]
    assert list(found.second) == [second[key] for key in both]


# --- What is missing -------------------------------------------------------------------------------------------------


def with_failures(items: dict[str, dict[str, float]], count: int) -> dict[str, dict[str, float] | None]:
    """The same items, of which the first ones failed."""
    return {key: None if number < count else row for number, (key, row) in enumerate(items.items())}


@pytest.mark.parametrize(
    ("missing", "n", "mean"), [("auto", 10, 0.8), ("wrong", 10, 0.8), ("drop", 8, 1.0), ("refuse", 0, 0)]
)
def test_a_failed_item_counts_as_wrong_in_a_rate(tmp_path: Path, missing: Any, n: int, mean: float) -> None:
    """Unless the asker says otherwise; and it is said."""
    right = {f"q{i}": {"accuracy": 1.0} for i in range(10)}
    mixed = {**right, "q9": {"accuracy": 0.0}}
    run = record_run(tmp_path, arms(control=mixed, new=with_failures(right, 2)))
    if missing == "refuse":
        assert "new has 2 of 10 items without accuracy" in problem_of(run, missing=missing)
        return
    found = compare_runs([run], missing=missing).comparisons[0]
    assert (found.n[0], found.means[0]) == (n, mean)
    counted = "are missing" if missing == "drop" else "count as 0"
    assert f"new: 2 failed items {counted} in accuracy." in found.warnings


def test_a_failed_item_is_missing_from_other_numbers(tmp_path: Path) -> None:
    """It has no score of 3.7, and not one of 0 either."""
    scores = {f"q{i}": {"score": 3.0 + i / 10} for i in range(10)}
    run = record_run(tmp_path, arms(control=scores, new=with_failures(scores, 1)))
    found = compare_runs([run], metrics=["score"]).comparisons[0]
    assert (found.n, found.missing) == ((9, 9), (1, 0))


def test_failed_cases_are_counted_and_left_out(tmp_path: Path) -> None:
    """A case that failed has no value, and the reader is told."""
    cases = seeds_of("control", [0.5, 0.6, 0.7]) + seeds_of("new", [0.8, 0.9])
    cases.append(RecordedCase("new_3", {"seed": 3, "arm": "new"}, {"accuracy": 0.0}, status="failed"))
    study = compare_runs([record_run(tmp_path, cases)], metrics=["accuracy"])
    assert (study.comparisons[0].n, study.comparisons[0].missing) == ((2, 3), (1, 0))
    assert "new: 1 of 3 cases did not succeed (1 failed)." in study.warnings


def test_a_run_that_is_not_at_its_end_is_interim(tmp_path: Path) -> None:
    """Its runner is gone, and some of its cases never ended."""
    cases = seeds_of("control", [0.5, 0.6]) + seeds_of("new", [0.8, 0.95])
    cases.append(RecordedCase("new_3", {"seed": 3, "arm": "new"}, status="running"))
    study = compare_runs([record_run(tmp_path, cases, ended=False)], metrics=["accuracy"])
    assert study.comparisons[0].label == "interim"
    assert study.warnings[0].startswith("Interim: ")


# --- Metrics, strata, clusters ---------------------------------------------------------------------------------------


def test_what_is_compared_by_default_states_what_is_better(tmp_path: Path) -> None:
    """Else it must be named, and what there is, is listed; how a case ran is never meant."""
    run = record_run(tmp_path, arms(control=answers(0.5), new=answers(0.9)))
    assert [metric.name for metric in compare_runs([run]).metrics] == ["accuracy"]
    assert "did you mean accuracy?" in problem_of(run, metrics=["acuracy"])
    other = record_run(tmp_path, seeds_of("control", [0.5, 0.6]) + seeds_of("new", [0.1, 0.2]), experiment="other")
    assert [metric.name for metric in compare_runs([other]).metrics] == ["accuracy"]  # the only result
    assert compare_runs([other], metrics=["duration_s"]).comparisons[0].verdict == "not tested"


def test_quantiles_are_compared_by_bootstrap_and_refused_where_few_lie_beyond(tmp_path: Path) -> None:
    """The two means are the quantiles."""
    draw = random.Random(3)
    rows = {
        arm: {f"q{i}": {"wait": draw.expovariate(1) + shift} for i in range(400)}
        for arm, shift in (("control", 0), ("new", 5))
    }
    run = record_run(tmp_path, arms(**rows))
    found = compare_runs([run], metrics=["wait@p90"]).comparisons[0]
    ordered = sorted(row["wait"] for row in rows["new"].values())
    assert ordered[358] < found.means[0] < ordered[361]
    assert (found.verdict, found.paired) == ("higher", True)
    refused = compare_runs([run], metrics=["wait@p99"]).comparisons[0]
    assert refused.verdict == "not tested"
    assert "4 beyond" in refused.warnings[0]


def test_benchmarks_are_compared_apart_and_on_average(tmp_path: Path) -> None:
    """A field `task` of what the items put out; each task counts the same, however many items it has."""
    tasks = {f"q{i:03}": {"task": "easy" if i < 80 else "hard"} for i in range(100)}
    better = {key: {"accuracy": 1.0 if tasks[key]["task"] == "hard" and int(key[1:]) % 4 else row["accuracy"]}
              for key, row in answers(0.5).items()}  # fmt: skip
    cases = [
        RecordedCase(arm, {"seed": 42, "arm": arm}, ACCURACY, rows, tasks)
        for arm, rows in (("control", answers(0.5)), ("new", better))
    ]
    study = compare_runs([record_run(tmp_path, cases)])
    easy, hard, average = study.comparisons
    assert [each.stratum for each in study.comparisons] == ["task=easy", "task=hard", "average over task"]
    assert (easy.n, hard.n, average.n) == ((80, 80), (20, 20), (100, 100))
    assert average.difference == pytest.approx((easy.difference + hard.difference) / 2)
    assert average.interval.low < average.difference < average.interval.high
    assert [
        each.stratum for each in compare_runs([tmp_path / "exp/20260128_143052_a1b2c3d"], by="none").comparisons
    ] == [""]


def test_strata_may_come_from_configs(tmp_path: Path) -> None:
    """Then a condition is what its cases have in common beside the field; `field=value` finds it in each stratum."""
    cases = [
        RecordedCase(
            f"{model}-{prompt}", {"seed": 42, "model": model, "prompt": prompt}, ACCURACY, answers(share, seed=seed)
        )
        for seed, (model, prompt, share) in enumerate(
            [("small", "bare", 0.3), ("small", "steps", 0.6), ("large", "bare", 0.8), ("large", "steps", 0.9)]
        )
    ]
    study = compare_runs([record_run(tmp_path, cases)], by="model", baseline="prompt=bare")
    assert study.baseline == "bare"
    assert [(each.first, each.stratum) for each in study.comparisons] == [
        ("steps", "model=small"), ("steps", "model=large"), ("steps", "average over model"),
    ]  # fmt: skip


def test_items_that_depend_on_each_other_are_clustered(tmp_path: Path) -> None:
    """The interval knows it; a field that nothing has is an error."""
    groups = {f"q{i:03}": {"page": i // 4} for i in range(100)}
    rows = {arm: {key: {"accuracy": answers(share, seed=s)[f"q{int(key[1:]) // 4:03}"]["accuracy"]} for key in groups}
            for arm, share, s in (("control", 0.4, 1), ("new", 0.7, 2))}  # fmt: skip
    cases = [RecordedCase(arm, {"arm": arm}, ACCURACY, rows[arm], groups) for arm in rows]
    run = record_run(tmp_path, cases)
    plain, clustered = compare_runs([run]).comparisons[0], compare_runs([run], cluster="page").comparisons[0]
    assert clustered.clusters
    assert clustered.clusters[0] == 25
    assert width(clustered) > 1.5 * width(plain)
    assert "--cluster nothing" in problem_of(run, cluster="nothing")


def width(found: Any) -> float:
    return found.interval.high - found.interval.low


def test_a_study_as_json_holds_everything_but_the_values(tmp_path: Path) -> None:
    """Which may be millions."""
    study: Study = compare_runs([record_run(tmp_path, arms(control=answers(0.5), new=answers(0.9)))])
    told = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert told["baseline"] == "control"
    assert told["conditions"][1]["fields"] == {"arm": "new"}
    assert "values" not in told["descriptions"][0]
    assert len(study.descriptions[0].values) == 100


# --- Gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bound"), [("accuracy < -1pt", -0.01), ("accuracy<-.02", -0.02), ("a b > 5%", 0.05), ("x@p99 > 0", 0.0)]
)
def test_a_gate_says_which_difference_must_not_be(text: str, bound: float) -> None:
    """Points are hundredths, percents are of the baseline."""
    assert parse_gate(text).bound == pytest.approx(bound)


@pytest.mark.parametrize("text", ["accuracy", "accuracy < 1pt", "latency > -5%", "accuracy <= -1pt"])
def test_a_gate_that_makes_no_sense_is_refused(text: str) -> None:
    """A bound on the wrong side of zero would fail for equal conditions."""
    with pytest.raises(SuitecaseError, match="--fail-if"):
        parse_gate(text)


def test_a_gate_asks_for_proof(tmp_path: Path) -> None:
    """Equal conditions pass if the interval is narrow enough, and fail if it isn't."""
    draw = random.Random(5)
    rows = {arm: {f"q{i}": {"score": 10 + draw.gauss(0, 1)} for i in range(400)} for arm in ("control", "new")}
    study = compare_runs([record_run(tmp_path, arms(**rows))], metrics=["score"])
    assert parse_gate("score < -0.5").answer(study).passed
    assert parse_gate("score < -5%").answer(study).passed  # of 10
    assert parse_gate("score > 0.5").answer(study).passed
    answer = parse_gate("score < -0.001").answer(study)
    assert not answer.passed
    assert "FAILED" in answer.sentences[0]
    with pytest.raises(SuitecaseError, match="accuracy is not compared"):
        parse_gate("accuracy < -1pt").answer(study)
