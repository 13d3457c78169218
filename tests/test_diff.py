"""How two runs differ, and which difference is said to explain which."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from asking import answer, ask
from conftest import Project
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.queries.comparison import (
    MEASURES_TIME,
    compare_environments,
    compare_results,
    compare_runs,
    is_close,
    same,
)
from suitecase.rundir import read_run

WRITE = "json.dump({}, (folder / 'results.json').open('w'))"


def writing(**values: str) -> str:
    """Code that writes results; the values are expressions."""
    return WRITE.format("{" + ", ".join(f"{name!r}: {value}" for name, value in values.items()) + "}")


def two_runs(project: Project) -> tuple[Path, Path]:
    before, after = project.runs()
    return before, after


def test_same_run_twice(project: Project) -> None:
    """Nothing differs but times; and what isn't deterministic is called so."""
    project.suite({"a": writing(accuracy="0.5", fit_s="time.time()"), "b": writing(accuracy="os.getpid()")})
    assert project.run_forked("-q").code == project.run_forked("-q").code == 0
    before, after = two_runs(project)
    listing = project.listing()
    found = answer(project, "diff", before, after)
    assert project.listing() == listing, "diff wrote something"
    assert found["code"]["equal"] is True
    assert found["environment"] == []
    assert found["environment_known"]
    assert found["configs"] == {}
    assert found["matched"] == 2
    verdicts = {(value["variant"], value["key"]): value["verdict"] for value in found["results"]}
    assert verdicts == {("a", "fit_s"): "time", ("b", "accuracy"): "differs"}
    (sentence,) = found["findings"]
    assert "1 of 2 cases (b)" in sentence
    assert "not deterministic" in sentence
    shown = ask(project, "diff", before, after)
    assert shown.code == 0
    assert "Code: the same" in shown.stdout
    assert "not deterministic" in shown.stdout


def test_code_config_and_cases(project: Project) -> None:
    """Code with an untracked file, a config, a case more, a status: each is named, and what may explain the results."""
    project.write("constant.py", "VALUE = 1\n")
    cases = {"same": "from constant import VALUE; " + writing(x="VALUE"), "gone": "pass", "ok": "pass"}
    project.suite(cases)
    assert project.run_forked("-q").code == 0
    project.write("constant.py", "VALUE = 3\nOTHER = 1\n")
    project.git("add", "suite.py")
    project.git("commit", "-q", "-m", "Second")
    project.suite({"same": cases["same"], "new": "pass", "ok": "sys.exit(4)"})
    assert project.run_forked("-q").code == 1
    found = answer(project, "diff", *two_runs(project))
    assert found["code"]["equal"] is False
    files = {file["path"]: (file["added"], file["removed"]) for file in found["code"]["files"]}
    assert files == {"constant.py": (2, 1), "suite.py": (1, 1)}
    assert (found["only_before"], found["only_after"]) == (["gone"], ["new"])
    assert list(found["configs"]) == ["ok"]
    assert found["statuses"] == [{"what": "ok", "before": "succeeded", "after": "failed (exit code 4)"}]
    (value,) = found["results"]
    assert (value["before"], value["after"], value["difference"], value["relative"]) == (1, 3, 2, 2)
    assert any("only recorded difference is in the code: constant.py, suite.py" in each for each in found["findings"])
    assert any(
        each.startswith("Of 1 case (ok) the status differs: succeeded, then failed") for each in found["findings"]
    )


def test_config_and_means(project: Project) -> None:
    """A field that `--set` changed is the only suspect; means come with their n."""
    code = "x = config['x']; " + writing(
        accuracy="0.25 + x / 4", metrics="{'accuracy': {'mean': 0.25 + x / 4, 'n': 8}}", other="'text'"
    )
    project.suite({"a": code, "b": code, "left out": code})
    assert project.run_forked("-q").code == 0
    assert project.run_forked("-q", "--set", "x=1", "--only", "a", "--only", "b").code == 0
    found = answer(project, "diff", *two_runs(project))
    assert {value["variant"] for value in found["results"]} == {"a", "b"}, "what never started misses nothing"
    assert found["configs"]["a"] == [{"what": "x", "before": 0, "after": 1}]
    value = next(value for value in found["results"] if value["key"] == "accuracy")
    assert (value["n_before"], value["n_after"], value["difference"], value["relative"]) == (8, 8, 0.25, 1.0)
    mean = next(mean for mean in found["means"] if mean["key"] == "accuracy")
    assert mean == {"key": "accuracy", "n": 2, "before": 0.25, "after": 0.5, "difference": 0.25}
    assert any("the only recorded difference is in the config: x (0 → 1)" in each for each in found["findings"])
    # With another package as well, nobody can tell which of them it was.
    environment = two_runs(project)[1] / "environment.json"
    recorded = json.loads(environment.read_text())
    recorded["packages"]["pydantic"] = "0.1"
    environment.write_text(json.dumps(recorded))
    found = compare_runs(*map(read_run, two_runs(project)))
    assert [each["what"] for each in found["environment"]] == ["package pydantic"]
    assert any("nobody can tell which" in each for each in found["findings"])


def test_damaged_and_original_runs(project: Project, tmp_path: Path) -> None:
    """What can be compared is compared, and what is wrong is said."""
    project.suite({"a": writing(x="1"), "b": writing(x="1")})
    assert project.run_forked("-q").code == 0
    (whole,) = project.runs()
    original = tmp_path / "20260101_120000_abc1234"
    for variant in ("a", "b"):
        (original / variant).mkdir(parents=True)
        for name in ("config.json", "results.json"):
            shutil.copy(whole / variant / name, original / variant / name)
    found = compare_runs(read_run(original), read_run(whole))
    assert found["code"]["equal"] is None
    assert not found["environment_known"]
    assert any("All results of 2 cases are equal." in each and "not recorded" in each for each in found["findings"])
    damaged = tmp_path / whole.name
    shutil.copytree(whole, damaged)
    (damaged / "a" / "results.json").write_text('{"x": 1')
    found = compare_runs(read_run(whole), read_run(damaged))
    assert any("torn or damaged" in problem for problem in found["problems"])
    assert [(value["variant"], value["verdict"]) for value in found["results"]] == [("a", "missing")]
    (damaged / "journal.jsonl").unlink()
    found = compare_runs(read_run(whole), read_run(damaged))
    assert any("journal.jsonl is missing" in problem for problem in found["problems"])
    assert found["equal_values"] == 1
    empty = tmp_path / "20260101_120001_abc1234"
    empty.mkdir()
    assert "nothing to compare" in compare_runs(read_run(empty), read_run(whole))["findings"][-1]


def test_inspect_scores_are_compared(tmp_path: Path) -> None:
    """The scores of published logs are results like others."""
    import zipfile

    for name, accuracy in (("20260101_120000_abc1234", 0.5), ("20260101_120001_abc1234", 0.75)):
        run = tmp_path / "exp" / ".runs" / name
        (run / "a").mkdir(parents=True)
        (run / "a" / "config.json").write_text("{}")
        (run / "run.json").write_text(json.dumps({"mode": "inspect", "experiment": "exp", "cases": [{"variant": "a"}]}))
        log = {"event": "logs_published", "variant": "a", "logs": [{"file": f"{name}.eval"}]}
        (run / "journal.jsonl").write_text(json.dumps(log) + "\n")
        header = {
            "status": "success",
            "eval": {"task": "t", "task_id": "i", "model": "m"},
            "results": {"scores": [{"name": "match", "metrics": {"accuracy": {"value": accuracy}}}]},
        }
        with zipfile.ZipFile(tmp_path / "exp" / f"{name}.eval", "w") as archive:
            archive.writestr("header.json", json.dumps(header))
    runs = [read_run(path) for path in sorted((tmp_path / "exp" / ".runs").iterdir())]
    (value,), problems = compare_results(*runs)
    assert (value.key, value.before, value.after, value.verdict) == ("accuracy", 0.5, 0.75, "differs")
    assert problems == []


def test_environments() -> None:
    before: dict[str, Any] = {
        "python": {"version": "3.11.1 (x)"},
        "packages": {"A_b": "1", "c": "1"},
        "host": "h",
        "gpus": [],
    }
    after: dict[str, Any] = {"python": {"version": "3.12.0 (y)"}, "packages": {"a-b": "1", "d": "2"}, "host": "h"}
    found = {each.what: (each.before, each.after) for each in compare_environments(before, after) or []}
    assert found == {"python": ("3.11.1", "3.12.0"), "package c": ("1", None), "package d": (None, "2")}
    assert compare_environments(before, None) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(JSON, JSON)
def test_same_is_reflexive_and_symmetric(a: object, b: object) -> None:
    assert same(a, a)
    assert same(a, b) == same(b, a)
    assert same(a, json.loads(json.dumps(a)))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(0, 1))
def test_tolerance(a: float, b: float, tolerance: float) -> None:
    assert is_close(a, b, tolerance) == is_close(b, a, tolerance)
    if is_close(a, b, tolerance) and math.isfinite(a) and math.isfinite(b):
        assert abs(a - b) <= tolerance * max(1.0, abs(a), abs(b)) * (1 + 1e-9)


def test_names_that_tell_times() -> None:
    """Whatever such a name holds does not count, so no other name may be taken for one."""
    times = (
        "fit_s",
        "latency_s.p95",
        "tokens_per_s",
        "a.wall_time",
        "finished_at",
        "duration",
        "time.total",
        "delay_ms",
    )
    others = (
        "accuracy",
        "n",
        "loss",
        "precision_at.5",
        "recall_at_5",
        "accuracy_us",
        "times",
        "f1_score",
        "s",
        "cost_usd",
    )
    assert [name for name in times + others if MEASURES_TIME.search(name)] == list(times)


def test_no_such_run(project: Project) -> None:
    project.write("results/exp/20260101_120000_abc1234/a/config.json", "{}")
    done = ask(project, "diff", "nothing", "like-it")
    assert done.code == 2
    assert "'nothing'" in done.stderr
    assert "'like-it'" in done.stderr
