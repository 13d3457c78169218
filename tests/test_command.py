"""The command `suitecase`, called as people call it: what is listed, shown, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from asking import suitecase
from conftest import Project

RESULT = """(folder / 'results.json').write_text(json.dumps({'accuracy': config['x'] / 10, 'detail': {'loss': 0.5},
'recall': 0.25, 'metrics': {'recall': {'n': 40, 'ci_low': 0.125, 'ci_high': 0.375}}}))"""


def answer(*arguments: str, cwd: Path) -> Any:
    """The JSON document that a command prints."""
    done = suitecase(*arguments, "--json", cwd=cwd)
    assert (done.code, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ran(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two runs of one suite, of which one case fails, and one of another."""
    project = Project(tmp_path_factory.mktemp("ran") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    good = [f"ExperimentCase('x-{x}', Config(x={x}, do={RESULT!r}))" for x in (1, 2)]
    bad = "ExperimentCase('bad', Config(do='sys.exit(3)'))"
    project.suite(f"[{', '.join([*good, bad])}]")
    assert project.run_forked("--note", "first").code == 1
    assert project.run_forked().code == 1
    project.suite(f"[{', '.join(good)}]", experiment="other", path="other.py")
    assert project.run_forked(suite="other.py").code == 0
    return project


def test_ls(ran: Project) -> None:
    """Runs by experiment, status and the values of their cases, the latest last; from any folder of the project."""
    lines = suitecase("ls", cwd=ran.root).lines
    assert len(lines) == 4
    assert lines[0].split() == ["experiment", "run", "status", "cases", "started", "took", "note"]
    first, second = (run.name for run in ran.runs())
    assert lines[1].split()[:5] == ["exp", first, "failed", "2", "succeeded,"]
    assert lines[1].endswith("first")
    (ran.root / "deep").mkdir(exist_ok=True)
    assert [row["run"] for row in answer("ls", "exp", cwd=ran.root / "deep")] == [first, second]
    assert len(answer("ls", "--status", "succeeded", cwd=ran.root)) == 1
    assert len(answer("ls", "x=2", cwd=ran.root)) == 3
    assert answer("ls", "exp", "accuracy>0.2", cwd=ran.root) == []
    assert len(answer("ls", "-n", "1", cwd=ran.root)) == 1
    assert len(answer("ls", "--since", "1h", cwd=ran.root)) == 3
    row = answer("ls", "other", cwd=ran.root)[0]
    assert (row["cases"], row["succeeded"], row["status"]) == (2, 2, "succeeded")


def test_ls_of_nothing(tmp_path: Path) -> None:
    """An empty project is no error."""
    done = suitecase("ls", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, f"No runs in {tmp_path / 'results'} yet.\n")


def test_an_empty_folder_is_said_once(tmp_path: Path) -> None:
    """However many runs are named."""
    done = suitecase("diff", "a", "b", cwd=tmp_path)
    assert done.code == 2
    assert done.stderr.splitlines() == [
        f"suitecase: there is no run in {tmp_path / 'results'}: run a suite first, or name the folder (--results-dir)."
    ]


def test_show(ran: Project) -> None:
    """What differs, what came out, why something failed, and how to go on."""
    done = suitecase("show", "exp", cwd=ran.root)
    lines = {line.split()[0]: line.split() for line in done.lines if line.strip()}
    assert lines["x-2"][1:2] == ["succeeded"]
    assert lines["x-2"][-5:] == ["0.2", "0.25", "[0.125,", "0.375]", "n=40"]
    assert lines["bad:"] == ["bad:", "exit", "code", "3"]
    assert lines["go"][-1] == f"exp/{ran.run_dir.name}"
    assert "3 cases: 2 succeeded, 1 failed" in done.lines
    shown = answer("show", "exp", cwd=ran.root)
    assert sum(shown["counts"].values()) == len(shown["cases"]) == 3
    assert shown["config_columns"] == ["do", "x"]
    assert shown["same_config"]["name"] == "n"


def test_show_one_case(ran: Project) -> None:
    """Everything about it."""
    shown = answer("show", "exp", "bad", cwd=ran.root)
    assert (shown["status"], shown["cause"], shown["files"]) == (
        "failed",
        "exit code 3",
        ["attempt-1.log", "config.json"],
    )
    assert shown["attempts"][0]["exit_code"] == 3
    assert "--debug bad" in shown["commands"]["alone"]
    assert "do = sys.exit(3)" in suitecase("show", "exp", "bad", cwd=ran.root).stdout


def test_results(ran: Project) -> None:
    """All, or one key with what is below it."""
    told = answer("results", "other", cwd=ran.root)["x-2"]
    assert (told["accuracy"], told["detail"]) == (0.2, {"loss": 0.5})
    assert answer("results", "other", "--key", "detail", cwd=ran.root)["x-1"] == {"detail": {"loss": 0.5}}
    lines = suitecase("results", "exp", "--key", "accuracy", cwd=ran.root).lines
    assert [line.split() for line in lines] == [["case", "accuracy"], ["x-1", "0.1"], ["x-2", "0.2"], ["bad"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "exq"], "no run is named 'exq': did you mean exp?"),
        (["show", "exp", "x-3"], "has no case 'x-3': did you mean"),
        (["results", "exp", "--key", "acuracy"], "has a result 'acuracy': did you mean accuracy?"),
        (["ls", "othr"], "did you mean other?"),
        (["ls", "--status", "faild"], "--status faild: did you mean 'failed'?"),
        (["ls", "--since", "soon"], "'soon' is no time: write 30m, 2h, 3d, 1w, or a date"),
        (["ls", "exp", "accuracy~1"], "'accuracy~1' is no condition: write FIELD=VALUE"),
        (["show"], "Missing argument 'RUN'"),
    ],
)
def test_wrong_use(ran: Project, arguments: list[str], message: str) -> None:
    """A sentence with the way on, exit code 2, no traceback."""
    done = suitecase(*arguments, cwd=ran.root)
    assert done.code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_damage_is_told_beside_what_can_be_shown(ran: Project, tmp_path: Path) -> None:
    """The rest of the list stands."""
    shutil.copytree(ran.root / "results", tmp_path / "results")
    journal = tmp_path / "results" / "exp" / ran.run_dir.name / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"succeeded"', b'"succeedef"', 1))
    done = suitecase("ls", cwd=tmp_path)
    assert done.code == 0
    assert len(done.lines) == 4
    assert "is damaged, and left out of what is shown." in done.stderr
