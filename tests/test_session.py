"""The session of a stranger: from an empty folder to a result that is proved, through a `kill -9`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from asking import COMMAND, answer, ask
from conftest import HERE, Finished, Kept, Project, clean_environment, wait_for
from typer.testing import CliRunner

from suitecase.cli.app import app
from suitecase.cli.examples import EXAMPLES
from suitecase.errors import NotFoundError
from suitecase.queries import find_run
from suitecase.rundir import read_run
from suitecase.rundir.runs import parse_time

SUITE = "experiments/my-experiment/suite_my_experiment.py"
ENTRY_POINT = "experiments/my-experiment/run_my_experiment.py"

# Waits for as long as the test wants, so that the kill meets it while it runs.
WAITING = """\
    while config.model == "large" and Path(config.output_dir).parents[1].joinpath("hold").exists():
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def kept(new_project: Callable[[str], Project]) -> Kept:
    """A run of two cases that succeeded."""
    project = new_project("ran")
    assert project.run_forked().code == 0
    return Kept(project)


@pytest.fixture
def ran(kept: Kept) -> Iterator[Project]:
    """The same for each test."""
    with kept.restored() as project:
        yield project


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Project]:
    """A folder with nothing in it."""
    project = Project(tmp_path / "empty")
    project.root.mkdir()
    yield project
    project.close()


def test_the_session_of_a_stranger(empty: Project) -> None:
    """init, run, kill -9, ls, resume, show, a second run with one change, diff, reproduce, verify."""
    project = empty
    project.git("init", "-q")
    made = answer(project, "init")
    assert {str(Path(path)) for path in made["written"]} >= {SUITE, ENTRY_POINT, "pyproject.toml"}

    entry_point = project.root / ENTRY_POINT
    source = entry_point.read_text().replace("import random\n", "import random\nimport time\n")
    before, head, body = source.partition("def main(config: MyExperimentConfig) -> None:\n")
    entry_point.write_text(before + head + WAITING + body)
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "An experiment")

    # Run, and kill the runner while the second case runs.
    results = project.root / "results/my-experiment"
    results.mkdir(parents=True)
    (results / "hold").touch()
    runner = project.start("-p", "1", "--set", "num_samples=1000", suite=SUITE)
    wait_for(lambda: project.runs("my-experiment"), "the run directory")
    project.wait_for_started("large", run_dir=project.runs("my-experiment")[0])
    runner.kill()
    runner.wait()
    wait_for(lambda: read_run(project.runs("my-experiment")[0]).status == "interrupted", "the end of the case")
    (results / "hold").unlink()

    (listed,) = list_runs(project)
    assert (listed["status"], listed["succeeded"], listed["interrupted"]) == ("interrupted", 1, 1)
    assert "go on:" in ask(project, "show", "latest").stdout

    # Go on: what has succeeded is not run again.
    done = ask(project, "resume", "latest")
    assert (done.code, done.lines[-1]) == (0, "Completed: 2/2 succeeded"), done
    shown = answer(project, "show", "latest")
    assert shown["status"] == "succeeded"
    assert {row["variant"]: row["attempts"] for row in shown["cases"]} == {"small": 1, "large": 2}
    assert all(row["results"]["n"] == 1000 for row in shown["cases"])

    # Again, with one thing changed: the difference has one explanation.
    assert project.run_forked("-p", "1", "--set", "num_samples=500", suite=SUITE).code == 0
    compared = answer(project, "diff", "latest~1", "latest")
    assert compared["code"]["equal"] is True
    fields = {each["what"] for found in compared["configs"].values() for each in found}
    assert fields == {"num_samples"}
    assert "the only recorded difference is in the config: num_samples (1000 → 500)" in compared["findings"][-1]

    reproduced = answer(project, "reproduce", "latest")
    assert (reproduced["equal"], len(reproduced["values"])) == (True, 4)
    for run in ("latest~1", "latest"):
        assert answer(project, "verify", run)["whole"] is True
    assert project.git("status", "--porcelain") == ""


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_help_shows_examples_whose_options_exist(command: str) -> None:
    """An example with an option that is gone, or was never there, is refused before `--help` answers."""
    for example in EXAMPLES[command]:
        _, name, *words = shlex.split(example)
        assert name == command
        parsed = CliRunner().invoke(app, [name, "--help", *words])
        assert parsed.exit_code == 0, parsed.output
        assert f"  {example}\n" in parsed.output


def test_what_nobody_may_read_is_named(ran: Project) -> None:
    """A folder without permission is neither empty nor the end: what can be read is shown."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may read everything")
    project, case = ran, ran.run_dir / "a"
    try:
        case.chmod(0)
        shown = as_somebody(project, "show", "latest")
        assert (shown.code, "2 cases: 2 succeeded" in shown.stdout) == (0, True)
        assert f"{case / 'config.json'} can't be read: Permission denied." in shown.stderr
        table = as_somebody(project, "table", "latest", "--columns", "variant,status")
        assert table.lines == ["variant,status", "a,succeeded", "b,succeeded"]
        assert f"{case / 'config.json'} can't be read" in table.stderr
        verified = as_somebody(project, "verify", "latest")
        assert (verified.code, f"{case / 'config.json'} can't be read" in verified.stdout) == (1, True)
        exported = as_somebody(project, "export", "latest", "--to", "artefact")
        assert exported.code == 2
        assert f"{case}: can't be copied: Permission denied." in exported.stderr
        logs = as_somebody(project, "logs", "latest", "a")
        assert (logs.code, logs.stderr) == (2, f"suitecase: {case} can't be read: Permission denied.\n")
        case.parent.parent.chmod(0)
        listed = as_somebody(project, "ls")
        assert (listed.code, listed.stdout) == (1, "")
        assert listed.stderr == f"suitecase: {case.parent.parent} can't be read: Permission denied.\n"
    finally:
        case.parent.parent.chmod(0o755)
        case.chmod(0o755)


def as_somebody(project: Project, *arguments: str) -> Finished:
    """A command without root's right to read what nobody may."""
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*without, *COMMAND, *arguments], cwd=project.root, env={**clean_environment(), "PYTHONPATH": str(HERE)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


def test_a_misspelt_field_is_no_empty_list(ran: Project) -> None:
    """`ls` says which fields there are, where one is known to nobody."""
    project = ran
    assert ask(project, "ls", "x=7").stdout.startswith("No such run in ")
    misspelt = ask(project, "ls", "nmae=n")
    assert (misspelt.code, misspelt.stderr) == (
        2, "suitecase: no case has a config field or a result 'nmae': did you mean name?\n",
    )  # fmt: skip
    assert ask(project, "ls", "--sort", "-nmae").code == 2
    assert ask(project, "ls", "--results-dir", "nowhere").stderr == (
        f"suitecase: there is no folder {project.root / 'nowhere'}.\n"
    )


def test_time_between_passes_does_not_count(ran: Project) -> None:
    """A run that was resumed the day after did not take a day."""
    project = ran
    journal = project.run_dir / "journal.jsonl"
    first = read_run(project.run_dir)
    assert first.duration_s is not None
    the_day_after = [
        {"event": "run_resumed", "time": later(first.ended_at, 86_400)},
        {"event": "run_ended", "time": later(first.ended_at, 86_402), "exit_code": 0},
    ]
    events = [*project.events(), *the_day_after]  # without the checksums of lines, which only a runner makes
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    resumed = read_run(project.run_dir)
    assert resumed.duration_s == pytest.approx(first.duration_s + 2)


def later(time: str | None, seconds: float) -> str:
    assert time is not None
    return (parse_time(time) + timedelta(seconds=seconds)).isoformat()


def test_runs_are_counted_back_from_the_latest(tmp_path: Path) -> None:
    """`latest~1` is the run before the latest, of all; `EXPERIMENT~1` that of the experiment."""
    made = [tmp_path / experiment / f"20260101_00000{at}_abc1234" for at, experiment in enumerate(("a", "b", "a"))]
    for path in made:
        path.mkdir(parents=True)
    assert [find_run(tmp_path, name) for name in ("latest~2", "latest~1", "latest~0")] == made
    assert find_run(tmp_path, "a~1") == made[0]
    with pytest.raises(NotFoundError, match=r"before b/20260101_000001_abc1234 there are 0 runs, not 1"):
        find_run(tmp_path, "b~1")


def list_runs(project: Project) -> list[dict[str, object]]:
    return json.loads(ask(project, "ls", "--json").stdout)
