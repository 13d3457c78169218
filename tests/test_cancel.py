"""`suitecase cancel`: a run or a case ends, hung or not, and what became of it is told."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from asking import suitecase
from conftest import Project, wait_for

from suitecase.queries.steering import CannotCancelError, cancel
from suitecase.rundir import read_run

HANG = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'deaf').touch(); time.sleep(600)"
UNTIL_TOLD = "\nwhile not Path('go').exists(): time.sleep(0.02)"


def wait_until_deaf(project: Project, variant: str) -> None:
    """Until a case has said that it ignores TERM."""
    project.wait_for_started(variant)
    wait_for((project.run_dir / variant / "deaf").exists, f"{variant} to ignore TERM")


def cancel_files(project: Project) -> list[Path]:
    return sorted(project.run_dir.rglob("cancel"))


def test_a_hung_run_ends(project: Project) -> None:
    """The hung case is killed after its grace, the other never begins, and the runner exits as after Ctrl-C."""
    project.suite({"hung": HANG, "later": ""})
    runner = project.start("-p", "1", "--grace", "0.2")
    wait_until_deaf(project, "hung")
    done = suitecase("cancel", "exp", cwd=project.root)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == f"exp/{project.run_dir.name}: 1 case was ended; now 1 cancelled, 1 pending.\n"
    assert project.finish(runner).code == 130
    assert project.events()[-1]["event"] == "run_ended"


def test_one_case_of_a_run_ends(project: Project) -> None:
    """Hung or waiting for its turn; the others go on, and what has ended can't be cancelled."""
    project.suite({"hung": HANG, "good": UNTIL_TOLD, "early": "", "late": ""})
    runner = project.fork("-p", "2", "--grace", "0.2")
    wait_until_deaf(project, "hung")
    project.wait_for_started("good")
    late = cancel(read_run(project.run_dir), "late")
    assert (late.done, late.statuses) == (True, {"late": "pending"})
    done = suitecase("cancel", "exp", "hung", "--json", cwd=project.root)
    assert done.code == 0
    assert json.loads(done.stdout)["statuses"] == {"hung": "cancelled"}
    wait_for(lambda: project.statuses().get("late"), "the end of late")
    with pytest.raises(CannotCancelError, match=r"case 'early' of exp/.* has ended already: succeeded"):
        cancel(read_run(project.run_dir), "early")
    assert not (project.run_dir / "early/cancel").exists()
    (project.root / "go").touch()
    assert project.finish(runner).code == 1
    assert project.statuses() == {
        "hung": "cancelled",
        "late": "cancelled",
        "early": "succeeded",
        "good": "succeeded",
    }


def test_without_a_living_runner_nothing_is_created(project: Project) -> None:
    """Of a run that has ended, and of one whose runner was killed."""
    project.suite({"a": UNTIL_TOLD})
    runner = project.fork()
    project.wait_for_started("a")
    runner.kill()
    project.finish(runner)
    wait_for(lambda: read_run(project.run_dir).status == "interrupted", "the guardian's end")
    for arguments in (["exp"], ["exp", "a"]):
        done = suitecase("cancel", *arguments, cwd=project.root)
        assert done.code == 1
        assert (
            "has no runner that could end anything; its status is interrupted (its runner is gone: nobody"
            in done.stderr
        )
    (project.root / "go").touch()
    assert project.run_forked("--resume", "latest").code == 0
    with pytest.raises(CannotCancelError, match="its status is succeeded"):
        cancel(read_run(project.run_dir))
    assert cancel_files(project) == []


def test_a_request_that_is_not_heeded_in_time_stands(project: Project) -> None:
    """A runner that stands still hears of it once it goes on; `--no-wait` only asks."""
    project.suite({"a": "time.sleep(600)"})
    runner = project.fork()
    project.wait_for_started("a")
    runner.send_signal(signal.SIGSTOP)
    try:
        told = cancel(read_run(project.run_dir), timeout_s=0.1)
        assert not told.done
        assert "has not ended within 0.1 s. The request stands" in told.message
        assert cancel_files(project) == [project.run_dir / "cancel"]
        done = suitecase("cancel", "exp", "--no-wait", cwd=project.root)
        assert (done.code, done.stderr) == (0, "")
    finally:
        runner.send_signal(signal.SIGCONT)
    assert project.finish(runner).code == 130


def test_a_request_that_comes_too_late_is_taken_back(project: Project) -> None:
    """The run had ended by itself when it was made: no file is left that means nothing."""
    project.suite({"a": UNTIL_TOLD})
    runner = project.fork()
    project.wait_for_started("a")
    before = read_run(project.run_dir)
    (project.root / "go").touch()
    project.finish(runner)
    told = cancel(before)
    assert (told.done, told.statuses) == (False, {"a": "succeeded"})
    assert "ended by itself: 1 succeeded" in told.message
    assert cancel_files(project) == []
