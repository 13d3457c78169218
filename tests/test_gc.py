"""`suitecase gc`: what may go is listed with its reason, and deleted on request; what is in use never is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asking import suitecase
from conftest import HERE, Kept, Project, clean_environment, wait_for

from suitecase.errors import SuitecaseError
from suitecase.queries.cleaning import Rules, Verdicts, delete, find_disposable
from suitecase.rundir import find_runs


@pytest.fixture(scope="module")
def kept(new_project: Callable[[str], Project]) -> Kept:
    """Three runs that succeeded a moment ago, one that failed, and one of the simple original, years old."""
    project = new_project("ran")
    project.suite({"a": "(folder / 'large').write_bytes(bytes(5000))"})
    assert project.run_forked().code == 0
    first = project.run_dir
    for second in (1, 2):
        shutil.copytree(first, first.with_name(f"20990101_00000{second}_abc1234"))
    project.suite({"a": "sys.exit(3)"})
    assert project.run_forked(suite="suite.py").code == 1
    original = project.root / "results/old/20200101_000000_abc1234/a"
    original.mkdir(parents=True)
    (original / "config.json").write_text("{}")
    return Kept(project)


@pytest.fixture
def ran(kept: Kept) -> Iterator[Project]:
    """The same for each test."""
    with kept.restored() as project:
        yield project


def found(project: Project, **rules: Any) -> Verdicts:
    return find_disposable(project.root / "results", Rules(**rules))


def names(verdicts: Verdicts) -> list[str]:
    return [f"{each.experiment}/{each.path.name}" for each in verdicts.disposable]


def test_every_rule_that_is_given_must_apply(ran: Project) -> None:
    """Age, the latest of each experiment, status; without a rule no run goes."""
    now = datetime.now(UTC)
    runs = [f"exp/{run.name}" for run in ran.runs()]
    (failed,) = [f"exp/{run.name}" for run in ran.runs() if "failed" in (run / "journal.jsonl").read_text()]
    old = "old/20200101_000000_abc1234"
    assert names(found(ran)) == []
    assert sorted(names(found(ran, before=now))) == sorted([*runs, old])
    assert names(found(ran, before=datetime(2024, 1, 1, tzinfo=UTC))) == [old]
    assert names(found(ran, keep=2)) == runs[:-2]
    assert names(found(ran, statuses=("failed",))) == [failed]
    assert names(found(ran, keep=2, statuses=("failed",))) == [failed]
    assert names(found(ran, keep=4, statuses=("failed",))) == []


def test_listed_first_deleted_on_request(ran: Project) -> None:
    """With sizes and reasons; other runs, and what is no run, stay to the byte."""
    (ran.root / "results/exp/notes.txt").write_text("mine")
    (ran.root / "results/exp/20200101_000000_mine").mkdir()
    before = ran.listing()
    done = suitecase("gc", "--keep", "1", "--status", "succeeded", cwd=ran.root)
    assert (done.code, done.stderr) == (0, "")
    assert done.lines[-1] == "Nothing was deleted: --yes deletes what is listed."
    assert "20990101_000001_abc1234" in done.stdout
    assert "succeeded, not of the latest 1" in done.stdout
    assert ran.listing() == before
    listed = json.loads(suitecase("gc", "--keep", "1", "--status", "succeeded", "--yes", "--json", cwd=ran.root).stdout)
    gone = [Path(each["path"]) for each in listed["disposable"]]
    assert len(gone) == 2
    assert all(each["deleted"] and each["size_bytes"] > 5000 for each in listed["disposable"])
    expected = {name for name in before if not any((ran.root / name).is_relative_to(path) for path in gone)}
    assert ran.listing().keys() == expected
    assert suitecase("gc", cwd=ran.root).stdout.startswith("Nothing to delete in ")


def test_only_what_no_reader_takes_for_a_run_is_deleted_from(ran: Project) -> None:
    """Each run has a dot-name by the time that the first of its files goes."""
    told = "lambda event, given: event == 'shutil.rmtree' and print('rmtree', given[0], file=sys.stderr)"
    code = f"import sys; sys.addaudithook({told}); from suitecase.cli import main; main()"
    command = [sys.executable, "-c", code, "gc", "--keep", "1", "--yes"]
    env = clean_environment() | {"PYTHONPATH": str(HERE)}
    expected = [f".{run.name}.deleting" for run in ran.runs()[:-1]]
    done = subprocess.run(command, cwd=ran.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    deleted = [Path(line.removeprefix("rmtree ")).name for line in done.stderr.splitlines()]
    assert deleted == expected


def test_a_run_that_lives_stays(project: Project) -> None:
    """Also if it came to life after it was listed."""
    project.suite({"a": "sys.exit(3) if not Path('go').exists() else time.sleep(600)"})
    assert project.run_forked().code == 1
    (listed,) = found(project, statuses=("failed",)).disposable
    (project.root / "go").touch()
    runner = project.start("--resume", "latest")
    wait_for(lambda: len(project.events("attempt_started")) == 2, "the second attempt")
    verdicts = found(project, keep=0)
    assert (verdicts.disposable, len(verdicts.spared)) == ((), 1)
    assert "it runs: its runner holds the lock of the journal" in verdicts.spared[0][1]
    with pytest.raises(SuitecaseError, match="is running by now: it stays"):
        delete(listed)
    assert (project.run_dir / "run.json").exists()
    (project.run_dir / "cancel").touch()
    assert project.finish(runner).code == 130


def test_links_keep_what_they_point_to(ran: Project, tmp_path: Path) -> None:
    """A run that a link names, one that is reached by a link, and what lies elsewhere."""
    first, second, third, _ = ran.runs()
    (ran.root / "results/exp/best").symlink_to(first.name)
    (ran.root / "paper").symlink_to(second / "a")
    elsewhere = tmp_path / third.name
    third.rename(elsewhere)
    third.symlink_to(elsewhere)
    shutil.copytree(ran.root / "results/old", tmp_path / "shared")
    (ran.root / "results/shared").symlink_to(tmp_path / "shared")
    verdicts = found(ran, keep=0)
    (shared,) = (tmp_path / "shared").iterdir()
    assert {path.name for path, _ in verdicts.spared} == {first.name, second.name, third.name, shared.name}
    for each in verdicts.disposable:
        delete(each)
    assert (elsewhere / "run.json").exists()
    assert (shared / "a/config.json").exists()
    assert not (ran.root / "results/old" / shared.name).exists()
    assert [run.name for run in find_runs(ran.root / "results", "exp")] == [first.name, second.name, third.name]


def test_what_a_newer_version_wrote_stays(ran: Project) -> None:
    """It can't be judged by what isn't known here."""
    described = ran.run_dir / "run.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"format_version": 2}))
    ((path, why),) = found(ran, keep=0).spared
    assert (path, why) == (ran.run_dir, "its format is 2, which this suitecase does not know")


def test_leftovers_of_crashes(project: Project) -> None:
    """Half built more than a day ago, or half deleted; never what looks otherwise, or is just being built."""
    folder = project.root / "results/exp"
    for name in (".20260101_000000_abc.building", ".20260101_000001_abc.building", ".20260101_000002_abc.deleting"):
        (folder / name / "a").mkdir(parents=True)
        (folder / name / "a/config.json").write_text("{}")
    (folder / ".mine").mkdir()
    long_ago = time.time() - 2 * 86_400
    os.utime(folder / ".20260101_000000_abc.building", (long_ago, long_ago))
    os.utime(folder / ".mine", (long_ago, long_ago))
    assert list(find_runs(project.root / "results")) == []
    done = suitecase("gc", "--yes", cwd=project.root)
    assert done.code == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [".20260101_000001_abc.building", ".mine"]


def test_published_logs_go_with_their_run_if_that_is_asked_for(tmp_path: Path) -> None:
    """Only those that the run published, and only from where logs are published."""
    experiment = tmp_path / "results/eval"
    run_dir = experiment / ".runs/20260101_000000_abc1234"
    (run_dir / "a").mkdir(parents=True)
    described = {"format_version": 1, "experiment": "eval", "mode": "inspect", "cases": [{"variant": "a"}]}
    (run_dir / "run.json").write_text(json.dumps(described))
    (tmp_path / "outside.eval").write_text("not ours")
    logs = [{"file": "abc1234_a_1.eval"}, {"file": "../../outside.eval"}, {"file": str(tmp_path / "outside.eval")}]
    time_ = "2026-01-01T00:00:00.000Z"
    events = [
        {"event": "run_started", "time": time_},
        {"event": "logs_published", "time": time_, "variant": "a", "logs": logs},
        {"event": "case_ended", "time": time_, "variant": "a", "status": "succeeded"},
        {"event": "run_ended", "time": time_, "exit_code": 0},
    ]
    (run_dir / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for name in ("abc1234_a_1.eval", "abc1234_a_2.eval"):
        (experiment / name).write_text("log")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "results", copy / "results")
    for each in find_disposable(tmp_path / "results", Rules(keep=0)).disposable:
        assert each.logs == ()
        delete(each)
    assert sorted(path.name for path in experiment.iterdir()) == [".runs", "abc1234_a_1.eval", "abc1234_a_2.eval"]
    done = suitecase("gc", "--older-than", "30d", "--logs", "--yes", cwd=copy)
    assert done.code == 0, done.stderr
    assert "days old; with 1 log" in done.stdout
    assert sorted(path.name for path in (copy / "results/eval").iterdir()) == [".runs", "abc1234_a_2.eval"]
    assert (tmp_path / "outside.eval").exists()
