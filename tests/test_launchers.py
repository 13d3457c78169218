"""Launchers are found by name, checked before anything starts, recorded, and all do the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Project, wait_for

from suitecase.launchers.conformance import Conformance
from suitecase.queries.overview import run_commands, run_overview
from suitecase.rundir import read_run


class TestLocal(Conformance):
    """The launcher that is the default."""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--launcher", "lokal"], ["no launcher is named 'lokal'", "local"]),
        (["--launcher-option", "x=1"], ["launcher 'local' has no option 'x'. It has none."]),
        (["--launcher-option", "x"], ["--launcher-option x: write it KEY=VALUE."]),
        (["--launcher-option", "x=1", "--launcher-option", "x=2"], ["--launcher-option x is given twice."]),
        (
            ["--launcher", "warm", "--launcher-option", "prelod=json", "--launcher-option", "x=1"],
            ["no option 'prelod'. Did you mean 'preload'?", "no option 'x'. It has preload, no_preload."],
        ),
    ],
)
def test_a_launcher_that_is_not_there_is_told(project: Project, arguments: list[str], told: list[str]) -> None:
    done = project.run(*arguments)
    assert done.code == 2
    assert all(part in done.stderr for part in told), done.stderr
    assert not (project.root / "results").exists()


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("broken", "x = (", "launcher 'broken' can't be imported: SyntaxError: "),
        ("nothing", "", "launcher 'nothing' can't be imported: AttributeError: "),
        (
            "number",
            "def Mine(n='x'): int(n)",
            "launcher 'number' doesn't take these options: invalid literal for int()",
        ),
        ("needs", "def Mine(n): pass", "launcher 'needs' doesn't take these options: "),
    ],
)
def test_a_launcher_of_another_package_that_fails_is_told(
    project: Project, tmp_path: Path, name: str, code: str, told: str
) -> None:
    metadata = tmp_path / "mine-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[experiment_runner.launchers]\n{name} = mine:Mine\n")
    (tmp_path / "mine.py").write_text(code)
    done = project.run("--launcher", name, env={"PYTHONPATH": str(tmp_path)})
    assert done.code == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


THIRD_PARTY = """
from experiment_runner import Local, SuiteError

class Mine(Local):
    name = "mine"
    outlives_runner = False
    lacks = frozenset({"nice", "debug"})

    def __init__(self, queue="long"):
        self.queue = queue

    def problems(self):
        return [] if self.queue != "none" else ["queue 'none' takes nothing: use long."]

    def describe(self):
        return {"queue": self.queue}

    def preview(self, session, needs):
        return f"would ask queue {self.queue} for {len(needs)} cases of {session.experiment}"
"""


def test_a_suite_may_bring_its_own(project: Project) -> None:
    """What it can't do is refused, what it describes is recorded, and a dry run shows what it would do."""
    project.suite({"a": "print('hello')", "b": ""}, before=THIRD_PARTY, more="launcher=Mine('short')")
    dry = project.run("--dry-run")
    assert "would ask queue short for 2 cases of exp" in dry.lines
    done = project.run()
    assert done.code == 0, done.stderr
    run = json.loads((project.run_dir / "run.json").read_text())
    assert run["launcher"] == {"name": "mine", "outlives_runner": False, "options": {"queue": "short"}}
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "hello\n"

    for arguments, told in (
        (["--nice", "5"], "'mine' has no room for --nice"),
        (["--debug", "a"], "no room for --debug"),
    ):
        refused = project.run(*arguments)
        assert refused.code == 2
        assert told in refused.stderr


def test_what_keeps_a_launcher_from_working_is_told_with_all_else(project: Project) -> None:
    more = "launcher=Mine('none'), tags=['t'], policy=ExecutionPolicy(grace_s=-1)"
    before = THIRD_PARTY + "from experiment_runner import ExecutionPolicy"
    project.suite({"a": ""}, before=before, more=more)
    done = project.run()
    assert done.code == 2
    assert "queue 'none' takes nothing" in done.stderr
    assert "grace_s" in done.stderr


def test_a_launcher_is_recorded_and_used_again(project: Project) -> None:
    """A resume takes what the run used, whatever the suite's default is by now; `--launcher` is stronger.

    How to step into a failed case is told with a launcher that can.
    """
    project.suite({"a": "sys.exit(1)"}, before=THIRD_PARTY, more="launcher=Mine('short')")
    assert project.run("--launcher", "local").code == 1
    assert "--debug a\n" in project.run("--resume", "latest").stdout
    assert "--launcher local --debug a\n" in project.run("--resume", "latest", "--launcher", "mine").stdout
    used = [event["launcher"]["name"] for event in project.events("run_resumed")]
    assert used == ["local", "mine"]
    assert run_overview(read_run(project.run_dir))["launcher"] == "mine queue=short"


def test_what_goes_on_without_a_runner_is_running(project: Project) -> None:
    """Until it has told its end; then a resume is needed, to write that into the journal."""
    lasting = THIRD_PARTY.replace("outlives_runner = False", "outlives_runner = True")
    project.suite({"a": "time.sleep(60)", "b": "time.sleep(60)"}, before=lasting, more="launcher=Mine()")
    runner = project.start()
    project.wait_for_started("a", "b")
    claim = project.run_dir / "a" / "attempt-1.json"
    claim.write_text(json.dumps({"attempt": 1, "host": "elsewhere"}))
    runner.kill()
    runner.communicate()
    wait_for(lambda: read_run(project.run_dir).statuses["b"] == "interrupted", "the end of the guardian")
    run = read_run(project.run_dir)
    assert (run.status, dict(run.statuses)) == ("running", {"a": "running", "b": "interrupted"})
    assert not run.is_owned
    assert run_commands(run).keys() == {"watch", "stop", "go on"}
    claim.write_text(json.dumps({"attempt": 1, "host": "elsewhere", "ended_at": "2026-01-01T00:00:00.000Z"}))
    assert read_run(project.run_dir).status == "interrupted"
