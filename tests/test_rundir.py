"""Reading run directories: the format that the runner writes, runs in any state, and the names that people type."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import experiment_runner
from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.queries import Filter, find_case, find_run, list_runs, parse_condition, parse_since
from suitecase.rundir import RunReader, find_runs, layout, read_run

FORMAT = (Path(__file__).resolve().parent.parent / "docs/run-directory.md").read_text(encoding="utf-8")
RESULT = "(folder / 'results.json').write_text(json.dumps({'accuracy': config['x'] / 10, 'kind': config['name']}));"
FAIL = "sys.exit(3)"


def documented(name: str) -> bool:
    return f"`{name}`" in FORMAT


# --- The format ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run with successes, a failure, a retry, a resume that added a case, from a dirty tree."""
    import shutil

    project = Project(tmp_path_factory.mktemp("written") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    project.write("untracked.txt", "x")
    flaky = "n = folder / 'n'; n.exists() or (n.touch(), sys.exit(3))"
    project.suite({"good": RESULT, "bad": FAIL, "flaky": flaky})
    assert project.run("--max-attempts", "2", "--backoff", "0.01", "--note", "why").code == 1
    project.suite({"good": RESULT, "bad": FAIL, "flaky": flaky, "late": RESULT})
    assert project.run("--resume", "latest").code == 1
    return project


def test_names_are_those_of_the_runner(written: Project) -> None:
    """Both sides name the same files, and everything that lies in a run directory is known to the reader."""
    assert layout.FORMAT_VERSION == experiment_runner.FORMAT_VERSION
    assert layout.RUN_NAME.fullmatch(written.run_dir.name)
    known = {layout.RUN, layout.ENVIRONMENT, layout.JOURNAL, layout.PATCH, "uncommitted-2.patch"}
    assert {path.name for path in written.run_dir.iterdir() if path.is_file()} == known
    names = {path.name for path in (written.run_dir / "bad").iterdir()}
    assert names == {layout.CONFIG, *(layout.attempt_log(number) for number in (1, 2, 3))}
    reserved = {layout.CONFIG, layout.RESULTS, layout.TRACKING, layout.ITEMS, layout.RUN, layout.JOURNAL, layout.CANCEL,
                layout.LIMITS}  # fmt: skip
    assert reserved <= experiment_runner.RESERVED


def test_everything_written_is_documented(written: Project) -> None:
    """Every file, key and event that a runner writes stands in docs/run-directory.md."""
    run = json.loads((written.run_dir / layout.RUN).read_text())
    events = written.events()
    keys = {*run, *run["code"], *run["cases"][0]}
    keys |= {name for event in events for name in event} | {event["event"] for event in events}
    assert [name for name in sorted(keys) if not documented(name)] == []
    source = Path(experiment_runner.__file__).read_text()
    appended = set(re.findall(r'(?:append|event=)\(?\s*"([a-z]+_[a-z_]+)"', source))
    assert {"case_ended", "run_ended", "hook_failed", "logs_published"} <= appended
    assert [name for name in sorted(appended) if not documented(name)] == []


def test_reading_a_run(written: Project) -> None:
    """Statuses, attempts, configs, results and code are those of the record; cases add up."""
    run = read_run(written.run_dir)
    assert run.problems == ()
    assert {variant: case.status for variant, case in run.cases.items()} == {
        "good": "succeeded", "bad": "failed", "flaky": "succeeded", "late": "succeeded",
    }  # fmt: skip
    assert (run.status, run.exit_code, run.passes, run.owner) == ("failed", 1, 2, None)
    assert run.counts == {"succeeded": 3, "failed": 1}
    assert [attempt.status for attempt in run.cases["flaky"].attempts] == ["failed", "succeeded"]
    bad = run.cases["bad"]
    assert [attempt.exit_code for attempt in bad.attempts] == [3, 3, 3]
    assert bad.cause == "exit code 3"
    assert bad.log_path() == written.run_dir / "bad" / "attempt-3.log"
    assert run.cases["good"].config()[0]["x"] == 0
    assert run.cases["good"].results() == ({"accuracy": 0.0, "kind": "n"}, "")
    assert run.code.dirty
    assert run.code.patch == layout.PATCH
    assert run.code.commit == written.git("rev-parse", "HEAD")
    assert run.duration_s is not None
    assert run.asked["note"] == "why"


# --- Runs in any state -----------------------------------------------------------------------------------------------


def test_running_then_interrupted_then_resumed(project: Project) -> None:
    """While its runner lives a run is `running`; killed, it is `interrupted`; resumed, what its cases became."""
    project.suite({"a": "time.sleep(0 if (folder / 'again').exists() else 600)", "b": RESULT})
    runner = project.start()
    project.wait_for_started("a", "b")
    reader = RunReader(project.run_dir)
    wait_for(lambda: reader.refresh().cases["b"].status == "succeeded", "the end of b")
    run = reader.refresh()
    assert (run.status, run.cases["a"].status, run.ended_at) == ("running", "running", None)
    assert run.owner is not None
    assert (run.owner.lives, run.owner.pid) == (True, runner.pid)

    runner.kill()
    runner.wait()
    wait_for(lambda: reader.refresh().status != "running", "the end of the guardian")
    run = reader.refresh()
    assert (run.status, run.cases["a"].status, run.cases["b"].status) == ("interrupted", "interrupted", "succeeded")
    assert run.cases["a"].attempts[0].status == "interrupted"

    (project.run_dir / "a" / "again").touch()
    assert project.run("--resume", "latest").code == 0
    run = reader.refresh()
    assert (run.status, run.passes, run.counts) == ("succeeded", 2, {"succeeded": 2})
    assert [attempt.status for attempt in run.cases["a"].attempts] == ["interrupted", "succeeded"]
    assert run == read_run(project.run_dir)


def test_a_reader_disturbs_no_runner(project: Project) -> None:
    """Reading as fast as it goes, a run starts, ends, and is resumed at once."""
    project.suite({"a": "", "b": FAIL})
    for arguments in ((), ("--resume", "latest")):
        runner = project.start(*arguments)
        while runner.poll() is None:
            for path in find_runs(project.root / "results"):
                read_run(path)
        assert project.finish(runner).code == 1


@pytest.mark.parametrize(("silent_s", "status"), [(5, "running"), (500, "interrupted")])
def test_a_runner_on_another_machine(tmp_path: Path, silent_s: float, status: str) -> None:
    """Its lock may not be seen here: the age of its heartbeat decides, and is given as the evidence."""
    path = handmade(tmp_path, host="elsewhere")
    moment = time.time() - silent_s
    os.utime(path / layout.JOURNAL, (moment, moment))
    run = read_run(path)
    assert (run.status, run.cases["a"].status) == (status, status)
    assert run.owner is not None
    assert re.fullmatch(r"machine elsewhere was last heard of \d+ s ago", run.owner.evidence)


def test_a_silent_run_shows_that_it_lives(tmp_path: Path) -> None:
    """The runner sets the journal's time of change now and then, for readers who don't see its lock."""
    path = tmp_path / layout.JOURNAL
    journal = experiment_runner.Journal(path)
    os.utime(path, (1, 1))
    journal.heartbeat()
    assert time.time() - path.stat().st_mtime < 60
    os.utime(path, (1, 1))
    journal.heartbeat()
    assert path.stat().st_mtime == 1  # not at each look
    journal.close()


def handmade(folder: Path, host: str = "here", **more: Any) -> Path:
    """A run directory without checksums, whose case `a` runs."""
    path = folder / "results" / "exp" / "20260101_000000_abc1234"
    (path / "a").mkdir(parents=True)
    run = {"format_version": 1, "experiment": "exp", "mode": "standard", "cases": [{"variant": "a"}], **more}
    (path / layout.RUN).write_text(json.dumps(run))
    started = {"event": "run_started", "time": "2026-01-01T00:00:00.000Z", "host": host, "pid": 1}
    attempt = {"event": "attempt_started", "time": "2026-01-01T00:00:01.000Z", "variant": "a", "attempt": 1}
    (path / layout.JOURNAL).write_text(f"{json.dumps(started)}\n{json.dumps(attempt)}\n")
    return path


def test_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    """What a later version means by its words is unknown here."""
    run = read_run(handmade(tmp_path, format_version=7))
    assert (run.status, run.cases) == ("unknown", {})
    assert "has format 7, and this suitecase knows 1: update it." in run.problems[0]


def test_directories_of_the_simple_original(tmp_path: Path) -> None:
    """They have configs and results, and nothing tells what became of the cases."""
    path = tmp_path / "results" / "exp" / "20250101_000000_abc1234"
    (path / "a").mkdir(parents=True)
    (path / "a" / layout.CONFIG).write_text('{"output_dir": "x", "lr": 0.1}')
    (path / "a" / layout.RESULTS).write_text('{"loss": 1}')
    (path / "b").mkdir()
    run = read_run(path)
    assert (run.experiment, run.code.label, run.format_version, run.status) == ("exp", "abc1234", 0, "unknown")
    assert list(run.cases) == ["a"]
    assert run.cases["a"].status == "unknown"
    assert run.cases["a"].config() == ({"lr": 0.1}, "")
    assert list(find_runs(tmp_path / "results")) == [path]


def no_object(path: Path) -> None:
    (path / layout.RUN).write_text("[]")


def no_description(path: Path) -> None:
    (path / layout.RUN).unlink()
    (path / "a").rmdir()


def no_journal(path: Path) -> None:
    (path / layout.JOURNAL).unlink()


def a_pipe(path: Path) -> None:
    (path / layout.JOURNAL).unlink()
    os.mkfifo(path / layout.JOURNAL)


def a_folder(path: Path) -> None:
    (path / layout.RUN).unlink()
    (path / layout.RUN).mkdir()


def a_case_elsewhere(path: Path) -> None:
    (path / layout.RUN).write_text('{"format_version": 1, "cases": [{"variant": "../../a"}, 5]}')


def other_types(path: Path) -> None:
    (path / layout.RUN).write_text('{"format_version": "one", "cases": {}}')


SPOILERS = [no_object, no_description, no_journal, a_pipe, a_folder, a_case_elsewhere, other_types]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_what_is_broken_is_said(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """Somebody's broken directory is no exception, and a sentence names what is wrong with it."""
    path = handmade(tmp_path)
    spoil(path)
    run = read_run(path)
    assert run.problems
    assert all(str(path) in problem for problem in run.problems)
    assert sum(run.counts.values()) == len(run.cases)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_makes_a_success(written: Project, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed or cut off anywhere in the record: it is read, a failed case does not succeed, cases add up."""
    import shutil

    path = tmp_path / "copy" / written.run_dir.name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    name = data.draw(st.sampled_from([layout.RUN, layout.JOURNAL]))
    for each in (layout.RUN, layout.JOURNAL):
        shutil.copy(written.run_dir / each, path / each)
    content = bytearray((path / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    (path / name).write_bytes(content)
    run = read_run(path)
    assert sum(run.counts.values()) == len(run.cases)
    if "bad" in run.cases and name == layout.JOURNAL:
        assert run.cases["bad"].status != "succeeded"


def test_ten_thousand_foreign_files(tmp_path: Path) -> None:
    """What is no run directory is passed over."""
    path = handmade(tmp_path)
    for number in range(5_000):
        (tmp_path / "results" / f"file-{number}").touch()
        (tmp_path / "results" / "exp" / f"20260101_{number}").touch()
    assert list(find_runs(tmp_path / "results")) == [path]
    assert list(find_runs(tmp_path / "nowhere")) == []


# --- What people type ------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A results folder with three runs of two experiments."""
    results = tmp_path / "results"
    for experiment, name, x in (
        ("digits", "20260101_000000_abc1234", 1),
        ("digits", "20260102_000000_abc1234-dirty", 5),
        ("letters", "20260103_000000_def5678", 9),
    ):
        path = results / experiment / name
        (path / "small").mkdir(parents=True)
        (path / "small" / layout.CONFIG).write_text(json.dumps({"x": x, "model": "svm", "on": True}))
        (path / "small" / layout.RESULTS).write_text(json.dumps({"accuracy": x / 10, "inner": {"loss": x}}))
        run = {"format_version": 1, "experiment": experiment, "mode": "standard", "cases": [{"variant": "small"}]}
        (path / layout.RUN).write_text(json.dumps(run))
        events = [
            {"event": "run_started", "time": f"2026-01-0{x % 4 + 1}T00:00:00.000Z"},
            {"event": "case_ended", "variant": "small", "status": "succeeded"},
            {"event": "run_ended", "exit_code": 0},
        ]
        (path / layout.JOURNAL).write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return results


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("latest", "20260103_000000_def5678"),
        ("digits", "20260102_000000_abc1234-dirty"),
        ("dig", "20260102_000000_abc1234-dirty"),
        ("20260101", "20260101_000000_abc1234"),
        ("digits/20260101", "20260101_000000_abc1234"),
        ("def5678", "20260103_000000_def5678"),
        ("dirty", "20260102_000000_abc1234-dirty"),
    ],
)
def test_runs_by_what_people_type(several: Path, typed: str, name: str) -> None:
    """A beginning, an experiment, a commit."""
    assert find_run(several, typed).name == name


def test_a_run_by_its_path(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From anywhere, also relative."""
    path = several / "digits" / "20260101_000000_abc1234"
    monkeypatch.chdir(path.parent)
    assert find_run(Path("/nowhere"), str(path)) == path
    assert find_run(Path("/nowhere"), path.name) == path


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("2026", "'2026' means 3 runs: digits/20260101_000000_abc1234, digits/20260102_000000_abc1234-dirty, letters/"),
        ("digist", "no run is named 'digist': did you mean digits?"),
        ("zzz", "no run is named 'zzz': `suitecase ls` lists those of "),
    ],
)
def test_wrong_names_list_the_near_ones(several: Path, typed: str, message: str) -> None:
    """A sentence, and a way on."""
    with pytest.raises(NotFoundError) as raised:
        find_run(several, typed)
    assert raised.value.problems[0].startswith(message)


def test_cases_by_what_people_type(several: Path) -> None:
    """A beginning will do."""
    run = read_run(find_run(several, "letters"))
    assert find_case(run, "sm").variant == "small"
    with pytest.raises(NotFoundError, match="has no case 'smal1': did you mean small"):
        find_case(run, "smal1")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["x=5"], ["20260102"]),
        (["x=5.0"], ["20260102"]),
        (["accuracy>0.4"], ["20260102", "20260103"]),
        (["accuracy>=0.5", "accuracy<0.9"], ["20260102"]),
        (["inner.loss<2"], ["20260101"]),
        (["model=svm", "on=true"], ["20260101", "20260102", "20260103"]),
        (["model!=svm"], []),
        (["model>svm"], []),
        (["nothing=1"], []),
    ],
)
def test_conditions(several: Path, conditions: list[str], expected: list[str]) -> None:
    """On configs and results, numbers as numbers."""
    chosen = Filter(conditions=tuple(map(parse_condition, conditions)))
    assert [run.name[:8] for run in list_runs(several, chosen)] == expected


def test_since() -> None:
    """A span or a date."""
    from datetime import UTC, datetime

    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_since("2d", now) == datetime(2026, 1, 29, tzinfo=UTC)
    assert parse_since("2026-01-31T00:00:00+00:00") == now
    with pytest.raises(SuitecaseError, match="is no time: write 30m, 2h"):
        parse_since("yesterday")
