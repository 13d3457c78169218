"""`suitecase resume`: the recorded suite goes on with a run, from anywhere, as itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from asking import COMMAND, suitecase
from conftest import HERE, Project, clean_environment, wait_for

import experiment_runner
from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.queries.steering import HOW_TO_RUN, OTHERS_WITH_VALUES, find_resume, how_it_ran
from suitecase.rundir import Run, read_run

FAILS_ONCE = "ok = Path('ok').exists(); print('x is', config['x']); sys.exit(0 if ok else 3)"


def failed_run(project: Project, *arguments: str) -> Run:
    """A run with a case that fails until there is a file `ok` in the project."""
    project.suite({"good": "", "bad": FAILS_ONCE})
    assert project.run_forked(*arguments).code == 1
    return read_run(project.run_dir)


def test_from_another_folder_with_everything_that_was_said(project: Project, tmp_path: Path) -> None:
    """Results folder, `--set` and how cases run are those of the run; the exit code is the runner's own."""
    shutil.rmtree(project.root / ".git")  # so that the folder it was called in is the project
    project.suite({"good": "", "bad": FAILS_ONCE})
    assert project.run_forked("--results-dir", "elsewhere", "--set", "x=7", "-p", "1", "--timeout=60").code == 1
    (run_dir,) = (project.root / "elsewhere/exp").iterdir()
    done = suitecase("resume", str(run_dir), cwd=tmp_path)
    assert done.code == 1
    assert "exit code 3" in done.stdout
    (project.root / "ok").touch()
    done = suitecase("resume", str(run_dir), "--", "--note", "mended", "--timeout", "50", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert f"--results-dir {project.root / 'elsewhere'} -p 1 --note mended --timeout 50\n" in done.stderr
    assert (run_dir / "bad/attempt-3.log").read_text() == "x is 7\n"
    (*_, resumed) = project.events("run_resumed", run_dir)
    assert (resumed["note"], resumed["policy"]["timeout_s"]) == ("mended", 50)
    assert not (project.root / "results").exists()
    assert suitecase("resume", str(run_dir), cwd=tmp_path).code == 0


def test_signals_are_the_runners(project: Project) -> None:
    """The command becomes the runner: Ctrl-C ends the cases, and the exit code says so."""
    project.suite({"bad": "sys.exit(3) if os.environ['SUITECASE_ATTEMPT'] == '1' else time.sleep(600)"})
    assert project.run_forked().code == 1
    process = subprocess.Popen(
        [*COMMAND, "resume", "latest"], cwd=project.root, env={**clean_environment(), "PYTHONPATH": str(HERE)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: len(project.events("attempt_started")) == 2, "the second attempt")
        assert project.events("run_resumed")[0]["pid"] == process.pid
        running = suitecase("resume", "latest", cwd=project.root)
        assert running.code == 75
        assert "is running (its runner holds the lock of the journal): there is nothing to resume." in running.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()


def test_an_interpreter_that_is_gone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own takes its place, else this one, and it is said which."""
    venv.create(project.root / "env", symlinks=True)
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    project.suite({"bad": FAILS_ONCE})
    command = [str(project.root / "env/bin/python"), "suite.py"]
    done = subprocess.run(command, cwd=project.root, env=clean_environment() | packages, capture_output=True)
    assert done.returncode == 1, done.stderr
    run = read_run(project.run_dir)
    assert find_resume(run).command[0] == command[0]
    shutil.rmtree(project.root / "env")
    found = find_resume(run)
    assert found.command[0] == sys.executable
    assert found.notes == (f"{command[0]}, which began the run, is gone: {sys.executable} goes on.",)
    (project.root / ".venv/bin").mkdir(parents=True)
    (project.root / ".venv/bin/python").symlink_to(sys.executable)
    assert find_resume(run).command[0] == str(project.root / ".venv/bin/python")


def test_a_project_that_was_moved(project: Project, tmp_path: Path) -> None:
    """The suite is found at its place within the project, and the run goes on where it lies now."""
    failed_run(project)
    moved = tmp_path / "moved project"
    project.root.rename(moved)
    (moved / "ok").touch()
    done = suitecase("resume", "exp", cwd=moved)
    assert done.code == 0, done.stderr
    assert f"{project.root / 'suite.py'} is gone: {moved / 'suite.py'} goes on." in done.stderr
    assert f"--results-dir '{moved / 'results'}'" in done.stderr
    assert not project.root.exists()
    assert read_run(next((moved / "results/exp").iterdir())).status == "succeeded"


def test_a_suite_that_is_gone(project: Project, tmp_path: Path) -> None:
    """A sentence with the way on; of a run that has succeeded there is nothing to do anyway."""
    run = failed_run(project)
    (project.root / "suite.py").rename(project.root / "renamed.py")
    with pytest.raises(
        NotFoundError, match=r"suite\.py, is gone: restore it, or call the suite that has taken its place"
    ):
        find_resume(run)
    (project.root / "ok").touch()
    assert project.run_forked("--resume", "latest", suite="renamed.py").code == 0
    done = suitecase("resume", "latest", cwd=project.root)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing left to do in ")


def test_runs_that_record_no_suite(project: Project, tmp_path: Path) -> None:
    """Those of the simple original, and those that a program began without a file."""
    original = tmp_path / "results/exp/20260101_120000_abc1234"
    (original / "a").mkdir(parents=True)
    (original / "a/config.json").write_text("{}")
    with pytest.raises(SuitecaseError, match=r"records no suite: resume it by SUITE\.py --resume"):
        find_resume(read_run(original))
    code = "from experiment_runner import *; from config import Config\n"
    code += "run_experiments([ExperimentCase('a', Config(do='1 / 0'))], 'work.py', 'exp')"
    subprocess.run([sys.executable, "-c", code], cwd=project.root, env=clean_environment(), capture_output=True)
    with pytest.raises(SuitecaseError, match="was begun without a suite file"):
        find_resume(read_run(project.run_dir))


def test_flags_that_say_how_cases_run_are_those_of_the_runner(project: Project) -> None:
    """Each is one of the runner's, and every field of its policy that has a flag is among them."""
    shown = project.run_forked("--help", env={"COLUMNS": "200"}).stdout
    assert [flag for flag in HOW_TO_RUN if flag not in shown] == []
    with_values = set(re.findall(r"(--[a-z-]+) [A-Z]", shown))
    assert with_values == {*(flag for flag, value in HOW_TO_RUN.items() if value), *OTHERS_WITH_VALUES} - {"-p"}
    assert set(experiment_runner.ExecutionPolicy.__dataclass_fields__) >= {"timeout_s", "nice", "isolate"}
    recorded = ["suite.py", "-p4", "--note", "-p 9", "--fail-fast", "--only", "a", "--nice=3", "--retry-on", "7", "-q"]
    keys = ["--env-file", "keys"]
    recorded += [*keys, "--launcher-option", "--fail-fast"]
    assert how_it_ran(recorded, []) == ["-p4", "--fail-fast", "--nice=3", "--retry-on", "7", *keys]
    assert how_it_ran(recorded, ["--parallelism", "2", "--nice", "1"]) == ["--fail-fast", "--retry-on", "7", *keys]
    assert os.path.basename(recorded[0]) not in how_it_ran(recorded, [])
