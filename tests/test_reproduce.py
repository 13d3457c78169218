"""A run comes out again from what was recorded, or it is said what does not; the user's repository is only read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from asking import answer, ask, start
from conftest import Project, alive, wait_for

from suitecase.errors import SuitecaseError
from suitecase.queries.comparison import compare_runs
from suitecase.queries.reproduction import plan_reproduction
from suitecase.rundir import read_run

WRITE = "json.dump({}, (folder / 'results.json').open('w'))"


@pytest.fixture
def temporary(tmp_path: Path) -> dict[str, str]:
    """A place for temporary files that a test can look into."""
    (tmp_path / "temporary").mkdir()
    return {"TMPDIR": str(tmp_path / "temporary")}


def left_behind(temporary: dict[str, str]) -> list[str]:
    return os.listdir(temporary["TMPDIR"])


def edited(run_dir: Path, **changes: Any) -> Path:
    """A run directory with another `run.json`."""
    file = run_dir / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return run_dir


def test_a_dirty_run_comes_out_again(project: Project, temporary: dict[str, str], tmp_path: Path) -> None:
    """With its untracked files and its uncommitted changes, after the user has gone on; noise is found out."""
    project.write("constant.py", "VALUE = 41\n")
    project.write("data/deep/numbers.txt", "1")
    noise = "0.5 + time.time_ns() % 1000003 * 1e-12"
    cases = {
        "exact": "from constant import VALUE; more = int(open('data/deep/numbers.txt').read()); "
        + WRITE.format("{'x': VALUE + more, 'fit_s': time.time(), 'many': {'deep': [1, 2.5]}}"),
        "noisy": WRITE.format(f"{{'x': {noise}}}"),
        "fails": "sys.exit(3)",
    }
    project.suite(cases, before="import os; assert os.environ.get('UNRELATED', '') == ''")
    assert project.run_forked("-q").code == 1
    recorded = project.run_dir
    project.write("constant.py", "VALUE = 0\n")
    project.write("suite.py", "raise SystemExit('not this one')\n")
    shutil.rmtree(project.root / "data")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "The user goes on")
    project.write("constant.py", "staged\n")
    project.git("add", "-A")
    status, listing = project.git("status", "--porcelain"), project.listing()
    kept = tmp_path / "kept"

    done = answer(project, "reproduce", recorded, "--to", kept, code=1)
    assert done["failures"] == [], done
    values = {(value["variant"], value["key"]): value["verdict"] for value in done["values"]}
    expected = {("exact", "x"): "equal", ("exact", "fit_s"): "time", ("exact", "many.deep"): "equal"}
    assert values == {**expected, ("noisy", "x"): "differs"}
    (again,) = (kept / "results" / "exp").iterdir()
    assert read_run(again).code.tree == read_run(recorded).code.tree
    assert read_run(again).name.endswith(read_run(recorded).code.label)
    assert (kept / "code" / "constant.py").read_text() == "VALUE = 41\n"

    two = ("--case", "exact", "--case", "noisy")
    near = ask(project, "reproduce", recorded, *two, "--tolerance", "1e-5", **temporary)
    assert near.code == 0, near
    assert "Reproduced: 2 equal, 1 within the tolerance, 1 that tell times" in near.stdout
    assert "close by" in near.stdout

    assert project.listing() == listing
    assert project.git("status", "--porcelain") == status
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert left_behind(temporary) == []
    assert ask(project, "reproduce", recorded, "--to", kept).code == 2, "a folder that is there was used"


def test_flags_are_recorded(project: Project, temporary: dict[str, str]) -> None:
    """`--set`, `--only` and import folders count again; a case that needs what git ignores fails, and is named."""
    code = "from package import VALUE; " + WRITE.format("{'x': config['x'] + VALUE}")
    project.suite({"a1": code, "a2": "open('results/data')", "b": "sys.exit(1)"})
    project.write("results/data", "")
    project.write("src/package.py", "VALUE = 1\n")
    imports = {"PYTHONPATH": str(project.root / "src")}  # as an editable installation has it
    assert project.run_forked("-q", "--set", "x=7", "--only", "a*", env=imports).code == 0
    project.write("src/package.py", "VALUE = 2\n")
    done = answer(project, "reproduce", "exp", code=1, **temporary)
    assert done["cases"] == ["a1", "a2"]
    assert [(value["before"], value["verdict"]) for value in done["values"]] == [(8, "equal")]
    (failure,) = done["failures"]
    assert failure == "a2 was recorded as succeeded, and is now failed (exit code 1)."
    assert left_behind(temporary) == []


def test_a_run_that_mixes_code(project: Project) -> None:
    """What is run again is the code of its beginning, and which cases had other code is said."""
    project.suite({"a": "pass", "b": "import fixed"})
    assert project.run_forked("-q").code == 1
    project.write("fixed.py", "")
    assert project.run_forked("-q", "--resume", "latest").code == 0
    run = read_run(project.run_dir)
    (note,) = plan_reproduction(run).notes
    assert note.startswith("b: the code had changed when it ran")
    assert any("its attempts ran different code" in each for each in compare_runs(run, run)["findings"])


def test_what_can_not_be_done(project: Project, tmp_path: Path, temporary: dict[str, str]) -> None:
    """Each reason by name, before anything starts; exit code 2."""
    project.write("secret.pem", "key")
    assert project.run_forked("-q").code == 0
    done = ask(project, "reproduce", "exp", **temporary)
    assert done.code == 2
    assert "lacks secret.pem (may hold secrets)" in done.stderr
    (project.root / "secret.pem").unlink()
    assert project.run_forked("-q").code == 0
    recorded = project.run_dir

    def reasons(**changes: Any) -> str:
        copy = tmp_path / f"{len(os.listdir(tmp_path))}" / recorded.name
        shutil.copytree(recorded, copy)
        with pytest.raises(SuitecaseError) as refused:
            plan_reproduction(read_run(edited(copy, **changes)))
        return str(refused.value)

    code = json.loads((recorded / "run.json").read_text())["code"]
    assert "no suite file" in reasons(suite=None)
    assert "lies outside the repository" in reasons(suite={"path": "/elsewhere/suite.py"})
    assert "is in none of" in reasons(code={**code, "commit": "1" * 40})
    assert "not known (no git)" in reasons(code={"label": "nogit", "problem": "no git"})
    assert "not known (git died)" in reasons(code={**code, "tree": None, "problem": "git died"})
    assert "not known" in reasons(code={**code, "commit": "--upload-pack=evil"})
    copy = edited(
        tmp_path / shutil.copytree(recorded, tmp_path / "tree" / recorded.name), code={**code, "tree": "2" * 40}
    )
    refused = ask(project, "reproduce", copy, **temporary)
    assert refused.code == 2
    assert "can't be rebuilt" in refused.stderr
    assert left_behind(temporary) == []
    shutil.rmtree(project.root / ".git")
    assert project.run_forked("-q").code == 0
    assert "not known" in ask(project, "reproduce", "latest", **temporary).stderr


def test_the_environment_is_compared(project: Project, temporary: dict[str, str]) -> None:
    """Differences are told before it starts; `--strict` refuses; a missing interpreter is replaced, which is said."""
    assert project.run_forked("-q").code == 0
    file = project.run_dir / "environment.json"
    environment = json.loads(file.read_text())
    environment["packages"] |= {"pydantic": "0.1", "long-gone": "1"}
    file.write_text(json.dumps(environment))
    refused = ask(project, "reproduce", "exp", "--strict", **temporary)
    assert refused.code == 2
    assert "--strict: package long-gone was 1, and is absent here." in refused.stderr
    assert "package pydantic: 0.1, here" in refused.stdout
    command = json.loads((project.run_dir / "run.json").read_text())["command"]
    plan = plan_reproduction(read_run(project.run_dir))
    assert (plan.python, plan.notes) == (command[0], ())
    plan = plan_reproduction(read_run(edited(project.run_dir, command=["/gone/python", *command[1:]])))
    assert plan.python == sys.executable
    assert "/gone/python is not here" in plan.notes[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(project: Project, temporary: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    """Nothing is left: no process, no folder."""
    flag, pid = tmp_path / "wait", tmp_path / "pid"
    loop = f"\nwhile os.path.exists({str(flag)!r}): time.sleep(0.01)"
    project.suite({"a": f"Path({str(pid)!r}).write_text(str(os.getpid()))" + loop})
    assert project.run_forked("-q").code == 0
    pid.unlink()
    flag.touch()
    listing = project.listing()
    process = start(project, "reproduce", "exp", **temporary)
    case = int(wait_for(lambda: pid.exists() and pid.read_text(), "the case"))
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    wait_for(lambda: not alive(case), "the end of the case")
    assert left_behind(temporary) == []
    assert project.listing() == listing
